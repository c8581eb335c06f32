"""Expressions as functions: what they say is what torch's interpreter says."""

from __future__ import annotations

import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._sympy.functions import FloorDiv, Max, Min, Mod, PythonMod
from torch.utils._sympy.interp import sympy_interp
from torch.utils._sympy.reference import PythonReferenceAnalysis

from dycl.passes.specialize.evaluation import holds_at, value_at

A, B = sympy.symbols("a b", integer=True)
LEAVES = st.one_of(st.sampled_from([A, B]), st.integers(-3, 5).map(sympy.Integer))
OPERATIONS = st.sampled_from(
    [
        lambda x, y: x + y,
        lambda x, y: x * y,
        lambda x, y: x - y,
        Max,
        Min,
        lambda x, y: FloorDiv(x, y) if y.is_number and y > 0 else x,
        lambda x, y: PythonMod(x, y) if y.is_number and y > 0 else y,
        lambda x, y: x**2 + y,
    ]
)
NUMBERS = st.recursive(LEAVES, lambda inner: st.builds(lambda f, x, y: f(x, y), OPERATIONS, inner, inner), max_leaves=6)
RELATIONS = st.sampled_from([sympy.Eq, sympy.Ne, sympy.Lt, sympy.Le, sympy.Gt, sympy.Ge])
COMPARED = st.builds(lambda relation, x, y: relation(x, y), RELATIONS, NUMBERS, NUMBERS)
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
