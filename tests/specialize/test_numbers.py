"""Host arithmetic: what the program does, and what the generated host does, is what the model does."""

from __future__ import annotations

import pytest
import torch

from dycl.ir.printer import print_ir
from dycl.passes.order import PASSES, run_passes
from tests.hostgen import harness
from tests.specialize import number_programs
from tests.specialize.comparison import compile_case, find_mismatch
from tests.specialize.programs import Case

_IDS = [case.name for case in number_programs.CASES]


@pytest.mark.parametrize("case", number_programs.CASES, ids=_IDS)
def test_program_does_what_the_model_does(case: Case) -> None:
    assert find_mismatch(case) is None


@pytest.mark.parametrize("case", number_programs.CASES, ids=_IDS)
def test_host_does_what_the_program_does(case: Case) -> None:
    _, made = compile_case(case)
    program = run_passes(made.program, made.environment, PASSES, lambda name, made: None)
    with torch.no_grad():
        harness.compare(program, [case.inputs(seed) for seed in range(20)], made.environment)


def test_one_arm_for_each_target_and_arms_that_meet() -> None:
    """Four dispatches one after the other: their arms add up, and what an argmax cannot be has none."""
    _, made = compile_case(Case(number_programs.RoutedExperts))
    assert len(made.program.blocks) == 1 + 3 * 7 + 5
    text = print_ir(made.program)
    assert "raise" not in text and "eq(%3, -1)" not in text


def test_bounds_of_tensors_leave_no_round_before_a_loop() -> None:
    _, made = compile_case(Case(number_programs.TopKLoop))
    assert "IndexError" not in print_ir(made.program)
