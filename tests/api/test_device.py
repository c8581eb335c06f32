"""An artifact for a GPU: compiled, loaded and run on the processor where none is, and only when asked to."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import dycl
from dycl.cli import app
from dycl.diagnostics import UsageError

HAS_CUDA = "CUDAExecutionProvider" in ort.get_available_providers()


class Seeking(nn.Module):
    """Everything that may happen to a value: handed on, read, kept, collected, returned as it came."""

    def __init__(self) -> None:
        super().__init__()
        self.step, self.head = nn.Linear(4, 4), nn.Linear(4, 2)
        self.memory = torch.zeros(1, 4)
        self.calls = 0

    def forward(self, x: torch.Tensor) -> tuple[object, ...]:
        self.calls += 1
        steps = [x]
        y = x
        while y.abs().sum().item() > 1 and len(steps) < 3:
            y = torch.tanh(self.step(y)) * 0.8
            steps.append(y)
        self.memory = self.memory * 0.5 + y
        if y.shape[0] != 1:
            return x, y
        return x, self.head(y), torch.stack(steps), steps, len(steps), self.memory.sum().item()


def model() -> Seeking:
    torch.manual_seed(0)
    return Seeking().eval()


def samples(seed: int) -> torch.Tensor:
    return torch.randn(1, 4, generator=torch.Generator().manual_seed(seed)) * (1 + seed % 3)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("gpu") / "seeking"
    if HAS_CUDA:
        dycl.compile(model(), (samples(0),), device="cuda", output=place, sample_inputs=samples)
    else:
        with pytest.warns(UserWarning, match="compiled for cuda, which is not here: this object runs on cpu"):
            made = dycl.compile(model(), (samples(0),), device="cuda", output=place, sample_inputs=samples)
        assert made.report is not None
        assert "has no CUDAExecutionProvider" in made.report.device_missing
        assert made.report.verification is not None
    yield place


def test_the_manifest_names_the_device(artifact: Path) -> None:
    manifest = json.loads((artifact / "manifest.json").read_text())
    assert manifest["device"] == "cuda"
    assert any(text.startswith("onnxruntime-gpu") for text in manifest["requirements"])


def test_the_host_says_where_it_copies(artifact: Path) -> None:
    text = (artifact / "host.py").read_text()
    assert "self.runtime.place(" in text
    assert "fetch(" in text
    assert 'device: str = "cuda"' in text


@pytest.mark.skipif(HAS_CUDA, reason="there is a GPU")
@pytest.mark.parametrize("device", ["", "cuda"])
def test_it_never_falls_back_unasked(artifact: Path, device: str) -> None:
    with pytest.raises(UsageError, match="has no CUDAExecutionProvider") as caught:
        dycl.load(artifact, device=device)
    assert caught.value.code == "DY406"
    assert "device='cpu'" in caught.value.hint


def test_asked_to_it_runs_on_the_processor_like_eager(artifact: Path) -> None:
    loaded, eager = dycl.load(artifact, device="cpu"), model()
    for seed in range(12):
        expected, found = eager(samples(seed)), loaded(samples(seed).numpy())
        for want, got in zip(expected[:3], found[:3], strict=True):
            assert type(got) is np.ndarray
            np.testing.assert_allclose(got, want.detach().numpy(), rtol=1e-4, atol=1e-5)
        assert [type(item) for item in found[3]] == [np.ndarray] * len(expected[3])
        assert found[4] == expected[4]
        assert found[5] == pytest.approx(expected[5], rel=1e-4, abs=1e-5)
        state = loaded.state["memory"]
        assert type(state) is np.ndarray
        np.testing.assert_allclose(state, eager.memory.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_state_goes_from_one_instance_to_another(artifact: Path) -> None:
    first, second = (dycl.load(artifact, device="cpu") for _ in range(2))
    for seed in range(3):
        first(samples(seed))
    second.load_state(first.state)
    for one, other in zip(first(samples(7))[:2], second(samples(7))[:2], strict=True):
        assert isinstance(one, torch.Tensor)
        assert torch.equal(one, other)


def test_an_artifact_for_the_processor_runs_on_no_gpu(tmp_path: Path) -> None:
    dycl.compile(nn.Linear(4, 2).eval(), (samples(0),), output=tmp_path / "net", verify=False)
    with pytest.raises(UsageError, match="compiled for the processor") as caught:
        dycl.load(tmp_path / "net", device="cuda")
    assert caught.value.code == "DY406"
    assert dycl.load(tmp_path / "net", device="cpu")(samples(0)).shape == (1, 2)


def test_a_device_that_it_was_not_compiled_for(artifact: Path) -> None:
    with pytest.raises(UsageError, match="compiled for cuda, not for xpu") as caught:
        dycl.load(artifact, device="xpu")
    assert caught.value.code == "DY406"


@pytest.mark.skipif(HAS_CUDA, reason="there is a GPU")
def test_the_commands(artifact: Path, tmp_path: Path) -> None:
    given = ["--input", "x=float32[1,4]"]
    runner = CliRunner()
    refused = runner.invoke(app, ["run", str(artifact), *given])
    assert refused.exit_code != 0
    assert "DY406" in refused.stderr
    assert runner.invoke(app, ["run", str(artifact), "--device", "cpu", *given]).exit_code == 0
    source = Path(__file__).parents[2] / "docs" / "examples" / "settle.py"
    done = runner.invoke(app, ["compile", str(source), "--device", "cuda", "-o", str(tmp_path / "out"), "--jobs", "1"])
    assert done.exit_code == 0, done.output
    assert "verified on" in done.stdout
    assert "the processor" in done.stdout
    wrong = runner.invoke(app, ["compile", str(source), "--device", "xpu", "-o", str(tmp_path / "other")])
    assert "DY504" in wrong.stderr
    stage = runner.invoke(app, ["compile", str(source), "--device", "cuda", "--stop-after", "host"])
    assert "fetch(" in stage.stdout


def test_the_artifact_runs_alone(artifact: Path, tmp_path: Path) -> None:
    """Without torch and dycl."""
    text = f"""
import sys
sys.modules["torch"] = sys.modules["dycl"] = None
sys.path.insert(0, {str(artifact.parent)!r})
import numpy as np
import seeking
print(len(seeking.Seeking(device="cpu")(np.ones((1, 4), np.float32))))
"""
    done = subprocess.run([sys.executable, "-c", text], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "6\n"), done.stderr


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_CUDA, reason="needs a GPU and onnxruntime-gpu")
def test_it_runs_on_the_gpu_like_eager(artifact: Path) -> None:
    loaded, eager = dycl.load(artifact), model()
    for seed in range(12):
        expected, found = eager(samples(seed)), loaded(samples(seed))
        torch.testing.assert_close(found[1], expected[1], rtol=1e-3, atol=1e-4)
        assert found[4] == expected[4]
