"""One session for all subgraphs that are the same but for their weights: these become inputs.

Optimised models need not know what their weights are: whatever could be folded is. So where several have one graph, the
weights in which they differ are made inputs of it, and each subgraph says which of them it gives. A session then finds
its plan and its kernels in the caches that the call before has filled (the numbers are in `runtime.py`).

It costs a little for each input, and products with several rows pack a weight that is not constant in each call
(measured: 1 microsecond for 32 KiB). Where that is too much, each subgraph keeps a session of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from dycl.targets.onnxruntime.layout import read_inside

Place = tuple[str, int]  # a file of the artifact, and where in it a weight begins

_INPUT = 0.2  # microseconds to bind one more
_PACKED_BYTES = 32 << 10  # that are packed in a microsecond
_MOST = 5.0  # microseconds that a call may take longer where all is in the caches; where not, 9 are won
_FLOATS = {TensorProto.FLOAT: 4, TensorProto.DOUBLE: 8, TensorProto.FLOAT16: 2}
# Who reads a weight as it is. All others may pack it, when a session is opened or in each call.
_READERS = frozenset(
    (
        *("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Where", "PRelu", "Greater", "Less", "Concat", "Gather"),
        *("BatchNormalization", "InstanceNormalization", "GroupNormalization", "LayerNormalization"),
    )
)
_BLOCKED = "com.microsoft.nchwc"  # its convolutions take weights that lie in blocks already


@dataclass(frozen=True, slots=True)
class _Weights:
    """A model's weights that lie in files, by name, and the model without where they lie."""

    graph: bytes
    places: Mapping[str, Place]


def give_weights(models: Mapping[str, ModelProto]) -> dict[str, dict[str, Place]]:
    """Make the weights in which models of one graph differ inputs of them; for each model those that it is to be given.

    The models are changed; those of one graph are equal afterwards.
    """
    groups: dict[bytes, dict[str, _Weights]] = {}
    for name, model in models.items():
        weights = _find_weights(model)
        groups.setdefault(weights.graph, {})[name] = weights
    given: dict[str, dict[str, Place]] = {}
    for group in groups.values():
        members = [weights.places for weights in group.values()]
        differing = [name for name in members[0] if any(places[name] != members[0][name] for places in members)]
        if differing and _pays(models[next(iter(group))].graph, differing):
            for name, weights in group.items():
                _make_inputs(models[name].graph, differing)
                given[name] = {weight: weights.places[weight] for weight in differing}
    return given


def _find_weights(model: ModelProto) -> _Weights:
    bare = ModelProto()
    bare.CopyFrom(model)
    places: dict[str, Place] = {}
    for tensor in bare.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            facts = {entry.key: entry.value for entry in tensor.external_data}
            places[tensor.name] = (facts["location"], int(facts.get("offset", 0)))
            del tensor.external_data[:]
    return _Weights(bare.SerializeToString(deterministic=True), places)


def _pays(graph: GraphProto, names: Sequence[str]) -> bool:
    """Whether a call that is given these weights takes hardly longer than one that has them."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    wanted = [tensors[name] for name in names]
    if any(tensor.data_type not in _FLOATS for tensor in wanted):
        return False  # what is quantised must be constant for some kernels
    packed = {name for node in graph.node if not _reads_as_it_is(node) for name in (*node.input, *read_inside(node))}
    size = sum(math.prod(each.dims) * _FLOATS[each.data_type] for each in wanted if each.name in packed)
    more: float = _INPUT * len(wanted) + size / _PACKED_BYTES
    return more <= _MOST


def _reads_as_it_is(node: NodeProto) -> bool:
    return node.domain == _BLOCKED or (node.domain == "" and node.op_type in _READERS)


def _make_inputs(graph: GraphProto, names: Sequence[str]) -> None:
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    kept = [tensor for tensor in graph.initializer if tensor.name not in names]
    graph.input.extend(
        helper.make_tensor_value_info(name, tensors[name].data_type, list(tensors[name].dims)) for name in names
    )
    del graph.initializer[:]
    graph.initializer.extend(kept)
