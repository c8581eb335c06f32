"""What goes into a compiled subgraph and comes out of it, and which weights the host itself reads."""

from __future__ import annotations

from dycl.diagnostics import InternalError
from dycl.ir.dataflow import end_operands
from dycl.ir.nodes import Subgraph, TensorOp
from dycl.ir.program import Program
from dycl.ir.values import Operand, ScalarType, TensorType
from dycl.targets.base import Port
from dycl.targets.module import weight_names
from dycl.targets.samples import SCALAR_DTYPES


def input_ports(subgraph: Subgraph) -> tuple[Port, ...]:
    """One for each parameter: in0, in1, ..."""
    ports = []
    for index, param in enumerate(subgraph.params):
        match param.type:
            case TensorType(dtype=dtype, shape=shape):
                ports.append(Port(f"in{index}", dtype, shape))
            case ScalarType(kind=kind):
                ports.append(Port(f"in{index}", SCALAR_DTYPES[kind], (), scalar=kind.value))
            case _:
                raise InternalError(f"{subgraph.name}: {param} passed the check of types")
    return tuple(ports)


def output_ports(subgraph: Subgraph) -> tuple[Port, ...]:
    """One for each result: out0, out1, ..."""
    defined = [*subgraph.params]
    for op in subgraph.ops:
        defined += [*op.results, *(new for _, new in op.mutates)]
    types = {value.id: value.type for value in defined}
    ports = []
    for index, result in enumerate(subgraph.results):
        match types[result]:
            case TensorType(dtype=dtype, shape=shape):
                ports.append(Port(f"out{index}", dtype, shape))
            case other:
                raise InternalError(f"{subgraph.name}: result {index} is {other}, not a tensor")
    return tuple(ports)


def host_weights(program: Program) -> tuple[str, ...]:
    """The weights that the host itself reads, in order."""
    operands: list[Operand] = [*program.initial]
    for block in program.blocks:
        for op in block.ops:
            if not isinstance(op, TensorOp):
                operands += op.args
        operands += end_operands(block.end)
    return tuple(dict.fromkeys(name for operand in operands for name in weight_names(operand)))
