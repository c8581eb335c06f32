"""Max, Min and Clip as comparisons and selections: TVM has them as reductions, which lose what is no number.

y = Max(a, b)          ->    y = Where(Or(Greater(a, b), a is no number), a, b)
y = Clip(x, lo, hi)    ->    y = z > hi ? hi : z, where z = x < lo ? lo : x
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import helper

_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16)
_COMPARISONS = {"Max": "Greater", "Min": "Less"}


def write_selections(model: onnx.ModelProto) -> None:
    """Replace these operators in a model."""
    graph = model.graph
    known = onnx.shape_inference.infer_shapes(model).graph
    values = (*known.input, *known.value_info, *known.output)
    floats = {value.name for value in values if value.type.tensor_type.elem_type in _FLOATS}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type in _COMPARISONS and len(node.input) > 1:
            nodes.extend(_extreme(node, any(name in floats for name in (*node.input, *node.output))))
        elif node.op_type == "Clip" and any(node.input[1:]):
            nodes.extend(_clip(node))
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _extreme(node: onnx.NodeProto, is_float: bool) -> Iterator[onnx.NodeProto]:
    """The largest or smallest of all inputs, two at a time."""
    left, comparison = node.input[0], _COMPARISONS[node.op_type]
    for index, right in enumerate(node.input[1:], 1):
        name = f"{node.output[0]}/{index}"
        result = node.output[0] if index == len(node.input) - 1 else name
        yield helper.make_node(comparison, [left, right], [f"{name}/wins"])
        taken = f"{name}/wins"
        if is_float:
            taken = f"{name}/taken"
            yield helper.make_node("IsNaN", [left], [f"{name}/none"])
            yield helper.make_node("Or", [f"{name}/wins", f"{name}/none"], [taken])
        yield helper.make_node("Where", [taken, left, right], [result])
        left = result


def _clip(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    value, name = node.input[0], node.output[0]
    bounds = [(operator, bound) for operator, bound in zip(("Less", "Greater"), node.input[1:], strict=False) if bound]
    for index, (operator, bound) in enumerate(bounds):
        result = name if index == len(bounds) - 1 else f"{name}/{index}"
        yield helper.make_node(operator, [value, bound], [f"{name}/{operator}"])
        yield helper.make_node("Where", [f"{name}/{operator}", bound, value], [result])
        value = result
