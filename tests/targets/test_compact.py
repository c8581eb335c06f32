"""Graphs hold what is needed to run them and to read them, once."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from dycl.ir.nodes import CallModule
from dycl.ir.values import TensorType
from dycl.targets.onnx.compact import drop_defaults, merge_constants, number_values
from dycl.targets.onnx.tidy import split_weights, tidy
from tests.graphs import read_graphs

ANY = TensorType("float32", ())


def model_of(nodes: list[Any], stored: Sequence[Any] = ()) -> onnx.ModelProto:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in ("in0", "out0"))
    graph = helper.make_graph(nodes, "graph", [x], [y], initializer=stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_a_recurrent_layer_has_each_constant_once(builder: Any, make: Callable[..., Any], tmp_path: Path) -> None:
    module = nn.LSTM(4, 5, batch_first=True).eval()
    b = builder()
    results = b.op(CallModule("rnn"), b.tensor(2, 3, 4), out=[ANY] * 3)
    built = make(b.done(results[0]), modules={"rnn": module})
    x = torch.randn(2, 3, 4)
    np.testing.assert_allclose(built.run(x.numpy()), module(x)[0].detach().numpy(), rtol=1e-4, atol=1e-5)
    (graph,) = (model.graph for model in read_graphs(built.directory).values())
    inline = [(item.data_type, tuple(item.dims), item.raw_data) for item in graph.initializer if item.raw_data]
    assert len(set(inline)) == len(inline)
    assert not [node for node in graph.node if node.op_type == "Constant"]
    assert next(node for node in graph.node if node.op_type == "LSTM").name  # ONNX Runtime's messages say it
    assert not [node.name for node in graph.node if node.name.startswith("node_")]
    weights = {item.name for item in graph.initializer if item.external_data}
    assert weights == {f"m0.{name}" for name, _ in module.named_parameters()}
    assert all(re.fullmatch(r"out0|v\d+|", name) for node in graph.node for name in node.output)
    kinds = [node.op_type for node in graph.node if {*node.input} & weights]
    assert kinds == ["Split"] * 4  # of each weight and bias, its gates


def test_equal_weights_stay_apart() -> None:
    """In another subgraph of the structure they are not equal."""
    weight = numpy_helper.from_array(np.ones((2, 3), np.float32))
    model = onnx_ir.from_proto(
        model_of(
            [
                helper.make_node("Add", ["in0", "a"], ["x"], name="node_add"),
                helper.make_node("Add", ["x", "b"], ["y"], name="node_add_1"),
                helper.make_node("Mul", ["y", "one"], ["z"], name="node_mul"),
                helper.make_node("Mul", ["z", "other"], ["out0"], name="node_mul_1"),
            ],
            [
                onnx.TensorProto(**{"name": name, "data_type": 1, "dims": [2, 3], "raw_data": weight.raw_data})
                for name in ("one", "other")
            ],
        )
    )
    for name in ("a", "b"):
        content = onnx_ir.ExternalTensor(
            "weights.bin", 0, 0, onnx_ir.DataType.FLOAT, shape=onnx_ir.Shape([2, 3]), name=name
        )
        value = onnx_ir.Value(name=name, const_value=content)
        model.graph.register_initializer(value)
        for node in model.graph:
            for index, read in enumerate(node.inputs):
                if read is not None and read.name == name and read is not value:
                    node.replace_input_with(index, value)
    merge_constants(model)
    number_values(model)
    assert [(node.name, [value.name for value in node.inputs]) for node in model.graph] == [
        ("add", ["in0", "a"]),
        ("add_1", ["v0", "b"]),
        ("mul", ["v1", "c0"]),
        ("mul_1", ["v2", "c0"]),
    ]


def test_numbers_are_not_names_of_weights_and_reach_graphs_within_nodes() -> None:
    body = helper.make_graph(
        [helper.make_node("Add", ["in0", "v0"], ["inner"])],
        "body",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, [2, 3])],
    )
    model = onnx_ir.from_proto(
        model_of(
            [
                helper.make_node("Abs", ["in0"], ["v0"]),
                helper.make_node("ReduceMax", ["v0"], ["most"], keepdims=0),
                helper.make_node("Cast", ["most"], ["is_any"], to=TensorProto.BOOL),
                helper.make_node("If", ["is_any"], ["out0"], then_branch=body, else_branch=body),
            ]
        )
    )
    before = model.graph[0].outputs[0]
    number_values(model)
    assert before.name == "v0"
    proto = onnx_ir.to_proto(model)
    onnx.checker.check_model(proto)
    names = [name for attribute in proto.graph.node[3].attribute for node in attribute.g.node for name in node.output]
    assert len({*names, *(name for node in proto.graph.node for name in node.output)}) == 6


def test_an_attribute_is_left_out_only_with_its_default() -> None:
    model = model_of(
        [
            helper.make_node("Softmax", ["in0"], ["x"], axis=-1),
            helper.make_node("Softmax", ["x"], ["y"], axis=0),
            helper.make_node("LeakyRelu", ["y"], ["out0"], alpha=0.0),
        ]
    )
    drop_defaults(model)
    left = [[(item.name, helper.get_attribute_value(item)) for item in node.attribute] for node in model.graph.node]
    assert left == [[], [("axis", 0)], [("alpha", 0.0)]]


def test_a_cast_to_the_type_that_is_there_is_none() -> None:
    model = onnx_ir.from_proto(
        model_of(
            [
                helper.make_node("Transpose", ["in0"], ["x"], perm=[1, 0]),
                helper.make_node("CastLike", ["x", "in0"], ["y"]),
                helper.make_node("CastLike", ["one", "y"], ["z"]),
                helper.make_node("Transpose", ["z"], ["out0"], perm=[1, 0]),
            ],
            [numpy_helper.from_array(np.ones((3, 2), np.float64), "one")],
        )
    )
    tidy(model)
    assert [node.op_type for node in model.graph] == ["Transpose", "Identity", "CastLike", "Transpose"]


def _sliced(bounds: list[tuple[int, int]], steps: int = 1) -> onnx_ir.Model:
    """A weight of nine rows cut along them."""
    stored = [numpy_helper.from_array(np.zeros((9, 3), np.float32), "w")]
    nodes = []
    for index, (start, end) in enumerate(bounds):
        names = [f"{kind}{index}" for kind in ("start", "end", "axis", "step")]
        stored += [
            numpy_helper.from_array(np.array([n]), name) for name, n in zip(names, (start, end, -2, steps), strict=True)
        ]
        nodes.append(helper.make_node("Slice", ["w", *names], [f"p{index}"], name=f"Slice_{index}"))
    joined = helper.make_node("Concat", [f"p{index}" for index in range(len(bounds))], ["all"], axis=0)
    nodes += [
        joined,
        helper.make_node("ReduceSum", ["all"], ["sum"]),
        helper.make_node("Add", ["in0", "sum"], ["out0"]),
    ]
    return onnx_ir.from_proto(model_of(nodes, stored))


def test_slices_that_are_all_of_a_weight_are_one_split() -> None:
    model = _sliced([(4, 9), (-9, 2), (2, -5)])
    split_weights(model)
    split = model.graph[0]
    assert [node.op_type for node in model.graph] == ["Split", "Concat", "ReduceSum", "Add"]
    assert split.inputs[1] is not None
    assert split.inputs[1].const_value is not None
    assert split.inputs[1].const_value.numpy().tolist() == [2, 2, 5]
    assert list(model.graph[1].inputs) == [split.outputs[2], split.outputs[0], split.outputs[1]]
    onnx.checker.check_model(onnx_ir.to_proto(model), full_check=True)


def test_a_slice_may_be_a_result_of_the_graph() -> None:
    model = _sliced([(0, 4), (4, 9)])
    model.graph.outputs.append(model.graph[1].outputs[0])
    split_weights(model)
    split = model.graph[0]
    assert [node.op_type for node in model.graph] == ["Split", "Concat", "ReduceSum", "Add"]
    assert model.graph.outputs[1] is split.outputs[1]


@pytest.mark.parametrize("bounds", [[(0, 4), (4, 8)], [(0, 5), (4, 9)], [(1, 4), (4, 9)], [(0, 3), (4, 9)], [(0, 9)]])
def test_other_slices_stay(bounds: list[tuple[int, int]]) -> None:
    for model in (_sliced(bounds), _sliced([(0, 4), (4, 9)], steps=2)):
        before = [node.op_type for node in model.graph]
        split_weights(model)
        assert [node.op_type for node in model.graph] == before
