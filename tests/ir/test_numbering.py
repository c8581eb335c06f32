"""Canonical ids."""

from __future__ import annotations

import pytest

from dycl.diagnostics import InternalError
from dycl.ir.dataflow import definitions
from dycl.ir.numbering import renumber
from dycl.ir.parser import parse_ir
from dycl.ir.printer import print_ir
from dycl.ir.verifier import verify
from tests.ir.tangled import PROGRAM, TANGLED


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
