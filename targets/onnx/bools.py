"""Choices between bools, which ONNX Runtime's `Where` does not know, by the logic of bools."""

from __future__ import annotations

from typing import Any

import torch

from dycl.targets.onnx.replacements import replaces

_aten = torch.ops.aten


@replaces(_aten.where.self)
def _where(condition: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> Any:
    if x.dtype != torch.bool or y.dtype != torch.bool:
        return NotImplemented
    chosen = condition.to(torch.bool)
    return (chosen & x) | (~chosen & y)


@replaces(_aten.masked_fill.Tensor)
def _masked_fill(x: torch.Tensor, mask: torch.Tensor, value: torch.Tensor) -> Any:
    return _where(mask, value.to(torch.bool), x) if x.dtype == torch.bool else NotImplemented


@replaces(_aten.masked_fill.Scalar)
def _masked_fill_number(x: torch.Tensor, mask: torch.Tensor, value: Any) -> Any:
    if x.dtype != torch.bool:
        return NotImplemented
    return x | mask if value else x & ~mask
