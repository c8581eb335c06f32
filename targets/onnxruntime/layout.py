"""Models as ONNX Runtime optimises them, with chosen inputs and outputs in its blocked layout.

ONNX Runtime computes convolutions on values whose channels lie in blocks, and converts at the borders of every session.
There is no way to tell it that a value comes in blocks. So its optimiser gets a model in which such an input passes a
convolution first, and such an output passes one last: stand-ins for the subgraphs before and behind. It then does what
it does within one graph, and the stand-ins are cut off with the conversions beyond them. What remains is the subgraph
as it would be inside of the whole network; whatever does not look as expected is an error, and nothing is guessed.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from dycl.targets.onnx.compact import drop_defaults

_STAND_IN = "dycl_stand_in_"
_DOMAIN = "com.microsoft.nchwc"
_REORDERS = ("ReorderInput", "ReorderOutput")


class LayoutError(Exception):
    """The optimiser did something with a stand-in that it cannot be taken out of again."""


@dataclass(frozen=True, slots=True)
class Optimised:
    """A model as it will run, and how many conversions of layout are in it."""

    model: ModelProto
    reorders: int


def optimise(model: ModelProto, blocked: Mapping[str, int], directory: Path) -> Optimised:
    """The model optimised for this machine; `blocked` inputs and outputs, with their channels, come in blocks."""
    inputs = {port.name: blocked[port.name] for port in model.graph.input if port.name in blocked}
    outputs = {port.name: blocked[port.name] for port in model.graph.output if port.name in blocked}
    prepared = _with_stand_ins(model, inputs, outputs)
    optimised = _run_optimiser(prepared, directory)
    if blocked:
        _cut(optimised.graph, model.graph, list(inputs), list(outputs))
    _tidy(optimised)
    return Optimised(optimised, sum(_is_reorder(node) for node in optimised.graph.node))


# ---------------------------------------------------------------- stand-ins


def _with_stand_ins(model: ModelProto, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> ModelProto:
    prepared = ModelProto()
    prepared.CopyFrom(model)
    graph = prepared.graph
    for name, channels in inputs.items():
        _rename_inputs(graph, {name: f"{_STAND_IN}{name}"})
        graph.node.insert(0, _convolution(graph, name, f"{_STAND_IN}{name}", channels))
        # Another reader: an operation that follows cannot be made part of the stand-in.
        graph.node.append(_convolution(graph, f"{_STAND_IN}{name}", f"{_STAND_IN}{name}_kept", channels))
        _add_output(graph, f"{_STAND_IN}{name}_kept")
    for name, channels in outputs.items():
        graph.node.append(_convolution(graph, name, f"{_STAND_IN}{name}", channels))
        kept = [port for port in graph.output if port.name != name]
        del graph.output[:]
        graph.output.extend(kept)
        _add_output(graph, f"{_STAND_IN}{name}")
    return prepared


def _convolution(graph: GraphProto, source: str, target: str, channels: int) -> NodeProto:
    weight = np.random.default_rng(0).standard_normal((channels, channels, 1, 1)).astype(np.float32)
    graph.initializer.append(numpy_helper.from_array(weight, f"{target}_weight"))
    return helper.make_node("Conv", [source, f"{target}_weight"], [target], name=target)


def _add_output(graph: GraphProto, name: str) -> None:
    graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))


def _rename_inputs(graph: GraphProto, names: Mapping[str, str]) -> None:
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _rename_inputs(attribute.g, names)
                for port in attribute.g.output:
                    port.name = names.get(port.name, port.name)


# ---------------------------------------------------------------- ONNX Runtime's optimiser


def _run_optimiser(model: ModelProto, directory: Path) -> ModelProto:
    import onnxruntime as ort  # type: ignore[import-untyped]

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(directory.resolve()))
    with tempfile.TemporaryDirectory() as scratch:
        options.optimized_model_filepath = str(Path(scratch) / "optimised.onnx")
        ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"], enable_fallback=False
        )
        return onnx.load(options.optimized_model_filepath, load_external_data=False)


def _is_reorder(node: NodeProto) -> bool:
    return node.domain == _DOMAIN and node.op_type in _REORDERS


@functools.cache
def block_size() -> int:
    """How many channels lie beside each other on this machine; 0: ONNX Runtime does not know blocks here."""
    graph = helper.make_graph(
        [],
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64, 1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    graph.node.append(_convolution(graph, "x", "y", 64))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    optimised = _run_optimiser(model, Path.cwd())
    reorder = next((node for node in optimised.graph.node if node.op_type == "ReorderInput"), None)
    if reorder is None:
        return 0
    del optimised.graph.node[:], optimised.graph.output[:], optimised.graph.initializer[:]
    optimised.graph.node.append(reorder)
    _add_output(optimised.graph, reorder.output[0])
    values = np.arange(128, dtype=np.float32).reshape(1, 64, 1, 2)
    moved = _open(optimised).run(None, {"x": values})[0].reshape(-1)
    # The first value of the second pixel stands behind one of each channel of the first block.
    return int(np.flatnonzero(moved == 1.0)[0])


def _open(model: ModelProto) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def to_blocks(array: np.ndarray) -> np.ndarray:
    """The array with its channels in blocks, under its own shape."""
    batch, channels, height, width = array.shape
    size = block_size()
    parts = array.reshape(batch, channels // size, size, height, width).transpose(0, 1, 3, 4, 2)
    return np.ascontiguousarray(parts).reshape(array.shape)


def from_blocks(array: np.ndarray) -> np.ndarray:
    """The array as the model's source would have it."""
    batch, channels, height, width = array.shape
    size = block_size()
    parts = array.reshape(batch, channels // size, height, width, size).transpose(0, 1, 4, 2, 3)
    return np.ascontiguousarray(parts).reshape(array.shape)


# ---------------------------------------------------------------- cutting them off


def _cut(graph: GraphProto, original: GraphProto, inputs: list[str], outputs: list[str]) -> None:
    cutter = _Cutter(graph)
    names = {cutter.find_input(name): name for name in inputs}
    for name in inputs:
        cutter.find_output(f"{name}_kept")
    for name in outputs:
        value = cutter.find_output(name)
        if value in names:
            raise LayoutError(f"{name} is {names[value]} or another output")
        names[value] = name
    nodes = [node for node in graph.node if id(node) not in cutter.gone]
    # Where an output is read inside as well, its own name may stand for the value that is no longer in blocks.
    taken = {value for node in nodes for value in node.output}
    names |= {name: f"{name}_inside" for name in names.values() if name in taken and name not in names}
    if any(names.keys() & read_inside(node) for node in nodes):
        raise LayoutError("a graph within the graph reads a value that is cut")
    kept = []
    for node in nodes:
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [names.get(value, value) for value in node.input]
        copy.output[:] = [names.get(value, value) for value in node.output]
        kept.append(copy)
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend(kept)
    graph.input.extend(original.input)
    graph.output.extend(original.output)


class _Cutter:
    """Finds the stand-ins in an optimised graph."""

    def __init__(self, graph: GraphProto) -> None:
        self.gone: set[int] = set()
        self._nodes = list(graph.node)
        self._made = {value: node for node in self._nodes for value in node.output}

    def find_input(self, name: str) -> str:
        """The value that is the input in blocks: what the first stand-in makes."""
        reorder = self._only_reader(name, "ReorderInput")
        stand_in = self._only_reader(reorder.output[0], "Conv")
        self._check(stand_in)
        self.gone |= {id(reorder), id(stand_in)}
        return str(stand_in.output[0])

    def find_output(self, name: str) -> str:
        """The value that is the output in blocks: what the last stand-in reads."""
        reorder = self._maker(f"{_STAND_IN}{name}", "ReorderOutput")
        stand_in = self._maker(reorder.input[0], "Conv")
        self._check(stand_in)
        self.gone |= {id(reorder), id(stand_in)}
        value = str(stand_in.input[0])
        if value not in self._made:
            raise LayoutError(f"{name} is made by no node")
        return value

    def _only_reader(self, value: str, kind: str) -> NodeProto:
        readers = [node for node in self._nodes if value in node.input]
        if len(readers) != 1:
            raise LayoutError(f"{value} is read by {len(readers)} nodes")
        return self._expect(readers[0], kind)

    def _maker(self, value: str, kind: str) -> NodeProto:
        if value not in self._made:
            raise LayoutError(f"{value} is made by no node")
        return self._expect(self._made[value], kind)

    def _expect(self, node: NodeProto, kind: str) -> NodeProto:
        if (node.domain, node.op_type) != (_DOMAIN, kind):
            raise LayoutError(f"{kind} was expected, not {node.op_type}")
        return node

    def _check(self, node: NodeProto) -> None:
        """Whether a stand-in does still what it did: no bias, no sum, no activation, no padding."""
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        is_plain = not attributes.get("activation") and not any(attributes.get("pads", ()))
        if len([value for value in node.input if value]) != 2 or not is_plain:
            raise LayoutError("something became part of a stand-in")


def _tidy(model: ModelProto) -> None:
    """Drop what nothing reads, and what differs from one run, or from one model of a structure, to the next."""
    graph = model.graph
    used = {value for node in graph.node for value in node.input} | {port.name for port in graph.output}
    used |= {value for node in graph.node for value in read_inside(node)}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:], graph.value_info[:], model.metadata_props[:]
    graph.initializer.extend(kept)
    graph.name, model.producer_name, model.producer_version, model.doc_string = "subgraph", "dycl", "", ""
    opsets = [opset for opset in model.opset_import if opset.domain in {"", *_domains(graph)}]
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    for node in graph.node:
        node.doc_string = ""
    drop_defaults(model)
    _number_values(graph)


