"""The ONNX model of a structure as TVM's importer shall see it.

Weights become inputs after the others, so that one library serves every subgraph of the structure. Work on weights
alone stays in the graph: Relax lifts it into a function that runs once, when the library is loaded. So batch
normalisation goes into the convolution before it here, as arithmetic on weights:

    y = BatchNormalization(Conv(x, w, b), g, c, m, v)    ->    y = Conv(x, w * s, (b - m) * s + c), s = g / sqrt(v + e)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from dycl.targets.tvm.indices import guard_indices
from dycl.targets.tvm.selections import write_selections

_INTEGERS = ("Div", "Mod")
_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A model whose first `inputs` inputs are the subgraph's; the others are weights, in the order they were given.

    `guarded`: its last output says whether all indices were within their tensors.
    """

    model: onnx.ModelProto
    inputs: int
    guarded: bool


def prepare_model(model: onnx.ModelProto, weights: Sequence[str]) -> Prepared:
    """The model with its weights as inputs w0, w1, ... and batch normalisation as arithmetic on weights."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    inputs = len(graph.input)
    names = {name: f"w{index}" for index, name in enumerate(weights)}
    stored = {item.name: item for item in graph.initializer}
    for name, short in names.items():
        shape = list(stored[name].dims)
        graph.input.append(helper.make_tensor_value_info(short, stored[name].data_type, shape))
    kept = [item for item in graph.initializer if item.name not in names]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    for node in graph.node:
        if node.op_type == "Constant":
            _as_tensor(node)
    write_selections(copy)
    _fold_normalisation(graph)
    outputs = len(graph.output)
    reason = guard_indices(copy)
    if reason is not None:
        raise ValueError(reason)
    return Prepared(copy, inputs, len(graph.output) > outputs)


def _as_tensor(constant: onnx.NodeProto) -> None:
    """Every constant as a tensor: the importer knows no other kind."""
    attribute = constant.attribute[0]
    kinds = {"value_int": np.int64, "value_ints": np.int64, "value_float": np.float32, "value_floats": np.float32}
    dtype = kinds.get(attribute.name)
    if dtype is not None:
        array = np.array(helper.get_attribute_value(attribute), dtype)
        del constant.attribute[:]
        constant.attribute.append(helper.make_attribute("value", numpy_helper.from_array(array)))


def find_hazard(model: onnx.ModelProto) -> str | None:
    """What TVM's importer takes and LLVM does not; None where there is no such thing."""
    known = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*known.input, *known.value_info, *known.output)}
    types |= {item.name: item.data_type for item in known.initializer}
    for node in known.node:
        if node.op_type in _INTEGERS and types.get(node.input[0]) not in _FLOATS:
            return f"it has {node.op_type} of integers"
    return None


# ---------------------------------------------------------------- batch normalisation


def _fold_normalisation(graph: onnx.GraphProto) -> None:
    users: dict[str, int] = {value.name: 1 for value in graph.output}
    makers: dict[str, onnx.NodeProto] = {}
    for node in graph.node:
        for name in node.input:
            users[name] = users.get(name, 0) + 1
        makers.update(dict.fromkeys(node.output, node))
    ranks = _ranks(graph)
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type != "BatchNormalization" or len([name for name in node.output if name]) != 1:
            nodes.append(node)
            continue
        conv = makers.get(node.input[0])
        if conv is not None and conv.op_type == "Conv" and users[node.input[0]] == 1 and conv.input[1] in ranks:
            nodes.remove(conv)
            nodes.extend(_folded(node, conv, ranks[conv.input[1]]))
        else:
            nodes.append(node)
    used = {name for node in nodes for name in node.input}
    kept = [item for item in graph.initializer if item.name in used]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _ranks(graph: onnx.GraphProto) -> Mapping[str, int]:
    """The number of dimensions of inputs and constants."""
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in graph.input}
    return ranks | {item.name: len(item.dims) for item in graph.initializer}


def _folded(norm: onnx.NodeProto, conv: onnx.NodeProto, rank: int) -> Iterator[onnx.NodeProto]:
    """The convolution with the normalisation in its weights, and the arithmetic before it."""
    epsilon = next((item.f for item in norm.attribute if item.name == "epsilon"), 1e-5)
    gamma, beta, mean, variance = norm.input[1:5]
    name = norm.output[0]

    def constant(what: str, array: np.ndarray) -> onnx.NodeProto:
        return helper.make_node("Constant", [], [f"{name}/{what}"], value=numpy_helper.from_array(array))

    def node(what: str, operator: str, *inputs: str) -> onnx.NodeProto:
        return helper.make_node(operator, list(inputs), [f"{name}/{what}"])

    yield constant("epsilon", np.array(epsilon, np.float32))
    yield node("shifted", "Add", variance, f"{name}/epsilon")
    yield node("deviation", "Sqrt", f"{name}/shifted")
    yield node("scale", "Div", gamma, f"{name}/deviation")
    yield constant("shape", np.array([-1] + [1] * (rank - 1), np.int64))
    yield node("column", "Reshape", f"{name}/scale", f"{name}/shape")
    yield node("weight", "Mul", conv.input[1], f"{name}/column")
    if len(conv.input) > 2 and conv.input[2]:
        yield node("centred", "Sub", conv.input[2], mean)
    else:
        yield node("centred", "Neg", mean)
    yield node("scaled", "Mul", f"{name}/centred", f"{name}/scale")
    yield node("bias", "Add", f"{name}/scaled", beta)
    folded = helper.make_node("Conv", [conv.input[0], f"{name}/weight", f"{name}/bias"], [name])
    folded.attribute.extend(conv.attribute)
    yield folded
