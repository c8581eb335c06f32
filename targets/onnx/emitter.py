"""Adds operations to the graph of an exported program."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.fx import Graph, Node

_aten = torch.ops.aten


class Emitter:
    """Appends operations at the graph's insertion point, with the fake values that later stages read."""

    def __init__(self, graph: Graph, mode: Any) -> None:
        self._graph = graph
        self._mode = mode  # the FakeTensorMode of the program

    def call(self, target: Any, *args: Any, **kwargs: Any) -> Node:
        """A call of an operator."""
        node = self._graph.call_function(target, args, kwargs)
        with self._mode:
            node.meta["val"] = target(*(arg.meta["val"] if isinstance(arg, Node) else arg for arg in args), **kwargs)
        return node

    def operand(self, arg: Any, dtype: torch.dtype) -> Node:
        """A tensor node, or a Python number as a 0-d tensor, in this type."""
        if not isinstance(arg, Node):
            return self._number(arg, dtype)
        return arg if arg.meta["val"].dtype == dtype else self.call(_aten._to_copy.default, arg, dtype=dtype)

    def _number(self, value: float, dtype: torch.dtype) -> Node:
        """A number, exactly. The exporter writes it as a float32; its parts are float32, and their sum is folded."""
        total = self.call(_aten.scalar_tensor.default, float32_parts(value)[0], dtype=dtype)
        for part in float32_parts(value)[1:] if dtype == torch.float64 else ():
            total = self.call(_aten.add.Tensor, total, self.call(_aten.scalar_tensor.default, part, dtype=dtype))
        return total


def float32_parts(value: float) -> tuple[float, ...]:
    """Numbers that a float32 holds, whose sum in float64 is exactly the value (if it is not beyond float32's range)."""
    parts: list[float] = []
    rest = float(value)
    with np.errstate(over="ignore", under="ignore"):
        while not parts or (rest != 0 and np.isfinite(parts[-1]) and len(parts) < 3):
            parts.append(float(np.float32(rest)))
            rest -= parts[-1]
    return tuple(parts)
