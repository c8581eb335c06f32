"""Models in another version of ONNX's operators than the exporter writes (`--opset`).

Torch's exporter writes version 18; onnxscript's converter brings a model to a later one, operator by operator. What it
does not convert is refused, and so is what ONNX Runtime says it does not take.
"""

from __future__ import annotations

import functools

import onnx
import onnx_ir
from onnx import TensorProto, helper

from dycl.diagnostics import UNKNOWN, UsageError
from dycl.ir.nodes import Subgraph
from dycl.targets.base import refuse
from dycl.targets.check import first_line

_WRITTEN = 18  # by torch's exporter


def check_opset(opset: int) -> None:
    """Refuse a version that the exporter or ONNX Runtime does not have; 0: what the exporter writes."""
    if opset and not _WRITTEN <= opset <= latest_opset():
        raise UsageError(
            "DY505",
            UNKNOWN,
            f"--opset: there is no {opset} here",
            hint=f"{_WRITTEN}, which the exporter writes, to {latest_opset()}, the last that all packages here know",
        )


@functools.cache
def latest_opset() -> int:
    """The last version that onnx, the converter and ONNX Runtime know."""
    return next(opset for opset in range(_converted(), 0, -1) if _runs(opset))


def _converted() -> int:
    from onnxscript.version_converter import _version_converter

    known: int = _version_converter.SUPPORTED_MAX_ONNX_OPSET
    return min(known, onnx.defs.onnx_opset_version())


def _runs(opset: int) -> bool:
    """Whether ONNX Runtime opens a model of this version."""
    import onnxruntime as ort  # type: ignore[import-untyped]

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "probe", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception:  # ONNX Runtime has a class for each of its status codes and no base of its own
        return False
    return True


def convert_opset(subgraph: Subgraph, model: onnx_ir.Model, opset: int) -> None:
    """Bring the model to this version; 0 leaves it as the exporter wrote it."""
    if not opset or model.graph.opset_imports.get("") == opset:
        return
    from onnxscript.version_converter import _version_converter

    try:
        _version_converter.convert_version(model, target_version=opset)
    except Exception as error:  # the converter raises whatever its adapters raise
        raise refuse(subgraph, f"it cannot be brought to opset {opset}: {first_line(error)}") from error
    if model.graph.opset_imports.get("") != opset:
        raise refuse(subgraph, f"it cannot be brought to opset {opset}")
