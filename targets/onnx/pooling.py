"""Pooling that torch's exporter lacks or converts wrongly."""

from __future__ import annotations

import math
from typing import Any

import torch

from dycl.targets.onnx.cuts import find_most
from dycl.targets.onnx.extremes import nan_or_extreme
from dycl.targets.onnx.replacements import replaces

_aten = torch.ops.aten
_TABLE = 128  # whole numbers: what the exporter folds to a constant


@replaces(_aten._adaptive_avg_pool2d.default, _aten.adaptive_avg_pool2d.default, _aten.adaptive_avg_pool1d.default)
@replaces(_aten._adaptive_avg_pool3d.default, _aten.adaptive_avg_pool3d.default)
def _adaptive_avg_pool(x: torch.Tensor, output_size: list[int]) -> Any:
    """One product with a matrix of means for each dimension; the exporter fixes a run-time size."""
    axes = len(output_size)
    if all(wanted == 1 for wanted in output_size):
        return NotImplemented
    for axis, wanted in enumerate(output_size, x.dim() - axes):
        size = x.shape[axis]
        if isinstance(size, int) and size == wanted:
            continue
        begins, ends = _windows(size, wanted)
        places = torch.arange(size).unsqueeze(1)
        inside = (begins <= places) & (places < ends)
        means = inside.to(x.dtype) / (ends - begins).to(x.dtype)
        x = (x.movedim(axis, -1) @ means).movedim(-1, axis)
    return x


@replaces(_aten.adaptive_max_pool2d.default, _aten.adaptive_max_pool3d.default, _aten.adaptive_max_pool1d.default)
def _adaptive_max_pool(x: torch.Tensor, output_size: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest of each window and its flat place: the first one, or the last nan.

    One dimension after the other, the last one first, so that the first place is that in torch's order. What is largest
    is found by itself: where nobody asks for the places, no search for them is exported.
    """
    first = x.dim() - len(output_size)
    largest = _largest(x, output_size)
    places = torch.zeros_like(x, dtype=torch.int64)
    for axis in range(first, x.dim()):
        shape = [-1 if dim == axis else 1 for dim in range(x.dim())]
        places = places * x.shape[axis] + torch.arange(x.shape[axis]).reshape(shape)
    for axis, wanted in reversed(list(enumerate(output_size, first))):
        x, places = _largest_along(x, places, axis, wanted)
    return largest, places


def _windows(size: int, wanted: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the windows of a dimension begin and end; nothing is negative, so that a division is one kernel."""
    number = torch.arange(wanted)
    begins = torch.div(number * size, wanted, rounding_mode="trunc")
    return begins, torch.div((number + 1) * size + (wanted - 1), wanted, rounding_mode="trunc")


def _largest(x: torch.Tensor, output_size: list[int]) -> torch.Tensor:
    """The largest of each window: a dimension for the windows, and one for the places in them."""
    first = x.dim() - len(output_size)
    sizes = x.shape[first:]
    if all(isinstance(size, int) and size % wanted == 0 for size, wanted in zip(sizes, output_size, strict=True)):
        for axis, wanted in reversed(list(enumerate(output_size, first))):
            x = _aten.unflatten.int(x, axis, (wanted, x.shape[axis] // wanted))
    else:
        for axis, wanted in reversed(list(enumerate(output_size, first))):
            x = _aten.index.Tensor(x, [*[None] * axis, _within(x.shape[axis], wanted)])
    found: torch.Tensor = nan_or_extreme(x, list(range(first + 1, x.dim(), 2)), False, _aten.amax.default)
    return found


def _within(size: int, wanted: int) -> torch.Tensor:
    """For each window of a dimension the places in it, as many as the longest may have; some twice where it is shorter.

    The places of window i are `(i * size + t) // wanted` for t from 0 to size - 1: every one of them shows up where t
    goes in steps of `wanted`, and ends there. Of few sizes a table has them all, a constant of the graph.
    """
    number = torch.arange(wanted).unsqueeze(1)
    most = find_most(size)
    longest = 0 if most is None else max(_longest(fewer, wanted) for fewer in range(most + 1))
    if most is not None and (most + 1) * wanted * longest <= _TABLE:
        sizes = torch.arange(most + 1).reshape(-1, 1, 1)
        steps = torch.minimum(torch.arange(0, longest * wanted, wanted), (sizes - 1).clamp(min=0))
        table = torch.div(number * sizes + steps, wanted, rounding_mode="trunc")
        return _aten.select.int(table, 0, size)  # type: ignore[no-any-return]
    last = size - 1
    steps = torch.arange(0, last + wanted, wanted).clamp(max=last)
    return torch.div(number * size + steps, wanted, rounding_mode="trunc")


def _longest(size: int, wanted: int) -> int:
    """How many places the longest window has."""
    return max(-(-(number + 1) * size // wanted) - number * size // wanted for number in range(wanted))


def _masked(x: torch.Tensor, axis: int, wanted: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The places along a dimension, where its windows begin, and each window as wide as the dimension."""
    begins, ends = (bound.unsqueeze(1) for bound in _windows(x.shape[axis], wanted))
    along = torch.arange(x.shape[axis])
    inside = (begins <= along) & (along < ends)
    rows = x.movedim(axis, -1).unsqueeze(-2)
    return along, begins, torch.where(inside, rows, torch.full((), -torch.inf, dtype=x.dtype))


def _largest_along(x: torch.Tensor, places: torch.Tensor, axis: int, wanted: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The windows of one dimension; what lies outside of a window is less than anything."""
    marks = places.movedim(axis, -1).unsqueeze(-2)
    along, begins, masked = _masked(x, axis, wanted)
    last_nan = (masked.isnan().to(torch.int64) * (along + 1)).amax(-1, keepdim=True) - 1
    found = torch.where(masked.isnan(), torch.full((), torch.inf, dtype=x.dtype), masked).argmax(-1, keepdim=True)
    found = torch.where((masked == -torch.inf).all(-1, keepdim=True), begins, found)
    found = torch.where(last_nan >= 0, last_nan, found)
    marks = marks + torch.zeros_like(masked, dtype=torch.int64)
    return _picked(masked, found, axis), _picked(marks, found, axis)


def _picked(rows: torch.Tensor, places: torch.Tensor, axis: int) -> torch.Tensor:
    return rows.gather(-1, places).squeeze(-1).movedim(-1, axis)


@replaces(_aten.avg_pool2d.default, _aten.avg_pool3d.default)
def _avg_pool(
    x: torch.Tensor,
    kernel_size: list[int],
    stride: list[int] | None = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """The exporter forgets `divisor_override`."""
    if divisor_override is None:
        return NotImplemented
    pool = _aten.avg_pool2d.default if x.dim() < 5 and len(kernel_size) < 3 else _aten.avg_pool3d.default
    mean = pool(x, kernel_size, stride or kernel_size, padding, ceil_mode, True)
    sides = kernel_size if len(kernel_size) > 1 else kernel_size * (2 if pool is _aten.avg_pool2d.default else 3)
    return NotImplemented if ceil_mode else mean * (math.prod(sides) / divisor_override)
