"""How often blocks run: guessed from the program, or known from what calls did."""

from __future__ import annotations

import pytest
import torch

from dycl.ir.environment import Environment
from dycl.ir.parser import parse_ir
from dycl.ir.values import BlockId
from dycl.passes.analysis.frequency import estimate_frequencies

PROGRAM = """
program P method forward
param x: positional_or_keyword = input 0: float32[1, 4]
entry b0

b0(%0 x: float32[1, 4]):
  %1: float32[] = call torch.sum(%0)
  %2: float = host item(%1)
  %3: bool = host gt(%2, 0.0)
  branch %3 ? b1 : b2

b1:
  %4: float32[1, 4] = call torch.neg(%0)
  jump b3(%4)

b2:
  jump b3(%0)

b3(%5: float32[1, 4]):
  return %5
"""


def _frequencies(*signs: float) -> dict[int, float]:
    calls = tuple(((torch.full((1, 4), sign),), {}) for sign in signs)
    found = estimate_frequencies(parse_ir(PROGRAM), Environment(calls=calls))
    return {block: found[BlockId(block)] for block in range(4)}


def test_without_calls_each_side_is_as_likely_as_the_other() -> None:
    assert _frequencies() == pytest.approx({0: 1.0, 1: 0.5, 2: 0.5, 3: 1.0}, abs=0.01)


def test_calls_outweigh_the_guess_and_leave_a_chance_to_what_none_did() -> None:
    assert _frequencies(*[1.0] * 7) == pytest.approx({0: 1.0, 1: 7.5 / 8, 2: 0.5 / 8, 3: 1.0}, abs=0.01)
    assert _frequencies(1.0, -1.0, -1.0) == pytest.approx({0: 1.0, 1: 1.5 / 4, 2: 2.5 / 4, 3: 1.0}, abs=0.01)


LOOP = """
program P method forward
param n: positional_or_keyword = input 0: int
entry b0

b0(%0 n: int):
  jump b1(0)

b1(%1 steps: int):
  %2: int = host add(%1, 1)
  %3: bool = host lt(%2, %0)
  branch %3 ? b1(%2) : b2

b2:
  return %2
"""


def test_a_block_that_leads_to_itself_is_a_loop() -> None:
    found = estimate_frequencies(parse_ir(LOOP), Environment())
    assert [found[BlockId(block)] for block in range(3)] == pytest.approx([1.0, 10.0, 1.0], rel=0.02)
