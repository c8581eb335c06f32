"""Which values are alive together in the host, and which lists it may change in place.

Both see the program as it is written: an inlined operation uses its operands where its text stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dycl.hostgen.inlining import Inlining, block_uses
from dycl.ir.dataflow import definitions, end_uses, op_definitions, op_uses
from dycl.ir.graph import entry_blocks, predecessors
from dycl.ir.nodes import Block, Edge, HostOp, Invoke, Reply, edges
from dycl.ir.program import Program
from dycl.ir.values import BlockId, ListType, Operand, Ref, Seq, Value, ValueId


@dataclass(frozen=True, slots=True)
class Overlaps:
    """The named values that are alive where a block begins (`live_in`) and those alive where another is defined."""

    live_in: dict[BlockId, frozenset[ValueId]]  # the block's own parameters not counted
    used: frozenset[ValueId]
    pairs: dict[ValueId, set[ValueId]]


def find_overlaps(program: Program, inlining: Inlining) -> Overlaps:
    """Compare the live ranges of all named values."""
    live_in = _live_in(program, inlining)
    pairs: dict[ValueId, set[ValueId]] = {}
    used: set[ValueId] = set()
    for block in program.blocks:
        _scan_block(block, inlining, _live_out(block, live_in), pairs, used)
    return Overlaps(live_in, frozenset(used), pairs)


def _live_out(block: Block, live_in: dict[BlockId, frozenset[ValueId]]) -> set[ValueId]:
    return {value for edge in edges(block.end) for value in live_in[edge.target]}


def _live_in(program: Program, inlining: Inlining) -> dict[BlockId, frozenset[ValueId]]:
    needs: dict[BlockId, frozenset[ValueId]] = {}
    makes: dict[BlockId, frozenset[ValueId]] = {}
    for block in program.blocks:
        own, late = block_uses(block, inlining)
        needed = {*own, *late, *(v for op in inlining.statements(block) for v in inlining.leaves(op_uses(op)))}
        made = {*(v.id for v in block.params), *(v.id for op in block.ops for v in op_definitions(op))}
        makes[block.id] = frozenset(made)
        needs[block.id] = frozenset(needed - made)
    live_in = dict(needs)
    before = predecessors(program)
    pending = [block.id for block in program.blocks]
    while pending:
        block = program.block(pending.pop())
        grown = needs[block.id] | (_live_out(block, live_in) - makes[block.id])
        if grown != live_in[block.id]:
            live_in[block.id] = frozenset(grown)
            pending.extend(before[block.id])
    return live_in


def _scan_block(
    block: Block, inlining: Inlining, live: set[ValueId], pairs: dict[ValueId, set[ValueId]], used: set[ValueId]
) -> None:
    """Walk backwards; what is alive after a definition must not share its name."""
    own, late = block_uses(block, inlining)
    live.update(own, late)
    used.update(own, late)
    for op in reversed(list(inlining.statements(block))):
        made = {value.id for value in op_definitions(op)}
        _meet(made, live, pairs)
        live -= made
        leaves = inlining.leaves(op_uses(op))
        live.update(leaves)
        used.update(leaves)
    _meet({value.id for value in block.params}, live, pairs)


def _meet(made: set[ValueId], live: set[ValueId], pairs: dict[ValueId, set[ValueId]]) -> None:
    for value in made:
        others = (live | made) - {value}
        pairs.setdefault(value, set()).update(others)
        for other in others:
            pairs.setdefault(other, set()).add(value)


# ---------------------------------------------------------------- lists


def find_owned_lists(program: Program, overlaps: Overlaps) -> frozenset[ValueId]:
    """The lists that this call made and that have one name only, so that an append in place is not seen elsewhere.

    Inputs and state are never among them: a caller, or the next call, holds them too.
    """
    values = {place.value.id: place.value for place in definitions(program).values()}
    fresh = {op.result.id for block in program.blocks for op in block.ops if isinstance(op, HostOp)}
    starts = entry_blocks(program)
    owned = {value.id for value in values.values() if isinstance(value.type, ListType) and not value.type.is_tuple}
    owned -= {value.id for block in starts for value in program.block(block).params}
    params = {value.id for block in program.blocks for value in block.params}
    owned &= params | fresh
    owned -= _lent(program)
    changed = True
    while changed:
        before = len(owned)
        for param, arg, edge in _list_arguments(program):
            if not _hands_over(arg, edge, overlaps, owned):
                owned -= {param.id, *([arg.id] if isinstance(arg, Ref) else [])}
        changed = len(owned) < before
    return frozenset(owned)


def _lent(program: Program) -> set[ValueId]:
    """What procedures are handed, or hand back: somebody else may hold it, too."""
    ops = [op for block in program.blocks for op in block.ops if isinstance(op, Invoke)]
    ends = [block.end for block in program.blocks if isinstance(block.end, Reply)]
    return {value for op in ops for value in op_uses(op)} | {value for end in ends for value in end_uses(end)}


def _list_arguments(program: Program) -> Iterator[tuple[Value, Operand, Edge]]:
    for block in program.blocks:
        for edge in edges(block.end):
            for param, arg in zip(program.block(edge.target).params, edge.args, strict=True):
                if isinstance(param.type, ListType):
                    yield param, arg, edge


def _hands_over(arg: Operand, edge: Edge, overlaps: Overlaps, owned: set[ValueId]) -> bool:
    """Whether the parameter is the only name of the list from here on."""
    if isinstance(arg, Seq):
        return True
    if not isinstance(arg, Ref) or arg.id not in owned:
        return False
    return arg.id not in overlaps.live_in[edge.target] and sum(other == arg for other in edge.args) == 1
