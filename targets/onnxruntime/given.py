"""One session for all subgraphs that are the same but for their weights and numbers: these become inputs.

Optimised models need not know what their weights are: whatever could be folded is. So where several have one graph, the
weights in which they differ are made inputs of it, and each subgraph says which of them it gives. A session then finds
its plan and its kernels in the caches that the call before has filled (the numbers are in `runtime.py`). The same holds
of numbers that lie in the graphs, a threshold or the bounds of a slice, where kernels read them in each call: rounds of
a loop that was written out are one session still. One that takes its inputs in another order is told their names.

It costs a little for each input, and products with several rows pack a weight that is not constant in each call
(measured: 1 microsecond for 32 KiB). Where that is too much, each subgraph keeps a session of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from dycl.targets.onnxruntime.layout import read_inside

Place = tuple[str, int]  # a file of the artifact, and where in it a weight begins

_INPUT = 0.2  # microseconds to bind one more
_PACKED_BYTES = 32 << 10  # that are packed in a microsecond
_MOST = 5.0  # microseconds that a call may take longer where all is in the caches; where not, 9 are won
_FLOATS = {TensorProto.FLOAT: 4, TensorProto.DOUBLE: 8, TensorProto.FLOAT16: 2}
_NUMBERS = {*_FLOATS, TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL}
# Who reads a weight as it is. All others may pack it, when a session is opened or in each call.
_READERS = frozenset(
    (
        *("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Where", "PRelu", "Greater", "Less", "Concat", "Gather"),
        *("GreaterOrEqual", "LessOrEqual", "Equal", "And", "Or", "Clip", "Slice"),
        *("BatchNormalization", "InstanceNormalization", "GroupNormalization", "LayerNormalization"),
    )
)
_BLOCKED = "com.microsoft.nchwc"  # its convolutions take weights that lie in blocks already


@dataclass(frozen=True, slots=True)
class Given:
    """What a model is given with each call besides the subgraph's inputs, and how these are named where not as ever."""

    weights: Mapping[str, Place] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Named:
    """A model whose values are named by where they stand; each reader of a number has one of its own."""

    model: ModelProto
    inputs: Mapping[str, str]  # the names that they have in it, by those that they had
    contents: Mapping[str, Place | bytes]  # of weights that lie in files, and of numbers, by name
    outline: bytes  # the model without these


def give_weights(models: Mapping[str, ModelProto], store: Callable[[bytes], Place]) -> dict[str, Given]:
    """Make the weights and numbers in which models of one graph differ inputs of them; what each is given then.

    The models are changed; those of one graph are equal afterwards. `store` is where numbers go that lay in a model.
    """
    groups: dict[bytes, dict[str, _Named]] = {}
    for name, model in models.items():
        named = _name_values(model)
        groups.setdefault(named.outline, {})[name] = named
    given: dict[str, Given] = {}
    for group in groups.values():
        if len(group) == 1:
            continue
        common = next(iter(group.values())).model
        inputs = _find_differing(common.graph, [named.contents for named in group.values()])
        if not _pays(common.graph, list(inputs.values())):
            continue
        _make_inputs(common.graph, inputs)
        _share_constants(common.graph)
        for name, named in group.items():
            models[name].CopyFrom(common)
            found = {each: named.contents[each] for each in dict.fromkeys(inputs.values())}
            given[name] = Given(
                {each: store(content) if isinstance(content, bytes) else content for each, content in found.items()},
                {own: its for own, its in named.inputs.items() if own != its},
            )
    return given


def _name_values(model: ModelProto) -> _Named:
    named = ModelProto()
    named.CopyFrom(model)
    if _find_inside(model.graph):
        inputs = {port.name: port.name for port in model.graph.input}  # graphs within the graph would have to follow
    else:
        inputs = _Namer(named.graph).run()
    _number_sizes(named.graph)
    kept = _find_packed(named.graph) | {port.name for port in named.graph.output}
    bare = ModelProto()
    bare.CopyFrom(named)
    contents: dict[str, Place | bytes] = {}
    for tensor in bare.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            facts = {entry.key: entry.value for entry in tensor.external_data}
            contents[tensor.name] = (facts["location"], int(facts.get("offset", 0)))
            del tensor.external_data[:]
        elif tensor.data_type in _NUMBERS and tensor.name not in kept and math.prod(tensor.dims):
            contents[tensor.name] = numpy_helper.to_array(tensor).tobytes()
            tensor.CopyFrom(TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims))
    return _Named(named, inputs, contents, bare.SerializeToString(deterministic=True))


