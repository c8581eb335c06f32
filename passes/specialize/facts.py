"""What one path knows: one interval per integer symbol, the truth of host bools, and relations until the next join.

Facts belong to a path; nothing is ever learned in a process-wide environment.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sympy
from torch.utils._sympy.functions import Max, Min
from torch.utils._sympy.numbers import int_oo

from dycl.ir.values import ValueId
from dycl.passes.specialize.intervals import Interval, Intervals, interval_of

EVERYTHING: Interval = (-int_oo, int_oo)


@dataclass(slots=True)
class Facts:
    """The facts of a path. `relations` are forgotten at joins, `bools` with the values they are about."""

    intervals: dict[sympy.Symbol, Interval] = field(default_factory=dict)
    bools: dict[ValueId, bool] = field(default_factory=dict)
    relations: dict[sympy.Basic, bool] = field(default_factory=dict)
    ranges: dict[ValueId, Interval] = field(default_factory=dict)  # bounds of the elements of integer tensors
    results: dict[Any, Any] = field(default_factory=dict)  # host operations done since the last join: never done twice

    def copy(self) -> Facts:
        """An independent copy."""
        return Facts(
            dict(self.intervals), dict(self.bools), dict(self.relations), dict(self.ranges), dict(self.results)
        )

    def interval(self, symbol: sympy.Symbol) -> Interval:
        """The bounds of a symbol, both inclusive."""
        return self.intervals.get(symbol, EVERYTHING)

    def decide(self, expr: sympy.Basic) -> sympy.Basic | None:
        """The value of an expression on this path, if the facts determine it."""
        if not expr.free_symbols:
            return expr
        if expr in self.relations:
            return sympy.sympify(self.relations[expr])
        negation = _negation(expr) if _is_relation(expr) else None
        if negation is not None and negation in self.relations:
            return sympy.sympify(not self.relations[negation])
        if negation is not None and (known := self._decide_linear(expr)) is not None:
            return sympy.sympify(known)
        if (factors := _factors_against_zero(expr)) and not all(factor.is_Symbol for factor in factors):
            return self._decide_product(expr, factors)
        if negation is not None and (known := self._decide_difference(expr)) is not None:
            return sympy.sympify(known)
        if isinstance(expr, (sympy.And, sympy.Or)):
            return self._decide_parts(expr)
        if negation is not None and len(expr.free_symbols) > 1 and _linear_difference(expr) is not None:
            return None  # the rule for differences knows more than the bounds of both sides
        if not all(symbol.is_integer for symbol in expr.free_symbols):
            return None
        found = self._bounded(expr)
        return found[0] if found is not None and found[0] == found[1] else None  # undecided is asked

    def _decide_product(self, expr: sympy.Basic, factors: tuple[sympy.Basic, ...]) -> sympy.Basic | None:
        """Whether a product is 0 (or is not): it is where one of its factors is."""
        found = [self.decide(sympy.Ne(factor, 0)) for factor in factors]
        if any(is_other == sympy.false for is_other in found):
            return sympy.sympify(isinstance(expr, sympy.Eq))
        return None if any(is_other is None for is_other in found) else sympy.sympify(isinstance(expr, sympy.Ne))

    def _decide_parts(self, expr: sympy.Basic) -> sympy.Basic | None:
        parts = [self.decide(part) for part in expr.args]
        decisive = sympy.false if isinstance(expr, sympy.And) else sympy.true
        if any(part == decisive for part in parts):
            return decisive
        return None if any(part is None for part in parts) else sympy.Not(decisive)

    def bounds(self, expr: sympy.Basic) -> Interval:
        """The interval of an integer expression."""
        if (sum_ := _linear(expr)) is not None:
            low, high = self._least(sum_), self._least(sum_.negated())
            return (-int_oo if low is None else sympy.Integer(low), int_oo if high is None else sympy.Integer(-high))
        return self._bounded(expr) or EVERYTHING

    def _bounded(self, expr: sympy.Basic) -> Interval | None:
        """The bounds of an expression by those of its symbols; None where the interval rules do not know it."""
        return interval_of(expr, self.intervals_of(expr))

    def intervals_of(self, expr: sympy.Basic) -> Intervals:
        """The bounds of all symbols of an expression."""
        return frozenset([(symbol, *self.interval(symbol)) for symbol in expr.free_symbols])

    def _decide_linear(self, expr: sympy.Basic) -> bool | None:
        """Decide `s op constant`, where bound analysis of both sides apart loses nothing but disequalities."""
        found = _single_symbol(expr)
        if found is None:
            return None
        symbol, relation, constant = found
        low, high = self.interval(symbol)
        match relation:
            case sympy.Eq:
                return False if constant < low or constant > high else (True if low == high else None)
            case sympy.Ne:
                return True if constant < low or constant > high else (False if low == high else None)
            case sympy.Lt:
                return True if high < constant else (False if low >= constant else None)
            case sympy.Le:
                return True if high <= constant else (False if low > constant else None)
            case sympy.Gt:
                return True if low > constant else (False if high <= constant else None)
            case _:
                return True if low >= constant else (False if high < constant else None)

    def _decide_difference(self, expr: sympy.Basic) -> bool | None:
        """Decide a comparison of several symbols by one known relation between them and by the intervals."""
        if not isinstance(expr, _COMPARISONS) or len(expr.free_symbols) < 2:
            return None
        if not all(symbol.is_integer for symbol in expr.free_symbols):
            return None
        match _as_positive(expr):
            case (goal,):
                if self._is_positive(goal):
                    return True
                return False if self._is_positive(-goal - 1) else None
            case (above, below):  # an equality
                if self._is_positive(above) and self._is_positive(below):
                    found = True
                elif self._is_positive(above - 1) or self._is_positive(below - 1) or self._is_nonzero(above, below):
                    found = False
                else:
                    return None
                return found is isinstance(expr, sympy.Eq)
        return None

    def _is_nonzero(self, difference: sympy.Basic, opposite: sympy.Basic) -> bool:
        """Whether two integers are known to differ, in whichever order they were compared."""
        return any(
            _known_nonzero(expr, outcome) in (difference, opposite)
            for expr, outcome in self.relations.items()
            if isinstance(expr, (sympy.Eq, sympy.Ne))
        )

    def _is_positive(self, goal: sympy.Basic) -> bool:
        """Whether an integer expression is certainly not negative."""
        if self.bounds(goal)[0] >= 0:
            return True
        symbols, goal_sum = goal.free_symbols, _linear(goal)
        for expr, outcome in self.relations.items():
            for part in _known_positive(expr, outcome):
                if symbols.isdisjoint(part.free_symbols):
                    continue
                part_sum = None if goal_sum is None else _linear(part)
                if part_sum is None or goal_sum is None:
                    is_positive = self.bounds(sympy.expand(goal - part))[0] >= 0
                else:
                    least = self._least(goal_sum.minus(part_sum))
                    is_positive = least is not None and least >= 0
                if is_positive:
                    return True
        return self._is_positive_by_cases(goal)

    def _is_positive_by_cases(self, goal: sympy.Basic) -> bool:
        """The same by what an extreme among the terms may be: `max(a, b) - a` is positive because `a - a` is."""
        for extreme in goal.atoms(Max, Min):
            factor = goal.coeff(extreme)
            if not factor.is_Integer or factor == 0:
                continue
            rest = goal - factor * extreme
            cases = (self._is_positive(sympy.expand(rest + factor * case)) for case in extreme.args)
            if any(cases) if isinstance(extreme, Max) is bool(factor > 0) else all(cases):
                return True
        return False

    def _least(self, linear: _Linear) -> int | None:
        """The least value of a sum; None where it has none."""
        total = linear.constant
        for term, factor in linear.factors.items():
            end = self._end(term, is_low=factor > 0)
            if end is None:
                return None
            total += factor * end
        return total

    def _end(self, term: sympy.Basic, *, is_low: bool) -> int | None:
        """The least or the largest value of a term of a sum; None where it has none."""
        found = self.interval(term) if isinstance(term, sympy.Symbol) else self._bounded(term)
        end = None if found is None else found[0 if is_low else 1]
        return int(end) if end is not None and end.is_Integer else None

    def learn(self, expr: sympy.Basic, outcome: bool) -> None:
        """Add the fact that a condition holds (or does not)."""
        self.relations[expr] = outcome
        condition = expr if outcome else _negation(expr)
        if isinstance(condition, sympy.And):
            for part in condition.args:
                self.learn(part, True)
            return
        if isinstance(condition, sympy.Or):
            self._learn_any(condition.args)
            return
        if isinstance(condition, sympy.Ne) and condition.rhs == 0 and isinstance(condition.lhs, sympy.Mul):
            for factor in condition.lhs.args:
                if not factor.is_number:
                    self.learn(sympy.Ne(factor, 0), True)
            return
        found = _single_symbol(condition)
        if found is None:
            return
        symbol, relation, constant = found
        low, high = self.interval(symbol)
        if relation is sympy.Ne:
            self.relations[sympy.Ne(symbol, constant)] = True
        match relation:
            case sympy.Eq:
                low, high = max(low, constant), min(high, constant)
            case sympy.Ne if constant == low:
                low = low + 1
            case sympy.Ne if constant == high:
                high = high - 1
            case sympy.Lt:
                high = min(high, constant - 1)
            case sympy.Le:
                high = min(high, constant)
            case sympy.Gt:
                low = max(low, constant + 1)
            case sympy.Ge:
                low = max(low, constant)
        self.intervals[symbol] = self._shaved(symbol, low, high)

    def _learn_any(self, conditions: tuple[sympy.Basic, ...]) -> None:
        """Add the fact that one of the conditions holds: each symbol's interval spans what they leave of it."""
        ways = [self.copy() for _ in conditions]
        for way, condition in zip(ways, conditions, strict=True):
            way.learn(condition, True)
        ways = [way for way in ways if all(low <= high for low, high in way.intervals.values())] or ways
        for symbol in set().union(*(condition.free_symbols for condition in conditions)):
            found = [way.interval(symbol) for way in ways]
            low, high = min(low for low, _ in found), max(high for _, high in found)
            if low <= high:
                self.intervals[symbol] = (low, high)

    def _shaved(self, symbol: sympy.Symbol, low: sympy.Basic, high: sympy.Basic) -> Interval:
        """The interval without ends that the symbol is known not to be."""
        while low < high and self._is_excluded(symbol, low):
            low = low + 1
        while low < high and self._is_excluded(symbol, high):
            high = high - 1
        return low, high

    def _is_excluded(self, symbol: sympy.Symbol, value: sympy.Basic) -> bool:
        return self.relations.get(sympy.Eq(symbol, value)) is False or sympy.Ne(symbol, value) in self.relations


