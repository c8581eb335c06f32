"""Floor division and remainder of floats, and rounded division of integers, as torch computes them.

The exporter writes `floor(a / b)`, whose quotient is rounded before it is floored: 2.0 // 0.1 becomes 20 where torch,
as Python, says 19. Here both are built on the exact remainder of the truncated division:

    y = aten.floor_divide(a, b)            m = fmod(a, b); q = (a - m) / b; minus 1 where the signs differ; rounded
    y = aten.remainder(a, b)               m = fmod(a, b); plus b where the signs differ

Integers it divides as float32 where the call names how to round: in seven kernels, and wrong from 2^24 on. ONNX's own
division of integers is exact and truncates:

    y = aten.div(a, b, rounding_mode="floor")    y = aten.floor_divide(a, b)
    y = aten.div(a, b, rounding_mode="trunc")    one `Div`
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Graph, Node

from dycl.targets.onnx.emitter import Emitter

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
    """Replace, in the program's graph, floor divisions and remainders by exact operations."""
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
    is_whole = not value.dtype.is_floating_point and node.target in _WITH_MODE
    if not known or (value.dtype not in (torch.float32, torch.float64) and not is_whole):
        return
    with graph.inserting_before(node):
        emit = Emitter(graph, value.fake_mode)
        if is_whole:
            result = emit.call(_aten.floor_divide.default, *node.args[:2])
        else:
            a, b = (emit.operand(arg, value.dtype) for arg in node.args[:2])
            result = _floor_divide(emit, a, b) if floors else _remainder(emit, a, b)
        target = node.args[0]
        if str(node.target).split(".")[1].endswith("_"):
            assert isinstance(target, Node)
            result = emit.call(_aten.copy_.default, target, result)
    node.replace_all_uses_with(result)
    graph.erase_node(node)


def _is_tensor(arg: object) -> bool:
    return isinstance(arg, Node) and isinstance(arg.meta.get("val"), torch.Tensor)


def _remainder(emit: Emitter, a: Node, b: Node) -> Node:
    rest = emit.call(_aten.fmod.Tensor, a, b)
    return emit.call(_aten.where.self, _signs_differ(emit, rest, b), emit.call(_aten.add.Tensor, rest, b), rest)


def _floor_divide(emit: Emitter, a: Node, b: Node) -> Node:
    rest = emit.call(_aten.fmod.Tensor, a, b)
    quotient = emit.call(_aten.div.Tensor, emit.call(_aten.sub.Tensor, a, rest), b)
    less = emit.call(_aten.sub.Tensor, quotient, 1.0)
    quotient = emit.call(_aten.where.self, _signs_differ(emit, rest, b), less, quotient)
    floor = emit.call(_aten.floor.default, quotient)
    low = emit.call(_aten.gt.Scalar, emit.call(_aten.sub.Tensor, quotient, floor), 0.5)
    rounded = emit.call(_aten.where.self, low, emit.call(_aten.add.Tensor, floor, 1.0), floor)
    by_zero = emit.call(_aten.eq.Scalar, b, 0)
    return emit.call(_aten.where.self, by_zero, emit.call(_aten.div.Tensor, a, b), rounded)


def _signs_differ(emit: Emitter, rest: Node, b: Node) -> Node:
    signs = emit.call(_aten.ne.Tensor, emit.call(_aten.lt.Scalar, b, 0), emit.call(_aten.lt.Scalar, rest, 0))
    return emit.call(_aten.logical_and.default, emit.call(_aten.ne.Scalar, rest, 0), signs)


def register_divisions(registry: Any) -> None:
    """Put before the exporter's conversion of a rounded division one that leaves integers what they are."""
    for function in (_aten.div.Tensor_mode, _aten.div.Scalar_mode):
        known = registry.get_decomps(function)[0].onnx_function
        registry.register_op(function, _conversion(known))


def _conversion(known: Callable[..., Any]) -> Any:
    from onnxscript.function_libs.torch_lib import tensor_typing
    from onnxscript.onnx_opset import opset18

    op: Any = opset18
    of: Any = tensor_typing.TReal

    def convert(self: Any, other: Any, rounding_mode: Any = None) -> Any:
        if self.dtype.is_integer() and rounding_mode == "trunc":
            return op.Div(self, other)
        return known(self, other, rounding_mode)

    # the exporter reads the types, and cannot look up names of this function
    convert.__annotations__ = {"self": of, "other": of, "rounding_mode": str | None, "return": of}
    return convert
