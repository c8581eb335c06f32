"""Every invariant of the HCFG, broken one at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dycl.diagnostics import InternalError
from dycl.ir import verifier
from dycl.ir.nodes import Return
from dycl.ir.parser import parse_ir
from dycl.ir.program import Program
from dycl.ir.values import BlockId, Lit, Ref, SubgraphId, ValueId
from dycl.ir.verifier import verify

SOUND = """\
program Sound method forward
tunable threshold: float = 0.5
param x: positional_or_keyword = input 0: float32[1, 4]
param flag: keyword_only optional = None
initial ($memory, 0)
entry b0 state 2
  slot memory = %1
entry b5 state 1

subgraph s0 gate structure 0 (%0: float32[1, 4], %1: int):
  %2: float32[1, 1] = module gate(%0, %1)
  %3: float32[1, 1] = call torch.Tensor.add_(%2, 1) mutates %2 -> %4: float32[1, 1]
  results (%4)

b0(%0 x: float32[1, 4], %1 memory: float32[1, 4], %2 n: int):
  %3: float32[1, 1] = dispatch s0(%0, 3)
  %4: float = host item(%3)
  %5: float = host tunable('threshold')
  %6: bool = host gt(%4, %5)
  branch %6 ? b1 : b2(%1, 0)

b1:
  %7: float32[1, 4] = call torch.Tensor.add_(%1, %0) mutates %1 -> %8: float32[1, 4]
  jump b2(%8, %2)

b2(%9: float32[1, n], %10: int):
  %11: bool = host lt(%10, 3)
  branch %11 ? b3 : b4([%9, %0])

b3:
  %12: int = host add(%10, 1)
  jump b2($weight, %12)

b4(%13: list[float32[1, 4]]):
  return (%13, %4) resume 1 state (%10)

b5(%14 x: float32[1, 4], %15 n: int):
  raise builtins:ValueError('no', %15) resume 0 state (%14, %15)
