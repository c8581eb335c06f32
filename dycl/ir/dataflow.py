"""Where values are defined, where they are used, and where they are live.

A point in a block is an index: -1 its parameters, `i` its i-th operation, `len(ops)` its terminator. A subgraph's
values are a scope of their own and take no part here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import assert_never

from dycl.ir.graph import predecessors
from dycl.ir.nodes import (
    Block,
    Branch,
    Dispatch,
    HostOp,
    Invoke,
    Jump,
    Op,
    Raise,
    Reply,
    Return,
    TensorOp,
    Terminator,
    edges,
)
from dycl.ir.program import Program
from dycl.ir.values import BlockId, Operand, Ref, Value, ValueId, ValueType, all_refs

# ---------------------------------------------------------------- one node


def op_definitions(op: Op) -> tuple[Value, ...]:
    """The values an operation defines: its results, then the new names of what it mutates."""
    match op:
        case TensorOp(results=results, mutates=mutates):
            return results + tuple(new for _, new in mutates)
        case HostOp(result=result):
            return (result,)
        case Dispatch(results=results) | Invoke(results=results):
            return results
        case _:
            assert_never(op)


def op_operands(op: Op) -> tuple[Operand, ...]:
    """The operands of an operation, keyword arguments last."""
    return op.args + tuple(value for _, value in op.kwargs) if isinstance(op, TensorOp) else op.args


def block_definitions(block: Block) -> Iterator[Value]:
    """The values a block defines: its parameters, and what its operations make, in order."""
    yield from block.params
    for op in block.ops:
        yield from op_definitions(op)


def op_uses(op: Op) -> tuple[ValueId, ...]:
    """The values an operation uses, in order; what it mutates counts as used."""
    read = op_reads(op)
    return read + tuple(old for old, _ in op.mutates) if isinstance(op, TensorOp) else read


def op_reads(op: Op) -> tuple[ValueId, ...]:
    """The values an operation is handed, in order, without those that it only renames (`mutates`)."""
    return all_refs(op_operands(op))


def end_operands(end: Terminator) -> tuple[Operand, ...]:
    """The operands of a terminator, in order; the condition of a branch is one, and so are the arguments of edges."""
    match end:
        case Jump(edge=edge):
            return edge.args
        case Branch(cond=cond, if_true=yes, if_false=no):
            return (Ref(cond), *yes.args, *no.args)
        case Return() | Raise() | Reply():
            return leave_operands(end)
        case _:
            assert_never(end)


def leave_operands(end: Return | Raise | Reply) -> tuple[Operand, ...]:
    """What leaves the program, or a procedure, at its end: the result, what the caller sees written, the state."""
    match end:
        case Return(value=value, state=state, writes=writes):
            return (value, *(write.value for write in writes), *state)
        case Raise(args=args, state=state, writes=writes):
            return (*args, *(write.value for write in writes), *state)
        case Reply(values=values):
            return values
        case _:
            assert_never(end)


def end_uses(end: Terminator) -> tuple[ValueId, ...]:
    """The values a terminator uses, in order."""
    return all_refs(end_operands(end))


# ---------------------------------------------------------------- the whole program


@dataclass(frozen=True, slots=True)
class Definition:
    """Where a value is defined."""

    block: BlockId
    index: int
    value: Value


@dataclass(frozen=True, slots=True)
class Use:
    """Where a value is used."""

    block: BlockId
    index: int


def definitions(program: Program) -> dict[ValueId, Definition]:
    """The definition of each value."""
    found: dict[ValueId, Definition] = {}
    for block in program.blocks:
        found.update((value.id, Definition(block.id, -1, value)) for value in block.params)
        for index, op in enumerate(block.ops):
            found.update((value.id, Definition(block.id, index, value)) for value in op_definitions(op))
    return found


def uses(program: Program) -> dict[ValueId, tuple[Use, ...]]:
    """The uses of each value that has any, in program order; state templates are no uses."""
    found: dict[ValueId, list[Use]] = {}
    for block in program.blocks:
        points = [*(op_uses(op) for op in block.ops), end_uses(block.end)]
        for index, used in enumerate(points):
            for value in used:
                found.setdefault(value, []).append(Use(block.id, index))
    return {value: tuple(places) for value, places in found.items()}


def value_types(program: Program) -> dict[ValueId, ValueType]:
    """The type of every value that the blocks define."""
    return {value.id: value.type for block in program.blocks for value in block_definitions(block)}


def mutated_values(program: Program) -> frozenset[ValueId]:
    """The values whose memory some operation writes to, under the name they have before."""
    ops = (op for block in program.blocks for op in block.ops)
    return frozenset(old for op in ops if isinstance(op, TensorOp) for old, _ in op.mutates)


def edge_bindings(program: Program, block: Block) -> Iterator[tuple[Value, Operand]]:
    """Each parameter of the next blocks with the argument that the block hands it, edge by edge."""
    for edge in edges(block.end):
        yield from zip(program.block(edge.target).params, edge.args, strict=True)


# ---------------------------------------------------------------- liveness


@dataclass(frozen=True, slots=True)
class Liveness:
    """The values that may still be used where a block begins (its own parameters not counted) and where it ends.

    What the terminator itself uses is not in `live_out`, unless a later block uses it too.
    """

    live_in: dict[BlockId, frozenset[ValueId]]
    live_out: dict[BlockId, frozenset[ValueId]]


def find_liveness(program: Program) -> Liveness:
    """Which values are live at the borders of each block."""
    needs, makes = {}, {}
    for block in program.blocks:
        needs[block.id], makes[block.id] = _upward_uses(block)
    live_in = dict(needs)
    live_out: dict[BlockId, frozenset[ValueId]] = {block.id: frozenset() for block in program.blocks}
    before = predecessors(program)
    pending = [block.id for block in program.blocks]
    while pending:
        block_id = pending.pop()
        after = [live_in[edge.target] for edge in edges(program.block(block_id).end)]
        live_out[block_id] = frozenset().union(*after)
        grown = needs[block_id] | (live_out[block_id] - makes[block_id])
        if grown != live_in[block_id]:
            live_in[block_id] = grown
            pending.extend(before[block_id])
    return Liveness(live_in, live_out)


def _upward_uses(block: Block) -> tuple[frozenset[ValueId], frozenset[ValueId]]:
    """What the block uses before it defines it, and what it defines."""
    made = {value.id for value in block.params}
    needed: set[ValueId] = set()
    for op in block.ops:
        needed.update(value for value in op_uses(op) if value not in made)
        made.update(value.id for value in op_definitions(op))
    needed.update(value for value in end_uses(block.end) if value not in made)
    return frozenset(needed), frozenset(made)
