"""Expressions over run-time integers as functions: `Max(1, s) + 2*t` at `{s: 0, t: 3}` is 7.

Witnesses are found by trial, tens of thousands in a compile. So an expression becomes a Python function once, and
torch's interpreter is asked for what has no Python form here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import sympy
from sympy.logic.boolalg import BooleanAtom
from torch.utils._sympy.functions import FloorDiv, Max, Min, Mod, PythonMod
from torch.utils._sympy.interp import sympy_interp
from torch.utils._sympy.reference import PythonReferenceAnalysis

Sizes = Mapping[sympy.Symbol, int]

_INFIX: Mapping[type[sympy.Basic], str] = {
    sympy.Add: "+",
    sympy.Mul: "*",
    sympy.Pow: "**",
    FloorDiv: "//",
    Mod: "%",
    PythonMod: "%",
    sympy.Eq: "==",
    sympy.Ne: "!=",
    sympy.Lt: "<",
    sympy.Le: "<=",
    sympy.Gt: ">",
    sympy.Ge: ">=",
    sympy.And: "and",
    sympy.Or: "or",
}
_PREFIX: Mapping[type[sympy.Basic], str] = {Max: "max", Min: "min", sympy.Not: "not "}


def value_at(expr: sympy.Basic, sizes: Sizes) -> int:
    """The value of an integer expression, or the truth of a condition as 0 or 1, at these numbers."""
    symbols, function = _compiled(expr)
    if function is None:
        return int(sympy_interp(PythonReferenceAnalysis, dict(sizes), expr))
    return int(function(*[sizes[symbol] for symbol in symbols]))


def holds_at(condition: sympy.Basic, sizes: Sizes) -> bool | None:
    """The truth of a condition; None where it divides by 0: these sizes are none of a path that asked it."""
    if any(value_at(divisor, sizes) == 0 for divisor in _divisors(condition)):
        return None
    return bool(value_at(condition, sizes))


@functools.lru_cache(maxsize=1 << 16)
def _divisors(expr: sympy.Basic) -> tuple[sympy.Basic, ...]:
    return tuple(part.args[1] for part in sorted(expr.atoms(Mod, PythonMod, FloorDiv), key=str))


@functools.lru_cache(maxsize=1 << 16)
def _compiled(expr: sympy.Basic) -> tuple[tuple[sympy.Symbol, ...], Callable[..., Any] | None]:
    """The symbols of an expression, and the function of them; None in the place of one that has no Python form."""
    symbols = tuple(sorted(expr.free_symbols, key=str))
    names = {symbol: f"s{number}" for number, symbol in enumerate(symbols)}
    text = _python(expr, names)
    if text is None:
        return symbols, None
    return symbols, eval(f"lambda {', '.join(names.values())}: {text}", {"max": max, "min": min})


def _python(expr: sympy.Basic, names: Mapping[sympy.Symbol, str]) -> str | None:
    if isinstance(expr, sympy.Symbol):
        return names[expr]
    if isinstance(expr, (sympy.Integer, BooleanAtom)):
        return f"({expr})"
    if isinstance(expr, sympy.Pow) and not (expr.exp.is_Integer and expr.exp >= 0):
        return None
    parts = [_python(part, names) for part in expr.args]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    if expr.func in _INFIX:
        return f"({f' {_INFIX[expr.func]} '.join(known)})"
    return f"({_PREFIX[expr.func]}({', '.join(known)}))" if expr.func in _PREFIX else None
