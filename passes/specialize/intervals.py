"""Interval arithmetic: between what an expression lies if its symbols lie within intervals.

What sizes are made of (sums, products, extremes, quotients by a number) is computed here, with Python's integers. The
rest is left to `torch.utils._sympy.value_ranges`, which knows more and takes a hundred times as long.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping

import sympy
from torch.utils._sympy.functions import FloorDiv, Max, Min
from torch.utils._sympy.numbers import int_oo
from torch.utils._sympy.value_ranges import ValueRanges, bound_sympy

Interval = tuple[sympy.Basic, sympy.Basic]  # both ends inclusive
Intervals = frozenset[tuple[sympy.Symbol, sympy.Basic, sympy.Basic]]  # of several symbols: what a cache can ask for

_End = int | float  # no float but the infinities
_Range = tuple[_End, _End]

_CONDITIONS = (sympy.Eq, sympy.Ne, sympy.Lt, sympy.Le, sympy.Gt, sympy.Ge)
_LARGE = 2**256  # no size; far below what a float, which the infinities are, can be compared and added with


@functools.lru_cache(maxsize=1 << 16)
def interval_of(expr: sympy.Basic, intervals: Intervals) -> Interval | None:
    """The bounds of an expression, of a condition as truth values; None where no rule knows it."""
    ranges = {symbol: (_end(low), _end(high)) for symbol, low, high in intervals}
    sides = expr.args if isinstance(expr, _CONDITIONS) else (expr,)
    found = [end for side in sides if (end := _range(side, ranges)) is not None]
    if len(found) == 2:
        known = _compared(expr, *found)
        return (sympy.false, sympy.true) if known is None else (sympy.sympify(known),) * 2
    if len(found) == len(sides):
        return _exact(found[0][0]), _exact(found[0][1])
    try:
        bounds = bound_sympy(expr, {symbol: ValueRanges(low, high) for symbol, low, high in intervals})
    except (NotImplementedError, AttributeError, KeyError, TypeError):
        return None
    return bounds.lower, bounds.upper


def _compared(condition: sympy.Basic, left: _Range, right: _Range) -> bool | None:
    """What a condition says of all numbers within both ranges, if that is one thing."""
    if isinstance(condition, (sympy.Gt, sympy.Ge)):
        left, right = right, left
    match condition:
        case sympy.Eq() | sympy.Ne():
            if left[1] < right[0] or right[1] < left[0]:
                return isinstance(condition, sympy.Ne)
            is_one = left[0] == left[1] == right[0] == right[1]
            return isinstance(condition, sympy.Eq) if is_one and abs(left[0]) < math.inf else None
        case sympy.Lt() | sympy.Gt():
            return True if left[1] < right[0] else False if left[0] >= right[1] else None
        case _:
            return True if left[1] <= right[0] else False if left[0] > right[1] else None


def _range(expr: sympy.Basic, ranges: Mapping[sympy.Basic, _Range]) -> _Range | None:
    if isinstance(expr, sympy.Symbol):
        return ranges[expr]
    if isinstance(expr, sympy.Integer):
        return int(expr), int(expr)
    if not isinstance(expr, (sympy.Add, sympy.Mul, Max, Min, FloorDiv)):
        return None
    parts = []
    for part in expr.args:
        found = _range(part, ranges)
        if found is None or any(_LARGE < abs(end) < math.inf for end in found):
            return None
        parts.append(found)
    match expr:
        case sympy.Add():
            return sum(low for low, _ in parts), sum(high for _, high in parts)
        case sympy.Mul():
            return functools.reduce(_product, parts)
        case Max():
            return max(low for low, _ in parts), max(high for _, high in parts)
        case Min():
            return min(low for low, _ in parts), min(high for _, high in parts)
        case _:
            (low, high), (divisor, same) = parts
            return (_quotient(low, divisor), _quotient(high, divisor)) if divisor == same and divisor > 0 else None


def _product(one: _Range, other: _Range) -> _Range:
    ends = [0 if 0 in (a, b) else a * b for a in one for b in other]
    return min(ends), max(ends)


def _quotient(end: _End, divisor: _End) -> _End:
    return end if isinstance(end, float) else end // divisor


def _end(number: sympy.Basic) -> _End:
    return math.inf if number is int_oo else -math.inf if number is -int_oo else int(number)


def _exact(end: _End) -> sympy.Basic:
    return sympy.Integer(end) if isinstance(end, int) else int_oo if end > 0 else -int_oo
