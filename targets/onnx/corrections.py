"""Operators that torch's exporter converts wrongly, said in others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from dycl.targets.onnx.replacements import replaces

_aten = torch.ops.aten


@replaces(_aten.squeeze.dim, _aten.squeeze.dims)
def _squeeze(x: torch.Tensor, dim: int | list[int]) -> Any:
    """Only dimensions of size one go; the exporter squeezes those that are named, whatever their size."""
    dims = [d % max(x.dim(), 1) for d in ([dim] if isinstance(dim, int) else dim)]
    ones = [d for d in dims if x.dim() and x.shape[d] == 1]
    if len(ones) == len(dims) and x.dim():
        return NotImplemented
    return _aten.squeeze.dims(x, ones) if ones else _aten.alias.default(x)


@replaces(_aten.log_sigmoid.default)
def _log_sigmoid(x: torch.Tensor) -> torch.Tensor:
    """The exporter takes the logarithm of a sigmoid that has lost its digits far from zero."""
    return x.clamp(max=0) - torch.log1p(torch.exp(-x.abs()))


@replaces(_aten.scaled_dot_product_attention.default)
def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """The exporter knows four dimensions only and answers nan instead of 0 where a mask leaves nothing to attend to."""
    missing = max(4 - query.dim(), 0)
    if not missing and attn_mask is None:
        return NotImplemented
    query, key, value = (part[(None,) * missing] for part in (query, key, value))
    found = _aten.scaled_dot_product_attention.default(query, key, value, attn_mask, *args, **kwargs)
    if attn_mask is not None:
        is_open = attn_mask if attn_mask.dtype == torch.bool else attn_mask > -torch.inf
        found = torch.where(is_open.any(-1, keepdim=True), found, torch.zeros((), dtype=found.dtype))
    return found[(0,) * missing]


def _reduced(x: torch.Tensor, dim: Any) -> list[int] | None:
    """The dimensions of a reduction that may have nothing to reduce; None if it certainly has something."""
    dims = [d % max(x.dim(), 1) for d in ([dim] if isinstance(dim, int) else dim or range(x.dim()))]
    return None if all(isinstance(x.shape[d], int) and x.shape[d] for d in dims if x.dim()) else dims


@replaces(_aten.mean.default, _aten.mean.dim)
def _mean(x: torch.Tensor, dim: Any = None, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Any:
    """The mean of nothing is nan; the target's is 0."""
    dims = _reduced(x, dim)
    if dims is None:
        return NotImplemented
    x = x if dtype is None else x.to(dtype)
    return x.sum(dims, keepdim) / torch.ones_like(x).sum(dims, keepdim)


@replaces(_aten.any.default, _aten.any.dim, _aten.any.dims)
def _any(x: torch.Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The target's largest of nothing is a very small number, which is not zero."""
    dims = _reduced(x, dim)
    return NotImplemented if dims is None else (x != 0).to(torch.int64).sum(dims, keepdim) > 0


@replaces(_aten.all.default, _aten.all.dim, _aten.all.dims)
def _all(x: torch.Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    dims = _reduced(x, dim)
    return NotImplemented if dims is None else (x == 0).to(torch.int64).sum(dims, keepdim) == 0


def _moments(x: torch.Tensor, dim: Any, correction: float | None, keepdim: bool) -> Any:
    """The variance, of nothing or of too little nan, and the mean."""
    dims = _reduced(x, dim)
    if dims is None:
        return None
    count = torch.ones_like(x).sum(dims, True)
    mean = x.sum(dims, True) / count
    free = (count - (1 if correction is None else correction)).clamp(min=0)
    variance = (x - mean).square().sum(dims, True) / free
    return (variance, mean) if keepdim else (variance.squeeze(dims), mean.squeeze(dims))


def _moment(pick: Callable[[torch.Tensor, torch.Tensor], Any], *operators: Any) -> None:
    """Register the operators of one statistic: its spread over `dim` with `correction`, or `unbiased` as of old."""

    @replaces(*operators)
    def _replacement(x: torch.Tensor, *args: Any, correction: float | None = None, **kwargs: Any) -> Any:
        dims, flags = (None, args) if args and isinstance(args[0], bool) else (args[0] if args else None, args[1:])
        dims = kwargs.pop("dim", dims)
        settings = dict(zip(("unbiased", "keepdim"), flags, strict=False)) | kwargs
        if not settings.get("unbiased", True):
            correction = 0
        found = _moments(x, dims, correction, settings.get("keepdim", False))
        return NotImplemented if found is None else pick(*found)


_moment(lambda v, m: v, _aten.var.correction, _aten.var.dim, _aten.var.default)
_moment(lambda v, m: v.sqrt(), _aten.std.correction, _aten.std.dim, _aten.std.default)
_moment(lambda v, m: (v, m), _aten.var_mean.correction, _aten.var_mean.dim, _aten.var_mean.default)
_moment(lambda v, m: (v.sqrt(), m), _aten.std_mean.correction, _aten.std_mean.dim, _aten.std_mean.default)


@replaces(_aten.sign.default)
def _sign(x: torch.Tensor) -> Any:
    # of nan it is 0 in torch
    return torch.where(x.isnan(), torch.zeros((), dtype=x.dtype), x.sign()) if x.is_floating_point() else NotImplemented
