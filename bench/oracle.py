"""The oracle of a call: one static ONNX graph of exactly the path that its input takes, predicates included as outputs.

The reference executor runs the partitioned program and tells which subgraph ran on what. Their models, put behind each
other in that order, are the graph. What the host reads of a tensor, and what the call returns, are its outputs. Numbers
that the host passes to a subgraph are constants of the path, but for those that come from the caller's objects (the
words of a tree): these are inputs, or ONNX Runtime would compute the whole call when it loads the graph. So it sees the
whole path at once, free to optimise across every border that a host needs: what a perfect dynamic compiler could reach
with the same target. Where the source itself calls numpy, no graph stands for that: these calls are noted, for whoever
runs the oracle to make them, too.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import torch
from torch.utils import _pytree

from dycl.ir.clocks import find_derived
from dycl.ir.environment import Environment
from dycl.ir.executor import Executor, Values
from dycl.ir.nodes import Dispatch, HostOp, Op
from dycl.ir.program import Program
from dycl.ir.values import Operand, Ref
from dycl.sampling import map_leaves
from dycl.targets.onnxruntime.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Step:
    """One dispatch of a call: its subgraph, and the names of what it read and made."""

    subgraph: str
    inputs: tuple[object, ...]  # the name of a tensor, or a number that the host passed
    outputs: tuple[str, ...]


@dataclass(slots=True)
class CallPath:
    """What one call did: its dispatches in order, and the tensors that came from elsewhere or are wanted at the end."""

    steps: list[Step] = field(default_factory=list)
    inputs: dict[str, torch.Tensor] = field(default_factory=dict)
    outputs: dict[str, torch.Tensor] = field(default_factory=dict)
    numpy: list[tuple[str, list[object]]] = field(default_factory=list)  # the source's own calls: function, operands


_NUMBERS = {int: torch.int64, float: torch.float64, bool: torch.bool}


def _reads_object(op: Op) -> bool:
    return isinstance(op, HostOp) and op.function in ("attr", "attr_now", "entry")


class Recorder(Executor):
    """The reference executor, which notes the path of a call."""

    def __init__(self, program: Program, environment: Environment) -> None:
        super().__init__(program, environment)
        self._path = CallPath()
        self._names: dict[int, str] = {}
        self._kept: list[object] = []  # an id stays that of its tensor
        self._given = find_derived(program, _reads_object)

    def record(self, args: Sequence[object], kwargs: dict[str, object]) -> CallPath:
        """The path of this call from the model's first state."""
        self.reset()
        self._path, self._names, self._kept = CallPath(), {}, []
        result = self.call(*args, **kwargs)
        self._want(_pytree.tree_leaves(result))
        map_leaves(result, lambda leaf: self._want([leaf]))
        self._want(_pytree.tree_leaves(self._state))
        return self._path

    def _run_dispatch(self, op: Dispatch, values: Values) -> None:
        super()._run_dispatch(op, values)
        inputs = tuple(
            self._name(torch.tensor(value, dtype=_NUMBERS[type(value)]) if self._is_given(arg, value) else value)
            for arg, value in zip(op.args, self._objects(op.args, values), strict=True)
        )
        made: list[str] = []
        for value in op.results:
            # A result may be one object with an input or another result: each gets a name of its own.
            tensor = values[value.id]
            assert isinstance(tensor, torch.Tensor)
            values[value.id] = fresh = tensor.view_as(tensor)
            made.append(self._define(fresh))
        self._path.steps.append(Step(self._subgraphs[op.subgraph].name, inputs, tuple(made)))

    def _run_host_op(self, op: HostOp, values: Values) -> None:
        args = list(self._objects(op.args, values))
        leaves = _pytree.tree_leaves(args)
        self._want(leaves)
        if op.function.startswith("np.") and not any(isinstance(leaf, torch.Tensor) for leaf in leaves):
            self._path.numpy.append((op.function, copy.deepcopy(args)))
        super()._run_host_op(op, values)

    def _is_given(self, arg: Operand, value: object) -> bool:
        """Whether it is a number that the caller has passed in an object."""
        return isinstance(arg, Ref) and arg.id in self._given and type(value) in _NUMBERS

    def _define(self, tensor: torch.Tensor) -> str:
        self._kept.append(tensor)
        self._names[id(tensor)] = name = f"t{len(self._names)}"
        return name

    def _name(self, value: object) -> object:
        if not isinstance(value, torch.Tensor):
            return value
        if id(value) not in self._names:
            self._path.inputs[self._define(value)] = value
        return self._names[id(value)]

    def _want(self, values: Iterable[object]) -> None:
        for value in values:
            name = self._names.get(id(value)) if isinstance(value, torch.Tensor) else None
            if name is not None and name not in self._path.inputs:
                assert isinstance(value, torch.Tensor)
                self._path.outputs[name] = value


