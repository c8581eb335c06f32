"""Conditions on sizes in a form that facts can be about.

Torch writes the strides of a dimension of `s` elements with `Max(1, s)`. A condition with it says one thing where `s`
is 0 and another where it is not: it is taken to pieces, so that `Max(1, s) != s` is `s == 0`.
"""

from __future__ import annotations

import functools
from typing import Any

import sympy
from torch.utils._sympy.functions import Max

from dycl.passes.specialize.facts import Facts
from dycl.passes.specialize.intervals import Intervals


def normal_condition(expr: sympy.Basic, facts: Facts) -> sympy.Basic:
    """An equivalent of a condition on this path: numbers for sizes that are known, no `Max(1, s)`."""
    if not isinstance(expr, sympy.logic.boolalg.Boolean) or expr.is_Symbol:
        return expr
    return _normal_condition(expr, facts.intervals_of(expr))


@functools.lru_cache(maxsize=1 << 16)
def _normal_condition(expr: sympy.Basic, intervals: Intervals) -> sympy.Basic:
    if not isinstance(expr, sympy.logic.boolalg.Boolean) or expr.is_Symbol:
        return expr
    expr = _without_factor(expr)
    known = {symbol: low for symbol, low, high in intervals if low == high}
    expr = _settled(expr.subs(known)) if known else expr
    floors = sorted(expr.atoms(Max), key=str)
    for floor in floors:
        if floor.args[0] != 1 or len(floor.args) != 2:
            continue
        facts = Facts({symbol: (low, high) for symbol, low, high in intervals})
        return _normal_condition(_by_cases(expr, floor, floor.args[1], facts), intervals)
    return expr


def _without_factor(condition: sympy.Basic) -> sympy.Basic:
    """`2*Max(a, b) == 0` is `Max(a, b) == 0`."""
    if not isinstance(condition, (sympy.Eq, sympy.Ne)) or condition.rhs != 0:
        return condition
    factor, rest = condition.lhs.as_coeff_Mul()
    return condition.func(rest, 0) if factor not in (0, 1) and rest != 1 else condition


def _by_cases(expr: sympy.Basic, floor: sympy.Basic, size: sympy.Basic, facts: Facts) -> sympy.Basic:
    """The condition without one `Max(1, size)`."""
    low, high = facts.bounds(size)
    filled = expr.xreplace({floor: size})
    if low >= 1:
        return filled
    empty = expr.xreplace({floor: sympy.S.One})
    if high <= 0:
        return empty
    if size.is_Symbol and low == 0:
        empty = empty.xreplace({size: sympy.S.Zero})
    is_empty = sympy.Eq(size, 0) if low == 0 else size <= 0
    return sympy.Or(sympy.And(is_empty, _settled(empty)), sympy.And(sympy.Not(is_empty), _settled(filled)))


def _settled(condition: Any) -> Any:
    """The condition; a bool where its sides differ by a number."""
    if isinstance(condition, (sympy.Eq, sympy.Ne)):
        difference = sympy.expand(condition.lhs - condition.rhs)
        if difference.is_number:
            return sympy.sympify((difference == 0) is isinstance(condition, sympy.Eq))
    return condition
