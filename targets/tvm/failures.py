"""Why TVM makes nothing of a model, in words that name the operator.

TVM's importer takes the nodes of a model one by one, and what it raises is often none of its refusals but a slip on the
way there: "'ShapeType' object has no attribute 'shape'". Which node it was at stands in the frames of the failure.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import FrameType
from typing import Any

import onnx

from dycl.targets.check import first_line

_IMPORTER = "tvm.relax.frontend.onnx"
# What a function of Python raises that was not written for what it got; their texts mean nothing without the type.
_SLIPS = (ArithmeticError, AssertionError, AttributeError, LookupError, NameError, StopIteration, TypeError)


def explain_failure(error: Exception) -> str:
    """What an error of TVM says, and at which operator of the model if the importer raised it."""
    says = first_line(error)
    if isinstance(error, _SLIPS) and says != type(error).__name__:
        says = f"{type(error).__name__}: {says}"
    frames = [frame for frame in _frames(error) if frame.f_globals.get("__name__", "").startswith(_IMPORTER)]
    node, model = _innermost(frames, onnx.NodeProto), _innermost(frames, onnx.ModelProto)
    if node is None:
        return says
    sizes = ", whose sizes depend on data" if model is not None and _has_open_sizes(node, model) else ""
    return f"its importer fails at {node.op_type}{sizes}: {says}"


def _frames(error: Exception) -> Iterator[FrameType]:
    """The frames that the error came through, outermost first."""
    place = error.__traceback__
    while place is not None:
        yield place.tb_frame
        place = place.tb_next


def _innermost(frames: list[FrameType], kind: type) -> Any:
    """The last variable of this type in the frames; None if there is none."""
    found = [value for frame in frames for value in frame.f_locals.values() if isinstance(value, kind)]
    return found[-1] if found else None


def _has_open_sizes(node: onnx.NodeProto, model: onnx.ModelProto) -> bool:
    """Whether a size of what the node is given, or of what it makes, is none of the model's."""
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    known = {item.name for item in graph.initializer} | {name for made in graph.node for name in _constant(made)}
    for value in (*graph.input, *graph.value_info, *graph.output):
        shape = value.type.tensor_type.shape if value.type.tensor_type.HasField("shape") else None
        if shape is not None and all(dim.HasField("dim_value") for dim in shape.dim):
            known.add(value.name)
    return not known.issuperset(name for name in (*node.input, *node.output) if name)


def _constant(node: onnx.NodeProto) -> tuple[str, ...]:
    return tuple(node.output) if node.op_type == "Constant" else ()
