"""Subscripts of tensors: run-time integers in them are range-checked decisions and selections, as in torch itself."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import torch

from dycl.diagnostics import UnsupportedError
from dycl.ir.nodes import ScalarKind
from dycl.passes.specialize.lists import tensor_of_list
from dycl.passes.specialize.slices import find_part, is_whole
from dycl.passes.specialize.values import (
    Generator,
    RangeIterator,
    RuntimeList,
    RuntimeRange,
    Scalar,
    SequenceIterator,
    Text,
    TextPart,
)

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine

_NO_INDEX = (
    "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices (got float)"
)
_NO_DIMENSION = (
    "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to convert a 0-dim"
    " tensor to a number"
)
_ALL = slice(None)
_INDICES = (torch.int64, torch.bool)
_LENGTHS = (Generator, SequenceIterator, RangeIterator, RuntimeRange)


def tensor_item(machine: Machine, target: torch.Tensor, index: Any) -> Any:
    """target[index]"""
    selected, rest = _select(machine, target, index)
    return selected if rest == () else machine.native(operator.getitem, (selected, rest), {})


def store_tensor_item(machine: Machine, target: torch.Tensor, index: Any, value: Any) -> None:
    """target[index] = value"""
    selected, rest = _select(machine, target, index)
    machine.native(operator.setitem, (selected, ... if rest == () else rest, value), {})


def _select(machine: Machine, target: torch.Tensor, index: Any) -> tuple[Any, Any]:
    """The target with the run-time integers of the index selected, and what is left of the index."""
    is_tuple = isinstance(index, tuple)
    items = [_settled(machine, item) for item in (index if is_tuple else (index,))]
    target, items = _narrowed(machine, target, items)
    if not any(isinstance(item, Scalar) for item in items):
        return target, tuple(items) if is_tuple or not items else items[0]
    if sum(_consumed(item) for item in items) > target.dim():
        if not is_tuple and machine.truth(machine.host("ne", items[0], 0)):
            raise IndexError(_out_of_bounds(items[0], 0, "0"))
        raise IndexError(f"too many indices for tensor of dimension {target.dim()}" if is_tuple else _NO_DIMENSION)
    rest: list[Any] = []
    dim = 0
    for place, item in enumerate(items):
        if isinstance(item, Scalar):
            position = _in_range(machine, item, target.shape[dim], place)
            target = machine.native(torch.select, (target, dim, position), {})
            continue
        dim += target.dim() - dim - _after_ellipsis(items) if item is Ellipsis else _consumed(item)
        rest.append(item)
    return target, () if all(item is Ellipsis for item in rest) else tuple(rest)


def _settled(machine: Machine, item: Any) -> Any:
    """An element of an index as torch reads it: one integer in a tensor is a number, a run-time truth is decided."""
    if isinstance(item, RuntimeList):
        behind = machine.tensor_behind(item)
        return tensor_of_list(machine, item) if behind is None or behind.dtype not in _INDICES else behind
    if isinstance(item, _LENGTHS):
        raise UnsupportedError("DY204", machine.loc(), "a tensor indexed by something of run-time length")
    if isinstance(item, torch.Tensor) and not item.dim() and _is_whole(item.dtype):
        with machine.recorder:
            return machine.recorder.item(item)
    if isinstance(item, Scalar) and item.kind is ScalarKind.BOOL:
        return machine.truth(item)
    if isinstance(item, Scalar) and item.kind is not ScalarKind.INT:
        raise IndexError(_NO_INDEX)
    if isinstance(item, list) and any(isinstance(part, Scalar) for part in item):
        with machine.recorder:
            return torch.tensor(item)
    return item


def _narrowed(machine: Machine, target: torch.Tensor, items: list[Any]) -> tuple[torch.Tensor, list[Any]]:
    """The target cut to what the slices between run-time numbers take, and what is left of the index.

    A cut says how many it takes, which a slice does not tell an exporter that knows nothing of its bounds.
    """
    missing = target.dim() - sum(_consumed(item) for item in items)
    if missing < 0 or not any(isinstance(item, slice) for item in items):
        return target, items
    found: list[Any] = []
    dim = 0
    for item in items:
        part = find_part(machine, item, target.shape[dim]) if isinstance(item, slice) else None
        if part is not None:
            target = machine.native(torch.narrow, (target, dim, *part), {})
        elif isinstance(item, slice) and is_whole(machine, item, target.shape[dim]):
            item = slice(None)
        found.append(item if part is None else _ALL)
        dim += missing if item is Ellipsis else _consumed(item)
    is_done = any(item is _ALL for item in found) and all(type(item) is slice and item == _ALL for item in found)
    return target, [] if is_done else found


def _is_whole(dtype: torch.dtype) -> bool:
    return not dtype.is_floating_point and not dtype.is_complex and dtype not in (torch.bool, torch.uint8)


def _consumed(item: Any) -> int:
    """How many dimensions of the tensor an element of its index stands for."""
    if item is None or item is Ellipsis or isinstance(item, bool):
        return 0
    return item.dim() if isinstance(item, torch.Tensor) and item.dtype in (torch.bool, torch.uint8) else 1


def _after_ellipsis(items: list[Any]) -> int:
    place = next(place for place, item in enumerate(items) if item is Ellipsis)
    return sum(_consumed(item) for item in items[place + 1 :])


def _in_range(machine: Machine, index: Scalar, size: Any, place: int) -> Any:
    """The index counted from the front; torch's own error where it is out of range."""
    position = index if machine.truth(machine.host("ge", index, 0)) else machine.host("add", index, size)
    if machine.truth(machine.host("ge", position, 0)) and machine.truth(machine.host("lt", position, size)):
        return position
    size_text = TextPart(machine.scalar_of(size), "", "") if isinstance(size, torch.SymInt) else str(size)
    raise IndexError(_out_of_bounds(index, place, size_text))


def _out_of_bounds(index: Scalar, place: int, size: str | TextPart) -> Text:
    return Text.of("index ", TextPart(index, "", ""), f" is out of bounds for dimension {place} with size ", size)


__all__ = ["store_tensor_item", "tensor_item"]