def build_graph(path: CallPath, artifact: Path) -> onnx.ModelProto:
    """The path as one model over the artifact's `weights.bin`."""
    merger = _Merger(artifact)
    for number, step in enumerate(path.steps):
        merger.add(number, step)
    return merger.finish(path)


def graph_key(path: CallPath) -> str:
    """Equal for calls that may share a graph: the same dispatches on the same names, numbers and shapes, in and out."""
    shapes = [[(name, tuple(tensor.shape)) for name, tensor in group.items()] for group in (path.inputs, path.outputs)]
    return hashlib.sha256(repr((path.steps, shapes)).encode()).hexdigest()[:16]


class _Merger:
    """Puts models behind each other, each value of each under a name of its own, each weight once."""

    def __init__(self, artifact: Path) -> None:
        self._runtime = Runtime(artifact, threads=1, tuned=False, device="cpu")
        self._models: dict[str, onnx.ModelProto] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}
        self._weights: dict[bytes, str] = {}
        self._opsets: dict[str, int] = {}

    def add(self, number: int, step: Step) -> None:
        model = self._load(step.subgraph)
        names = {"": ""}
        for value, wanted in zip(model.graph.input, step.inputs, strict=True):
            names[value.name] = wanted if isinstance(wanted, str) else self._constant(value, wanted)
        for value, made in zip(model.graph.output, step.outputs, strict=True):
            names[value.name] = made
        for initializer in model.graph.initializer:
            names[initializer.name] = self._weight(initializer)
        for node in model.graph.node:
            self._nodes.append(_renamed(node, names, f"d{number}_"))

    def _load(self, name: str) -> onnx.ModelProto:
        if name not in self._models:
            model = onnx.load_model_from_string(self._runtime.model(name))
            self._models[name] = model
            for opset in model.opset_import:
                self._opsets[opset.domain] = max(opset.version, self._opsets.get(opset.domain, 0))
        return self._models[name]

    def _constant(self, value: onnx.ValueInfoProto, number: object) -> str:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        return self._weight(onnx.numpy_helper.from_array(np.array(number, dtype)))

    def _weight(self, tensor: onnx.TensorProto) -> str:
        copy = onnx.TensorProto()
        copy.CopyFrom(tensor)
        copy.name = ""
        key = copy.SerializeToString(deterministic=True)
        if key not in self._weights:
            self._weights[key] = copy.name = f"w{len(self._weights)}"
            self._initializers[copy.name] = copy
        return self._weights[key]

    def finish(self, path: CallPath) -> onnx.ModelProto:
        nodes, used = self._needed(set(path.outputs))
        graph = onnx.helper.make_graph(
            nodes,
            "oracle",
            [_value(name, tensor) for name, tensor in path.inputs.items()],
            [_value(name, tensor) for name, tensor in path.outputs.items()],
            [tensor for name, tensor in self._initializers.items() if name in used],
        )
        opsets = [onnx.helper.make_opsetid(domain, version) for domain, version in self._opsets.items()]
        first = next(iter(self._models.values()))
        return onnx.helper.make_model(
            graph, opset_imports=opsets, ir_version=first.ir_version, functions=first.functions
        )

    def _needed(self, wanted: set[str]) -> tuple[list[onnx.NodeProto], set[str]]:
        """The nodes that these values come from, and what they read: the oracle does nothing in vain."""
        nodes: list[onnx.NodeProto] = []
        for node in reversed(self._nodes):
            if wanted.intersection(node.output):
                nodes.insert(0, node)
                wanted |= _read_by(node)
        return nodes, wanted


def _read_by(node: onnx.NodeProto) -> set[str]:
    """The values that a node reads, those that only the graphs in it (the body of a loop) read among them."""
    inner = [attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH]
    found = {*node.input}
    for graph in inner:
        found |= {value.name for value in graph.output}
        for part in graph.node:
            found |= _read_by(part)
    return found


def _value(name: str, tensor: torch.Tensor) -> onnx.ValueInfoProto:
    dtype = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(str(tensor.dtype).removeprefix("torch.")))
    return onnx.helper.make_tensor_value_info(name, dtype, tuple(tensor.shape))


def _renamed(node: onnx.NodeProto, names: dict[str, str], prefix: str) -> onnx.NodeProto:
    """The node with all names changed; inside of its own graphs (a loop's body) too."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.name = f"{prefix}{node.name}"
    copy.input[:] = [names.get(name, f"{prefix}{name}") for name in node.input]
    copy.output[:] = [names.get(name, f"{prefix}{name}") for name in node.output]
    for attribute in copy.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            _rename_graph(attribute.g, names, prefix)
    return copy


def _rename_graph(graph: onnx.GraphProto, names: dict[str, str], prefix: str) -> None:
    for value in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        value.name = names.get(value.name, f"{prefix}{value.name}")
    nodes = [_renamed(node, names, prefix) for node in graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
