"""The sizes of `array[index]`, by numpy's rules for basic and advanced indexing."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from dycl.ir.values import ScalarKind
from dycl.passes.specialize.arrayvalue import Array
from dycl.passes.specialize.values import Scalar


@dataclass(frozen=True, slots=True)
class Selected:
    """The sizes of the selection (None: known at run time only), and whether it looks at the array's own memory."""

    sizes: tuple[Any, ...]
    is_view: bool
    is_scalar: bool


def select(sizes: tuple[Any, ...], index: tuple[Any, ...]) -> Selected:
    """What the index selects of an array of these sizes; IndexError where it has too many parts."""
    consumed = sum(_consumed(item) for item in index)
    if consumed > len(sizes):
        raise IndexError(f"too many indices for array: array is {len(sizes)}-dimensional, but {consumed} were indexed")
    items = _expanded(index, len(sizes) - consumed)
    is_advanced = any(_is_array(item) for item in items)
    kept: list[Any] = []  # sizes of slices and new axes
    places: list[int] = []  # of the parts that select by number, among the kept sizes
    groups: list[int] = []  # their positions in the index
    dim = 0
    for position, item in enumerate(items):
        if item is None:
            kept.append(1)
        elif isinstance(item, slice):
            kept.append(_length(sizes[dim], item))
            dim += 1
        else:
            if is_advanced:
                places.append(len(kept))
                groups.append(position)
            dim += _consumed(item)
    if not is_advanced:
        has_all = any(item is Ellipsis for item in index)
        return Selected(tuple(kept), True, not kept and not has_all)
    is_together = all(b == a + 1 for a, b in itertools.pairwise(groups))
    place = places[0] if is_together else 0
    return Selected((*kept[:place], *_broadcast(items), *kept[place:]), False, False)


def _expanded(index: tuple[Any, ...], missing: int) -> list[Any]:
    """The index with full slices for the ellipsis and what follows."""
    if not any(item is Ellipsis for item in index):
        return [*index, *[slice(None)] * missing]
    items: list[Any] = []
    for item in index:
        items += [slice(None)] * missing if item is Ellipsis else [item]
    return items


def _consumed(item: Any) -> int:
    if item is None or item is Ellipsis:
        return 0
    if isinstance(item, Array) and "bool" in str(item.fake.dtype):
        return item.fake.dim()
    return item.ndim if isinstance(item, np.ndarray) and item.dtype == bool else 1


def _is_array(item: Any) -> bool:
    return (isinstance(item, Array) and not item.is_scalar) or isinstance(item, np.ndarray)


def _broadcast(items: list[Any]) -> tuple[Any, ...]:
    """The sizes that the arrays in an index have together."""
    shapes: list[tuple[Any, ...]] = []
    for item in items:
        if isinstance(item, Array) and "bool" in str(item.fake.dtype):
            shapes.append((None,))
        elif isinstance(item, Array):
            shapes.append(tuple(item.fake.shape))
        elif isinstance(item, np.ndarray):
            shapes.append((int(item.sum()),) if item.dtype == bool else item.shape)
    rank = max(len(shape) for shape in shapes)
    columns = zip(*[(1,) * (rank - len(shape)) + shape for shape in shapes], strict=True)
    return tuple(_together(column) for column in columns)


def _together(column: tuple[Any, ...]) -> Any:
    others = [size for size in column if type(size) is not int or size != 1]
    if not others:
        return 1
    return (
        others[0]
        if all(other is others[0] or (type(other) is int and other == others[0]) for other in others)
        and (len(others) == len(column) or type(others[0]) is int)
        else None
    )


def _length(size: Any, part: slice) -> Any:
    """How many a slice selects."""
    bounds = (part.start, part.stop, part.step)
    if (part.start is None and part.stop is None) and part.step in (None, 1, -1):
        return size
    if type(size) is not int or any(isinstance(bound, (Scalar, Array)) for bound in bounds):
        return None
    return len(range(*part.indices(size)))


def is_whole(item: Any) -> bool:
    """Whether a run-time number in an index is an integer."""
    return isinstance(item, Scalar) and item.kind is ScalarKind.INT
