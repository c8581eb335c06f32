"""Operations with several results, of which each is computed by itself.

Torch's shape rule of a split asks of every piece whether it is empty. Tried as one operation (`worlds.py`), n pieces
have 2^n combinations of answers; tried piece by piece, n times two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sympy
import torch

from dycl.ir.nodes import CallFunction
from dycl.passes.specialize.memory_order import expression

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine

_SPLITS = (torch.split_with_sizes, torch.Tensor.split_with_sizes)


@dataclass(frozen=True, slots=True)
class Piece:
    """The call that makes one of the results."""

    target: CallFunction
    function: Callable[..., Any]
    args: tuple[Any, ...]


def separate_calls(machine: Machine, func: Any, args: tuple[Any, ...], kwargs: Any) -> list[Piece] | None:
    """A call for each result of the operation; None where it is not known to be made of such calls.

    Where its sizes do not fit, torch's own rule has to say so.
    """
    if func not in _SPLITS or not args or not kwargs.keys() <= {"split_sizes", "dim"}:
        return None
    tensor, sizes, dim = _bind_split(*args, **kwargs)
    counts = [expression(size) for size in sizes]
    if len(counts) < 2 or any(machine.decide_expr(count >= 0) != sympy.true for count in counts):
        return None
    if not bool(sum(sizes) == tensor.size(dim)):  # where nothing is known of it, the path forks
        return None
    pieces, start = [], 0
    for size in sizes:
        pieces.append(Piece(CallFunction("torch.narrow"), torch.narrow, (tensor, dim, start, size)))
        start = start + size
    return pieces


def _bind_split(tensor: torch.Tensor, split_sizes: Any, dim: int = 0) -> tuple[torch.Tensor, Any, int]:
    return tensor, split_sizes, dim
