"""Which operations copy a tensor (`clone`, `contiguous`) although nobody can tell the copy from what it copies.

Nobody can where nothing in the program is written in place, no tensor operation is given the copy (torch's views ask
how their argument is laid out), and what it copies is not handed out beside it, as an output, an input or a state that
somebody may write to later.
"""

from __future__ import annotations

from collections.abc import Iterator

from dycl.ir.dataflow import Use, definitions, mutated_values, uses
from dycl.ir.environment import Environment
from dycl.ir.nodes import CallFunction, HostOp, Op, Raise, Return, TensorOp, Terminator
from dycl.ir.program import Program
from dycl.ir.values import Ref, ValueId
from dycl.passes.analysis.aliasing import may_alias

_COPIES = {"torch.clone", "torch.Tensor.clone", "torch.Tensor.contiguous"}

Readers = tuple[Op | Terminator, ...]


def find_needless_copies(program: Program, environment: Environment) -> Iterator[ValueId]:
    """The results of operations that copy what nobody else hands out."""
    if mutated_values(program):
        return
    where, makers = uses(program), definitions(program)
    for block in program.blocks:
        for op in block.ops:
            if not isinstance(op, TensorOp) or not _is_copy(op) or not isinstance(op.args[0], Ref):
                continue
            copy, source = op.results[0].id, makers[op.args[0].id]
            if source.index < 0 or not all(_hands_out(reader) for reader in _readers(program, where.get(copy, ()))):
                continue
            maker = program.block(source.block).ops[source.index]
            if isinstance(maker, TensorOp) and not may_alias(maker, environment):
                readers = _readers(program, where[source.value.id])
                if _holds_alone(op, readers, environment):
                    yield copy


def _is_copy(op: TensorOp) -> bool:
    """Whether the operation returns its only argument or a copy of it."""
    known = isinstance(op.target, CallFunction) and op.target.name in _COPIES
    return known and not op.kwargs and len(op.args) == 1


def _readers(program: Program, places: tuple[Use, ...]) -> Readers:
    blocks = ((program.block(place.block), place.index) for place in places)
    return tuple(block.ops[index] if index < len(block.ops) else block.end for block, index in blocks)


def _looks(reader: Op | Terminator) -> bool:
    """Whether a reader keeps no hold of the tensor."""
    return isinstance(reader, HostOp) and reader.function in ("item", "peek", "size", "bool")


def _hands_out(reader: Op | Terminator) -> bool:
    return _looks(reader) or isinstance(reader, Return | Raise)


def _holds_alone(copy: TensorOp, readers: Readers, environment: Environment) -> bool:
    """Whether no reader but the copy keeps or hands on the memory of what is copied."""
    return all(
        reader is copy
        or _looks(reader)
        or (isinstance(reader, TensorOp) and not _is_copy(reader) and not may_alias(reader, environment))
        for reader in readers
    )
