"""What work costs, in microseconds: an estimate that is good enough to tell a dispatch from a convolution.

Measured with ONNX Runtime on one thread of a server's processor: a dispatch takes 5 and more where it is not called in
a loop of its own, a node 0.3; memory passes at some 10 bytes a nanosecond, and a layer computes some 20 operations in
one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dycl.ir.environment import Environment
from dycl.ir.graph import op_uses
from dycl.ir.nodes import Block, CallModule, TensorOp, TensorType, ValueId, ValueType
from dycl.passes.schedule import schedule_block

DISPATCH = 6.0
_NODE = 0.3
_BYTES = 10e3  # in a microsecond
_FLOATING = 20e3
_USUAL = 16  # elements, where a size is known at run time alone
_WIDTHS = {"float64": 8, "int64": 8, "float32": 4, "int32": 4, "float16": 2, "int16": 2}


def estimate_bytes(kind: ValueType) -> int:
    """The size of a tensor; of anything else, none."""
    if not isinstance(kind, TensorType):
        return 0
    size = _WIDTHS.get(kind.dtype, 1)
    for dim in kind.shape:
        size *= dim if isinstance(dim, int) else _USUAL
    return size


def estimate_transfer(size: int) -> float:
    """To hand values from one dispatch to another: they are written out, often in another layout, and read again."""
    return 2 * size / _BYTES


def estimate_operations(ops: Iterable[TensorOp], types: Mapping[ValueId, ValueType], environment: Environment) -> float:
    """To compute the operations within a dispatch that is there anyway."""
    return sum(_estimate(op, types, environment) for op in ops)


def count_dispatches(block: Block, types: Mapping[ValueId, ValueType], environment: Environment) -> int:
    """How many dispatches the tensor operations of a block are."""
    levels = schedule_block(block, types, environment)
    return len({level for op, level in zip(block.ops, levels, strict=True) if isinstance(op, TensorOp)})


def count_weight_bytes(ops: Iterable[TensorOp], environment: Environment) -> int:
    """The size of the weights of all layers among the operations."""
    paths = dict.fromkeys(op.target.path for op in ops if isinstance(op.target, CallModule))
    modules = [environment.modules[path] for path in paths if path in environment.modules]
    return sum(weight.numel() * weight.element_size() for module in modules for weight in module.parameters())


def _estimate(op: TensorOp, types: Mapping[ValueId, ValueType], environment: Environment) -> float:
    made = sum(estimate_bytes(result.type) for result in op.results)
    read = sum(estimate_bytes(types[value]) for value in op_uses(op) if value in types)
    spent = _NODE + (made + read) / _BYTES
    module = environment.modules.get(op.target.path) if isinstance(op.target, CallModule) else None
    if module is not None:
        # A weight of `n` outputs meets each position of the result once: rows of a matrix, pixels of a picture.
        for weight in module.parameters():
            positions = made / 4 / max(weight.shape[0], 1) if weight.dim() > 1 else 1
            spent += 2 * weight.numel() * max(positions, 1) / _FLOATING
    return spent
