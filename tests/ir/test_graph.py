"""Blocks, edges and dominators."""

from __future__ import annotations

from dycl.ir.graph import ROOT, block_graph, block_order, dominators, edges_into, entry_blocks, predecessors
from dycl.ir.nodes import Edge
from dycl.ir.values import BlockId, Lit, Ref, ValueId
from tests.ir.tangled import PROGRAM


def block_ids(*numbers: int) -> tuple[BlockId, ...]:
    return tuple(BlockId(number) for number in numbers)


def test_edges_know_their_sides() -> None:
    graph = block_graph(PROGRAM)
    assert graph.edges[2, 0]["sides"] == ("true", "false")
    assert graph.edges[0, 2]["sides"] == ("true",)
    assert graph.edges[0, 6]["sides"] == ("false",)
    assert graph.edges[5, 3]["sides"] == ("jump",)
    assert sorted(graph.successors(ROOT)) == [4, 7]
    assert graph.edges[ROOT, 4]["sides"] == ("entry",)


def test_predecessors_count_edges() -> None:
    found = predecessors(PROGRAM)
    assert found[BlockId(0)] == block_ids(1, 2, 2, 7)
    assert found[BlockId(3)] == block_ids(4, 5)
    assert found[BlockId(7)] == ()
    assert edges_into(PROGRAM)[BlockId(0)] == [
        Edge(BlockId(0), args) for args in ((Lit(1),), (Ref(ValueId(22)),), (Lit(0),), (Ref(ValueId(70)),))
    ]
    assert entry_blocks(PROGRAM) == frozenset(block_ids(4, 7))


def test_dominators_hang_under_all_entries() -> None:
    tree = dominators(PROGRAM)
    assert tree.parent[BlockId(3)] == ROOT  # from either entry
    assert tree.parent[BlockId(6)] == 0
    pairs = [(a, b) for a in range(8) for b in range(8) if tree.dominates(BlockId(a), BlockId(b))]
    assert [pair for pair in pairs if pair[0] != pair[1]] == [(0, 2), (0, 6), (7, 0), (7, 2), (7, 5), (7, 6)]
    assert (1, 1) not in pairs  # nothing is known of what cannot be reached


def test_blocks_come_in_reverse_post_order() -> None:
    # The first entry comes first; b5 before b0, and b2 before b6, since theirs is the true side; b1 is not there.
    assert block_order(PROGRAM) == block_ids(7, 5, 0, 2, 6, 4, 3)
