"""Errors of host operations: where the model would notice one, whether the operation raises is a decision of the host.

Before: `math.exp(x)` inside of the model's `try`. After: the host asks `error_of(math.exp, x) == 0`; on the one side
the operation runs, on the other the model's own handler does, or the call ends with the state the source would leave.
"""

from __future__ import annotations

import errno
import math
import sys
from typing import TYPE_CHECKING, Any

import sympy
from torch.utils._sympy.functions import FloorDiv, PythonMod

from dycl.ir.hostops import HOST_FUNCTIONS
from dycl.ir.numerics import ERRORS_OF_NUMBERS
from dycl.ir.values import ScalarKind
from dycl.passes.specialize import scalars
from dycl.passes.specialize.values import KIND_TYPES, Scalar, Text, TextPart

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine

_FLOAT_BITS = sys.float_info.max_exp - 1  # an integer of so many bits has a float next to it
_ITEM_BITS = 64
_ENDLESS = 1 << 40

# When an operation fails: all comparisons of its operands hold; it then fails as it does for the sample operands.
_CONDITIONS: dict[str, tuple[tuple[tuple[int, str, int], ...], tuple[int, ...]]] = {
    "truediv": (((1, "eq", 0),), (1, 0)),
    "floordiv": (((1, "eq", 0),), (1, 0)),
    "mod": (((1, "eq", 0),), (1, 0)),
    "lshift": (((1, "lt", 0),), (1, -1)),
    "rshift": (((1, "lt", 0),), (1, -1)),
    "math.sqrt": (((0, "lt", 0),), (-1,)),
    "math.log": (((0, "le", 0),), (0,)),
    "math.log2": (((0, "le", 0),), (0,)),
    "math.log10": (((0, "le", 0),), (0,)),
    "math.log1p": (((0, "le", -1),), (-1,)),
}
_TO_WHOLE = frozenset({"int", "round", "math.floor", "math.ceil", "math.trunc"})
_NEVER_FAIL_TEXT = """
    math.copysign math.fabs math.isfinite math.isinf math.isnan math.atan math.atan2 math.tanh math.asinh math.erf
    math.erfc math.degrees math.radians math.nextafter math.hypot math.dist
"""
_NEVER_FAIL = frozenset(_NEVER_FAIL_TEXT.split())
_LARGE = frozenset({"pow", "lshift"})  # these make large integers of small ones
_MIXING = frozenset({"add", "sub", "mul", "truediv", "floordiv", "mod", "pow"})


def check_failure(machine: Machine, name: str, args: tuple[Any, ...]) -> None:
    """Raise what the operation raises on this path, if the model could notice; both sides are explored."""
    kinds = [scalars.kind_of(arg) for arg in args]
    if ScalarKind.STR in kinds:
        return
    overflows = _needs_float(name, kinds) and any(is_large(machine, arg) for arg in args)
    if overflows:
        _ask(machine, name, args)
        return
    if not machine.may_catch():
        return
    if name in _TO_WHOLE:
        if kinds[0] is ScalarKind.FLOAT:
            _check_whole(machine, name, args[0])
    elif name in _CONDITIONS and len(args) == len(_CONDITIONS[name][1]):
        _check_conditions(machine, name, args, kinds)
    elif _can_fail(name, args, kinds):
        _ask(machine, name, args)


def _check_whole(machine: Machine, name: str, number: Any) -> None:
    """A float that is not finite has no integer."""
    if not machine.truth(machine.host("math.isfinite", number)):
        is_nan = machine.truth(machine.host("math.isnan", number))
        HOST_FUNCTIONS[name].call(math.nan if is_nan else math.inf)


def _check_conditions(machine: Machine, name: str, args: tuple[Any, ...], kinds: list[ScalarKind]) -> None:
    conditions, sample = _CONDITIONS[name]
    if all(machine.truth(machine.host(relation, args[index], limit)) for index, relation, limit in conditions):
        types = [KIND_TYPES[kind] for kind in kinds]
        HOST_FUNCTIONS[name].call(*[kind(number) for kind, number in zip(types, sample, strict=True)])


def _can_fail(name: str, args: tuple[Any, ...], kinds: list[ScalarKind]) -> bool:
    """Whether an operation without a condition of its own can fail for operands of these kinds."""
    if name.startswith("math."):
        return name not in _NEVER_FAIL
    if name not in ("pow", "real_pow", "round_to"):
        return False
    if name == "round_to":
        return kinds[0] is ScalarKind.FLOAT
    if ScalarKind.FLOAT in kinds:
        return True
    return isinstance(args[1], Scalar) or args[1] < 0  # of integers: zero to a negative power


