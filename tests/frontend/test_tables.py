"""The shape of lowered code: no needless copies, direct jumps, liveness."""

from __future__ import annotations

import types
from typing import Any

import pytest
from test_random_programs import check_tables

from dycl.frontend.code import Binary, Code, ForIter, Jump, JumpIf, Move, Return
from dycl.frontend.lower import lower_function


def plain(a: Any, b: Any) -> Any:
    return a + b


def changed(a: Any) -> Any:
    return a + (a := 2)


def perhaps_unbound(a: Any) -> Any:
    if a:
        b = 1
    return b


def overwritten(xs: Any) -> Any:
    for x in xs:  # noqa: B007
        pass
    return x


def decision(x: Any, y: Any) -> Any:
    while x and not y:
        x = y or x
    return x


def kinds(function: types.FunctionType) -> list[type]:
    return [type(i) for i in lower_function(function).instructions]


def test_variables_are_read_directly() -> None:
    assert kinds(plain) == [Binary, Return]
    first, last = lower_function(plain).instructions
    assert isinstance(first, Binary) and (first.left, first.right) == ("a", "b")
    assert isinstance(last, Return) and last.src == first.dst


def test_a_variable_that_changes_is_copied() -> None:
    copies = [i for i in lower_function(changed).instructions if isinstance(i, Move)]
    assert any(i.src == "a" for i in copies)


def test_a_variable_that_may_be_unbound_is_loaded() -> None:
    copies = [i for i in lower_function(perhaps_unbound).instructions if isinstance(i, Move)]
    assert [i.src for i in copies] == ["b"]


def test_an_ended_iteration_keeps_the_variable() -> None:
    code = lower_function(overwritten)
    index = next(n for n, i in enumerate(code.instructions) if isinstance(i, ForIter))
    assert "x" in code.live[index] and code.joins[index]


def test_a_decision_reads_like_the_source() -> None:
    code = lower_function(decision)
    tests = [(i.cond, i.want) for i in code.instructions if isinstance(i, JumpIf)]
    assert tests[:2] == [("x", False), ("y", True)]
    assert code.joins[0], "the loop starts where the call arrives"
    assert code.live[0] == {"x", "y"}


@pytest.mark.parametrize("function", [plain, changed, perhaps_unbound, overwritten, decision])
def test_tables(function: types.FunctionType) -> None:
    code: Code = lower_function(function)
    check_tables(code)
    assert not any(isinstance(i, Jump) and i.target == n + 1 for n, i in enumerate(code.instructions))
