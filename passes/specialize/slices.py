"""Slices of tensors at run-time numbers: the host says where they begin and how many they take.

Before: `x[a:b]` asks of both numbers whether they are below zero, beyond the end, and in order, which are dozens of
paths for two dimensions. After: `start = clip(a, size)`, `length = span(start, clip(b, size))` and one
`narrow(x, 0, start, length)`, in which nothing is left to ask.

A slice of constant or named length (`cache[pos : pos + 1]`), or at one number (`x[:n]`), takes what it says where it
lies inside. So whether it does is one question, and only the other side is clipped.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import sympy
import torch

from dycl.ir.numerics import clip
from dycl.ir.values import ScalarKind
from dycl.passes.specialize.values import Scalar

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine


def find_part(machine: Machine, part: slice, size: Any) -> tuple[Any, Any] | None:
    """Where a slice of a dimension of that size begins and how many it takes; None where torch is to find out."""
    start, stop = part.start, part.stop
    if type(stop) is int and isinstance(size, torch.SymInt):
        return _find_known(machine, part, size)
    if part.step not in (None, 1) or not any(_is_followed(bound) for bound in (start, stop)):
        return None
    if type(size) is int:
        start, stop = (clip(bound, size) if type(bound) is int else bound for bound in (start, stop))
    if not all(bound is None or _is_followed(bound) or type(bound) is type(size) is int for bound in (start, stop)):
        return None
    is_between = isinstance(start, Scalar) and isinstance(stop, Scalar)
    length = sympy.expand(_number(stop) - _number(start)) if is_between else None
    if length is None:
        if machine.env.evaluate_expr(_inside(machine, start, stop, size)):
            # torch cuts at one number without a question; but of `x[:n]` its exporter does not know that it has n.
            is_known = start is None and machine.decide_expr(sympy.Ge(_number(stop), 0)) == sympy.true
            return (0, stop) if is_known else None
    elif _is_within(machine, start, stop, size, may_ask=bool(length.is_Integer or length.is_Symbol)):
        return start, int(length) if length.is_Integer else machine.host("sub", stop, start)
    begin = _clip(machine, 0 if start is None else start, size)
    if stop is None:
        taken = machine.host("sub", size, begin)
    else:
        end = _clip(machine, stop, size)
        is_first = type(begin) is int and begin == 0
        taken = end if is_first else _bounded(machine, machine.host("numerics.span", begin, end), size)
    if isinstance(begin, Scalar) or isinstance(taken, Scalar):
        machine.state.facts.learn(sympy.Le(_number(begin) + _number(taken), _expression(size)), True)
    return begin, taken


def _inside(machine: Machine, start: Any, stop: Any, size: Any) -> sympy.Basic:
    """The condition under which a slice is cut as its bounds say: they are in order and within the dimension."""
    whole = _expression(size)
    ends = [bound for bound in (start, stop) if bound is not None]
    if len(ends) == 1 and machine.decide_expr(sympy.Lt(ends[0].expr, 0)) == sympy.true:
        return sympy.Ge(ends[0].expr, -whole)  # torch counts it from the end
    places = [sympy.Integer(0), *map(_number, ends), whole]
    steps = [sympy.Le(low, high) for low, high in itertools.pairwise(places)]
    return sympy.And(*(step for step in steps if machine.decide_expr(step) != sympy.true))


def _find_known(machine: Machine, part: slice, size: torch.SymInt) -> tuple[int, int] | None:
    """The same for a slice between constants, where the path knows that the dimension goes so far."""
    start = 0 if part.start is None else part.start
    if type(start) is not int or part.step not in (None, 1) or not 0 <= start <= part.stop:
        return None
    reaches = machine.decide_expr(sympy.Ge(size.node.expr, part.stop)) == sympy.true
    return (start, part.stop - start) if reaches else None


def is_whole(machine: Machine, part: slice, size: Any) -> bool:
    """Whether a slice up to a constant takes all that there is, as the path knows."""
    is_open = part.start in (None, 0) and part.step in (None, 1) and type(part.stop) is int and part.stop >= 0
    if not is_open or not isinstance(size, torch.SymInt):
        return False
    return bool(machine.decide_expr(sympy.Le(size.node.expr, part.stop)) == sympy.true)


def _number(value: Any) -> sympy.Basic:
    return value.expr if isinstance(value, Scalar) else sympy.sympify(value)


def _is_followed(bound: Any) -> bool:
    return isinstance(bound, Scalar) and bound.kind is ScalarKind.INT and bound.expr is not None


def _expression(size: Any) -> sympy.Basic:
    return size.node.expr if isinstance(size, torch.SymInt) else sympy.Integer(size)


def _is_within(machine: Machine, start: Scalar, stop: Scalar, size: Any, *, may_ask: bool) -> bool:
    """Whether the bounds are in order and inside: as the facts say, or as is asked."""
    condition = _inside(machine, start, stop, size)
    return bool(machine.env.evaluate_expr(condition) if may_ask else condition == sympy.true)


def _clip(machine: Machine, bound: Any, size: Any) -> Any:
    """Where the bound of a slice falls: between 0 and the size."""
    if not isinstance(bound, Scalar):
        return bound
    whole = _expression(size)

    def holds(condition: sympy.Basic) -> bool:
        return bool(machine.decide_expr(condition) == sympy.true)

    if holds(sympy.Ge(bound.expr, 0)) and holds(sympy.Le(bound.expr, whole)):
        return bound
    if holds(sympy.Ge(bound.expr, whole)):
        return size
    if holds(sympy.Lt(bound.expr, 0)) and holds(sympy.Ge(bound.expr, -whole)):
        return machine.host("add", bound, size)
    if holds(sympy.Le(bound.expr, -whole)):
        return 0
    found = _bounded(machine, machine.host("numerics.clip", bound, size), size)
    if isinstance(found, Scalar):
        machine.state.facts.learn(sympy.Le(found.expr, whole), True)
    return found


def _bounded(machine: Machine, number: Any, size: Any) -> Any:
    """The number, known to lie between 0 and the size."""
    if isinstance(number, Scalar) and number.expr not in machine.state.facts.intervals:
        machine.bound_symbol(number.expr, 0, size if isinstance(size, int) else None)
    return number