@dataclass(frozen=True, slots=True)
class _Linear:
    """A sum of integer symbols and extremes of sums, each times an integer that is not 0, and a constant."""

    factors: Mapping[sympy.Basic, int]
    constant: int

    def negated(self) -> _Linear:
        return _Linear({symbol: -factor for symbol, factor in self.factors.items()}, -self.constant)

    def minus(self, other: _Linear) -> _Linear:
        factors = dict(self.factors)
        for symbol, factor in other.factors.items():
            factors[symbol] = factors.get(symbol, 0) - factor
        return _Linear({s: factor for s, factor in factors.items() if factor}, self.constant - other.constant)


# Expressions are immutable, few, and asked about over and over: what sympy makes of them is computed once.
_remembered = functools.lru_cache(maxsize=1 << 16)


@_remembered
def _linear(expr: sympy.Basic) -> _Linear | None:
    """The expression as a sum, if it is one."""
    factors: dict[sympy.Basic, int] = {}
    constant = 0
    for term in sympy.Add.make_args(sympy.expand(expr)):
        factor, rest = term.as_coeff_Mul()
        if not factor.is_Integer:
            return None
        if rest == 1:
            constant += int(factor)
        elif _is_term(rest):
            factors[rest] = factors.get(rest, 0) + int(factor)
        else:
            return None
    return _Linear(factors, constant)


