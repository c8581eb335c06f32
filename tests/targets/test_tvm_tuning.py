"""Schedules that are searched for: what was found is kept, an interrupted search goes on, nothing gets slower."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import dycl
from dycl.cache import Cache
from dycl.targets.tvm.processor import find_processor
from dycl.targets.tvm.tuning import Bench, Tuner

pytest.importorskip("tvm")


@pytest.fixture(scope="module")
def function() -> Any:
    """A product of matrices as TVM writes it, without a schedule."""
    from tvm import te, topi

    a = te.placeholder((24, 64), "float32", "a")
    b = te.placeholder((64, 96), "float32", "b")
    return te.create_prim_func([a, b, topi.nn.relu(topi.matmul(a, b))])


def tuner(trials: int, cache: Cache | None, report: Callable[[str], None]) -> Tuner:
    return Tuner(trials, find_processor(""), cache, report)


def silent(text: str) -> None:
    raise AssertionError(f"it was searched for once more: {text}")


def interrupting(after: int) -> tuple[list[str], Callable[[str], None]]:
    told: list[str] = []

    def report(text: str) -> None:
        told.append(text)
        if len(told) == after:
            raise KeyboardInterrupt

    return told, report


def test_an_interrupted_search_goes_on_where_it_stopped(
    function: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path, 1 << 20)
    _, report = interrupting(after=9)  # a batch is eight
    with pytest.raises(KeyboardInterrupt):
        tuner(16, cache, report).improve("product", function, function)
    told: list[str] = []
    monkeypatch.setattr(Bench, "is_faster", lambda bench, module: True)
    found = tuner(16, cache, told.append).improve("product", function, function)
    assert [text.split(";")[0] for text in told] == [f"tuning product: {n} of 16 tried" for n in range(9, 17)]
    assert (found.attrs["dycl.rule"], found.attrs["global_symbol"]) == ("tuned", "product")
    again = tuner(16, cache, silent).improve("product", function, function)
    assert again.script() == found.script()


def test_what_is_not_faster_is_not_taken(function: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bench, "is_faster", lambda bench, module: False)
    assert tuner(2, None, lambda text: None).improve("product", function, function) is function


def test_what_computes_something_else_is_not_measured(function: Any) -> None:
    import tvm
    from tvm import te, topi

    a = te.placeholder((24, 64), "float32", "a")
    b = te.placeholder((64, 96), "float32", "b")
    other = te.create_prim_func([a, b, topi.negative(topi.matmul(a, b))])
    bench = Bench(function, function, find_processor(""))
    module = tvm.IRModule({"main": other.with_attr("global_symbol", "main")})
    assert bench.time(module) is None
    assert not bench.is_faster(module)


def test_elementwise_work_is_left_to_the_rules() -> None:
    from tvm import te, topi

    a = te.placeholder((24, 64), "float32", "a")
    function = te.create_prim_func([a, topi.nn.relu(a)])
    assert tuner(4, None, silent).improve("relu", function, function) is function


class Routed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate, self.left, self.right = nn.Linear(64, 1), nn.Linear(64, 96), nn.Linear(64, 96)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.gate(x).mean() > 0:
            return self.left(x).relu()
        return self.right(x).tanh()


@pytest.mark.slow
def test_a_tuned_model_is_the_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Bench, "is_faster", lambda bench, module: True)
    torch.manual_seed(0)
    model = Routed().eval()
    inputs = [torch.randn(24, 64) for _ in range(8)]
    compiled = dycl.compile(model, inputs[0], target="tvm", tune=2, output=tmp_path / "routed")
    with torch.no_grad():
        for x in inputs:
            torch.testing.assert_close(torch.as_tensor(compiled(x)), model(x), rtol=1e-4, atol=1e-5)
