"""What a clock has a part in is found, through state and from call to call; what a time limit decides is not."""

from __future__ import annotations

from dycl.ir.clocks import find_timed, find_timed_places
from dycl.ir.parser import parse_ir

_PROGRAM = """\
program Timed method forward
param x: positional_or_keyword = input 0: float32[1]
initial (0.0, 0)
entry b0 state 2
  slot seconds = %1
  slot calls = %2

b0(%0 x: float32[1], %1: float, %2: int):
  %3: float = host clock('time')
  %4: float = host add(%1, %3)
  %5: bool = host gt(%4, 5.0)
  %6: int = host add(%2, 1)
  branch %5 ? b1 : b2(%0, %4)

b1:
  return (%0, {'count': %6, 'when': 0.0}) resume 0 state (%4, %6)

b2(%7: float32[1], %8: float):
  return (%7, {'count': %6, 'when': %8}) resume 0 state (0.0, %6)
"""


def test_results_and_state_that_a_clock_has_a_part_in() -> None:
    program = parse_ir(_PROGRAM)
    assert find_timed(program) == {1, 3, 4, 5, 8}
    assert find_timed_places(program, "the result", "the state ") == {"the result[1]['when']", "the state seconds"}


def test_without_a_clock_everything_is_compared() -> None:
    program = parse_ir(_PROGRAM.replace("clock('time')", "add(1.0, 1.0)"))
    assert find_timed_places(program, "the result", "the state ") == frozenset()