def _is_term(expr: sympy.Basic) -> bool:
    """Whether an expression is an integer symbol, or the least or largest of sums."""
    if isinstance(expr, (Max, Min)):
        return all(_linear(arg) is not None for arg in expr.args)
    return isinstance(expr, sympy.Symbol) and bool(expr.is_integer)


@_remembered
def _linear_difference(expr: sympy.Basic) -> _Linear | None:
    """What a comparison compares with 0, if it is a sum."""
    return _linear(expr.lhs - expr.rhs) if isinstance(expr, _COMPARISONS) else None


@_remembered
def _negation(expr: sympy.Basic) -> sympy.Basic:
    """What holds where a condition does not; sympy leaves the parts of `~(a & b)` as they are."""
    if isinstance(expr, (sympy.And, sympy.Or)):
        return (sympy.Or if isinstance(expr, sympy.And) else sympy.And)(*map(_negation, expr.args))
    return sympy.Not(expr)


@_remembered
def _known_positive(expr: sympy.Basic, outcome: bool) -> tuple[sympy.Basic, ...]:
    """The integer expressions of which a relation says that they are not negative."""
    known = expr if outcome else sympy.Not(expr)
    if not isinstance(known, _COMPARISONS) or isinstance(known, sympy.Ne):
        return ()
    return _as_positive(known) if all(symbol.is_integer for symbol in expr.free_symbols) else ()


