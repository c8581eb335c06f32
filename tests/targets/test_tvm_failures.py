"""What is said of a model that TVM does not compile: at which operator, and why."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("tvm")

from dycl.targets.tvm.failures import explain_failure
from dycl.targets.tvm.lower import lower_model
from dycl.targets.tvm.model import prepare_model
from dycl.targets.tvm.package import import_tvm
from dycl.targets.tvm.processor import find_processor

Port = tuple[str, int, list[int | None]]


def explain(nodes: list[onnx.NodeProto], inputs: list[Port], output: Port) -> str:
    """What is said of a model of these nodes."""
    import_tvm()
    ports = [[helper.make_tensor_value_info(*port) for port in some] for some in (inputs, [output])]
    graph = helper.make_graph(nodes, "graph", *ports)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    try:
        lower_model(prepare_model(made, []), find_processor(""))
    except Exception as error:  # whatever TVM raises
        return explain_failure(error)
    raise AssertionError("TVM compiles it")


def whole(name: str, *values: int) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array(values, np.int64)))


def test_a_slip_of_the_importer_is_said_with_the_operator_and_its_type() -> None:
    nodes = [
        whole("zero", 0),
        helper.make_node("Slice", ["x", "zero", "stop", "zero"], ["cut"]),
        helper.make_node("Shape", ["cut"], ["sizes"]),
        helper.make_node("Expand", ["y", "sizes"], ["wide"]),
        helper.make_node("Relu", ["wide"], ["out"]),
    ]
    inputs: list[Port] = [
        ("x", TensorProto.FLOAT, [4, 4]),
        ("stop", TensorProto.INT64, [1]),
        ("y", TensorProto.FLOAT, [1, 1]),
    ]
    said = explain(nodes, inputs, ("out", TensorProto.FLOAT, [None, 4]))
    assert said.startswith("its importer fails at Expand, whose sizes depend on data: AttributeError: ")


def test_sizes_that_the_model_tells_are_no_reason() -> None:
    nodes = [
        whole("around", 1, 1, 1, 1),
        helper.make_node("Pad", ["x", "around"], ["wide"], mode="wrap"),
        helper.make_node("Relu", ["wide"], ["out"]),
    ]
    said = explain(nodes, [("x", TensorProto.FLOAT, [4, 4])], ("out", TensorProto.FLOAT, [6, 6]))
    assert said.startswith("its importer fails at Pad: ")
    assert "wrap" in said


def test_what_a_pass_raises_is_said_as_it_is() -> None:
    try:
        for node in (whole("zero", 0),):  # which is at hand where it is raised, and none of the importer's
            raise ValueError(f"no schedule\nfor {node.op_type}")
    except ValueError as error:
        assert explain_failure(error) == "no schedule"
    assert explain_failure(StopIteration()) == "StopIteration"
    assert explain_failure(KeyError("axis")) == "KeyError: 'axis'"
