"""`dycl.compile`, `dycl.load`, and the compiled model as a callable."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path
from typing import Any

import driving
import numpy as np
import pytest
import torch
from torch import nn

import dycl
from dycl import pipeline
from dycl.diagnostics import UsageError
from dycl.loading import load_model
from dycl.manifest import decode_manifest


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    return load_model(str(driving.write_gate(tmp_path_factory.mktemp("gate")))).model


@pytest.fixture(scope="module")
def compiled(gate: nn.Module) -> dycl.CompiledModel:
    with pytest.MonkeyPatch.context() as patch:
        driving.replace_specializer(patch, pipeline, Path(sys.modules[type(gate).__module__].__file__ or ""))
        return dycl.compile(gate, (torch.ones(1, 3),), samples=3)


def eager(model: Any, x: torch.Tensor) -> Any:
    with torch.no_grad():
        return model(x)


@pytest.mark.parametrize("by_name", [False, True])
def test_tensors_give_tensors(gate: nn.Module, compiled: dycl.CompiledModel, by_name: bool) -> None:
    x = torch.ones(1, 3)
    found = compiled(x=x) if by_name else compiled(x)
    expected = eager(gate, x)
    assert list(found) == ["logits", "score"]
    assert isinstance(found["logits"], torch.Tensor)
    torch.testing.assert_close(found["logits"], expected["logits"])
    assert found["score"] == expected["score"]


def test_arrays_give_arrays(gate: nn.Module, compiled: dycl.CompiledModel) -> None:
    found = compiled(np.zeros((1, 3), np.float32))
    assert isinstance(found["logits"], np.ndarray)
    np.testing.assert_allclose(found["logits"], eager(gate, torch.zeros(1, 3))["logits"].numpy(), rtol=1e-5)


def test_decisions_of_the_last_call(compiled: dycl.CompiledModel) -> None:
    compiled(torch.ones(1, 3))
    assert [(d.taken, d.location) for d in compiled.decisions] == [(True, "gate.py:17"), (False, "gate.py:19")]
    compiled(torch.zeros(1, 3))
    assert [d.taken for d in compiled.decisions] == [False, False]
    assert compiled.decisions[0].text == "if score.item() > 0.5:"


def test_state_and_reset(compiled: dycl.CompiledModel) -> None:
    compiled.reset()
    compiled(torch.ones(1, 3))
    compiled(torch.ones(1, 3))
    assert compiled.state == {"calls": 2}
    compiled.reset()
    assert compiled.state == {"calls": 0}


@pytest.mark.parametrize("wrong", [(torch.ones(2, 3),), (torch.ones(1, 3, dtype=torch.float64),), (), (None,)])
def test_a_call_that_does_not_fit(compiled: dycl.CompiledModel, wrong: tuple[Any, ...]) -> None:
    with pytest.raises((TypeError, ValueError), match="x"):
        compiled(*wrong)


def test_program_and_report(compiled: dycl.CompiledModel) -> None:
    assert compiled.program is not None
    assert compiled.program.name == "Gate"
    assert compiled.report is not None
    assert compiled.report.verification is not None
    assert compiled.report.verification.calls == 4


class Chosen(nn.Module):
    """Two numbers and a size that each call chooses."""

    def forward(self, x: torch.Tensor, counts: dict[str, int], most: int) -> torch.Tensor:
        return x[:, : counts["kept"]] * most


def test_the_manifest_tells_what_a_call_may_choose(tmp_path: Path) -> None:
    made = dycl.compile(
        Chosen(),
        (torch.randn(3, 4), {"kept": 2}, 5),
        dynamic_shapes={"x": {0: torch.export.Dim("rows", min=2, max=9)}},
        dynamic_args=["counts.kept[1:4]", "most[0:]"],
        output=tmp_path / "chosen",
    )
    manifest = decode_manifest((tmp_path / "chosen" / "manifest.json").read_bytes(), "")
    assert [(d.name, d.low, d.high) for d in manifest.dimensions] == [("rows", 2, 9)]
    specs = {param.name: param.spec for param in manifest.params}
    kept = {"input": 1, "leaf": "scalar", "type": "int", "low": 1, "high": 4}
    assert specs["counts"] == {"mapping": [["kept", kept]]}
    assert specs["most"] == {"input": 2, "leaf": "scalar", "type": "int", "low": 0}
    with pytest.raises(ValueError, match=r"compiled for 1 to 4, got 5"):
        made(torch.randn(3, 4), {"kept": 5}, 5)
    with pytest.raises(ValueError, match=r"most: compiled for 0 or more, got -1"):
        made(torch.randn(3, 4), {"kept": 2}, -1)


def test_saved_and_loaded(compiled: dycl.CompiledModel, tmp_path: Path) -> None:
    compiled.save(tmp_path / "saved")
    loaded = dycl.load(tmp_path / "saved")
    assert loaded.directory == tmp_path / "saved"
    x = torch.ones(1, 3)
    assert torch.equal(loaded(x)["logits"], compiled(x)["logits"])
    assert loaded.program is None


def test_loaded_where_torch_cannot_be_imported(compiled: dycl.CompiledModel, tmp_path: Path) -> None:
    compiled.save(tmp_path / "saved")
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "import dycl, numpy as np\n"
        f"model = dycl.load({str(tmp_path / 'saved')!r})\n"
        "print(model(np.ones((1, 3), np.float32))['score'], len(model.decisions))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "3.0 2\n", done.stderr


def test_the_package_runs_alone(compiled: dycl.CompiledModel, tmp_path: Path) -> None:
    """With numpy and onnxruntime, without torch and without dycl."""
    compiled.save(tmp_path / "gate")
    program = (
        "import sys; sys.modules['torch'] = sys.modules['dycl'] = None\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "import gate, numpy as np\n"
        "print(gate.load()(np.ones((1, 3), np.float32))['score'])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "3.0\n", done.stderr


def test_a_temporary_artifact_lives_as_long_as_its_model(
    gate: nn.Module, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    driving.replace_specializer(monkeypatch, pipeline, Path(sys.modules[type(gate).__module__].__file__ or ""))
    model = dycl.compile(gate, torch.ones(1, 3), verify=False)
    directory = model.directory
    assert (directory / "host.py").is_file()
    del model
    gc.collect()
    assert not directory.parent.exists()


def test_importing_dycl_is_quick() -> None:
    program = "import dycl, sys; print([m for m in ('torch', 'numpy', 'onnx') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_public_names() -> None:
    assert sorted(dycl.__all__) == ["CompiledModel", "Method", "compile", "load"]
    with pytest.raises(AttributeError, match="no attribute 'decompile'"):
        _ = dycl.decompile  # type: ignore[attr-defined]


def test_inputs_that_do_not_fit_the_method(gate: nn.Module) -> None:
    with pytest.raises(UsageError) as found:
        dycl.compile(gate, (torch.ones(1, 3), torch.ones(1, 3)))
    assert found.value.code == "DY502"


def test_negative_samples(gate: nn.Module) -> None:
    with pytest.raises(UsageError) as found:
        dycl.compile(gate, (torch.ones(1, 3),), samples=-1)
    assert found.value.code == "DY505"
