"""How heavy the kernels of a subgraph are, and what that means for threads."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import dycl
from dycl.artifact import load_artifact
from dycl.ir.contents import read_contents
from dycl.targets.onnxruntime.engine import SERIAL_MICROSECONDS
from dycl.targets.work import heaviest_kernel

LAYER = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()


@pytest.mark.parametrize(
    ("run", "shape", "low", "high"),
    [
        (nn.Conv2d(16, 16, 3, padding=1), (1, 16, 8, 8), 1, 10),
        (nn.Conv2d(64, 64, 3, padding=1), (1, 64, 32, 32), 500, 2000),
        (nn.Linear(1024, 1024), (1, 1024), 100, 1000),  # little to compute, much to read
        (lambda x: functional.linear(x, torch.ones(1024, 1024)), (64, 1024), 500, 3000),
        (lambda x: torch.einsum("bij,bjk->bik", x, x), (1, 256, 256), 200, 1000),
        (torch.relu, (1 << 20,), 200, 2000),
        (lambda x: x.transpose(0, 1)[:, :1], (1 << 10, 1 << 10), 0, 0),  # views take no kernel
        (LAYER, (1, 4, 16), 0.1, 30),
    ],
)
def test_the_heaviest_kernel_counts(
    run: Callable[[torch.Tensor], object], shape: tuple[int, ...], low: float, high: float
) -> None:
    assert low <= heaviest_kernel(run, (torch.ones(shape),)) <= high


def test_a_table_is_not_read_as_a_whole() -> None:
    assert heaviest_kernel(nn.Embedding(100_000, 64), (torch.zeros(4, dtype=torch.int64),)) < 1


def test_what_does_not_run_may_be_heavy() -> None:
    assert heaviest_kernel(lambda x: x.reshape(7), (torch.ones(8),)) == math.inf


class Sizes(nn.Module):
    """A small layer, and a large one behind a decision."""

    def __init__(self) -> None:
        super().__init__()
        self.small, self.large = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 63, padding=31)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.small(x)
        if x.sum().item() > 0:
            x = self.large(x)
        return x


@pytest.mark.parametrize("tune", [0, 1])
def test_subgraphs_of_small_kernels_have_one_thread(tmp_path: Path, tune: int) -> None:
    compiled = dycl.compile(Sizes().eval(), (torch.randn(1, 4, 32, 32),), output=tmp_path / "sizes", tune=tune)
    entries = read_contents(tmp_path / "sizes")["subgraphs"]
    serial = {name: "serial" in entry.get("settings", {}) for name, entry in entries.items()}
    assert sorted(serial.values()) == [False, True]
    assert heaviest_kernel(Sizes().large, (torch.zeros(1, 4, 32, 32),)) > SERIAL_MICROSECONDS
    host: Any = load_artifact(compiled.directory, threads=3).host
    threads: dict[str, int] = {}
    runtime = host.runtime
    make = runtime._open
    runtime._open = lambda *given, pooled: threads.update({str(given[0]): given[4]}) or make(*given, pooled=pooled)
    for name in entries:
        runtime._session(runtime._subgraphs[name])
    assert sorted(threads.values()) == [1, 3]


def test_sizes_that_the_call_chooses_may_be_large(tmp_path: Path) -> None:
    dycl.compile(nn.Linear(4, 4), (torch.randn(2, 4),), output=tmp_path / "rows", dynamic_shapes={"input": {0: "rows"}})
    entries = read_contents(tmp_path / "rows")["subgraphs"].values()
    assert not any("serial" in entry.get("settings", {}) for entry in entries)


def test_sizes_that_depend_on_data_may_be_large(tmp_path: Path) -> None:
    class Chosen(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.exp(x[x > 0])

    dycl.compile(Chosen(), (torch.randn(8),), output=tmp_path / "chosen")
    entries = read_contents(tmp_path / "chosen")["subgraphs"].values()
    assert entries
    assert not any("serial" in entry["settings"] for entry in entries)
