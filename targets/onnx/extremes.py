"""Extremes and their places, where ONNX Runtime's are others than torch's or missing.

Torch takes nan for the largest and for the least; ONNX Runtime skips it or not, by its place. It has no extremes of
bools: they are those of integers.
"""

from __future__ import annotations

from typing import Any

import torch

from dycl.targets.onnx.replacements import replaces

_aten = torch.ops.aten


@replaces(_aten.amax.default)
def _amax(x: torch.Tensor, dim: Any = (), keepdim: bool = False) -> Any:
    return nan_or_extreme(x, dim, keepdim, _aten.amax.default)


@replaces(_aten.amin.default)
def _amin(x: torch.Tensor, dim: Any = (), keepdim: bool = False) -> Any:
    return nan_or_extreme(x, dim, keepdim, _aten.amin.default)


@replaces(_aten.max.default)
def _max(x: torch.Tensor) -> Any:
    return nan_or_extreme(x, (), False, _aten.amax.default)


@replaces(_aten.min.default)
def _min(x: torch.Tensor) -> Any:
    return nan_or_extreme(x, (), False, _aten.amin.default)


@replaces(_aten.max.dim)
def _max_dim(x: torch.Tensor, dim: int, keepdim: bool = False) -> Any:
    return _extreme(x, dim, keepdim, _aten.max.dim)


@replaces(_aten.min.dim)
def _min_dim(x: torch.Tensor, dim: int, keepdim: bool = False) -> Any:
    return _extreme(x, dim, keepdim, _aten.min.dim)


@replaces(_aten.argmax.default)
def _argmax(x: torch.Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    return _place(x, dim, keepdim, _aten.argmax.default) if x.is_floating_point() and x.dim() else NotImplemented


@replaces(_aten.argmin.default)
def _argmin(x: torch.Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    return _place(x, dim, keepdim, _aten.argmin.default) if x.is_floating_point() and x.dim() else NotImplemented


def nan_or_extreme(x: torch.Tensor, dim: Any, keepdim: bool, reduce: Any) -> Any:
    """The extreme that `reduce` finds along these dimensions (all if none is named), nan where there is any."""
    if not x.dim():
        return NotImplemented
    dims = [dim] if isinstance(dim, int) else list(dim) or list(range(x.dim()))
    if x.dtype == torch.bool:
        return reduce(x.to(torch.int32), dims, keepdim).to(torch.bool)
    found = reduce(x, dims, keepdim)
    return _or_nan(x, found, dims, keepdim) if x.is_floating_point() else found


def _has_nan(x: torch.Tensor, dims: list[int], keepdim: bool) -> torch.Tensor:
    most: torch.Tensor = _aten.amax.default(x.isnan().to(torch.int32), dims, keepdim)
    return most > 0


def _or_nan(x: torch.Tensor, found: torch.Tensor, dims: list[int], keepdim: bool) -> torch.Tensor:
    return torch.where(_has_nan(x, dims, keepdim), torch.full((), torch.nan, dtype=x.dtype), found)


def _extreme(x: torch.Tensor, dim: int, keepdim: bool, reduce: Any) -> Any:
    if x.dtype == torch.bool:
        values, places = reduce(x.to(torch.int32), dim, keepdim)
        return values.to(torch.bool), places
    if not x.is_floating_point() or not x.dim():
        return NotImplemented
    values, places = reduce(x, dim, keepdim)
    return _or_nan(x, values, [dim], keepdim), _first_nan_or(x, places, dim, keepdim)


def _place(x: torch.Tensor, dim: int | None, keepdim: bool, search: Any) -> torch.Tensor:
    return _first_nan_or(x, search(x, dim, keepdim), dim, keepdim)


def _first_nan_or(x: torch.Tensor, places: torch.Tensor, dim: int | None, keepdim: bool) -> torch.Tensor:
    marks = x.isnan().to(torch.int32)
    has_nan = _has_nan(x, list(range(x.dim())) if dim is None else [dim], keepdim)
    return torch.where(has_nan, _aten.argmax.default(marks, dim, keepdim), places)