def _number_values(graph: GraphProto) -> None:
    """Name values and weights by their places; names from the model's source would make equal graphs differ."""
    if any(read_inside(node) for node in graph.node):
        return  # names of graphs within the graph would have to follow
    kept = {"", *(port.name for port in (*graph.input, *graph.output))}
    names: dict[str, str] = {}

    def name(value: str) -> str:
        return value if value in kept else names.setdefault(value, f"v{len(names)}")

    for node in graph.node:
        node.name = ""
        node.input[:] = [name(value) for value in node.input]
        node.output[:] = [name(value) for value in node.output]
    for tensor in graph.initializer:
        tensor.name = name(tensor.name)
    weights = sorted(graph.initializer, key=lambda tensor: int(tensor.name[1:]) if tensor.name not in kept else -1)
    del graph.initializer[:]
    graph.initializer.extend(weights)


def read_inside(node: NodeProto) -> set[str]:
    """The values that the graphs within a node (the body of a loop) read."""
    found: set[str] = set()
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            for inner in attribute.g.node:
                found |= {*inner.input, *read_inside(inner)}
            found |= {port.name for port in attribute.g.output}
    return found


def _domains(graph: GraphProto) -> set[str]:
    found = {node.domain for node in graph.node}
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                found |= _domains(attribute.g)
    return found
