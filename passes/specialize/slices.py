"""Slices of tensors between two run-time numbers: the host says where they begin and how many they take.

Before: `x[a:b]` asks of both numbers whether they are below zero, beyond the end, and in order, which are dozens of
paths for two dimensions. After: `start = clip(a, size)`, `length = span(start, clip(b, size))` and one
`narrow(x, 0, start, length)`, in which nothing is left to ask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sympy
import torch

from dycl.ir.nodes import ScalarKind
from dycl.passes.specialize.values import Scalar

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine


def find_part(machine: Machine, part: slice, size: Any) -> tuple[Any, Any] | None:
    """Where a slice of a dimension of that size begins and how many it takes; None where torch is to find out.

    A slice of constant or named length (`x[i : i + 3]`) keeps that length on the path where it fits: whether it does is
    asked by torch, and remains to be asked.
    """
    start, stop = part.start, part.stop
    if type(stop) is int and isinstance(size, torch.SymInt):
        return _find_known(machine, part, size)
    if part.step not in (None, 1) or not _is_followed(start) or not _is_followed(stop):
        return None
    length = sympy.expand(stop.expr - start.expr)
    if _is_within(machine, start.expr, stop.expr, size):
        return start, int(length) if length.is_Integer else machine.host("sub", stop, start)
    if length.is_Integer or length.is_Symbol:
        return None
    begin = _clip(machine, start, size)
    taken = _bounded(machine, machine.host("numerics.span", begin, _clip(machine, stop, size)), size)
    if isinstance(begin, Scalar) or isinstance(taken, Scalar):
        machine.state.facts.learn(sympy.Le(_number(begin) + _number(taken), _expression(size)), True)
    return begin, taken


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
    return value.expr if isinstance(value, Scalar) else sympy.Integer(value)


def _is_followed(bound: Any) -> bool:
    return isinstance(bound, Scalar) and bound.kind is ScalarKind.INT and bound.expr is not None


def _expression(size: Any) -> sympy.Basic:
    return size.node.expr if isinstance(size, torch.SymInt) else sympy.Integer(size)


def _is_within(machine: Machine, start: sympy.Basic, stop: sympy.Basic, size: Any) -> bool:
    """Whether the facts say that the bounds are in order and inside."""
    conditions = (sympy.Ge(start, 0), sympy.Le(start, stop), sympy.Le(stop, _expression(size)))
    return all(machine.decide_expr(condition) == sympy.true for condition in conditions)


def _clip(machine: Machine, bound: Scalar, size: Any) -> Any:
    """Where the bound of a slice falls: between 0 and the size."""
    inside = (sympy.Ge(bound.expr, 0), sympy.Le(bound.expr, _expression(size)))
    if all(machine.decide_expr(condition) == sympy.true for condition in inside):
        return bound
    found = _bounded(machine, machine.host("numerics.clip", bound, size), size)
    if isinstance(found, Scalar):
        machine.state.facts.learn(sympy.Le(found.expr, _expression(size)), True)
    return found


def _bounded(machine: Machine, number: Any, size: Any) -> Any:
    """The number, known to lie between 0 and the size."""
    if isinstance(number, Scalar) and number.expr not in machine.state.facts.intervals:
        machine.bound_symbol(number.expr, 0, size if isinstance(size, int) else None)
    return number
