"""Every program, specialised on one input, does on other inputs what the model does, with needless forks or without."""

from __future__ import annotations

import inspect

import pytest

from dycl.diagnostics import UnsupportedError
from tests.specialize import programs, python_objects, python_programs, python_statements
from tests.specialize.comparison import find_mismatch
from tests.specialize.programs import Case

# What is refused, and by which code.
REFUSED = {
    "SetOrder": "DY205",  # a copy of this set would be iterated over in another order
    "MutableDefaultOfMethod": "DY206",  # state outside of the model
}
CASES = [*programs.CASES, *python_statements.CASES, *python_objects.CASES, *python_programs.CASES]


def _name(case: Case) -> str:
    return case.name


@pytest.mark.parametrize("case", [case for case in CASES if case.name not in REFUSED], ids=_name)
def test_program_does_what_the_model_does(case: Case) -> None:
    assert find_mismatch(case) is None


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize("case", [case for case in CASES if case.name not in REFUSED], ids=_name)
def test_needless_forks_change_nothing(case: Case, seed: int) -> None:
    assert find_mismatch(case, fuzz=seed) is None


@pytest.mark.parametrize("case", [case for case in CASES if case.name in REFUSED], ids=_name)
def test_refusal_points_at_the_model(case: Case) -> None:
    with pytest.raises(UnsupportedError) as caught:
        find_mismatch(case)
    assert caught.value.code == REFUSED[case.name]
    assert caught.value.loc.file == inspect.getsourcefile(type(case.build()))
    assert caught.value.loc.text
