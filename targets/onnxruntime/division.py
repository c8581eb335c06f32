"""Floor division and remainder of floats as torch computes them.

The exporter writes `floor(a / b)`, whose quotient is rounded before it is floored: 2.0 // 0.1 becomes 20 where torch, as
Python, says 19. Here both are built on the exact remainder of the truncated division:

    y = aten.floor_divide(a, b)            m = fmod(a, b); q = (a - m) / b; minus 1 where the signs differ; rounded
    y = aten.remainder(a, b)               m = fmod(a, b); plus b where the signs differ
"""

from __future__ import annotations

from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Graph, Node

_aten = torch.ops.aten

_FLOOR = {_aten.floor_divide.default, _aten.floor_divide.Scalar, _aten.floor_divide_.Tensor, _aten.floor_divide_.Scalar}
_WITH_MODE = {_aten.div.Tensor_mode, _aten.div.Scalar_mode, _aten.div_.Tensor_mode, _aten.div_.Scalar_mode}
_REMAINDER = {
    _aten.remainder.Tensor,
    _aten.remainder.Scalar,
    _aten.remainder.Scalar_Tensor,
    _aten.remainder_.Tensor,
    _aten.remainder_.Scalar,
}


def rewrite_divisions(program: ExportedProgram) -> None:
    """Replace, in the program's graph, floor divisions and remainders of floats by exact operations."""
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        floors = node.target in _FLOOR or (node.target in _WITH_MODE and node.kwargs.get("rounding_mode") == "floor")
        if node.op == "call_function" and (floors or node.target in _REMAINDER):
            _rewrite(graph, node, floors)
    graph.lint()
    program.graph_module.recompile()


def _rewrite(graph: Graph, node: Node, floors: bool) -> None:
    value = node.meta["val"]
    known = all(isinstance(arg, (int, float)) or _is_tensor(arg) for arg in node.args[:2])
    if not known or value.dtype not in (torch.float32, torch.float64):
        return
    with graph.inserting_before(node):
        emit = _Emitter(graph, value)
        a, b = (emit.operand(arg) for arg in node.args[:2])
        result = emit.floor_divide(a, b) if floors else emit.remainder(a, b)
        target = node.args[0]
        if str(node.target).split(".")[1].endswith("_"):
            assert isinstance(target, Node)
            result = emit.call(_aten.copy_.default, target, result)
    node.replace_all_uses_with(result)
    graph.erase_node(node)


def _is_tensor(arg: object) -> bool:
    return isinstance(arg, Node) and isinstance(arg.meta.get("val"), torch.Tensor)


class _Emitter:
    """Appends operations to a graph, with the fake values that the decomposition reads."""

    def __init__(self, graph: Graph, like: torch.Tensor) -> None:
        self._graph = graph
        self._dtype = like.dtype
        self._mode = like.fake_mode  # type: ignore[attr-defined]

    def call(self, target: Any, *args: Any, **kwargs: Any) -> Node:
        node = self._graph.call_function(target, args, kwargs)
        with self._mode:
            node.meta["val"] = target(*(arg.meta["val"] if isinstance(arg, Node) else arg for arg in args), **kwargs)
        return node

    def operand(self, arg: Any) -> Node:
        if not isinstance(arg, Node):
            return self.call(_aten.scalar_tensor.default, arg, dtype=self._dtype)
        if arg.meta["val"].dtype == self._dtype:
            return arg
        return self.call(_aten._to_copy.default, arg, dtype=self._dtype)

    def remainder(self, a: Node, b: Node) -> Node:
        rest = self.call(_aten.fmod.Tensor, a, b)
        return self.call(_aten.where.self, self._signs_differ(rest, b), self.call(_aten.add.Tensor, rest, b), rest)

    def floor_divide(self, a: Node, b: Node) -> Node:
        rest = self.call(_aten.fmod.Tensor, a, b)
        quotient = self.call(_aten.div.Tensor, self.call(_aten.sub.Tensor, a, rest), b)
        less = self.call(_aten.sub.Tensor, quotient, 1.0)
        quotient = self.call(_aten.where.self, self._signs_differ(rest, b), less, quotient)
        floor = self.call(_aten.floor.default, quotient)
        low = self.call(_aten.gt.Scalar, self.call(_aten.sub.Tensor, quotient, floor), 0.5)
        rounded = self.call(_aten.where.self, low, self.call(_aten.add.Tensor, floor, 1.0), floor)
        by_zero = self.call(_aten.eq.Scalar, b, 0)
        return self.call(_aten.where.self, by_zero, self.call(_aten.div.Tensor, a, b), rounded)

    def _signs_differ(self, rest: Node, b: Node) -> Node:
        signs = self.call(_aten.ne.Tensor, self.call(_aten.lt.Scalar, b, 0), self.call(_aten.lt.Scalar, rest, 0))
        return self.call(_aten.logical_and.default, self.call(_aten.ne.Scalar, rest, 0), signs)
