"""The program as a graph: its blocks, the edges between them, and which dominate which."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx  # type: ignore[import-untyped]

from dycl.ir.nodes import Block, Branch, Edge, edges
from dycl.ir.program import Program
from dycl.ir.values import BlockId, ProcedureId

ROOT = BlockId(-1)  # the virtual block before every entry


def block_graph(program: Program) -> nx.DiGraph:
    """Blocks and edges; an edge's `sides` say how it is taken: "jump", "true", "false", and from `ROOT` "entry" and
    "procedure".

    Edges to blocks that do not exist are left out.
    """
    graph = nx.DiGraph()
    graph.add_nodes_from([ROOT, *range(len(program.blocks))])
    for entry in program.entries:
        _add_edge(graph, ROOT, entry.block, "entry")
    for procedure in program.procedures:
        _add_edge(graph, ROOT, procedure.block, "procedure")
    for index, block in enumerate(program.blocks):
        names = ("true", "false") if isinstance(block.end, Branch) else ("jump",)
        for side, edge in zip(names, edges(block.end), strict=False):
            _add_edge(graph, BlockId(index), edge.target, side)
    return graph


def _add_edge(graph: nx.DiGraph, source: BlockId, target: BlockId, side: str) -> None:
    if target == ROOT or target not in graph:
        return
    sides = graph.edges[source, target]["sides"] if graph.has_edge(source, target) else ()
    graph.add_edge(source, target, sides=(*sides, side))


def entry_blocks(program: Program) -> frozenset[BlockId]:
    """The blocks where a call of the program, or of a procedure, may start."""
    return frozenset([entry.block for entry in program.entries] + [start.block for start in program.procedures])


def reachable(blocks: dict[BlockId, Block], start: BlockId) -> tuple[BlockId, ...]:
    """The blocks that a block leads to, and itself, in the order of their numbers."""
    seen: set[BlockId] = set()
    pending = [start]
    while pending:
        block = pending.pop()
        if block not in seen:
            seen.add(block)
            pending += [edge.target for edge in edges(blocks[block].end)]
    return tuple(sorted(seen))


def predecessors(program: Program) -> dict[BlockId, tuple[BlockId, ...]]:
    """For each block the blocks before it, one for each edge: a branch with both sides to it counts twice."""
    found: dict[BlockId, list[BlockId]] = {block.id: [] for block in program.blocks}
    for block in program.blocks:
        for edge in edges(block.end):
            found[edge.target].append(block.id)
    return {block: tuple(sources) for block, sources in found.items()}


def edges_into(program: Program) -> dict[BlockId, list[Edge]]:
    """The edges into each block."""
    found: dict[BlockId, list[Edge]] = {block.id: [] for block in program.blocks}
    for block in program.blocks:
        for edge in edges(block.end):
            found[edge.target].append(edge)
    return found


def find_owners(program: Program) -> dict[BlockId, frozenset[ProcedureId | None]]:
    """The procedures that each block is reached from; None stands for the program's own entries."""
    starts: list[tuple[BlockId, ProcedureId | None]] = [(entry.block, None) for entry in program.entries]
    starts += [(procedure.block, procedure.id) for procedure in program.procedures]
    found: dict[BlockId, frozenset[ProcedureId | None]] = {}
    for start, owner in starts:
        pending = [start]
        while pending:
            block = pending.pop()
            if owner not in found.get(block, frozenset()):
                found[block] = found.get(block, frozenset()) | {owner}
                pending += [edge.target for edge in edges(program.block(block).end)]
    return found


def block_order(program: Program) -> tuple[BlockId, ...]:
    """The reachable blocks in reverse post order: first entry first, and the true side before the false."""
    seen: set[BlockId] = set()
    done: list[BlockId] = []
    starts = [entry.block for entry in program.entries] + [start.block for start in program.procedures]
    pending = [(block, False) for block in starts]
    while pending:
        block, finished = pending.pop()
        if finished:
            done.append(block)
        elif block not in seen:
            seen.add(block)
            pending.append((block, True))
            pending.extend((edge.target, False) for edge in edges(program.block(block).end))
    return tuple(reversed(done))


# ---------------------------------------------------------------- dominance


@dataclass(frozen=True, slots=True)
class Dominators:
    """The dominator tree of the reachable blocks, under `ROOT`."""

    parent: dict[BlockId, BlockId]
    first: dict[BlockId, int]  # number when the walk of the tree comes to the block
    last: dict[BlockId, int]  # and the highest number below it

    def dominates(self, above: BlockId, below: BlockId) -> bool:
        """Does every way to `below` pass `above`? A block dominates itself; nothing is known of unreachable ones."""
        if above not in self.first or below not in self.first:
            return False
        return self.first[above] <= self.first[below] <= self.last[above]


def dominators(program: Program) -> Dominators:
    """Which blocks dominate which."""
    parent = {b: p for b, p in nx.immediate_dominators(block_graph(program), ROOT).items() if b != ROOT}
    tree = nx.DiGraph()
    tree.add_node(ROOT)
    tree.add_edges_from((above, below) for below, above in sorted(parent.items()))
    order = list(nx.dfs_preorder_nodes(tree, ROOT))
    first = {block: number for number, block in enumerate(order)}
    last = dict(first)
    for block in reversed(order[1:]):
        last[parent[block]] = max(last[parent[block]], last[block])
    return Dominators(parent, first, last)
