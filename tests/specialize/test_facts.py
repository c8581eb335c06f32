"""The facts of a path: what comparisons teach about integers, and what they decide."""

from __future__ import annotations

import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._sympy.functions import Max, Min

from dycl.passes.specialize.conditions import normal_condition
from dycl.passes.specialize.facts import Facts

K = sympy.Symbol("k", integer=True)
N = sympy.Symbol("n", integer=True)
RELATIONS = {
    "==": (sympy.Eq, lambda a, b: a == b),
    "!=": (sympy.Ne, lambda a, b: a != b),
    "<": (sympy.Lt, lambda a, b: a < b),
    "<=": (sympy.Le, lambda a, b: a <= b),
    ">": (sympy.Gt, lambda a, b: a > b),
    ">=": (sympy.Ge, lambda a, b: a >= b),
}


def test_nothing_is_known_at_first():
    assert Facts().decide(sympy.Lt(K, 3)) is None


def test_an_equality_decides_everything_about_the_symbol():
    facts = Facts()
    facts.learn(sympy.Eq(K, 2), True)
    assert facts.decide(K + 1) == 3
    assert facts.decide(sympy.Ge(K, 3)) == sympy.false


def test_a_factor_of_the_symbol_is_divided_out():
    facts = Facts()
    facts.learn(sympy.Lt(16 * K, 34, evaluate=False), True)
    facts.learn(sympy.Lt(-3 * K, 2, evaluate=False), True)
    assert facts.interval(K) == (0, 2)
    facts.learn(sympy.Eq(16 * K, 0, evaluate=False), False)
    assert facts.interval(K) == (1, 2)


def test_one_of_several_conditions_spans_an_interval():
    facts = Facts()
    facts.learn(sympy.Or(sympy.Eq(16 * K, 0), sympy.And(sympy.Eq(K, 1), sympy.Eq(8 * sympy.Max(1, K), 8))), True)
    assert facts.interval(K) == (0, 1)
    facts.learn(sympy.Eq(K, 0), False)
    assert facts.decide(K) == 1


def test_two_conditions_that_do_not_hold_together_leave_one_that_does_not() -> None:
    facts = Facts()
    facts.learn(sympy.Ge(K, 0), True)
    facts.learn(sympy.And(sympy.Ge(K + 1, 0), sympy.Le(K + 1, 10)), False)
    assert facts.interval(K)[0] == 10
    assert facts.decide(sympy.Eq(K, 1)) == sympy.false


def test_an_end_that_was_excluded_before_is_no_end():
    facts = Facts()
    facts.learn(sympy.Eq(K, 1), False)
    facts.learn(sympy.Ge(K, 1), True)
    assert facts.decide(sympy.Gt(K, 1)) == sympy.true


def test_two_numbers_that_differ_do_so_in_either_order():
    facts, other = Facts(), sympy.Symbol("other", integer=True)
    facts.learn(sympy.Eq(K, other, evaluate=False), False)
    assert facts.decide(sympy.Eq(other, K, evaluate=False)) == sympy.false
    assert facts.decide(sympy.Ne(other + 1, K + 1, evaluate=False)) == sympy.true
    assert facts.decide(sympy.Eq(other + 1, K, evaluate=False)) is None


def test_refusals_at_the_border_narrow_the_interval():
    facts = Facts()
    facts.learn(sympy.Ge(K, 0), True)
    facts.learn(sympy.Eq(K, 0), False)
    assert facts.decide(sympy.Ge(K, 1)) == sympy.true


def test_copies_are_independent():
    facts = Facts()
    other = facts.copy()
    other.learn(sympy.Eq(K, 1), True)
    assert facts.decide(sympy.Eq(K, 1)) is None


@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(RELATIONS)), st.integers(-4, 4), st.sampled_from([1, -1]), st.integers(-2, 2)),
        max_size=5,
    ),
    st.tuples(st.sampled_from(sorted(RELATIONS)), st.integers(-4, 4), st.sampled_from([1, -1]), st.integers(-2, 2)),
    st.integers(-6, 6),
)
def test_a_decision_holds_for_every_number_that_fits_the_facts(learned, asked, value):
    """Soundness: learn what is true of a number; whatever is decided then must be true of it as well."""
    facts = Facts()
    for name, constant, sign, shift in learned:
        relation, holds = RELATIONS[name]
        condition = relation(sign * K + shift, constant)
        if condition in (sympy.true, sympy.false):
            continue
        facts.learn(condition, holds(sign * value + shift, constant))
    name, constant, sign, shift = asked
    relation, holds = RELATIONS[name]
    decided = facts.decide(relation(sign * K + shift, constant))
    if decided is not None:
        assert bool(decided) == holds(sign * value + shift, constant)


