"""Canonical ids: equal programs print alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from dycl.diagnostics import InternalError
from dycl.ir.dataflow import block_definitions, end_uses, op_definitions, op_uses
from dycl.ir.graph import block_order
from dycl.ir.nodes import Block, Edge, Op, Subgraph, TensorOp
from dycl.ir.program import Entry, Program, StateSlot
from dycl.ir.substitution import map_definitions, map_edges, substitute_end, substitute_op, substitute_operand
from dycl.ir.values import BlockId, Ref, Value, ValueId, all_refs

Names = dict[ValueId, Ref]


def renumber(program: Program) -> Program:
    """The program with canonical ids: blocks in reverse post order, values in order of definition.

    Unreachable blocks are gone. A subgraph keeps its id; the values inside are numbered from 0. A program that has
    canonical ids is given back itself, so that whoever has looked at it need not look again.
    """
    order = block_order(program)
    block_ids = {old: BlockId(new) for new, old in enumerate(order)}
    kept = [program.block(block) for block in order]
    names = _number(value for block in kept for value in block_definitions(block))
    subgraphs = tuple(_renumber_subgraph(subgraph) for subgraph in program.subgraphs)
    if order == tuple(range(len(program.blocks))) and _is_numbered(names):
        return program if subgraphs == program.subgraphs else replace(program, subgraphs=subgraphs)
    return replace(
        program,
        entries=tuple(_renumber_entry(entry, block_ids, names) for entry in program.entries),
        blocks=tuple(_renumber_block(block, block_ids, names) for block in kept),
        subgraphs=subgraphs,
        procedures=tuple(replace(part, block=block_ids[part.block]) for part in program.procedures),
    )


def _number(values: Iterable[Value]) -> Names:
    return {value.id: Ref(ValueId(number)) for number, value in enumerate(values)}


def _is_numbered(names: Names) -> bool:
    return all(old == new.id for old, new in names.items())


def _known(used: Iterable[ValueId], names: Names) -> Names:
    """The names, in which all that is used is."""
    missing = [value for value in used if value not in names]
    if missing:
        raise InternalError(f"to be renumbered, but never defined: {missing}")
    return names


def _rename(value: Value, names: Names) -> Value:
    new = names[value.id].id
    return value if new == value.id else replace(value, id=new)


def _renumber_entry(entry: Entry, block_ids: dict[BlockId, BlockId], names: Names) -> Entry:
    _known(all_refs(slot.template for slot in entry.slots), names)
    slots = tuple(StateSlot(slot.name, substitute_operand(slot.template, names)) for slot in entry.slots)
    return replace(entry, block=block_ids[entry.block], slots=slots)


def _renumber_op(op: Op, names: Names) -> Op:
    used = op_uses(op)
    _known(used, names)
    if all(names[value].id == value for value in (*used, *(value.id for value in op_definitions(op)))):
        return op
    return map_definitions(substitute_op(op, names), lambda value: _rename(value, names))


def _renumber_block(block: Block, block_ids: dict[BlockId, BlockId], names: Names) -> Block:
    end = substitute_end(block.end, _known(end_uses(block.end), names))
    end = map_edges(end, lambda _, edge: Edge(block_ids[edge.target], edge.args))
    params = tuple(_rename(value, names) for value in block.params)
    ops = tuple(_renumber_op(op, names) for op in block.ops)
    return replace(block, id=block_ids[block.id], params=params, ops=ops, end=end)


def _renumber_subgraph(subgraph: Subgraph) -> Subgraph:
    names = _number((*subgraph.params, *(value for op in subgraph.ops for value in op_definitions(op))))
    if _is_numbered(names):
        return subgraph
    ops = tuple(op for op in (_renumber_op(op, names) for op in subgraph.ops) if isinstance(op, TensorOp))
    params = tuple(_rename(value, names) for value in subgraph.params)
    _known(subgraph.results, names)
    results = tuple(names[value].id for value in subgraph.results)
    return replace(subgraph, params=params, ops=ops, results=results)