class _Namer:
    """Names the values of a graph in the order in which its nodes read and make them.

    Whether two numbers in a graph happen to be equal is nothing of its structure: ONNX Runtime makes such numbers one,
    and here each reader gets its own again.
    """

    def __init__(self, graph: GraphProto) -> None:
        self._graph = graph
        self._ports = {port.name: port for port in graph.input}
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        self._names: dict[str, str] = {"": "", **{port.name: port.name for port in graph.output}}
        self._inputs: list[ValueInfoProto] = []
        self._initializers = [tensor for name, tensor in self._tensors.items() if name in self._names]
        self._made = count()

    def run(self) -> dict[str, str]:
        """The new names of the inputs."""
        for node in self._graph.node:
            node.input[:] = [self._read(value) for value in node.input]
            node.output[:] = [self._names.setdefault(value, f"v{next(self._made)}") for value in node.output]
        for name in self._ports:
            self._read(name)
        del self._graph.input[:], self._graph.initializer[:]
        self._graph.input.extend(self._inputs)
        self._graph.initializer.extend(self._initializers)
        return {name: self._names[name] for name in self._ports}

    def _read(self, value: str) -> str:
        tensor = self._tensors.get(value)
        if tensor is not None and tensor.data_location != TensorProto.EXTERNAL:
            return self._add(tensor)
        if value not in self._names:
            if tensor is not None:
                self._names[value] = self._add(tensor)
            else:
                self._names[value] = f"in{len(self._inputs)}"
                self._inputs.append(ValueInfoProto(name=self._names[value], type=self._ports[value].type))
        return self._names[value]

    def _add(self, tensor: TensorProto) -> str:
        name = f"w{len(self._initializers)}"
        self._initializers.append(TensorProto())
        self._initializers[-1].CopyFrom(tensor)
        self._initializers[-1].name = name
        return name


def _number_sizes(graph: GraphProto) -> None:
    """Name the sizes that only the call knows in the order in which they come."""
    numbers: dict[str, str] = {}
    for port in (*graph.input, *graph.output):
        for size in port.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = numbers.setdefault(size.dim_param, f"d{len(numbers)}")


def _find_differing(graph: GraphProto, members: Sequence[Mapping[str, Place | bytes]]) -> dict[str, str]:
    """The initializers in which models differ, each with the first that is the same as it in every model."""
    first: dict[tuple[object, ...], str] = {}
    found: dict[str, str] = {}
    inside = _find_inside(graph)
    for tensor in graph.initializer:
        values = tuple(contents.get(tensor.name) for contents in members)
        if any(value != values[0] for value in values):
            same = first.setdefault((tensor.data_type, *tensor.dims, values), tensor.name)
            found[tensor.name] = tensor.name if tensor.name in inside else same
    return found


def _find_inside(graph: GraphProto) -> set[str]:
    """The values that graphs within the graph read, and which therefore keep their names."""
    return {name for node in graph.node for name in read_inside(node)}


def _pays(graph: GraphProto, names: Sequence[str]) -> bool:
    """Whether a call that is given these weights takes hardly longer than one that has them."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    packed = _find_packed(graph)
    wanted = [tensors[name] for name in names if name in packed]
    if any(tensor.data_type not in _FLOATS for tensor in wanted):
        return False  # what is quantised must be constant for some kernels
    size = sum(math.prod(each.dims) * _FLOATS[each.data_type] for each in wanted)
    more: float = _INPUT * len(set(names)) + size / _PACKED_BYTES
    return more <= _MOST


def _find_packed(graph: GraphProto) -> set[str]:
    """The values that some kernel does not just read as they are."""
    return _find_inside(graph).union(*(node.input for node in graph.node if not _reads_as_it_is(node)))


def _reads_as_it_is(node: NodeProto) -> bool:
    return node.domain == _BLOCKED or (node.domain == "" and node.op_type in _READERS)


def _make_inputs(graph: GraphProto, names: Mapping[str, str]) -> None:
    """Make initializers inputs, each by the name that it is to have."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    kept = [tensor for tensor in graph.initializer if tensor.name not in names]
    graph.input.extend(
        helper.make_tensor_value_info(name, tensors[name].data_type, list(tensors[name].dims))
        for name in dict.fromkeys(names.values())
    )
    _replace_initializers(graph, kept, names)


def _share_constants(graph: GraphProto) -> None:
    """Let equal constants be one."""
    first: dict[bytes, TensorProto] = {}
    names: dict[str, str] = {}
    for tensor in graph.initializer:
        content = TensorProto()
        content.CopyFrom(tensor)
        content.name = ""
        names[tensor.name] = first.setdefault(content.SerializeToString(deterministic=True), tensor).name
    needed = {port.name for port in graph.output} | _find_inside(graph)
    kept = [tensor for tensor in graph.initializer if names[tensor.name] == tensor.name or tensor.name in needed]
    _replace_initializers(graph, kept, names)


def _replace_initializers(graph: GraphProto, kept: Sequence[TensorProto], names: Mapping[str, str]) -> None:
    for node in graph.node:
        node.input[:] = [names.get(value, value) for value in node.input]
    del graph.initializer[:]
    graph.initializer.extend(kept)