def _ask(machine: Machine, name: str, args: tuple[Any, ...]) -> None:
    """Let the host try the operation, and raise what it raised."""
    found = machine.host("error_of", name, *args)
    if machine.truth(machine.host("eq", found, 0)):
        return
    for number, kind in enumerate(ERRORS_OF_NUMBERS, 1):
        if number == len(ERRORS_OF_NUMBERS) or machine.truth(machine.host("eq", found, number)):
            text = Text.of(TextPart(machine.host("error_text", name, *args), "", ""))
            is_power = name in ("pow", "real_pow") and not any(is_large(machine, arg) for arg in args)
            raise kind(errno.ERANGE, text) if is_power and kind is OverflowError else kind(text)


# ---------------------------------------------------------------- integers that no float is near to


def _needs_float(name: str, kinds: list[ScalarKind]) -> bool:
    """Whether the operation turns its integers into floats."""
    if name in ("truediv", "float"):
        return ScalarKind.INT in kinds
    if name in _MIXING or name == "real_pow":
        return ScalarKind.INT in kinds and ScalarKind.FLOAT in kinds
    return name.startswith("math.") and name not in (*_TO_WHOLE, "math.log", "math.log2", "math.log10")


def is_large(machine: Machine, value: Any) -> bool:
    """Whether an integer could be too large for a float."""
    if not isinstance(value, Scalar):
        return isinstance(value, int) and value.bit_length() > _FLOAT_BITS
    if value.kind is not ScalarKind.INT or value.expr is None or value.expr in machine.float_wholes:
        return False
    return integer_bits(machine, value.expr) > _FLOAT_BITS


def note_integer(machine: Machine, name: str, args: tuple[Any, ...], result: Scalar) -> None:
    """Remember how large the integer that an operation has made can be."""
    expr = result.expr
    if expr is None or result.kind is not ScalarKind.INT:
        return
    exprs = [
        arg.expr for arg in args if isinstance(arg, Scalar) and arg.kind is ScalarKind.INT and arg.expr is not None
    ]
    if name in _TO_WHOLE and scalars.kind_of(args[0]) is ScalarKind.FLOAT:
        machine.float_wholes.add(expr)
        machine.symbol_bits[expr] = sys.float_info.max_exp
    elif name in _LARGE:
        machine.symbol_bits[expr] = _ENDLESS
    elif expr.is_Symbol and expr not in machine.symbol_bits and exprs:
        machine.symbol_bits[expr] = max(integer_bits(machine, arg) for arg in exprs) + 1
        if any(_grows(machine, arg) for arg in exprs):
            machine.growing.add(expr)


def note_carried(machine: Machine, expr: sympy.Basic | None) -> None:
    """Remember that integers may grow beyond every float, if a loop makes this one, carried around it, larger."""
    if expr is None or machine.hints.large_integers:
        return
    if any(machine.symbol_bits.get(symbol) == _ENDLESS for symbol in expr.free_symbols) or _grows(machine, expr):
        machine.hints.large_integers = True
        raise machine.restart("integers may grow beyond every float")


def _grows(machine: Machine, expr: sympy.Basic) -> bool:
    """Whether an integer carried around a loop could become this many times as large: then it is no mere counter."""
    if not machine.growing.isdisjoint(expr.free_symbols):
        return True
    carried = [symbol for symbol in expr.free_symbols if symbol in machine.counters and _is_endless(machine, symbol)]
    if not carried:
        return False
    if not isinstance(expr, sympy.Expr):
        return False  # the truth of a comparison, as a number, is 0 or 1
    factor = expr.coeff(carried[0], 1)
    return len(carried) > 1 or abs(factor) != 1 or carried[0] in (expr - factor * carried[0]).free_symbols


def _is_endless(machine: Machine, symbol: sympy.Symbol) -> bool:
    low, high = machine.state.facts.interval(symbol)
    return not (low.is_Integer and high.is_Integer)


def integer_bits(machine: Machine, expr: sympy.Basic) -> int:
    """An upper bound of the bits of an integer expression."""
    if expr.is_Integer:
        return int(expr).bit_length()
    if expr.is_Symbol:
        low, high = machine.state.facts.interval(expr)
        if low.is_Integer and high.is_Integer:
            return max(int(low).bit_length(), int(high).bit_length())
        if expr in machine.counters and machine.hints.large_integers:
            return _ENDLESS
        return machine.symbol_bits.get(expr, _ITEM_BITS)
    parts = [integer_bits(machine, part) for part in expr.args]
    if isinstance(expr, sympy.Mul):
        return sum(parts)
    if isinstance(expr, (FloorDiv, PythonMod)):
        return max(parts)
    return max(parts) + len(parts) if isinstance(expr, sympy.Add) else _ENDLESS
