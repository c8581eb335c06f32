"""Which names may be of one value, and which of these nobody but subgraphs looks at."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dycl.ir.nodes import Block, Dispatch
from dycl.ir.parser import parse_ir
from dycl.ir.values import Seq, SeqKind, ValueId
from dycl.ir.webs import Webs, find_webs

PROGRAM = """
program P method forward
param x: positional_or_keyword = input 0: float32[4]
entry b0

subgraph s0 '00_a' (%0: float32[4]):
  %1: float32[4] = module a(%0)
  results (%1)

subgraph s1 '01_b' (%0: float32[4]):
  %1: float32[4] = module b(%0)
  %2: float32[] = call torch.sum(%1)
  results (%1, %2)

b0(%0 x: float32[4]):
  %1: float32[4] = dispatch s0(%0)
  jump b1(%1)

b1(%2: float32[4]):
  %3: float32[4], %4: float32[] = dispatch s1(%2)
  %5: bool = host gt(%4, 0.0)
  branch %5 ? b1(%3) : b2

b2:
  %6: float32[4] = dispatch s0(%3)
  return RESULT
"""


def webs(text: str, *unheeded: str) -> list[set[int]]:
    return _as_sets(find_webs(parse_ir(text), unheeded=unheeded))


def _as_sets(found: Webs) -> list[set[int]]:
    return [set(web) for web in found.hidden()]


def test_a_parameter_is_one_with_its_arguments() -> None:
    assert webs(PROGRAM.replace("RESULT", "%6")) == [{1, 2, 3}]


@pytest.mark.parametrize("name", ["%1", "%2", "%3"])
def test_what_is_shown_under_one_name_is_shown_under_all(name: str) -> None:
    assert webs(PROGRAM.replace("RESULT", f"[{name}]")) == [{6}]


@pytest.mark.parametrize("given", ["b1(%0)", "b1($a.weight)"])
def test_what_may_be_the_callers_or_a_weight_is_shown(given: str) -> None:
    assert webs(PROGRAM.replace("RESULT", "1").replace("jump b1(%1)", f"jump {given}")) == [{1}, {6}]


def test_the_host_may_look_in_ways_that_do_not_count() -> None:
    text = PROGRAM.replace("RESULT", "1").replace("  return", "  %7: int = host size(%6, 0)\n  return")
    assert webs(text) == [{1, 2, 3}]
    assert webs(text, "size") == [{1, 2, 3}, {6}]
    assert webs(text, "gt", "size") == [{1, 2, 3}, {4}, {6}]


def test_what_the_host_puts_together_for_a_subgraph_is_shown() -> None:
    program = parse_ir(PROGRAM.replace("RESULT", "%6"))
    listed = replace(program, blocks=tuple(_with_listed_args(block) for block in program.blocks))
    assert _as_sets(find_webs(listed, unheeded=())) == []


def _with_listed_args(block: Block) -> Block:
    ops = (replace(op, args=(Seq(SeqKind.LIST, op.args),)) if isinstance(op, Dispatch) else op for op in block.ops)
    return replace(block, ops=tuple(ops))


def test_whoever_knows_more_unites_and_shows() -> None:
    found = find_webs(parse_ir(PROGRAM.replace("RESULT", "1")), unheeded=())
    found.unite([ValueId(3), ValueId(6)])
    assert _as_sets(found) == [{1, 2, 3, 6}]
    found.show([ValueId(6)])
    assert _as_sets(found) == []
