"""Indices that are known at run time only: compiled code reads and writes wherever they point, so they are checked.

    y = Gather(x, i)    ->    y = Gather(x, i or the nearest in -n .. n - 1), and a further result: whether that is i

All checks of a model are one further result. Where it is false, the runtime raises IndexError, as torch does.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

GUARD = "guard"
_BY_AXIS = ("Gather", "GatherElements", "ScatterElements")
_BY_POINT = ("GatherND", "ScatterND")


def guard_indices(model: onnx.ModelProto) -> str | None:
    """Add the checks to the model; what stands in the way of them, if anything does."""
    graph = model.graph
    known = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    types = {value.name: value.type.tensor_type for value in (*known.input, *known.value_info, *known.output)}
    fixed = {item.name for item in graph.initializer}
    fixed |= {name for node in graph.node if node.op_type == "Constant" for name in node.output}
    nodes: list[onnx.NodeProto] = []
    checks: list[str] = []
    for node in graph.node:
        if node.op_type in (*_BY_AXIS, *_BY_POINT) and node.input[1] not in fixed:
            extents = _extents(node, types)
            if extents is None:
                return f"{node.op_type} has run-time indices into a tensor of unknown shape"
            nodes.extend(_guard(node, extents, types[node.input[1]].elem_type))
            checks.append(f"{node.output[0]}/inside")
        nodes.append(node)
    if checks:
        nodes.extend(_all(checks))
        graph.output.append(helper.make_tensor_value_info(GUARD, TensorProto.INT32, []))
    del graph.node[:]
    graph.node.extend(nodes)
    return None


def _extents(node: onnx.NodeProto, types: Mapping[str, onnx.TypeProto.Tensor]) -> np.ndarray | None:
    """How many places there are to point to: a number, or one for each column of the indices."""
    if node.input[0] not in types or node.input[1] not in types:
        return None
    shape = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in types[node.input[0]].shape.dim]
    if not shape or min(shape) < 0:
        return None
    if node.op_type in _BY_AXIS:
        axis = next((item.i for item in node.attribute if item.name == "axis"), 0)
        return np.array(shape[axis])
    columns = types[node.input[1]].shape.dim[-1].dim_value
    has_batches = any(item.name == "batch_dims" and item.i for item in node.attribute)
    return None if has_batches or not columns else np.array(shape[:columns])


def _guard(node: onnx.NodeProto, extents: np.ndarray, index_type: int) -> list[onnx.NodeProto]:
    """Keep the indices of a node inside, and say whether they were."""
    dtype = helper.tensor_dtype_to_np_dtype(index_type)
    name, index = node.output[0], node.input[1]
    last, first = f"{name}/last", f"{name}/first"
    node.input[1] = f"{name}/index"
    return [
        helper.make_node("Constant", [], [last], value=numpy_helper.from_array((extents - 1).astype(dtype))),
        helper.make_node("Constant", [], [first], value=numpy_helper.from_array((-extents).astype(dtype))),
        helper.make_node("Greater", [index, last], [f"{name}/above"]),
        helper.make_node("Where", [f"{name}/above", last, index], [f"{name}/most"]),
        helper.make_node("Less", [f"{name}/most", first], [f"{name}/below"]),
        helper.make_node("Where", [f"{name}/below", first, f"{name}/most"], [f"{name}/index"]),
        helper.make_node("Equal", [index, f"{name}/index"], [f"{name}/same"]),
        helper.make_node("Cast", [f"{name}/same"], [f"{name}/number"], to=TensorProto.INT32),
        helper.make_node("ReduceMin", [f"{name}/number"], [f"{name}/inside"], keepdims=0),
    ]


def _all(checks: list[str]) -> list[onnx.NodeProto]:
    """The product of all checks, each 0 or 1."""
    nodes = []
    total = checks[0]
    for index, check in enumerate(checks[1:]):
        nodes.append(helper.make_node("Mul", [total, check], [f"{GUARD}/{index}"]))
        total = f"{GUARD}/{index}"
    return [*nodes, helper.make_node("Identity", [total], [GUARD])]
