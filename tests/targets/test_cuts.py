"""Which values stay between subgraphs, and which no caller can come to hold."""

from __future__ import annotations

import pytest

from dycl.ir.parser import parse_ir
from dycl.ir.program import Program
from dycl.targets.cuts import PortPlace, find_cuts, find_fetched, find_handed_on, find_private

PROGRAM = """
program P method forward
param x: positional_or_keyword = input 0: float32[1, 4]
entry b0

subgraph s0 '00_a' (%0: float32[1, 4]):
  %1: float32[1, 4] = module a(%0)
  results (%1)

subgraph s1 '01_b' (%0: float32[1, 4]):
  %1: float32[1, 4] = module b(%0)
  %2: float32[] = call torch.sum(%1)
  results (%1, %2)

subgraph s2 '02_c' (%0: float32[1, 4]):
  %1: float32[1, 4] = module c(%0)
  results (%1)

b0(%0 x: float32[1, 4]):
  %1: float32[1, 4] = dispatch s0(%0)
  jump b1(%1)

b1(%2: float32[1, 4]):
  %3: float32[1, 4], %4: float32[] = dispatch s1(%2)
  %5: float = host item(%4)
  %6: bool = host gt(%5, 0.0)
  branch %6 ? b1(%3) : b2

b2:
  %7: float32[1, 4] = dispatch s2(%3)
  return RESULT
"""


def _cuts(text: str) -> list[set[str]]:
    program: Program = parse_ir(text)
    return [{_name(port) for port in group} for group in find_cuts(program)]


def _private(text: str) -> set[str]:
    return {_name(port) for port in find_private(parse_ir(text))}


def _name(port: PortPlace) -> str:
    return f"{port.subgraph}.{'out' if port.is_output else 'in'}{port.index}"


def test_a_value_that_goes_around_is_one_with_all_that_it_meets() -> None:
    assert _cuts(PROGRAM.replace("RESULT", "%7")) == [{"00_a.out0", "01_b.in0", "01_b.out0", "02_c.in0"}]


@pytest.mark.parametrize("result", ["(%3, %7)", "%2"])
def test_what_is_returned_somewhere_is_seen_everywhere(result: str) -> None:
    assert _cuts(PROGRAM.replace("RESULT", result)) == []


def test_what_the_host_reads_is_seen() -> None:
    text = PROGRAM.replace("RESULT", "%7").replace("host gt(%5, 0.0)", "host gt(%5, 0.0)\n  %9: int = host size(%3, 0)")
    assert _cuts(text) == []


def test_what_the_host_reads_is_private_and_what_it_returns_is_not() -> None:
    assert _private(PROGRAM.replace("RESULT", "%7")) == {"00_a.out0", "01_b.out0", "01_b.out1"}
    assert _private(PROGRAM.replace("RESULT", "(%7, %5)")) == {"00_a.out0", "01_b.out0", "01_b.out1"}
    assert _private(PROGRAM.replace("RESULT", "(%4, %7)")) == {"00_a.out0", "01_b.out0"}
    assert _private(PROGRAM.replace("RESULT", "%2")) == {"01_b.out1", "02_c.out0"}


@pytest.mark.parametrize(
    ("made", "result"),
    [
        ("%9: list[float32[1, 4]] = host list_append([], %3)", "%9"),
        ("%9: float32[4] = host row(%3, 0)", "%9"),
        ("%9: list[float32[1, 4]] = host list_append([], %3)\n  %8: float32[1, 4] = host list_get(%9, 0)", "%8"),
    ],
)
def test_what_is_in_a_list_or_seen_through_a_view_is_not_private(made: str, result: str) -> None:
    text = PROGRAM.replace("return RESULT", f"{made}\n  return {result}")
    assert _private(text) == {"01_b.out1", "02_c.out0"}


def test_what_hangs_on_an_object_of_the_callers_is_not_private() -> None:
    text = PROGRAM.replace("return RESULT", "%9: bool = host set_attr(%0, 'last', %3)\n  return 1")
    assert _private(text) == {"01_b.out1", "02_c.out0"}


def test_what_a_raise_tells_and_what_the_next_call_finds_are_not_private() -> None:
    assert _private(PROGRAM.replace("return RESULT", "raise 'builtins:ValueError' (%7)")) == {
        "00_a.out0",
        "01_b.out0",
        "01_b.out1",
    }


RECURSIVE = """
program P method forward
param x: positional_or_keyword = input 0: float32[1, 4]
entry b0
procedure p0 down b1

subgraph s0 '00_a' (%0: float32[1, 4]):
  %1: float32[1, 4] = module a(%0)
  %2: float32[] = call torch.sum(%1)
  results (%1, %2)

b0(%0 x: float32[1, 4]):
  %1: float32[1, 4] = invoke p0(%0)
  return RESULT

b1(%2: float32[1, 4]):
  %3: float32[1, 4], %4: float32[] = dispatch s0(%2)
  %5: float = host item(%4)
  %6: bool = host gt(%5, 0.0)
  branch %6 ? b2 : b3

b2:
  %7: float32[1, 4] = invoke p0(%3)
  reply (%7)

b3:
  reply (%3)
"""


def test_what_a_procedure_replies_is_what_its_caller_has() -> None:
    assert _private(RECURSIVE.replace("RESULT", "1")) == {"00_a.out0", "00_a.out1"}
    assert _private(RECURSIVE.replace("RESULT", "%1")) == {"00_a.out1"}


def _handed_on(text: str) -> set[str]:
    return {_name(port) for port in find_handed_on(parse_ir(text))}


def test_what_subgraphs_alone_see_is_handed_on() -> None:
    assert _handed_on(PROGRAM.replace("RESULT", "%7")) == {"00_a.out0", "01_b.out0"}
    assert _handed_on(PROGRAM.replace("RESULT", "%3")) == set()  # a name of it is returned
    assert _handed_on(PROGRAM.replace("RESULT", "%7").replace("b1(%1)", "b1(%0)")) == set()  # or comes from the caller


def test_another_dispatch_may_be_given_an_array_of_the_caller() -> None:
    text = PROGRAM.replace("RESULT", "(%7, %8)").replace("  return", "  %8: float32[1, 4] = dispatch s2(%0)\n  return")
    assert _handed_on(text) == {"00_a.out0", "01_b.out0"}


@pytest.mark.parametrize("question", ["size_of(%3, 0)", "array_of(%3)"])
def test_a_question_leaves_it_what_it_is(question: str) -> None:
    kind = "int" if "size" in question else "float32[1, 4]"
    text = PROGRAM.replace("RESULT", "(%7, %8)").replace("  return", f"  %8: {kind} = host {question}\n  return")
    assert _handed_on(text) == {"00_a.out0", "01_b.out0"}
    assert _handed_on(text.replace("array_of", "abs").replace("size_of", "size")) == set()


def test_what_the_host_fetches_and_nobody_else_takes_is_fetched() -> None:
    text = PROGRAM.replace("host item(%4)", "host fetch(%4)").replace("RESULT", "%7")
    assert _fetched(text) == {"01_b.out1"}
    assert _fetched(text.replace("return %7", "return (%7, %4)")) == set()  # the caller gets it as it is
    assert _fetched(text.replace("fetch(%4)", "fetch(%3)")) == set()  # a subgraph takes it too


def _fetched(text: str) -> set[str]:
    return {_name(port) for port in find_fetched(parse_ir(text))}
