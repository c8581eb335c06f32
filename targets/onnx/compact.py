"""The same graph in fewer bytes: a small network's graphs weigh as much as its weights.

What a node is called stays, without the exporter's prefix: ONNX Runtime's messages and profiles name nodes. Values are
numbered, a constant stands once, and an attribute that has its default value is left out.

Before::

    node_Constant_3: val_3 = Constant(value_ints=[1])
    node_conv2d: conv2d = Conv(in0, m0.weight, group=1, auto_pad=NOTSET, pads=[1, 1, 1, 1])

After::

    conv2d: v0 = Conv(in0, m0.weight, pads=[1, 1, 1, 1])
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import onnx
import onnx_ir
from onnx import helper
from onnx_ir.passes import common as ir_passes

_PREFIX = "node_"


def merge_constants(model: onnx_ir.Model) -> None:
    """Constants become initializers, equal ones one initializer; what reads equal values is then done once."""
    ir_passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    first: dict[tuple[object, ...], onnx_ir.Value] = {}
    for name, value in list(model.graph.initializers.items()):
        content = value.const_value
        if content is None or isinstance(content, onnx_ir.ExternalTensor) or value.is_graph_output():
            continue  # a weight: another subgraph of the structure has other numbers there
        key = (content.dtype, tuple(content.shape), content.tobytes())
        known = first.setdefault(key, value)
        if known is not value:
            value.replace_all_uses_with(known)
            del model.graph.initializers[name]
    ir_passes.CommonSubexpressionEliminationPass()(model)


def number_values(model: onnx_ir.Model) -> None:
    """Call values v0, v1, ... and constants c0, c1, ...; inputs, outputs and weights keep their names."""
    weights = {
        value for value in model.graph.initializers.values() if isinstance(value.const_value, onnx_ir.ExternalTensor)
    }
    kept = weights | {*model.graph.inputs, *model.graph.outputs}
    taken = {value.name for value in kept}
    constants = (name for name in map("c{}".format, itertools.count()) if name not in taken)
    values = (name for name in map("v{}".format, itertools.count()) if name not in taken)
    for value in list(model.graph.initializers.values()):
        if value not in kept:
            value.name = next(constants)
    for node in model.graph.all_nodes():
        node.name = (node.name or "").removeprefix(_PREFIX)
        inner = [graph for attribute in node.attributes.values() for graph in _graphs(attribute)]
        made = (*node.outputs, *(value for graph in inner for value in (*graph.inputs, *graph.initializers.values())))
        for value in made:
            if value.name and value not in kept:
                value.name = next(values)


def _graphs(attribute: onnx_ir.Attr) -> Sequence[onnx_ir.Graph]:
    """The graphs that are an attribute of a node: the body of a loop."""
    if attribute.type == onnx_ir.AttributeType.GRAPH:
        return (attribute.as_graph(),)
    return attribute.as_graphs() if attribute.type == onnx_ir.AttributeType.GRAPHS else ()


def drop_defaults(model: onnx.ModelProto) -> None:
    """Leave out attributes with the values that they have anyway, here and in graphs within nodes."""
    versions = {opset.domain: opset.version for opset in model.opset_import}
    graphs = [model.graph]
    while graphs:
        for node in graphs.pop().node:
            for index in reversed(range(len(node.attribute))):
                if _is_default(node, node.attribute[index], versions):
                    del node.attribute[index]
            graphs += [attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH]


def _is_default(node: onnx.NodeProto, attribute: onnx.AttributeProto, versions: dict[str, int]) -> bool:
    if node.domain not in versions or not onnx.defs.has(node.op_type, versions[node.domain], node.domain):
        return False
    known = onnx.defs.get_schema(node.op_type, versions[node.domain], node.domain).attributes.get(attribute.name)
    if known is None or known.default_value.type != attribute.type:
        return False
    return bool(helper.get_attribute_value(known.default_value) == helper.get_attribute_value(attribute))
