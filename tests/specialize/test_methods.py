"""Several methods of one model share one state: the program's agree with the source, called in any order."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
import torch
from torch import nn

from dycl.diagnostics import UsageError
from dycl.ir.dimensions import parse_dynamic
from dycl.ir.executor import Executor
from dycl.ir.parser import parse_ir
from dycl.ir.printer import print_ir
from dycl.ir.verifier import verify
from dycl.passes.order import PASSES, run_passes
from dycl.passes.specialize.inputs import MethodExample
from dycl.passes.specialize.specializer import specialize
from tests.specialize.comparison import difference, outcome


class Memory(nn.Module):
    """A membrane, a list that grows, None at first, and an error in one method."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.register_buffer("mem", torch.zeros(1, 4))
        self.hist: list[int] = []
        self.last = None
        self.n = 0

    def forward(self, x):
        self.n += 1
        self.mem = 0.5 * self.mem + self.fc(x)
        if self.mem.sum() > 1:
            self.hist.append(self.n)
            self.last = x
        return self.mem, len(self.hist)

    def reset(self):
        self.mem = torch.zeros_like(self.mem)
        self.hist.clear()
        self.last = None

    def peek(self, k, *, scale=2.0):
        self.n += 1
        if self.last is None:
            raise LookupError("nothing yet")
        return (self.last * k) * scale, list(self.hist)

    again = forward  # the same function under another name


class Lengths(nn.Module):
    """A state whose size one method chooses and the other reads."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = torch.zeros(2, 3)

    def forward(self, x):
        self.kept = x * 2
        return x.shape[0]

    def add(self, y):
        if self.kept.shape[0] > 3:
            return self.kept.sum(0) + y.sum(0)
        return self.kept.sum() + y.shape[0]


def calls_of_memory(seed: int) -> list[tuple[str, tuple[Any, ...]]]:
    draw, made = random.Random(seed), torch.Generator().manual_seed(seed)
    makers = {"forward": (1, 4), "again": (1, 4), "peek": (4,), "reset": None}
    names = draw.choices(list(makers), weights=[4, 2, 3, 1], k=60)
    return [(n, () if makers[n] is None else (torch.randn(makers[n], generator=made),)) for n in names]


def compare(model: nn.Module, program: Any, environment: Any, calls: list[tuple[str, tuple[Any, ...]]]) -> set[str]:
    """Eager and executor on the same calls; the kinds of outcomes met."""
    eager, executor = copy.deepcopy(model), Executor(program, environment)
    met = set()
    for name, args in calls:
        method = eager if name == "forward" else getattr(eager, name)
        wanted, got = outcome(method, args), outcome(lambda *a, n=name: executor.call_method(n, *a), args)
        assert difference(wanted, got) is None, (name, wanted, got)
        for path, value in executor.state.items():
            assert difference(getattr(eager, path), value) is None, (name, path)
        met.add(f"{name} {wanted[0]}")
    return met


@pytest.mark.parametrize("fuzz", [None, 1])
def test_methods_share_the_state_in_any_order(fuzz: int | None) -> None:
    torch.manual_seed(0)
    model = Memory().eval()
    others = (
        MethodExample("reset"),
        MethodExample("peek", (torch.ones(4),)),
        MethodExample("again", (torch.ones(1, 4),)),
    )
    made = specialize(model, (torch.ones(1, 4),), others=others, fuzz=fuzz)
    program = made.program
    verify(program, after="specialize")
    assert [method.name for method in program.methods] == ["forward", "reset", "peek", "again"]
    assert len(program.entries) == 4 * program.kinds
    assert parse_ir(print_ir(program)) == program
    met = compare(model, program, made.environment, calls_of_memory(0))
    assert met == {"forward returns", "again returns", "reset returns", "peek returns", "peek raises"}
    partitioned = run_passes(program, made.environment, PASSES, lambda name, result: None)
    compare(model, partitioned, made.environment, calls_of_memory(1))
    assert model.n == 0
    assert model.hist == []


def test_each_method_has_sizes_of_its_own() -> None:
    model = Lengths().eval()
    others = (MethodExample("add", (torch.ones(3, 3),), dynamic=parse_dynamic(["y:0=rows"], [])),)
    made = specialize(model, (torch.ones(2, 3),), dynamic=parse_dynamic(["x:0=batch"], []), others=others)
    assert {dimension.name for dimension in made.program.dimensions} == {"batch", "rows"}
    calls = [("add", (torch.ones(5, 3),))]
    for size in (1, 5, 3, 7):
        calls += [("forward", (torch.randn(size, 3),)), ("add", (torch.randn(size + 1, 3),))]
    compare(model, made.program, made.environment, calls)


def test_a_dimension_has_one_range() -> None:
    others = (MethodExample("add", (torch.ones(2, 3),), dynamic=parse_dynamic(["y:0=batch[2:9]"], [])),)
    with pytest.raises(UsageError) as refused:
        specialize(Lengths(), (torch.ones(2, 3),), dynamic=parse_dynamic(["x:0=batch[1:4]"], []), others=others)
    assert refused.value.code == "DY505"


def test_the_verifier_counts_entries() -> None:
    text = "program P method forward\nmethod reset\nentry b0\n\nb0:\n  return None resume 0 state ()\n"
    with pytest.raises(Exception, match="1 entries for 2 methods"):
        verify(parse_ir(text), after="test")
