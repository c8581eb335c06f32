"""What work costs, in microseconds: an estimate that is good enough to tell a dispatch from a convolution.

Measured with ONNX Runtime on one thread of a server's processor, over the subgraphs of twelve networks of the zoo: a
dispatch takes 8 where it is not called in a loop of its own; a kernel 1.2 before it computes anything; memory passes at
some 10 bytes a nanosecond, and a layer computes some 30 operations in one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from torch import nn

from dycl.ir.dataflow import op_uses
from dycl.ir.environment import Environment
from dycl.ir.nodes import Block, CallModule, TensorOp
from dycl.ir.values import TensorType, ValueId, ValueType
from dycl.passes.analysis.schedule import schedule_block

DISPATCH = 8.0
MOST_OPERATIONS = 64  # that are copied for one dispatch less
MOST_BYTES = 1 << 18  # of weights in them
_MOST_ELEMENTS = 64
_KERNEL = 1.2
_BYTES = 10e3  # in a microsecond
_FLOATING = 30e3
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


def has_few_elements(kind: ValueType) -> bool:
    """Whether a tensor takes no longer to hand out than a single element, as far as is known."""
    sizes = kind.shape if isinstance(kind, TensorType) else ()
    return math.prod(size if isinstance(size, int) else _MOST_ELEMENTS + 1 for size in sizes) <= _MOST_ELEMENTS


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


# Where an operation is not one kernel: the parts of a cell, and what ONNX has in the place of torch's indices.
_MODULE_KERNELS: dict[type[nn.Module], int] = {
    nn.Identity: 0,
    nn.Dropout: 0,
    nn.BatchNorm1d: 0,  # the layer before it does its work
    nn.BatchNorm2d: 0,
    nn.RNNCell: 4,
    nn.GRUCell: 12,
    nn.LSTMCell: 12,
    nn.MultiheadAttention: 16,
}
_FUNCTION_KERNELS = {
    **dict.fromkeys(("argmax", "argmin", "max", "min"), 6),  # NaN counts as the largest
    **dict.fromkeys(("reshape", "view", "flatten", "squeeze", "unsqueeze", "contiguous", "detach", "clone"), 0),
    "scaled_dot_product_attention": 8,
}


def _count_kernels(op: TensorOp, environment: Environment) -> int:
    """How many kernels the operation is."""
    if not isinstance(op.target, CallModule):
        name = op.target.name.rpartition(".")[2]
        return 1 + len(op_uses(op)) if name == "stack" else _FUNCTION_KERNELS.get(name, 1)
    module = environment.modules.get(op.target.path)
    return 1 if module is None else _count_in_module(module)


def _count_in_module(module: nn.Module) -> int:
    known = _MODULE_KERNELS.get(type(module))
    if known is not None:
        return known
    parts = list(module.children())
    return sum(map(_count_in_module, parts)) if parts else 1


def _estimate(op: TensorOp, types: Mapping[ValueId, ValueType], environment: Environment) -> float:
    made = sum(estimate_bytes(result.type) for result in op.results)
    read = sum(estimate_bytes(types[value]) for value in op_uses(op) if value in types)
    spent = _KERNEL * _count_kernels(op, environment) + (made + read) / _BYTES
    module = environment.modules.get(op.target.path) if isinstance(op.target, CallModule) else None
    if module is not None:
        # A weight of `n` outputs meets each position of the result once: rows of a matrix, pixels of a picture.
        for weight in module.parameters():
            positions = made / 4 / max(weight.shape[0], 1) if weight.dim() > 1 else 1
            spent += 2 * weight.numel() * max(positions, 1) / _FLOATING
    return spent
