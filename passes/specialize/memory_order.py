"""How the elements of a tensor lie in memory, as far as that can be told without asking about sizes."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import sympy
import torch
from torch.utils._sympy.functions import Max

MAX_ORDERED = 5  # dimensions up to which orders of memory are tried


def dense_order(tensor: torch.Tensor) -> tuple[int, ...] | None:
    """The order in which the dimensions lie densely in memory, the slowest first; None if they do not."""
    return _dense_order(tuple(map(_number, tensor.shape)), tuple(map(_number, strides(tensor))))


@functools.lru_cache(maxsize=4096)
def _dense_order(shape: tuple[Any, ...], steps: tuple[Any, ...]) -> tuple[int, ...] | None:
    for order in itertools.permutations(range(len(shape))) if len(shape) <= MAX_ORDERED else [range(len(shape))]:
        if is_dense([shape[dim] for dim in order], [steps[dim] for dim in order]):
            return tuple(order)
    return None


def is_dense(shape: list[Any], steps: list[Any]) -> bool:
    """Whether the elements certainly lie in the order of the indices without gaps; nothing is asked."""
    expected: Any = 1
    for size, stride in zip(reversed(shape), reversed(steps), strict=True):
        if isinstance(size, int) and size == 1:
            continue
        if not _are_equal(_number(stride), expected):
            return any(isinstance(size, int) and size == 0 for size in shape)
        expected = expected * _number(size)
    return True


def _are_equal(one: Any, other: Any) -> bool:
    return bool(one == other or (_is_symbolic(one, other) and sympy.expand(one - other) == 0))


def _is_symbolic(*numbers: Any) -> bool:
    return any(isinstance(number, sympy.Basic) for number in numbers)


def _number(size: Any) -> Any:
    """A size or stride as an int or an expression."""
    return size.node.expr if isinstance(size, torch.SymInt) else size


def strides(tensor: torch.Tensor) -> tuple[Any, ...]:
    """The strides; torch writes `max(1, size)` where a size is 0 that makes all strides meaningless."""
    found: list[Any] = []
    for stride in tensor.stride():
        if isinstance(stride, torch.SymInt):
            expr = stride.node.expr.replace(
                lambda part: isinstance(part, Max) and part.args[0] == 1, lambda part: Max(*part.args[1:])
            )
            stride = stride.node.shape_env.create_symintnode(expr, hint=None)
        found.append(stride)
    return tuple(found)


def expression(size: Any) -> sympy.Basic:
    """A size or stride as an expression."""
    return size.node.expr if isinstance(size, torch.SymInt) else sympy.Integer(size)
