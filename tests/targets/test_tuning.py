"""Subgraphs optimised for this machine: values between them in blocks, agreed upon by all, and taken here alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import dycl
from dycl.artifact import load_artifact
from dycl.diagnostics import UsageError
from dycl.ir.contents import read_contents
from dycl.manifest import hash_file
from dycl.targets.onnxruntime import layout
from tests.graphs import read_graphs

needs_blocks = pytest.mark.skipif(not layout.block_size(), reason="ONNX Runtime knows no blocks on this processor")


class Gated(nn.Module):
    """Blocks of convolutions that a gate skips; what the host sees of a picture is one number."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Conv2d(16, 16, 3, padding=1) for _ in range(3))
        self.head = nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for block in self.blocks:
            if x.mean().item() > 0:
                x = torch.relu(block(x) + x)
        return self.head(x.amax((2, 3)))


@pytest.fixture(scope="module")
def model() -> Gated:
    torch.manual_seed(0)
    return Gated().eval()


@pytest.fixture(scope="module")
def tuned(model: Gated, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact with both sets of subgraphs."""
    place = tmp_path_factory.mktemp("tuned") / "gated"
    dycl.compile(model, torch.randn(1, 3, 8, 8), output=place, tune=True)
    return place


def _assert_equals(host: object, model: Gated) -> None:
    for seed in range(12):
        x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) + (seed % 3 - 1)
        with torch.no_grad():
            expected = model(x).numpy()
        np.testing.assert_allclose(host(x.numpy()), expected, rtol=1e-4, atol=1e-5)  # type: ignore[operator]


@needs_blocks
def test_pictures_between_subgraphs_stay_in_blocks(tuned: Path, model: Gated) -> None:
    host = load_artifact(tuned, threads=1).host
    assert host.runtime._tuned  # type: ignore[attr-defined]
    _assert_equals(host, model)
    subgraphs = read_contents(tuned)["subgraphs"]
    assert len(read_graphs(tuned, "tuned.zip")) < len(subgraphs)
    for name in subgraphs:
        graph = onnx.load_model_from_string(host.runtime.model(name)).graph  # type: ignore[attr-defined]
        borders = {port.name for port in (*graph.input, *graph.output)}
        converted = [n for n in graph.node if n.op_type == "ReorderInput" and borders & {*n.input, *n.output}]
        assert not converted or "stem" in name, f"{name}: {converted}"


@pytest.mark.parametrize("other", ["processor", "choice", "level"])
def test_elsewhere_the_subgraphs_run_that_run_anywhere(tuned: Path, model: Gated, other: str, tmp_path: Path) -> None:
    """Values in the layout of another processor would be silently wrong."""
    place = tmp_path / "copy"
    shutil.copytree(tuned, place)
    runtime = place / "runtime.py"
    text = runtime.read_text()
    changed = {
        "processor": text.replace("facts = [ort.__version__", "facts = ['another', ort.__version__"),
        "choice": text.replace("tuned: bool = True", "tuned: bool = False"),
        "level": text.replace('optimization: str = ""', 'optimization: str = "basic"'),
    }[other]
    assert changed != text
    runtime.write_text(changed)
    manifest = json.loads((place / "manifest.json").read_text())
    manifest["files"]["runtime.py"] = hash_file(runtime)
    (place / "manifest.json").write_text(json.dumps(manifest))
    host = load_artifact(place, threads=1).host
    assert not host.runtime._tuned  # type: ignore[attr-defined]
    _assert_equals(host, model)


def test_lazily_loaded_only_the_sides_taken_are_opened(tuned: Path, model: Gated) -> None:
    compiled = dycl.load(tuned, threads=1, lazy=True)
    runtime, opened = compiled.host.runtime, []
    build = runtime._build
    runtime._build = lambda entry: opened.append(entry["file"]) or build(entry)
    compiled(np.zeros((1, 3, 8, 8), np.float32))
    compiled(np.zeros((1, 3, 8, 8), np.float32))
    once = list(opened)
    assert 0 < len(once) == len(set(once)) < len(compiled.host.runtime.calls)
    _assert_equals(compiled.host, model)
    assert len(opened) > len(once)


def test_weights_that_the_optimiser_left_alone_are_stored_once(tuned: Path) -> None:
    head = Gated().head.weight.nbytes
    assert (tuned / "tuned.bin").stat().st_size + head <= (tuned / "weights.bin").stat().st_size + 4096


class Nothing(nn.Module):
    """Returns what it is given."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_where_nothing_is_computed_there_is_nothing_to_tune(tmp_path: Path) -> None:
    compiled = dycl.compile(Nothing().eval(), torch.ones(2), output=tmp_path / "nothing", tune=True)
    assert torch.equal(compiled(torch.ones(2)), torch.ones(2))


def test_a_target_that_cannot_says_so() -> None:
    with pytest.raises(UsageError, match="DY504"):
        dycl.compile(nn.Linear(4, 4).eval(), torch.randn(1, 4), target="reference", tune=True)
