"""Rows of a small array that the host has, at places that it has, for `pin_to_host`: `boxes[keep]`, `order[0:5]`.

The rows at some places are a new array, as in torch. The rows between two numbers are a view, as in torch; so they are
those of an array of the call's, never of the caller's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from dycl.diagnostics import SourceRange
from dycl.ir.nodes import CallFunction, HostOp, TensorOp
from dycl.ir.values import Lit, Operand, Ref, Seq, SeqKind, SliceOf, TensorType, Value, ValueId, ValueType
from dycl.passes.host_arrays import DTYPES

_MOST_ELEMENTS = 1 << 10  # of an array
_MOST_IN_ROW = 1 << 6  # where only the call knows how many rows there are


@dataclass(frozen=True, slots=True)
class Take:
    """The rows of `source` at `places`."""

    source: Ref
    places: Ref

    @property
    def parts(self) -> tuple[Ref, ...]:
        """The arrays that the host needs."""
        return self.source, self.places

    @property
    def cost(self) -> float:
        """What it takes the host, in microseconds."""
        return 1.5

    def operation(self, result: Value, loc: SourceRange) -> HostOp:
        """The operation of the host."""
        return HostOp(function="numerics.take_rows", args=self.parts, result=result, loc=loc)


@dataclass(frozen=True, slots=True)
class Between:
    """The rows of `source` from `start` to before `stop`, as many as there are."""

    source: Ref
    start: int
    stop: int | None

    @property
    def parts(self) -> tuple[Ref, ...]:
        """The arrays that the host needs."""
        return (self.source,)

    @property
    def cost(self) -> float:
        """What it takes the host, in microseconds."""
        return 0.5

    def operation(self, result: Value, loc: SourceRange) -> HostOp:
        """The operation of the host."""
        rows = SliceOf(Lit(self.start or None), Lit(self.stop), Lit(None))
        return HostOp(function="slice", args=(self.source, rows), result=result, loc=loc)


def find_rows(op: TensorOp, types: Mapping[ValueId, ValueType]) -> Take | Between | None:
    """How the host would take rows; None where it could be another result than torch's, or an error less."""
    if not isinstance(op.target, CallFunction) or op.kwargs or op.mutates or len(op.results) != 1 or len(op.args) < 2:
        return None
    source, *given = op.args
    kind = types.get(source.id) if isinstance(source, Ref) else None
    if not isinstance(source, Ref) or not isinstance(kind, TensorType) or not _is_small(kind):
        return None
    match op.target.name.rpartition(".")[2], given:
        case "__getitem__", [Seq(kind=SeqKind.TUPLE, items=(index,))] | [index]:
            return (
                _find_between(source, index) if isinstance(index, SliceOf) else _find_take(source, index, kind, types)
            )
        case "narrow", [Lit(value=0), Lit(value=int(start)), Lit(value=int(size))] if start >= 0:
            return Between(source, start, start + size)
    return None


def _find_between(source: Ref, index: SliceOf) -> Between | None:
    start, stop, step = (part.value if isinstance(part, Lit) else -1 for part in (index.start, index.stop, index.step))
    start = 0 if start is None else start
    if type(start) is not int or start < 0 or step not in (None, 1):
        return None
    if stop is None:
        return Between(source, start, None)
    return Between(source, start, stop) if type(stop) is int and stop >= 0 else None


def _find_take(source: Ref, index: Operand, kind: TensorType, types: Mapping[ValueId, ValueType]) -> Take | None:
    places = types.get(index.id) if isinstance(index, Ref) else None
    if not isinstance(index, Ref) or not isinstance(places, TensorType) or places.dtype != "int64":
        return None
    # Where rows have no elements torch does not look at the places.
    return Take(source, index) if len(places.shape) == 1 and 0 not in kind.shape[1:] and _is_small(places) else None


def _is_small(kind: TensorType) -> bool:
    """Whether an array has few elements, or rows of few where their number is not known."""
    if kind.dtype not in DTYPES or not kind.shape:
        return False
    row = [size for size in kind.shape[1:] if isinstance(size, int)]
    if len(row) < len(kind.shape) - 1:
        return False
    first = kind.shape[0]
    return math.prod(row) <= _MOST_IN_ROW if isinstance(first, str) else math.prod((first, *row)) <= _MOST_ELEMENTS
