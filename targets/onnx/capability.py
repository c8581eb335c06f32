"""Whether an engine can take a subgraph, as far as its model tells without trying."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from dycl.targets.base import Capabilities
from dycl.targets.onnx.binding import BoundSubgraph
from dycl.targets.ports import input_ports, output_ports


def find_refusal(capabilities: Capabilities, bound: BoundSubgraph) -> str | None:
    """Why the engine cannot take the subgraph; None where nothing is known against it."""
    ports = (*input_ports(bound.subgraph), *output_ports(bound.subgraph))
    if not capabilities.run_time_sizes and any(isinstance(size, str) for port in ports for size in port.shape):
        return "it has run-time sizes"
    if capabilities.dtypes is not None:
        unknown = {port.dtype for port in ports} - capabilities.dtypes
        if unknown:
            return f"it has the type {min(unknown)}"
    if capabilities.operators is not None:
        foreign = [node.op_type for node in all_nodes(bound.model) if not _is_known(node, capabilities)]
        if foreign:
            return f"it has the operator {foreign[0]}"
    return None


def _is_known(node: onnx.NodeProto, capabilities: Capabilities) -> bool:
    assert capabilities.operators is not None
    return node.domain in ("", "ai.onnx") and node.op_type in capabilities.operators


def all_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a model and of the graphs inside of them."""
    pending = [model.graph]
    while pending:
        for node in pending.pop().node:
            yield node
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    pending.append(attribute.g)
                pending.extend(attribute.graphs)
