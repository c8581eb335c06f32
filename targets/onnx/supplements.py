"""Operators that torch's exporter lacks, or ONNX Runtime for a type, said in others."""

from __future__ import annotations

import functools
from typing import Any

import torch

from dycl.targets.onnx.replacements import replaces

_aten = torch.ops.aten


@replaces(_aten._cdist_forward.default, _aten.cdist.default)
def _cdist(x: torch.Tensor, y: torch.Tensor, p: float = 2.0, compute_mode: int | None = None) -> torch.Tensor:
    difference = (x.unsqueeze(-2) - y.unsqueeze(-3)).abs()
    if p == 2.0:
        return difference.square().sum(-1).sqrt()
    if p == 1.0:
        return difference.sum(-1)
    if p == 0.0:
        return (difference != 0).to(x.dtype).sum(-1)
    return difference.amax(-1) if p == float("inf") else difference.pow(p).sum(-1).pow(1.0 / p)


@replaces(_aten.fmax.default)
def _fmax(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.where(x.isnan(), y, torch.where(y.isnan(), x, torch.maximum(x, y))) if _floats(x, y) else x.maximum(y)


@replaces(_aten.fmin.default)
def _fmin(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.where(x.isnan(), y, torch.where(y.isnan(), x, torch.minimum(x, y))) if _floats(x, y) else x.minimum(y)


def _floats(*tensors: torch.Tensor) -> bool:
    return all(tensor.is_floating_point() for tensor in tensors)


@replaces(_aten.signbit.default)
def _signbit(x: torch.Tensor) -> torch.Tensor:
    return (x < 0) | ((x == 0) & (x.reciprocal() < 0)) if x.is_floating_point() else x < 0


@replaces(_aten.copysign.Tensor, _aten.copysign.Scalar)
def _copysign(x: torch.Tensor, y: torch.Tensor | float) -> torch.Tensor:
    dtype = torch.result_type(x, y) if torch.result_type(x, y).is_floating_point else torch.get_default_dtype()
    sign = torch.scalar_tensor(y, dtype=dtype) if not isinstance(y, torch.Tensor) else y
    magnitude = x.to(dtype).abs()
    return torch.where(_signbit(sign), -magnitude, magnitude)


@replaces(_aten.atan2.default)
def _atan2(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The exporter forgets the sign of a zero `y`, and what lies on the axes."""
    dtype = torch.result_type(y, x) if torch.result_type(y, x).is_floating_point else torch.get_default_dtype()
    y, x = y.to(dtype), x.to(dtype)
    corner = y.isinf() & x.isinf()
    y, x = torch.where(corner, y.sign(), y), torch.where(corner, x.sign(), x)
    half = torch.full_like(y, torch.pi / 2) + torch.zeros_like(x)
    turned = torch.where(_signbit(y), -2 * half, 2 * half)
    angle = torch.atan(y / x)
    left = torch.where(_signbit(y), -half, half) - torch.atan(x / y)
    on_axis = torch.where(_signbit(x), turned, y + torch.zeros_like(x))
    near_x = torch.where(x > 0, angle, torch.where(x < 0, angle + torch.where(y == 0, turned * 0, turned), angle))
    found = torch.where(y == 0, on_axis, torch.where(y.abs() > x.abs(), left, near_x))
    return torch.where(x.isnan(), x, found)


@replaces(_aten.cumprod.default)
def _cumprod(x: torch.Tensor, dim: int, *, dtype: torch.dtype | None = None) -> Any:
    """Products over the lower triangle: n^2 numbers for n, which is right for zeros and signs alike."""
    if dtype is None:
        dtype = x.dtype if x.is_floating_point() else torch.int64
    if x.dim() == 0:
        return x.to(dtype)
    rows = x.to(dtype).movedim(dim, -1)
    masked = torch.where(_lower(rows), rows.unsqueeze(-2), torch.ones((), dtype=dtype))
    return masked.prod(-1).movedim(-1, dim)


def _lower(rows: torch.Tensor) -> torch.Tensor:
    places = torch.arange(rows.shape[-1])
    return places.unsqueeze(0) <= places.unsqueeze(1)


@replaces(_aten.cummax.default)
def _cummax(x: torch.Tensor, dim: int) -> Any:
    return _running(x, dim, 1)


@replaces(_aten.cummin.default)
def _cummin(x: torch.Tensor, dim: int) -> Any:
    return _running(x, dim, -1)


def _running(x: torch.Tensor, dim: int, sign: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest (or least) so far and where it stands last, by comparing every pair: n^2 for n."""
    if x.dim() == 0:
        return x.clone(), torch.zeros((), dtype=torch.int64)
    rows = x.movedim(dim, -1)
    left, right = rows.unsqueeze(-1), rows.unsqueeze(-2)
    beats = (left >= right) if sign > 0 else (left <= right)
    if x.is_floating_point():
        beats = beats | left.isnan()
    lower = _lower(rows)
    # An element is the best so far at its own place if it beats all before it; the last such place counts.
    best = (beats | ~lower).all(-1)
    places = torch.arange(rows.shape[-1])
    candidates = torch.where(best.unsqueeze(-2) & lower, places, torch.zeros((), dtype=torch.int64))
    index = candidates.amax(-1)
    return rows.gather(-1, index).movedim(-1, dim), index.movedim(-1, dim)


@replaces(_aten.searchsorted.Tensor, _aten.searchsorted.Scalar)
def _searchsorted(
    edges: torch.Tensor,
    values: torch.Tensor | float,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: torch.Tensor | None = None,
) -> Any:
    """Torch's binary search, step by step, so that even unsorted edges give the same answer."""
    if not isinstance(edges.shape[-1], int):
        return NotImplemented
    if sorter is not None:
        edges = edges.gather(-1, sorter)
    if not isinstance(values, torch.Tensor):
        values = torch.full((), values, dtype=edges.dtype)
    size = edges.shape[-1]
    dtype = torch.result_type(edges, values)
    found, row = values.to(dtype), edges.to(dtype)
    start, end = torch.zeros_like(values, dtype=torch.int64), torch.full_like(values, size, dtype=torch.int64)
    for _ in range(size.bit_length()):
        middle = (start + end) // 2
        place = middle.clamp(max=size - 1)
        edge = row[place] if row.dim() == 1 else row.gather(-1, place)
        stays = edge > found if right or side == "right" else edge >= found
        is_open = start < end
        start, end = torch.where(is_open & ~stays, middle + 1, start), torch.where(is_open & stays, middle, end)
    return start.to(torch.int32 if out_int32 else torch.int64)


@replaces(_aten.bucketize.Tensor, _aten.bucketize.Scalar)
def _bucketize(
    values: torch.Tensor | float, edges: torch.Tensor, *, out_int32: bool = False, right: bool = False
) -> Any:
    return _searchsorted(edges, values, out_int32=out_int32, right=right)


@replaces(_aten.kthvalue.default)
def _kthvalue(x: torch.Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    if x.dim() == 0:
        return x.clone(), torch.zeros((), dtype=torch.int64)
    values, indices = _aten.sort.default(x, dim)  # ONNX breaks ties by place
    picked = values.select(dim, k - 1), indices.select(dim, k - 1)
    return tuple(part.unsqueeze(dim) for part in picked) if keepdim else picked


@replaces(_aten.sort.stable)
def _sort(x: torch.Tensor, *, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
    """ONNX breaks ties by place, whichever way it sorts."""
    return _aten.sort.default(x, dim, descending)


@replaces(_aten.argsort.stable)
def _argsort(x: torch.Tensor, *, stable: bool = True, dim: int = -1, descending: bool = False) -> Any:
    return _aten.sort.default(x, dim, descending)[1]


# ---------------------------------------------------------------- missing in ONNX Runtime


@replaces(_aten.cat.default)
def _cat(tensors: list[torch.Tensor], dim: int = 0) -> Any:
    """The exporter drops empty rows, with the type that they ask for, and fails where nothing is left."""
    filled = [tensor for tensor in tensors if not _is_empty_row(tensor)]
    if len(filled) == len(tensors):
        return NotImplemented
    dtype = functools.reduce(torch.promote_types, [tensor.dtype for tensor in tensors])
    typed = [tensor.to(dtype) for tensor in filled]
    if len(typed) > 1:
        return torch.cat(typed, dim)
    return (typed or tensors)[0].to(dtype, copy=True)


def _is_empty_row(tensor: torch.Tensor) -> bool:
    return tensor.dim() == 1 and isinstance(tensor.shape[0], int) and tensor.shape[0] == 0


@replaces(_aten.addmm.default)
def _addmm(bias: torch.Tensor, left: torch.Tensor, right: torch.Tensor, *, beta: float = 1, alpha: float = 1) -> Any:
    return NotImplemented if left.is_floating_point() else beta * bias + alpha * (left @ right)


@replaces(_aten.softmax.int, _aten._softmax.default)
def _softmax(x: torch.Tensor, dim: int, dtype: Any = None) -> Any:
    return NotImplemented if x.is_floating_point() else _aten.softmax.int(x.to(dtype or torch.get_default_dtype()), dim)


@replaces(_aten.ceil.default, _aten.floor.default, _aten.round.default, _aten.trunc.default)
def _rounded(x: torch.Tensor) -> Any:
    return NotImplemented if x.is_floating_point() else _aten.alias.default(x)


@replaces(_aten.isnan.default, _aten.isinf.default)
def _never(x: torch.Tensor) -> Any:
    return NotImplemented if x.is_floating_point() else torch.zeros_like(x, dtype=torch.bool)


@replaces(_aten.isfinite.default)
def _always(x: torch.Tensor) -> Any:
    return NotImplemented if x.is_floating_point() else torch.ones_like(x, dtype=torch.bool)


@replaces(_aten.linear.default)
def _linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> Any:
    if x.is_floating_point():
        return NotImplemented
    return x @ weight.mT if bias is None else x @ weight.mT + bias