@_remembered
def _known_nonzero(expr: sympy.Basic, outcome: bool) -> sympy.Basic | None:
    """The integer expression of which an (in)equality says that it is not 0."""
    return sympy.expand(expr.lhs - expr.rhs) if outcome is isinstance(expr, sympy.Ne) else None


_COMPARISONS = (sympy.Eq, sympy.Ne, sympy.Lt, sympy.Le, sympy.Gt, sympy.Ge)


@_remembered
def _as_positive(expr: sympy.Basic) -> tuple[sympy.Basic, ...]:
    """Integer expressions that are not negative exactly where the comparison holds; both signs for (in)equality."""
    difference = sympy.expand(expr.lhs - expr.rhs)
    match expr:
        case sympy.Ge():
            return (difference,)
        case sympy.Gt():
            return (difference - 1,)
        case sympy.Le():
            return (-difference,)
        case sympy.Lt():
            return (-difference - 1,)
        case _:
            return (difference, -difference)


@_remembered
def _factors_against_zero(expr: sympy.Basic) -> tuple[sympy.Basic, ...]:
    """The factors of a product that is compared with 0; none of anything else."""
    if not isinstance(expr, (sympy.Eq, sympy.Ne)) or expr.rhs != 0 or not isinstance(expr.lhs, sympy.Mul):
        return ()
    return tuple(factor for factor in expr.lhs.args if not factor.is_number)


def _is_relation(expr: sympy.Basic) -> bool:
    return isinstance(expr, sympy.logic.boolalg.Boolean) and not expr.is_Symbol


_FLIPPED = {sympy.Lt: sympy.Gt, sympy.Le: sympy.Ge, sympy.Gt: sympy.Lt, sympy.Ge: sympy.Le}


@_remembered
def _single_symbol(expr: sympy.Basic) -> tuple[sympy.Symbol, type, sympy.Basic] | None:
    """A relation as (symbol, relation, constant) if it is linear in one integer symbol.

    `16 * s < 2` is `s < 1`: the constant is rounded to the integer that leaves the same values of the symbol.
    """
    relation = next(
        (r for r in (sympy.Eq, sympy.Ne, sympy.Lt, sympy.Le, sympy.Gt, sympy.Ge) if isinstance(expr, r)), None
    )
    if relation is None or len(expr.free_symbols) != 1:
        return None
    symbol = next(iter(expr.free_symbols))
    if not symbol.is_integer:
        return None
    difference = sympy.expand(expr.lhs - expr.rhs)
    coefficient = difference.coeff(symbol, 1)
    rest = difference - coefficient * symbol
    if not (coefficient.is_Integer and rest.is_Integer) or coefficient == 0:
        return None
    bound = -rest / coefficient
    relation = relation if coefficient > 0 else _FLIPPED.get(relation, relation)
    if not bound.is_Integer:
        if relation in (sympy.Eq, sympy.Ne):
            return None
        bound = sympy.ceiling(bound) if relation in (sympy.Lt, sympy.Ge) else sympy.floor(bound)
    return symbol, relation, bound
