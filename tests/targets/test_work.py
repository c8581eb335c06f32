"""How heavy the kernels of a subgraph are, and what that means for threads."""

from __future__ import annotations

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
from dycl.targets.work import UNKNOWN_WORK, find_work

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
    assert low <= find_work(run, (torch.ones(shape),)).heaviest <= high


def test_a_table_is_not_read_as_a_whole() -> None:
    assert find_work(nn.Embedding(100_000, 64), (torch.zeros(4, dtype=torch.int64),)).heaviest < 1


def test_what_does_not_run_may_be_heavy() -> None:
    assert find_work(lambda x: x.reshape(7), (torch.ones(8),)) == UNKNOWN_WORK


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
    assert find_work(Sizes().large, (torch.zeros(1, 4, 32, 32),)).heaviest > SERIAL_MICROSECONDS
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


class Rows(nn.Module):
    """Work on rows that the data chooses, and on all if there are many."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 16))
        self.head = nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.net(x[x[:, 0] > 0])
        if x.mean().item() > 1e3:
            x = self.head(x)
        return x


def _rows(many: int) -> Callable[[int], tuple[torch.Tensor]]:
    return lambda seed: (torch.randn(many, 16, generator=torch.Generator().manual_seed(seed)),)


@pytest.mark.parametrize(("many", "is_small"), [(20, True), (4000, False)])
def test_a_profile_knows_sizes_that_depend_on_data(tmp_path: Path, many: int, is_small: bool) -> None:
    torch.manual_seed(0)
    model = Rows().eval()
    compiled = dycl.compile(
        model, _rows(many)(0), output=tmp_path / "rows", sample_inputs=_rows(many), samples=4, profile_inputs=4
    )
    entries = read_contents(tmp_path / "rows")["subgraphs"]
    first, head = (
        next(entry.get("settings", {}) for name, entry in entries.items() if part in name) for part in ("net", "head")
    )
    assert ("serial" in first) is is_small
    assert ("arena" in first) is is_small
    assert "serial" not in head  # no call of the profile came there
    assert "arena" not in head
    for seed in range(4):
        torch.testing.assert_close(compiled(*_rows(many)(seed)), model(*_rows(many)(seed)), rtol=1e-4, atol=1e-5)


def test_calls_that_raise_are_in_a_profile(tmp_path: Path) -> None:
    class Refusing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = torch.exp(x[x > 0])
            if y.sum().item() > 3:
                raise ValueError("too much")
            return y

    def sample(seed: int) -> tuple[torch.Tensor]:
        return (torch.full((8,), float(seed % 2)),)

    dycl.compile(Refusing(), sample(0), output=tmp_path / "refusing", sample_inputs=sample, profile_inputs=4)
    entries = read_contents(tmp_path / "refusing")["subgraphs"].values()
    assert all(entry["settings"]["serial"] for entry in entries)
