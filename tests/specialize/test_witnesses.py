"""Errors of kernels about empty tensors: which of them torch's shape rules leave to be found."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import sympy
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from dycl.diagnostics import UNKNOWN, UnsupportedError
from dycl.passes.specialize import witnesses
from dycl.passes.specialize.facts import Facts
from dycl.passes.specialize.witnesses import _kernel_fails


def _fails_alone(function: Any) -> bool:
    fake = FakeTensorMode()
    with fake:
        empty = torch.zeros(0)
    machine: Any = SimpleNamespace(fake=fake)
    return _kernel_fails(machine, function, (empty,), {}, {})


def _number_of_none(x: torch.Tensor) -> float:
    if x.detach().sum().item() == 0 and x.numel() == 0:
        raise ValueError("no elements")
    return 1.0


def test_what_fake_tensors_cannot_tell_is_no_verdict_of_the_shape_rule() -> None:
    assert _fails_alone(_number_of_none)


def test_what_the_shape_rule_refuses_itself_is_left_to_it() -> None:
    assert not _fails_alone(lambda x: x.reshape(3))


def test_what_the_kernel_does_is_no_failure() -> None:
    assert not _fails_alone(torch.sum)


def _only_of_none(x: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    if int(count) == 0:
        raise RuntimeError("a size of 0")
    return x


def test_an_error_that_depends_on_what_a_tensor_holds_is_no_error_of_the_model() -> None:
    with FakeTensorMode():
        args = torch.zeros(2), torch.zeros((), dtype=torch.int64)
    machine: Any = SimpleNamespace(has_symbols=lambda *_: False, loc=lambda: UNKNOWN)
    found = witnesses.genuine_error(machine, RuntimeError("of the shape rule"), _only_of_none, args, {})
    assert isinstance(found, UnsupportedError)
    assert found.code == "DY209"


def test_what_the_path_knows_is_not_asked_again() -> None:
    """A size whose interval begins with 0, and of which a relation says that it is not 0: no decision is left."""
    size = sympy.Symbol("u0", integer=True)
    facts = Facts()
    facts.intervals[size] = (sympy.Integer(0), sympy.Integer(9))
    facts.relations[sympy.Eq(size, 0)] = False

    def asked(expr: sympy.Basic) -> None:
        raise AssertionError(f"{expr} is known")

    machine: Any = SimpleNamespace(state=SimpleNamespace(facts=facts), env=SimpleNamespace(evaluate_expr=asked))
    assert witnesses._error_of_either(machine, {size}, torch.neg, (), {}) is None
