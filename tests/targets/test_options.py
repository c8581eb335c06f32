"""ONNX Runtime's own options: the version of the operators and how far a graph is optimised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import dycl
from dycl.cli import app
from dycl.diagnostics import UsageError
from dycl.ir.contents import read_contents
from dycl.ir.nodes import CallModule
from dycl.ir.values import TensorType
from dycl.targets.base import Options
from dycl.targets.onnx.exports import _key
from dycl.targets.onnx.opset import latest_opset
from tests.graphs import read_graphs
from tests.targets.conftest import assert_same


def build(builder: Any, make: Any, options: Options) -> tuple[Any, nn.Module]:
    b = builder("00_net")
    module = nn.Sequential(nn.Conv2d(4, 4, 3), nn.GroupNorm(2, 4), nn.GELU()).eval()
    x = b.tensor(1, 4, 8, 8)
    subgraph = b.done(b.op(CallModule("net"), x, out=(TensorType("float32", (1, 4, 6, 6)),)))
    return make(subgraph, modules={"net": module}, options=options), module


@pytest.mark.parametrize("opset", [0, 18, 21, -1])
def test_models_have_the_version_that_was_asked_for(builder: Any, make: Any, opset: int) -> None:
    opset = latest_opset() if opset < 0 else opset
    built, module = build(builder, make, Options(opset=opset))
    (model,) = read_graphs(built.directory).values()
    assert {each.domain: each.version for each in model.opset_import}[""] == (opset or 18)
    x = torch.randn(1, 4, 8, 8)
    assert_same(built.run(x.numpy(), name="00_net"), module(x))


@pytest.mark.parametrize("opset", [-1, 17, 1000])
def test_a_version_that_is_not_there_is_refused(builder: Any, make: Any, opset: int) -> None:
    with pytest.raises(UsageError, match=f"there is no {opset} here") as caught:
        build(builder, make, Options(opset=opset))
    assert caught.value.code == "DY505"
    assert str(latest_opset()) in caught.value.hint


def test_exports_of_another_version_are_not_reused() -> None:
    assert len({_key("structure", opset) for opset in (0, 18, 19)}) == 3


@pytest.mark.parametrize(("level", "expected"), [("basic", 1), ("extended", 2), ("all", 99)])
def test_sessions_are_opened_at_that_level(
    builder: Any, make: Any, level: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When they are checked, and when they run."""
    levels: list[int] = []
    original = ort.InferenceSession.__init__

    def opened(self: Any, model: Any, options: Any, **more: Any) -> None:
        levels.append(int(options.graph_optimization_level))
        original(self, model, options, **more)

    monkeypatch.setattr(ort.InferenceSession, "__init__", opened)
    built, module = build(builder, make, Options(ort_optimization=level))
    assert levels == [expected]
    x = torch.randn(1, 4, 8, 8)
    assert_same(built.run(x.numpy(), name="00_net"), module(x))
    assert levels == [expected] * 2
    settings = built.compiled.manifest()["subgraphs"]["00_net"].get("settings", {})
    assert settings.get("optimization", "all") == level


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ort_optimization": "most"}, "no level 'most'"),
        ({"ort_optimization": "basic", "tune": 1}, "as far as ONNX Runtime can"),
    ],
)
def test_a_level_that_makes_no_sense_is_refused(builder: Any, make: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        build(builder, make, Options(**options))
    assert caught.value.code == "DY505"


def test_another_target_has_no_use_for_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no part in this target"):
        dycl.compile(
            nn.Linear(2, 2).eval(),
            (torch.randn(1, 2),),
            target="reference",
            ort_optimization="basic",
            output=tmp_path / "out",
        )


def test_the_command_and_the_manifest(tmp_path: Path) -> None:
    source = tmp_path / "net.py"
    source.write_text(
        "import torch\nfrom torch import nn\n\n\nclass Net(nn.Module):\n"
        "    def forward(self, x):\n        return torch.relu(x)\n\n\n"
        "def example_inputs():\n    return (torch.ones(1, 2),)\n"
    )
    options = ["--opset", "20", "--ort-optimization", "extended", "--samples", "2", "--jobs", "1"]
    done = CliRunner().invoke(app, ["compile", f"{source}:Net", "-o", str(tmp_path / "out"), *options])
    assert done.exit_code == 0, done.output
    manifest = read_contents(tmp_path / "out")
    assert manifest["opset"] == 20
    assert [entry["settings"]["optimization"] for entry in manifest["subgraphs"].values()] == ["extended"]
    np.testing.assert_array_equal(dycl.load(tmp_path / "out")(np.full((1, 2), -1, np.float32)), np.zeros((1, 2)))
