"""Mechanisms that programs in the style of research code have brought up."""

from __future__ import annotations

import pytest

from tests.specialize import research_programs
from tests.specialize.comparison import find_mismatch
from tests.specialize.programs import Case


@pytest.mark.parametrize("case", research_programs.CASES, ids=[case.name for case in research_programs.CASES])
def test_program_does_what_the_model_does(case: Case) -> None:
    assert find_mismatch(case) is None