"""


def breaks_of(text: str | Program) -> list[str]:
    """The lines of the report, without the head."""
    program = parse_ir(text) if isinstance(text, str) else text
    with pytest.raises(InternalError) as caught:
        verify(program, after="a test")
    head, *lines = str(caught.value).splitlines()
    assert head == "after a test, the program Sound is broken:"
    return [line.strip() for line in lines]


def test_a_sound_program_passes() -> None:
    verify(parse_ir(SOUND), after="a test")


RUN_ON = "return (%13, %4) resume 1 state (%10)"

CASES = [
    # edges
    ("jump b2(%8, %2)", "jump b2(%8)", "b1 -> b2: 1 arguments for 2 parameters"),
    ("jump b2(%8, %2)", "jump b2(%8, 1.0)", "b1 -> b2: 1.0 does not fit int"),
    ("jump b2(%8, %2)", "jump b2(%8, True)", "b1 -> b2: True does not fit int"),
    ("jump b2(%8, %2)", "jump b2(%8, None)", "b1 -> b2: None does not fit int"),
    ("jump b2(%8, %2)", "jump b2(%8, %4)", "b1 -> b2: %4 (float) does not fit int"),
    ("jump b2(%8, %2)", "jump b2(%8, $w)", "b1 -> b2: $w does not fit int"),
    ("list[float32[1, 4]]", "list[float32[2, 4]]", "b2 -> b4: %0 (float32[1, 4]) does not fit float32[2, 4]"),
    ("%9: float32[1, n]", "%9: float32[2, n]", "b0 -> b2: %1 (float32[1, 4]) does not fit float32[2, n]"),
    ("%9: float32[1, n]", "%9: float32[n]", "b0 -> b2: %1 (float32[1, 4]) does not fit float32[n]"),
    ("%9: float32[1, n]", "%9: float64[1, n]", "b0 -> b2: %1 (float32[1, 4]) does not fit float64[1, n]"),
    ("b4([%9, %0])", "b4((%9, %0))", "b2 -> b4: (%9, %0) does not fit list[float32[1, 4]]"),
    ("b4([%9, %0])", "b4([%9, %4])", "b2 -> b4: %4 (float) does not fit float32[1, 4]"),
    ("jump b2(%8, %2)", "jump b9", "b1: an edge goes to b9, which does not exist"),
    # definitions
    ("%7: float32[1, 4] =", "%3: float32[1, 4] =", "b1: %3 is defined a second time"),
    ("-> %8: float32[1, 4]", "-> %7: float32[1, 4]", "b1: %7 is defined a second time"),
    ("b4([%9, %0])", "b4([%9, %7])", "b2: %7 is used where its definition does not dominate"),
    (RUN_ON, "return %12 resume 1 state (%10)", "b4: %12 is used where its definition does not dominate"),
    (RUN_ON, "return %77 resume 1 state (%10)", "b4: %77 is used and never defined"),
    ("host gt(%4, %5)", "host gt(%4, %6)", "b0: %6 is used where its definition does not dominate"),
    # what an operation may say
    ("branch %6 ?", "branch %4 ?", "b0: the condition of the branch is a float, no bool"),
    ("branch %6 ?", "branch %3 ?", "b0: the condition of the branch is a float32[1, 1], no bool"),
    ("host gt(", "host greater(", "b0: there is no host function 'greater'"),
    (
        "tunable('threshold')",
        "tunable('other')",
        "b0: the host function tunable does not name a tunable of the program",
    ),
    ("%7: float32[1, 4] =", "%7: float =", "b1: %7, a result of a tensor operation, is a float"),
    ("%8: float32[1, 4]", "%8: float64[1, 4]", "b1: %1 is float32[1, 4] and is written as float64[1, 4]"),
    (RUN_ON, "return input 0: int resume 1 state (%10)", "b4: an input leaf stands outside the signature"),
    # mutation
    ("jump b2(%8, %2)", "jump b2(%1, %2)", "b1: %1 is used after it was written and became %8"),
    (
        "  jump b2(%8, %2)",
        "  %16: float32[1, 4] = call torch.relu(%1)\n  jump b2(%8, %2)",
        "b1: %1 is used after it was written and became %8",
    ),
    ("b4([%9, %0])", "b4([%9, %1])", "b1: %1 is used after it was written and became %8"),
    # leaving
    (RUN_ON, "return %13 resume 2 state (%10)", "b4: resumes at entry 2, which does not exist"),
    (RUN_ON, "return %13 resume 1", "b4 -> entry 1: 0 arguments for 1 parameters"),
    (RUN_ON, "return %13 resume 1 state (%4)", "b4 -> entry 1: %4 (float) does not fit int"),
    ("resume 0 state (%14, %15)", "state (%15, %15)", "b5 -> entry 0: %15 (int) does not fit float32[1, 4]"),
    # subgraphs
    ("dispatch s0(", "dispatch s1(", "b0: dispatches to s1, which does not exist"),
    ("dispatch s0(%0, 3)", "dispatch s0(%0)", "b0 -> s0: 1 arguments for 2 parameters"),
    ("dispatch s0(%0, 3)", "dispatch s0(%0, 3.0)", "b0 -> s0: 3.0 does not fit int"),
    ("dispatch s0(%0, 3)", "dispatch s0(%0, (3,))", "b0 -> s0: (3,) cannot be handed to a subgraph"),
    ("results (%4)", "results (%4, %3)", "b0 -> s0: 1 results are taken of 2"),
    (
        "%3: float32[1, 1] = dispatch",
        "%3: int32[1, 1] = dispatch",
        "b0 -> s0: %3 is int32[1, 1], the result float32[1, 1]",
    ),
    ("add_(%2, 1)", "add_(%2, %15)", "s0: %15 is used and not defined in the subgraph before"),
    ("results (%4)", "results (%5)", "s0: %5 is used and not defined in the subgraph before"),
    ("results (%4)", "results (%2)", "s0: %2 is used after it was written and became %4"),
    ("  %3: float32[1, 1] = call", "  %2: float32[1, 1] = call", "s0: %2 is defined a second time"),
    # signature and entries
    ("entry b0 state 2", "entry b0 state 1", "entry b0: 3 parameters for 1 inputs and 1 state values"),
    ("entry b0 state 2", "entry b8 state 2", "entry b8: the block does not exist"),
    ("= input 0: float32[1, 4]", "= input 0: float32[1, n]", "entry b0: %0 is float32[1, 4], the input float32[1, n]"),
    ("= input 0: float32[1, 4]", "= input 1: float32[1, 4]", "signature: the input leaves are numbered [1]"),
    ("optional = None", "optional = %0", "signature: flag uses a value"),
    ("optional = None", "optional = input 1: int", "signature: flag may be left out and needs a run-time value"),
    (
        "slot memory = %1",
        "slot memory = %3",
        "entry b0: the state memory uses a value that is no parameter of the entry",
    ),
    ("initial ($memory, 0)", "initial ($memory)", "initial: 1 arguments for 2 parameters"),
    ("initial ($memory, 0)", "initial ($memory, %2)", "initial: %2 uses a value"),
    ("entry b5 state 1\n", "", "b5: cannot be reached"),
]


@pytest.mark.parametrize(("old", "new", "expected"), CASES)
def test_each_break_is_reported(old: str, new: str, expected: str) -> None:
    assert old in SOUND
    assert expected in breaks_of(SOUND.replace(old, new, 1))


def test_all_breaks_are_reported_at_once() -> None:
    text = SOUND.replace("host gt(", "host greater(").replace("branch %6 ?", "branch %4 ?").replace("(%8, %2)", "(%1)")
    assert breaks_of(text) == [
        "b0: there is no host function 'greater'",
        "b0: the condition of the branch is a float, no bool",
        "b1 -> b2: 1 arguments for 2 parameters",
        "b1: %1 is used after it was written and became %8",
    ]


def test_a_block_out_of_place() -> None:
    program = parse_ir(SOUND)
    blocks = (*program.blocks[:4], replace(program.blocks[4], id=BlockId(7)), program.blocks[5])
    assert "b7: stands at index 4" in breaks_of(replace(program, blocks=blocks))


def test_a_subgraph_out_of_place() -> None:
    program = parse_ir(SOUND)
    subgraphs = (replace(program.subgraphs[0], id=SubgraphId(1)),)
    assert "s1: stands at index 0" in breaks_of(replace(program, subgraphs=subgraphs))


def test_a_program_without_entry() -> None:
    assert "program: has no entry" in breaks_of(replace(parse_ir(SOUND), entries=(), initial=()))


def test_a_literal_that_is_none() -> None:
    program = parse_ir(SOUND)
    end = Return(value=Lit(b"x"), resume=1, state=(Ref(ValueId(10)),))
    blocks = (*program.blocks[:4], replace(program.blocks[4], end=end), program.blocks[5])
    assert "b4: b'x' is no literal" in breaks_of(replace(program, blocks=blocks))


def test_a_wrong_literal_does_not_hide_the_other_breaks() -> None:
    program = parse_ir(SOUND)
    end = Return(value=Lit(None), resume=1, state=(Lit(b"x"),))
    blocks = (*program.blocks[:4], replace(program.blocks[4], end=end), program.blocks[5])
    broken = breaks_of(replace(program, blocks=blocks))
    assert broken == ["b4: b'x' is no literal", "b4 -> entry 1: Lit(value=b'x') does not fit int"]


def test_a_use_on_the_next_turn_of_a_loop_is_a_use_after_the_write() -> None:
    text = """\
