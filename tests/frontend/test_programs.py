"""Every program agrees with CPython when lowered and interpreted: result, exception, and order of side effects."""

from __future__ import annotations

import re
import types
from collections.abc import Callable
from typing import Any

import programs_control
import programs_values
import pytest
from interpreter import interpreted

from dycl.diagnostics import UnsupportedError


def programs(module: types.ModuleType) -> list[types.FunctionType]:
    """The functions of the module that are programs: one parameter named r."""
    return [
        f
        for f in vars(module).values()
        if isinstance(f, types.FunctionType)
        and f.__module__ == module.__name__
        and f.__code__.co_varnames[: f.__code__.co_argcount] == ("r",)
    ]


def outcome(function: Callable[..., Any]) -> tuple[Any, list[Any]]:
    """(what the program did, what it recorded)."""
    records: list[Any] = []

    def record(value: Any) -> Any:
        records.append(repr(value) if not isinstance(value, type) else value)
        return value

    try:
        result: Any = ("returned", repr(function(record)))
    except Exception as error:
        context = [type(e) for e in (error.__cause__, error.__context__)]
        result = ("raised", type(error), error.args, context)
    return result, records


@pytest.mark.parametrize(
    "program", programs(programs_control) + programs(programs_values), ids=lambda program: program.__name__
)
def test_agrees_with_cpython(program: types.FunctionType) -> None:
    expected = outcome(program)
    assert _plain(outcome(interpreted(program))) == _plain(expected)


def _plain(value: Any) -> Any:
    """Without addresses in representations and without the interpreter's own names."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value)).replace("make_function.<locals>.run", "")


def test_number_of_programs() -> None:
    """The tables are really found."""
    assert len(programs(programs_control)) > 45 and len(programs(programs_values)) > 35


@pytest.mark.parametrize("method", programs_values.METHODS, ids=lambda method: method.__name__)
def test_methods_agree_with_cpython(method: types.FunctionType) -> None:
    expected = outcome(lambda r: method(programs_values.Derived(r)))
    run = interpreted(method)
    assert outcome(lambda r: run(programs_values.Derived(r))) == expected


def test_async_method_is_refused() -> None:
    with pytest.raises(UnsupportedError) as caught:
        interpreted(programs_values.Derived.refused)
    assert caught.value.code == "DY102"
