"""Rounding that another implementation of torch's operations might have done: noise on every result."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode


class RoundingNoise(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is entered, each new floating-point result is off by about `size` of itself.

    Unlike a disturbance of inputs, it shows where the difference of two nearly equal results is all rounding.
    """

    def __init__(self, size: float, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._size = size
        self._generator = torch.Generator().manual_seed(seed)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if any(returned.alias_info is not None for returned in func._schema.returns):
            return result  # a view, or what was written in place: its numbers are another result's
        return pytree.tree_map(self._disturb, result)

    def _disturb(self, leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor) or not leaf.is_floating_point():
            return leaf
        noise = torch.randn(leaf.shape, generator=self._generator).to(leaf.dtype)
        return leaf.mul_(noise.mul_(self._size).add_(1))
