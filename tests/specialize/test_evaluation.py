"""Expressions as functions: what they say is what torch's interpreter says."""

from __future__ import annotations

import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._sympy.functions import FloorDiv, Mod, PythonMod
from torch.utils._sympy.interp import sympy_interp
from torch.utils._sympy.reference import PythonReferenceAnalysis

from dycl.passes.specialize.evaluation import holds_at, value_at
from tests.specialize.expressions import COMPARED, NUMBERS, A, B

CONDITIONS = st.recursive(
    COMPARED,
    lambda inner: st.one_of(
        inner.map(sympy.Not), st.builds(sympy.And, inner, inner), st.builds(sympy.Or, inner, inner)
    ),
    max_leaves=3,
)


@given(st.one_of(NUMBERS, CONDITIONS), st.integers(-9, 9), st.integers(-9, 9))
def test_the_value_is_the_interpreters(expr, a, b):
    sizes = {A: a, B: b}
    assert value_at(expr, sizes) == int(sympy_interp(PythonReferenceAnalysis, sizes, expr))


@pytest.mark.parametrize("divided", [Mod(A, B), PythonMod(A, B), FloorDiv(A, B)])
def test_a_condition_that_divides_by_zero_is_neither_true_nor_false(divided):
    condition = sympy.Eq(divided, 0)
    assert holds_at(condition, {A: 4, B: 0}) is None
    assert holds_at(condition, {A: 4, B: 2}) is (divided.func is not FloorDiv)


def test_what_has_no_python_form_is_asked_of_the_interpreter():
    assert value_at(sympy.Abs(A), {A: -3}) == 3
