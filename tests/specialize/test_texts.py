"""Tensors in text: what the program writes, and what the generated host writes, is what torch writes."""

from __future__ import annotations

import pytest
import torch

from dycl.diagnostics import UnsupportedError
from dycl.hostgen.host import write_host
from dycl.passes.order import PASSES, run_passes
from tests.hostgen import harness
from tests.specialize import text_programs
from tests.specialize.comparison import compile_case, find_mismatch
from tests.specialize.programs import Case, vectors

_IDS = [case.name for case in text_programs.CASES]


@pytest.mark.parametrize("case", text_programs.CASES, ids=_IDS)
def test_program_does_what_the_model_does(case: Case) -> None:
    assert find_mismatch(case) is None


@pytest.mark.parametrize("case", text_programs.CASES, ids=_IDS)
def test_host_does_what_the_program_does(case: Case) -> None:
    _, made = compile_case(case)
    program = run_passes(made.program, made.environment, PASSES, lambda name, made: None)
    with torch.no_grad():
        harness.compare(program, [case.inputs(seed) for seed in range(12)], made.environment)


def test_message_that_is_not_raised_costs_nothing() -> None:
    _, made = compile_case(Case(text_programs.UnusedMessage, text_programs.matrices))
    program = run_passes(made.program, made.environment, PASSES, lambda name, made: None)
    before, decision, after = write_host(program, source_hash="", version="").partition("if decide(")
    assert decision and "tensor_text(" not in before and "format(" not in before
    assert "raise ValueError(" in after.partition("tensor_text(")[0]


def test_text_is_torchs_under_print_options() -> None:
    with torch._tensor_str.printoptions(precision=2, sci_mode=False, linewidth=40):
        assert find_mismatch(Case(text_programs.EveryForm, text_programs.matrices)) is None


class _Brain(torch.nn.Module):
    def forward(self, x):
        return f"{x.bfloat16()}"


def test_text_of_a_dtype_that_numpy_lacks_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"the text of a tensor of torch\.bfloat16") as caught:
        compile_case(Case(_Brain, vectors))
    assert caught.value.code == "DY203"
