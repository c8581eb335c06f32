"""Interval arithmetic: the bounds hold for every number within, and are not wider than torch's."""

from __future__ import annotations

import sympy
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.utils._sympy.numbers import int_oo
from torch.utils._sympy.value_ranges import ValueRanges, bound_sympy

from dycl.passes.specialize.evaluation import value_at
from dycl.passes.specialize.intervals import interval_of
from tests.specialize.expressions import COMPARED, NUMBERS, A, B

ENDS = st.one_of(st.just(None), st.integers(0, 6))


@given(st.one_of(NUMBERS, COMPARED), st.integers(-9, 9), st.integers(-9, 9), st.lists(ENDS, min_size=4, max_size=4))
def test_the_value_lies_within_and_the_bounds_are_torchs(expr, a, b, reach):
    expr = sympy.sympify(expr)
    assume(expr.free_symbols)
    ranges = {}
    for symbol, value, below, above in ((A, a, *reach[:2]), (B, b, *reach[2:])):
        low = -int_oo if below is None else sympy.Integer(value - below)
        high = int_oo if above is None else sympy.Integer(value + above)
        ranges[symbol] = (low, high)
    found = interval_of(expr, frozenset((symbol, *ranges[symbol]) for symbol in expr.free_symbols))
    assert found is not None
    value = sympy.Integer(value_at(expr, {A: a, B: b}))
    if isinstance(expr, sympy.core.relational.Relational):
        assert found == (sympy.false, sympy.true) or found == (sympy.sympify(bool(value)),) * 2
    else:
        assert found[0] <= value <= found[1]
    torchs = bound_sympy(expr, {symbol: ValueRanges(*ends) for symbol, ends in ranges.items()})
    if torchs.is_singleton():
        assert found == (torchs.lower, torchs.upper)


def test_ends_that_no_float_holds_are_left_to_torch():
    huge = sympy.Integer(2) ** 1500
    assert interval_of(huge + A, frozenset({(A, sympy.Integer(0), int_oo)})) == (huge, int_oo)