@pytest.mark.parametrize("expr", [K + N, 2 * K - N, K * N])
def test_bounds_contain_the_values(expr):
    facts = Facts()
    for symbol, low, high in ((K, 1, 3), (N, -2, 2)):
        facts.learn(sympy.Ge(symbol, low), True)
        facts.learn(sympy.Le(symbol, high), True)
    low, high = facts.bounds(expr)
    values = [expr.subs({K: k, N: n}) for k in range(1, 4) for n in range(-2, 3)]
    assert low <= min(values)
    assert max(values) <= high


FLOORS = [Max(1, K), 4 * Max(1, K), Max(1, K) * Max(1, N), Max(1, K - 2), 2 * Max(1, N)]
SIDES = [*FLOORS, K, N, 4 * K, K * N, K - 2, sympy.Integer(1), sympy.Integer(4), sympy.Integer(0)]


@given(
    st.sampled_from(sorted(RELATIONS)),
    st.sampled_from(FLOORS),
    st.sampled_from(SIDES),
    st.integers(0, 1),
    st.integers(0, 4),
    st.integers(0, 4),
)
def test_a_condition_without_floors_is_the_same_condition(name, left, right, least, k, n):
    facts = Facts()
    facts.learn(sympy.Ge(K, least), True)
    facts.learn(sympy.Ge(N, 0), True)
    relation, holds = RELATIONS[name]
    condition = relation(left, right)
    if condition in (sympy.true, sympy.false) or k < least:
        return
    values = {K: sympy.Integer(k), N: sympy.Integer(n)}
    wanted = holds(int(left.subs(values)), int(right.subs(values)))
    normal = normal_condition(condition, facts)
    assert not normal.atoms(Max)
    assert bool(normal.subs(values)) == wanted
    for outcome in (True, False):
        taught = facts.copy()
        taught.learn(normal, outcome)
        fits = all(low <= values[symbol] <= high for symbol, (low, high) in taught.intervals.items())
        assert fits or wanted is not outcome


def test_a_product_that_is_not_zero_has_no_factor_that_is():
    facts = Facts()
    facts.learn(sympy.Ge(K, 0), True)
    facts.learn(sympy.Ge(N, 0), True)
    facts.learn(sympy.Eq(2 * K * N, 0), False)
    assert facts.interval(K)[0] == 1
    assert facts.interval(N)[0] == 1


def test_numbers_that_are_excluded_one_by_one_narrow_the_interval():
    facts = Facts()
    facts.learn(sympy.Ge(K, 0), True)
    facts.learn(sympy.Ne(K, 1), True)
    facts.learn(sympy.Eq(K, 0), False)
    assert facts.decide(sympy.Gt(K, 1)) == sympy.true


EXTREMES = (
    Max(0, K) - Min(4, N + 1),
    Min(8, K + 1) - Max(0, N),
    2 * Max(K, N) - K,
    Min(K, N - 2, 3) + Max(0, K - N),
    (Min(3, K) - Max(1, N)) * (K + 1),
    K * Max(0, N),
)


@given(
    st.sampled_from(EXTREMES),
    st.sampled_from(sorted(RELATIONS)),
    st.integers(-2, 2),
    st.tuples(st.integers(-3, 5), st.integers(0, 4)),
    st.tuples(st.integers(-3, 5), st.integers(0, 4)),
)
def test_what_is_decided_of_extremes_and_products_holds_for_all_numbers(expr, name, limit, first, second):
    facts = Facts()
    for symbol, (low, length) in ((K, first), (N, second)):
        facts.learn(sympy.Ge(symbol, low), True)
        facts.learn(sympy.Le(symbol, low + length), True)
    relation, holds = RELATIONS[name]
    known = facts.decide(relation(expr, limit))
    values = [
        int(expr.subs({K: sympy.Integer(first[0] + k), N: sympy.Integer(second[0] + n)}))
        for k in range(first[1] + 1)
        for n in range(second[1] + 1)
    ]
    assert known is None or all(holds(value, limit) is bool(known) for value in values)
    low, high = facts.bounds(expr)
    assert low <= min(values)
    assert max(values) <= high


def test_extremes_are_bounded_by_what_they_are_made_of():
    facts = Facts()
    facts.learn(sympy.Ge(K, 2), True)
    assert facts.decide(sympy.Gt(Max(0, K) - Min(1, N), 0)) == sympy.true
    assert facts.bounds(Min(8, K) - Max(3, N))[1] == 5
    assert facts.decide(sympy.Ne(Max(1, N) * K, 0)) == sympy.true
