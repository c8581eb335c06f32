"""Remove work whose results nobody uses, across blocks and through block parameters.

Before::

    b0(%0 x: float32[1, 4]):
      %1: float32[1, 4] = call torch.relu(%0)
      %2: float32[1, 4] = call torch.exp(%0)
      jump b1(%1, %2)
    b1(%3: float32[1, 4], %4: float32[1, 4]):
      %5: float32[] = call torch.sum(%3)
      %6: float = host item(%5)
      %7: bool = host gt(%6, 0.5)
      branch %7 ? b1(%3, %4) : b2
    b2:
      return %3

After::

    b0(%0 x: float32[1, 4]):
      %1: float32[1, 4] = call torch.relu(%0)
      jump b1(%1)
    b1(%2: float32[1, 4]):
      %3: float32[] = call torch.sum(%2)
      %4: float = host item(%3)
      %5: bool = host gt(%4, 0.5)
      branch %5 ? b1(%2) : b2
    b2:
      return %2

Kept: what decides, is returned, raised or becomes state; an operation that writes memory whose new content is used;
a host operation that may raise. Errors that torch's kernels raise on data (an index out of range in an embedding) are
not part of the semantics kept: an unused operation is removed although it might have raised one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import assert_never

from dycl.diagnostics import InternalError
from dycl.ir.dataflow import leave_operands, op_definitions, op_reads, value_types
from dycl.ir.environment import Environment
from dycl.ir.graph import edges_into, entry_blocks
from dycl.ir.nodes import Block, Branch, Dispatch, HostOp, Invoke, Jump, Op, Raise, Reply, Return, TensorOp, Terminator
from dycl.ir.numbering import renumber
from dycl.ir.program import Program
from dycl.ir.values import Operand, ValueId, ValueType, all_refs
from dycl.passes.analysis.effects import may_raise
from dycl.passes.rewriting import drop_params


def run(program: Program, environment: Environment) -> Program:
    """The program without work and parameters that nobody uses."""
    live = _find_live(program)
    blocks = tuple(_sweep(block, live) for block in program.blocks)
    starts = entry_blocks(program)
    dead = {param.id for block in blocks for param in block.params if block.id not in starts and param.id not in live}
    return renumber(drop_params(replace(program, blocks=blocks), dead))


@dataclass(frozen=True, slots=True)
class _Definitions:
    """Where the content of a value comes from: an operation, or the arguments of the edges into a block."""

    ops: dict[ValueId, Op]
    arguments: dict[ValueId, tuple[Operand, ...]]


def _find_definitions(program: Program) -> _Definitions:
    incoming = edges_into(program)
    ops = {value.id: op for block in program.blocks for op in block.ops for value in op_definitions(op)}
    arguments = {
        param.id: tuple(edge.args[index] for edge in incoming[block.id])
        for block in program.blocks
        for index, param in enumerate(block.params)
    }
    return _Definitions(ops, arguments)


def _find_live(program: Program) -> frozenset[ValueId]:
    """The values that something that must stay depends on."""
    made = _find_definitions(program)
    types = value_types(program)
    pending = [value for block in program.blocks for value in _roots(block, types)]
    live: set[ValueId] = set()
    while pending:
        value = pending.pop()
        if value in live:
            continue
        live.add(value)
        pending += all_refs(made.arguments.get(value, ()))
        if value in made.ops:
            pending += _needs(made.ops[value], value)
    return frozenset(live)


def _needs(op: Op, value: ValueId) -> tuple[ValueId, ...]:
    """What an operation needs so that the value, which it defines, has its content."""
    earlier = tuple(old for old, new in op.mutates if new.id == value) if isinstance(op, TensorOp) else ()
    return op_reads(op) + earlier


def _roots(block: Block, types: dict[ValueId, ValueType]) -> Iterable[ValueId]:
    """The values that the block needs whatever comes after it."""
    for op in block.ops:
        if isinstance(op, HostOp) and may_raise(op, types):
            yield op.result.id  # may be unused, but the operation stays and so does what it reads
        elif isinstance(op, Invoke):
            yield from op_reads(op)
    yield from _end_roots(block.end)


def _end_roots(end: Terminator) -> tuple[ValueId, ...]:
    match end:
        case Jump():
            return ()
        case Branch(cond=cond):
            return (cond,)
        case Return() | Raise() | Reply():
            return all_refs(leave_operands(end))
        case _:
            assert_never(end)


def _sweep(block: Block, live: frozenset[ValueId]) -> Block:
    return replace(block, ops=tuple(_drop_dead_names(op, live) for op in block.ops if _is_live(op, live)))


def _is_live(op: Op, live: frozenset[ValueId]) -> bool:
    match op:
        case TensorOp() | HostOp():
            return any(value.id in live for value in op_definitions(op))
        case Invoke():
            return True
        case Dispatch():
            raise InternalError("dead code runs before partition")
        case _:
            assert_never(op)


def _drop_dead_names(op: Op, live: frozenset[ValueId]) -> Op:
    """The operation without the aliases in `mutates` whose own definition is gone.

    An alias that is still defined stays named although nobody reads its new content: later passes ask what is mutated.
    """
    if not isinstance(op, TensorOp):
        return op
    return replace(op, mutates=tuple((old, new) for old, new in op.mutates if old in live))
