"""Weights in eight bits: what changes, what does not, and what is told of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import dycl
from dycl.diagnostics import UsageError
from dycl.ir.contents import read_contents
from tests.graphs import read_graphs


class Exits(nn.Module):
    """Two exits over one block that is used twice; a weight is used as it is and transposed; one is small."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Linear(48, 48), nn.ReLU())
        self.mix = nn.Parameter(torch.randn(48, 48) / 7)
        self.early, self.late = nn.Linear(48, 4), nn.Linear(48, 40)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.block(x)
        early = self.early(x).softmax(-1)
        if early.max().item() > 0.4:
            return early
        return self.late(self.block(x) @ self.mix + x @ self.mix.T)


def model() -> Exits:
    torch.manual_seed(0)
    return Exits().eval()


def samples(seed: int) -> torch.Tensor:
    return torch.randn(3, 48, generator=torch.Generator().manual_seed(seed)) * (1 + seed % 4)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[dycl.CompiledModel, Path]:
    place = tmp_path_factory.mktemp("quantised") / "exits"
    options = {"sample_inputs": samples, "samples": 12, "output": place}
    return dycl.compile(model(), (samples(0),), quantize="dynamic-int8", **options), place


def test_large_weights_of_products_have_eight_bits(compiled: tuple[dycl.CompiledModel, Path]) -> None:
    weights = read_contents(compiled[1])["weights"]
    eight = {name for name, entry in weights.items() if entry["dtype"] == "int8"}
    assert eight == {"block.0.weight.transposed.int8", "late.weight.transposed.int8", "mix.int8"}
    assert "block.0.weight" not in weights
    assert weights["early.weight"]["dtype"] == "float32"  # it is small
    assert weights["mix"]["dtype"] == "float32"  # it is also used transposed


def test_results_are_near_and_the_report_says_how_near(compiled: tuple[dycl.CompiledModel, Path]) -> None:
    host, _ = compiled
    assert host.report is not None and host.report.verification is None
    accuracy = host.report.accuracy
    assert accuracy is not None and accuracy.calls == 13
    assert 0 < accuracy.max_abs_error < 0.2
    assert host.report.quantized_products == 4
    source, errors, flips = model(), [], 0
    for seed in range(12):
        with torch.no_grad():
            wanted = source(samples(seed))
        found = host(samples(seed))
        flips += found.shape != wanted.shape
        errors += [(found - wanted).abs().max().item()] if found.shape == wanted.shape else []
    assert flips <= len(accuracy.flipped)
    assert max(errors) == pytest.approx(accuracy.max_abs_error, rel=1e-2)


def test_no_sum_of_two_products_leaves_sixteen_bits(compiled: tuple[dycl.CompiledModel, Path]) -> None:
    """Else processors without VNNI compute something else."""
    place = compiled[1]
    stored = np.fromfile(place / "weights.bin", np.int8)
    for name, entry in read_contents(place)["weights"].items():
        if entry["dtype"] == "int8":
            found = stored[entry["offset"] :][: np.prod(entry["shape"])]
            assert 2 * 255 * np.abs(found.astype(int)).max() < 1 << 15, name


def test_the_kernels_are_of_integers(compiled: tuple[dycl.CompiledModel, Path]) -> None:
    operators = set()
    for model in read_graphs(compiled[1]).values():
        operators |= {node.op_type for node in model.graph.node}
    assert {"DynamicQuantizeLinear", "MatMulInteger"} <= operators


def test_calls_that_take_another_path_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With weights that are all rounded to zero every call takes the same one."""
    monkeypatch.setattr("dycl.targets.onnx.quantize._LARGEST", 0.4)
    host = dycl.compile(model(), (samples(0),), quantize="dynamic-int8", sample_inputs=samples, samples=12)
    assert host.report is not None and host.report.accuracy is not None
    source = model()
    with torch.no_grad():
        early = [seed for seed in range(12) if source(samples(seed)).shape[1] == 4]
    assert 0 < len(early) < 12
    assert len(host.report.accuracy.flipped) >= min(len(early), 12 - len(early))


def test_a_scheme_that_is_not_known() -> None:
    with pytest.raises(UsageError, match=r"DY505: --quantize: no scheme 'int4'"):
        dycl.compile(nn.Linear(2, 2).eval(), torch.zeros(1, 2), quantize="int4")
