"""Subscripts of tensors: run-time integers in them are range-checked decisions and selections, as in torch itself."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import sympy
import torch

from dycl.diagnostics import UnsupportedError
from dycl.ir.values import ScalarKind
from dycl.passes.specialize.lists import tensor_of_list
from dycl.passes.specialize.memory_order import expression
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
    items = rest if isinstance(rest, tuple) else (rest,)
    is_open = machine.has_symbols(selected, value) or any(_is_open(item) for item in items)
    if isinstance(value, torch.Tensor) and is_open:
        if rest != () and all(_is_basic(item) for item in items):
            selected, rest = machine.native(operator.getitem, (selected, rest), {}), ()
        if rest == ():
            _check_fits(machine, selected, value)
    machine.native(operator.setitem, (selected, ... if rest == () else rest, value), {})


def _check_fits(machine: Machine, target: torch.Tensor, value: torch.Tensor) -> None:
    """Ask whether the run-time sizes of what is stored are the target's, or 1: torch's own error where they are not.

    Torch's rule for shapes asks more, and in other words for each dimension.
    """
    if value.dim() > target.dim():
        return
    for dim in range(-1, -1 - value.dim(), -1):
        size, wanted = value.shape[dim], target.shape[dim]
        if not any(isinstance(one, torch.SymInt) for one in (size, wanted)):
            continue
        if (type(size) is int and size == 1) or _is_one(machine, size, wanted):
            continue
        if not _is_one(machine, size, 1):
            sizes = list(value.shape)
            while _is_one(machine, sizes[0], 1):
                del sizes[0]
            place = target.dim() + dim
            raise RuntimeError(
                Text.of(
                    "The expanded size of the tensor (",
                    _said(machine, wanted),
                    ") must match the existing size (",
                    _said(machine, size),
                    f") at non-singleton dimension {place}.  Target sizes: [",
                    *_said_all(machine, target.shape),
                    "].  Tensor sizes: [",
                    *_said_all(machine, sizes),
                    "]",
                )
            )


def _is_one(machine: Machine, size: Any, other: Any) -> bool:
    """Whether two sizes are one on this path."""
    one, another = expression(size), expression(other)
    return bool(one == another or machine.env.evaluate_expr(sympy.Eq(one, another)))


def _said(machine: Machine, size: Any) -> str | TextPart:
    number = machine.scalar_of(size) if isinstance(size, torch.SymInt) else size
    return TextPart(number, "", "") if isinstance(number, Scalar) else str(number)


def _said_all(machine: Machine, sizes: Any) -> list[str | TextPart]:
    """Sizes as torch lists them."""
    return [part for size in sizes for part in (", ", _said(machine, size))][1:]


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


def _is_open(item: Any) -> bool:
    """Whether an element of an index is a slice between run-time numbers."""
    return isinstance(item, slice) and any(isinstance(end, Scalar) for end in (item.start, item.stop, item.step))


def _is_basic(item: Any) -> bool:
    """Whether an element of an index makes a view."""
    return item is None or item is Ellipsis or type(item) in (int, slice)


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
    raise IndexError(_out_of_bounds(index, place, _said(machine, size)))


def _out_of_bounds(index: Scalar, place: int, size: str | TextPart) -> Text:
    return Text.of("index ", TextPart(index, "", ""), f" is out of bounds for dimension {place} with size ", size)
