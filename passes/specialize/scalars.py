"""Arithmetic of run-time scalars: the type of each host operation's result, and its relation to integer symbols."""

from __future__ import annotations

from typing import Any

import sympy
import torch
from torch.utils._sympy.functions import FloorDiv, Max, Min, PythonMod

from dycl.ir.hostops import TEXT_METHODS
from dycl.ir.values import ScalarKind
from dycl.passes.specialize.values import Scalar

INT, FLOAT, BOOL, STR = ScalarKind.INT, ScalarKind.FLOAT, ScalarKind.BOOL, ScalarKind.STR
_COMPARISONS = {"eq": sympy.Eq, "ne": sympy.Ne, "lt": sympy.Lt, "le": sympy.Le, "gt": sympy.Gt, "ge": sympy.Ge}
_PREDICATES = frozenset({*_COMPARISONS, "not_", "bool", "math.isfinite", "math.isinf", "math.isnan", "math.isclose"})
_WHOLE = frozenset({"int", "round", "floordiv", "math.floor", "math.ceil", "math.trunc", "size", "list_len"})
_BITS = frozenset({"and_", "or_", "xor"})
_TEXT = frozenset({"error_text", "format", "str", "repr"})


def kind_of(value: object) -> ScalarKind:
    """The kind of a number: static, the machine's or torch's."""
    if isinstance(value, Scalar):
        return value.kind
    if isinstance(value, (bool, torch.SymBool)):
        return BOOL
    if isinstance(value, (int, torch.SymInt)):
        return INT
    return FLOAT if isinstance(value, (float, torch.SymFloat)) else STR


def result_kind(name: str, args: tuple[Any, ...]) -> ScalarKind | None:
    """The kind of a host operation's result; None where it depends on the operands' values."""
    kinds = [kind_of(arg) for arg in args]
    if name in ("error_of", "from_front", "int.bit_length", "numerics.clip", "numerics.span"):
        return INT
    if name in _PREDICATES:
        return BOOL
    if name in _TEXT:
        return STR
    if name.startswith("str."):
        return ScalarKind(TEXT_METHODS[name.removeprefix("str.")])
    if name == "add" and STR in kinds:
        return STR
    if name in _BITS:
        return BOOL if set(kinds) == {BOOL} else INT
    if name in ("min", "max"):
        return kinds[0] if len(set(kinds)) == 1 else None
    if name == "round_to":
        return kinds[0] if kinds[0] is FLOAT else INT
    if name == "pow":
        if FLOAT in kinds:
            return FLOAT
        return INT if isinstance(args[1], int) and args[1] >= 0 else None
    if name in _WHOLE:
        return FLOAT if name == "floordiv" and FLOAT in kinds else INT
    if name in ("truediv", "float") or name.startswith("math."):
        return FLOAT
    return FLOAT if FLOAT in kinds else INT


def real_power(name: str, kind: ScalarKind, args: tuple[Any, ...]) -> str:
    """The host function for a power: where its result could be a complex number, the one that stops there."""
    if name != "pow" or kind is not FLOAT or kind_of(args[1]) is not FLOAT:
        return name
    base, exponent = args
    is_positive = not isinstance(base, Scalar) and base >= 0
    is_whole = not isinstance(exponent, Scalar) and float(exponent).is_integer()
    return name if is_positive or is_whole else "real_pow"


def _expr(value: object) -> sympy.Basic | None:
    if isinstance(value, Scalar):
        return value.expr if value.kind is INT else None
    return sympy.Integer(value) if isinstance(value, int) and not isinstance(value, bool) else None


def result_expr(name: str, args: tuple[Any, ...]) -> sympy.Basic | None:
    """The result as an exact expression over integer symbols, where that is worth following."""
    exprs: list[Any] = [_expr(arg) for arg in args]
    if any(expr is None for expr in exprs):
        return None
    match name, exprs:
        case "add", [a, b]:
            return a + b
        case "sub", [a, b]:
            return a - b
        case "mul", [a, b]:
            return a * b
        case "neg", [a]:
            return -a
        case (("pos" | "int"), [a]):
            return a
        case "floordiv", [a, b] if b.is_Integer and b > 0:
            return FloorDiv(a, b)
        case "mod", [a, b] if b.is_Integer and b > 0:
            return PythonMod(a, b)
        case "max", [a, b]:
            return Max(a, b)  # type: ignore[no-untyped-call]
        case "min", [a, b]:
            return Min(a, b)  # type: ignore[no-untyped-call]
        case comparison, [a, b] if comparison in _COMPARISONS:
            return _COMPARISONS[comparison](a, b)
    return None
