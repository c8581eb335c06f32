"""The invariants of what stands where: ids and edges, definitions and uses, writes to memory, procedures.

A check gives its breaks, one sentence each. Those that ask the graph want a program that `is_numbered`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from dycl.ir.dataflow import (
    Definition,
    block_definitions,
    definitions,
    end_uses,
    find_liveness,
    op_definitions,
    op_uses,
)
from dycl.ir.graph import ROOT, Dominators, block_graph, dominators, find_owners
from dycl.ir.nodes import Op, Reply, Return, TensorOp, edges
from dycl.ir.program import Program
from dycl.ir.values import BlockId, Value, ValueId

Breaks = Iterator[str]


def is_numbered(program: Program) -> bool:
    """Whether blocks have their places for ids, and edges lead to blocks."""
    known = range(len(program.blocks))
    targets = {edge.target for block in program.blocks for edge in edges(block.end)}
    return [block.id for block in program.blocks] == list(known) and targets <= set(known)


def is_closed(program: Program) -> bool:
    """Whether, besides, entries and procedures start at blocks."""
    starts = {entry.block for entry in program.entries} | {procedure.block for procedure in program.procedures}
    return is_numbered(program) and starts <= set(range(len(program.blocks)))


# ---------------------------------------------------------------- blocks and edges


def check_ids(program: Program) -> Breaks:
    """Blocks and subgraphs have their places for ids, and there is a way in."""
    for index, block in enumerate(program.blocks):
        if block.id != index:
            yield f"b{block.id}: stands at index {index}"
    for index, subgraph in enumerate(program.subgraphs):
        if subgraph.id != index:
            yield f"s{subgraph.id}: stands at index {index}"
    if not program.entries:
        yield "program: has no entry"


def check_edges(program: Program) -> Breaks:
    """Every edge leads to a block."""
    for block in program.blocks:
        for edge in edges(block.end):
            if not 0 <= edge.target < len(program.blocks):
                yield f"b{block.id}: an edge goes to b{edge.target}, which does not exist"


def check_reachable(program: Program) -> Breaks:
    """Every block can be come to."""
    graph = block_graph(program)
    seen, pending = {ROOT}, [ROOT]
    while pending:
        new = set(graph.successors(pending.pop())) - seen
        seen |= new
        pending.extend(new)
    for index in range(len(program.blocks)):
        if index not in seen:
            yield f"b{index}: cannot be reached"


def check_procedures(program: Program) -> Breaks:
    """Nobody but `Invoke` goes into a procedure, and it alone ends in replies."""
    for index, procedure in enumerate(program.procedures):
        if procedure.id != index:
            yield f"p{procedure.id}: stands at index {index}"
        if not 0 <= procedure.block < len(program.blocks):
            yield f"p{index}: starts at b{procedure.block}, which does not exist"
    if not is_closed(program):
        return
    starts = {procedure.block for procedure in program.procedures}
    if len(starts) != len(program.procedures) or starts & {entry.block for entry in program.entries}:
        yield "program: procedures do not start at blocks of their own"
        return
    owners = find_owners(program)
    for block in program.blocks:
        found = owners.get(block.id, frozenset())
        if len(found) > 1:
            yield f"b{block.id}: belongs to more than one procedure"
        if isinstance(block.end, Return | Reply) and (None in found) is not isinstance(block.end, Return):
            yield f"b{block.id}: ends in a {type(block.end).__name__.lower()} where it must not"


# ---------------------------------------------------------------- values


def check_definitions(program: Program) -> Breaks:
    """Every value is defined once."""
    known: set[ValueId] = set()
    for block in program.blocks:
        yield from _define(f"b{block.id}", block_definitions(block), known)


def check_uses(program: Program) -> Breaks:
    """A definition dominates all uses of its value."""
    if not is_numbered(program):
        return
    defined, tree = definitions(program), dominators(program)
    for block in program.blocks:
        points = [*(op_uses(op) for op in block.ops), end_uses(block.end)]
        for index, used in enumerate(points):
            for value in used:
                if value not in defined:
                    yield f"b{block.id}: %{value} is used and never defined"
                elif not _is_defined_before(defined[value], block.id, index, tree):
                    yield f"b{block.id}: %{value} is used where its definition does not dominate"


def check_writes(program: Program) -> Breaks:
    """After a write to memory nobody uses its old name."""
    if not is_numbered(program):
        return
    live_out = find_liveness(program).live_out
    for block in program.blocks:
        yield from _check_stale(f"b{block.id}", block.ops, set(live_out[block.id]) | set(end_uses(block.end)))


def check_subgraph_values(program: Program) -> Breaks:
    """The same of values inside of a subgraph, which is a scope of its own."""
    for subgraph in program.subgraphs:
        where = f"s{subgraph.id}"
        known: set[ValueId] = set()
        yield from _define(where, subgraph.params, known)
        for op in subgraph.ops:
            yield from _check_known(where, op_uses(op), known)
            yield from _define(where, op_definitions(op), known)
        yield from _check_known(where, subgraph.results, known)
        yield from _check_stale(where, subgraph.ops, set(subgraph.results))


def _define(where: str, values: Iterable[Value], known: set[ValueId]) -> Breaks:
    for value in values:
        if value.id in known:
            yield f"{where}: %{value.id} is defined a second time"
        known.add(value.id)


def _check_known(where: str, used: Iterable[ValueId], known: set[ValueId]) -> Breaks:
    for value in used:
        if value not in known:
            yield f"{where}: %{value} is used and not defined in the subgraph before"


def _check_stale(where: str, ops: Sequence[Op], live: set[ValueId]) -> Breaks:
    """No old name of a written value is live after the write; `live`: what is live after the operations."""
    for op in reversed(ops):
        for old, new in op.mutates if isinstance(op, TensorOp) else ():
            if old in live:
                yield f"{where}: %{old} is used after it was written and became %{new.id}"
        live -= {value.id for value in op_definitions(op)}
        live |= set(op_uses(op))


def _is_defined_before(definition: Definition, block: BlockId, index: int, tree: Dominators) -> bool:
    if definition.block == block:
        return definition.index < index
    return block not in tree.first or tree.dominates(definition.block, block)  # unreachable is reported as such
