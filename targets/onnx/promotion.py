"""Give the numbers in an exported program the precision that Python's numbers have in torch.

The exporter turns a float into a float32, be it a literal or known at run time only, and has no conversion for several
operations that take a number of the second kind. Here such an operation gets a 0-d tensor instead, of the type that
torch computes in:

    item = aten.item(s)                    t = aten._to_copy(s, dtype=float64)
    y = aten.pow.Tensor_Scalar(x, item)    y = aten.pow.Tensor_Tensor(x, t)          # x: float64

What is left over and would lose precision (a float that flows into a float64 by another way) is refused.
"""

from __future__ import annotations

import operator

import torch
from torch.export import ExportedProgram
from torch.fx import Node

from dycl.diagnostics import TargetError
from dycl.ir.nodes import Subgraph
from dycl.targets.onnx.emitter import Emitter, float32_parts

_aten = torch.ops.aten

_ARITHMETIC = ("add", "sub", "mul", "div", "remainder", "fmod")

# Operations with a number as an operand, and the same operation on two tensors. In-place forms behave alike.
_ON_TENSORS: dict[object, object] = {
    getattr(getattr(_aten, name), scalar): getattr(getattr(_aten, name), tensor)
    for name, scalar, tensor in [
        *((base + tail, form, "Tensor") for base in _ARITHMETIC for tail in ("", "_") for form in ("Scalar", "Tensor")),
        *((base, form, "Tensor") for base in ("gt", "ge", "lt", "le", "eq", "ne") for form in ("Scalar", "Tensor")),
        *(("true_divide" + tail, form, "Tensor") for tail in ("", "_") for form in ("Scalar", "Tensor")),
        ("floor_divide", "default", "default"),
        ("floor_divide_", "Tensor", "Tensor"),
        ("rsub", "Scalar", "Tensor"),
        ("pow", "Tensor_Scalar", "Tensor_Tensor"),
        ("pow", "Scalar", "Tensor_Tensor"),
        ("pow_", "Scalar", "Tensor"),
        ("div", "Scalar_mode", "Tensor_mode"),
        ("div", "Tensor_mode", "Tensor_mode"),
        ("remainder", "Scalar_Tensor", "Tensor"),
    ]
}  # fmt: skip


def rewrite_float_scalars(subgraph: Subgraph, program: ExportedProgram) -> None:
    """Replace, in the program's graph, numbers known at run time by 0-d tensors where an operation takes both."""
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        if node.op == "call_function" and node.target in _ON_TENSORS:
            _rewrite(graph, node)
    graph.eliminate_dead_code()
    graph.lint()
    program.graph_module.recompile()
    _check_precision(subgraph, program)


def _rewrite(graph: torch.fx.Graph, node: Node) -> None:
    numbers = [i for i, arg in enumerate(node.args[:2]) if _source(arg) is not None or isinstance(arg, float)]
    tensors = [arg for arg in node.args[:2] if isinstance(arg, Node) and isinstance(arg.meta.get("val"), torch.Tensor)]
    if len(numbers) != 1 or len(tensors) != 1:
        return
    tensor, (position,) = tensors[0], numbers
    number = node.args[position]
    source: Node | float | None = _source(number)
    if source is None:
        assert isinstance(number, float)
        if tensor.meta["val"].dtype != torch.float64 or len(float32_parts(number)) == 1:
            return
        source = number
    example = 1 if isinstance(number, Node) and isinstance(number.meta["val"], torch.SymInt) else 1.0
    dtype = torch.result_type(torch.empty((1,), dtype=tensor.meta["val"].dtype), example)
    in_place = str(node.target).split(".")[1].endswith("_")
    if in_place and dtype != tensor.meta["val"].dtype:
        return
    if "pow" in str(node.target) and not dtype.is_floating_point:
        return  # a negative exponent raises in torch; the exporter refuses this one
    args = list(node.args)
    with graph.inserting_before(node):
        emit = Emitter(graph, tensor.meta["val"].fake_mode)
        args[position] = emit.operand(source, dtype)
        if not in_place:
            args[1 - position] = emit.operand(tensor, dtype)
    node.target = _ON_TENSORS[node.target]  # type: ignore[assignment]
    node.args = tuple(args)


def _source(arg: object) -> Node | None:
    """The 0-d tensor whose `.item()` the argument is."""
    if (
        isinstance(arg, Node)
        and arg.op == "call_function"
        and arg.target in (_aten.item.default, _aten._local_scalar_dense.default)
    ):
        source = arg.args[0]
        assert isinstance(source, Node)
        return source if isinstance(arg.meta.get("val"), (torch.SymFloat, torch.SymInt)) else None
    return None


def _check_precision(subgraph: Subgraph, program: ExportedProgram) -> None:
    for node in program.graph_module.graph.nodes:
        floats = [arg for arg in node.all_input_nodes if isinstance(arg.meta.get("val"), torch.SymFloat)]
        value = node.meta.get("val")
        exact = getattr(node.target, "__module__", "") == operator.__name__
        if floats and not exact and isinstance(value, torch.Tensor) and value.dtype == torch.float64:
            raise TargetError(
                "DY401",
                subgraph.loc,
                f"subgraph {subgraph.name}: {node.target} mixes a number known at run time into a float64 tensor;"
                " the exporter would round it to float32",
                hint="make it a tensor in the model, or convert the model to float32",
            )