program Sound method forward
param x: positional_or_keyword = input 0: float32[4]
entry b0

b0(%0 x: float32[4]):
  %1: float32[4] = call torch.clone(%0)
  jump b1(0)

b1(%2 i: int):
  %3: float32[4] = call torch.Tensor.add_(%1, 1) mutates %1 -> %4: float32[4]
  %5: bool = host lt(%2, 3)
  branch %5 ? b1(3) : b2

b2:
  return %4
"""
    assert breaks_of(text) == ["b1: %1 is used after it was written and became %4"]


def test_a_value_may_be_defined_anew_on_the_next_turn_of_a_loop() -> None:
    text = """\
program Sound method forward
param x: positional_or_keyword = input 0: float32[4]
entry b0

b0(%0 x: float32[4]):
  jump b1(%0)

b1(%1: float32[4]):
  %2: float32[4] = call torch.clone(%1)
  %3: float32[4] = call torch.Tensor.add_(%2, 1) mutates %2 -> %4: float32[4]
  %5: float32[] = call torch.sum(%4)
  %6: bool = host item(%5)
  branch %6 ? b1(%4) : b2

b2:
  return %4
"""
    verify(parse_ir(text), after="a test")


def test_a_program_that_was_found_whole_is_not_looked_at_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[object] = []
    monkeypatch.setattr(verifier, "_CHECKS", (lambda program: looked.append(program) or (),))
    good, other = parse_ir(SOUND), parse_ir(SOUND)
    for program in (good, good, other, good):
        verify(program, after="a test")
    assert [program is good for program in looked] == [True, False]
