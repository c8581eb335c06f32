"""One tangled program as a graph, its dataflow, values replaced in it, and its canonical ids."""

from __future__ import annotations

import pytest

from dycl.diagnostics import InternalError
from dycl.ir.dataflow import Use, definitions, find_liveness, uses
from dycl.ir.graph import ROOT, block_graph, block_order, dominators, entry_blocks, predecessors
from dycl.ir.numbering import renumber
from dycl.ir.parser import parse_ir
from dycl.ir.printer import print_ir
from dycl.ir.substitution import substitute
from dycl.ir.values import BlockId, Lit, Ref, Seq, SeqKind, ValueId
from dycl.ir.verifier import verify

# Two entries; b3 is a loop header, b5 and b6 leave; b1 cannot be reached.
TANGLED = """\
program P method forward
initial (0)
entry b7 state 1
  slot count = %7
entry b4 state 1
subgraph s0 inner (%5: float32[]):
  %9: float32[] = call torch.relu(%5)
  results (%9)

b0(%20: int):
  %21: bool = host lt(%20, %70)
  branch %21 ? b2 : b6

b1:
  jump b0(1)

b2:
  %22 next: int = host add(%20, %70)
  branch %71 ? b0(%22) : b0(0)

b3:
  return None resume 0 state (0)

b4(%40: int):
  %41: float32[] = call torch.zeros(%40) mutates %41 -> %42: float32[]
  jump b3

b5:
  jump b3

b6:
  return (%20, [%70]) resume 1 state (%20)

b7(%7 count: int):
  %70: int = host add(%7, 1)
  %71: bool = host gt(%70, 3)
  branch %71 ? b5 : b0(%70)
"""
PROGRAM = parse_ir(TANGLED)


def block_ids(*numbers: int) -> tuple[BlockId, ...]:
    return tuple(BlockId(number) for number in numbers)


def values(*numbers: int) -> frozenset[ValueId]:
    return frozenset(ValueId(number) for number in numbers)


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
    assert entry_blocks(PROGRAM) == frozenset(block_ids(4, 7))


def test_dominators_hang_under_all_entries() -> None:
    tree = dominators(PROGRAM)
    assert tree.parent[BlockId(3)] == ROOT  # from either entry
    assert tree.parent[BlockId(6)] == 0
    pairs = [(a, b) for a in range(8) for b in range(8) if tree.dominates(BlockId(a), BlockId(b))]
    assert [pair for pair in pairs if pair[0] != pair[1]] == [(0, 2), (0, 6), (7, 0), (7, 2), (7, 5), (7, 6)]
    assert (1, 1) not in pairs  # nothing is known of what cannot be reached


def test_liveness() -> None:
    live = find_liveness(PROGRAM)
    assert live.live_in[BlockId(0)] == values(70, 71)
    assert live.live_in[BlockId(2)] == values(20, 70, 71)
    assert live.live_out[BlockId(2)] == values(70, 71)
    assert live.live_in[BlockId(6)] == values(20, 70)
    assert live.live_in[BlockId(7)] == live.live_in[BlockId(3)] == values()
    assert live.live_out[BlockId(7)] == values(70, 71)
    assert live.live_out[BlockId(6)] == values()


def test_definitions_and_uses() -> None:
    defined = definitions(PROGRAM)
    assert (defined[ValueId(20)].block, defined[ValueId(20)].index) == (0, -1)
    assert (defined[ValueId(71)].block, defined[ValueId(71)].index) == (7, 1)
    assert defined[ValueId(42)].index == 0
    assert ValueId(9) not in defined  # a subgraph is a scope of its own
    found = uses(PROGRAM)
    assert found[ValueId(70)] == (Use(BlockId(0), 0), Use(BlockId(2), 0), Use(BlockId(6), 0), *(
        Use(BlockId(7), 1), Use(BlockId(7), 2)))  # fmt: skip
    assert found[ValueId(41)] == (Use(BlockId(4), 0),)  # what is written is used
    assert ValueId(22) in found and ValueId(42) not in found


def test_substitution_reaches_every_use() -> None:
    new = substitute(PROGRAM, {ValueId(20): Lit(4), ValueId(70): Seq(SeqKind.TUPLE, (Ref(ValueId(7)),))})
    text = print_ir(new)
    assert "%21: bool = host lt(4, (%7,))" in text
    assert "return (4, [(%7,)]) resume 1 state (4)" in text
    assert "branch %71 ? b5 : b0((%7,))" in text
    assert not {ValueId(20), ValueId(70)} & set(uses(new))


def test_a_condition_cannot_become_a_literal() -> None:
    with pytest.raises(InternalError, match="%71 stands where only a value can stand"):
        substitute(PROGRAM, {ValueId(71): Lit(True)})


def test_blocks_come_in_reverse_post_order() -> None:
    # The first entry comes first; b5 before b0, and b2 before b6, since theirs is the true side; b1 is not there.
    assert block_order(PROGRAM) == block_ids(7, 5, 0, 2, 6, 4, 3)


def test_renumbering_is_canonical() -> None:
    canonical = renumber(PROGRAM)
    assert [block.id for block in canonical.blocks] == list(range(7))
    assert list(definitions(canonical)) == list(range(len(definitions(canonical))))
    assert renumber(canonical) is canonical
    text = print_ir(canonical)
    assert text.startswith("program P method forward\ninitial (0)\nentry b0 state 1\n  slot count = %0\nentry b")
    assert "subgraph s0 inner (%0: float32[]):\n  %1: float32[] = call torch.relu(%0)\n  results (%1)" in text
    assert "b0(%0 count: int):\n  %1: int = host add(%0, 1)\n  %2: bool = host gt(%1, 3)" in text


def test_renumbering_keeps_a_program_sound() -> None:
    sound = parse_ir(TANGLED.replace(" mutates %41 -> %42: float32[]", ""))
    verify(renumber(sound), after="renumber")
    shuffled = TANGLED.replace(" mutates %41 -> %42: float32[]", "").replace("%7", "%9").replace("%2", "%8")
    assert renumber(parse_ir(shuffled)) == renumber(sound)


def test_a_value_that_is_never_defined_cannot_be_renumbered() -> None:
    with pytest.raises(InternalError, match=r"never defined: \[99\]"):
        renumber(parse_ir(TANGLED.replace("[%70]", "[%99]")))
