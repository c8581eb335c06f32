"""Between which numbers the whole numbers of the host lie, where: intervals, and what decisions have told.

Classic interval analysis (Cousot, Cousot, "Abstract Interpretation", POPL 1977) over the sums of `linear.py`. A
parameter of a block is what its edges hand to it; what keeps growing has no end. Where every way to a block takes one
side of a branch, the condition of that side holds in it: a size that was asked for 0 is at least 1 there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

from dycl.ir.graph import dominators, predecessors
from dycl.ir.nodes import Block, Branch, HostOp
from dycl.ir.program import Program
from dycl.ir.values import BlockId, ListType, Lit, Ref
from dycl.passes.analysis.linear import Sum, Sums, Term

_PATIENCE = 3  # how often a bound may move before it has none
_OPPOSITES = {"eq": "ne", "ne": "eq", "lt": "ge", "ge": "lt", "gt": "le", "le": "gt"}
COMPARISONS = frozenset(_OPPOSITES)
_COUNTS = frozenset({"size", "list_len", "numerics.span", "numerics.clip", "abs"})  # never below 0


@dataclass(frozen=True, slots=True)
class Interval:
    """From the least number to the greatest, both included."""

    least: float = -math.inf
    greatest: float = math.inf

    def plus(self, other: Interval, times: int) -> Interval:
        """What sums of one of each lie between, the other taken so many times."""
        ends = sorted((times * other.least, times * other.greatest))
        return Interval(self.least + ends[0], self.greatest + ends[1])

    def join(self, other: Interval) -> Interval:
        """The interval that has all numbers of both."""
        return Interval(min(self.least, other.least), max(self.greatest, other.greatest))

    def widen(self, other: Interval, is_patience_over: bool) -> Interval:
        """What has the numbers of both; then without the bounds that still move, so that following edges ends."""
        both = self.join(other)
        if not is_patience_over:
            return both
        least = both.least if both.least == self.least else -math.inf
        return Interval(least, both.greatest if both.greatest == self.greatest else math.inf)


@dataclass(frozen=True, slots=True)
class _Fact:
    """A sum that is not negative (`ge`), is 0 (`eq`), or is not (`ne`)."""

    sum: Sum
    relation: str


class Ranges:
    """What is known of the whole numbers of a program, block by block."""

    def __init__(self, program: Program) -> None:
        self.sums = Sums(program)
        self._facts = self._find_facts(program)
        self._params: dict[Term, Interval | None] = {}  # None: no edge has come by yet
        self._run(program)

    def decide(self, op: HostOp, block: BlockId) -> bool | None:
        """What a comparison of integers gives where it stands; None if it may give both."""
        sum_, relation = self._compare(op)
        if sum_ is None:
            return None
        facts = self._facts[block]
        found = self.bounds(sum_, facts)
        return None if found is None else _decide(relation, found, _find_excluded(sum_, facts))

    def bounds(self, sum_: Sum, facts: Sequence[_Fact] = ()) -> Interval | None:
        """What a sum lies between where the facts hold; None if no run comes there, as far as is known by now."""
        total = Interval(sum_.constant, sum_.constant)
        for term, count in sum_.terms:
            inner = self._bounds_of(term)
            if inner is None:
                return None
            alone = Sum(0, frozenset([(term, 1)]))
            total = total.plus(_narrow(alone, inner, facts), count)
        return _narrow(sum_, total, facts)

    # ------------------------------------------------------------ what decisions tell

    def _compare(self, op: HostOp) -> tuple[Sum | None, str]:
        if op.function not in COMPARISONS:
            return None, ""
        left, right = map(self.sums.of, op.args)
        return (None, "") if left is None or right is None else (left.minus(right), op.function)

    def _find_facts(self, program: Program) -> dict[BlockId, tuple[_Fact, ...]]:
        """For each block what holds in it: the sides of branches that every way to it takes."""
        tree, before = dominators(program), predecessors(program)
        found: dict[BlockId, tuple[_Fact, ...]] = {}
        for block_id in sorted(tree.first, key=tree.first.__getitem__):  # from above
            above = tree.parent.get(block_id)
            if above is None:
                continue  # the root itself
            found[block_id] = found.get(above, ())
            sources = before[block_id]
            if len(sources) == 1 and self.sums.is_open(program.block(block_id)):
                found[block_id] += self._told(program.block(sources[0]), block_id)
        return {block.id: found.get(block.id, ()) for block in program.blocks}

    def _told(self, source: Block, target: BlockId) -> tuple[_Fact, ...]:
        """What a branch tells on the way from its block to one of its targets."""
        end = source.end
        if not isinstance(end, Branch) or end.if_true.target == end.if_false.target:
            return ()
        maker, truth = self.sums.makers.get(end.cond), end.if_true.target == target
        while maker is not None and maker.function == "not_" and isinstance(maker.args[0], Ref):
            maker, truth = self.sums.makers.get(maker.args[0].id), not truth
        if maker is None:
            return ()
        sum_, relation = self._compare(maker)
        return () if sum_ is None else (_as_fact(sum_, relation if truth else _OPPOSITES[relation]),)

    # ------------------------------------------------------------ intervals

    def _bounds_of(self, term: Term) -> Interval | None:
        """What a term lies between wherever it is."""
        if term in self._params:
            return self._params[term]
        op = self.sums.makers.get(term.value)
        if term.is_length or (op is not None and op.function in _COUNTS):
            return Interval(least=0)
        if op is not None and op.function in ("min", "max"):
            return self._bounds_of_extreme(op)
        if op is not None and op.function == "mod" and isinstance(op.args[1], Lit):
            divisor = op.args[1].value
            if type(divisor) is int and divisor > 0:
                return Interval(0, divisor - 1)
        return Interval()

    def _bounds_of_extreme(self, op: HostOp) -> Interval | None:
        found = []
        for arg in op.args:
            sum_ = self.sums.of(arg)
            bounds = Interval() if sum_ is None else self.bounds(sum_)
            if bounds is None:
                return None
            found.append(bounds)
        pick = min if op.function == "min" else max
        return Interval(pick(each.least for each in found), pick(each.greatest for each in found))

    def _run(self, program: Program) -> None:
        """Follow the edges until nothing changes."""
        blocks = [block for block in program.blocks if self.sums.is_open(block)]
        own = [(block, place, term) for block in blocks for place, term in self._own_terms(block)]
        self._params = {term: None for _, _, term in own}
        moves: dict[Term, int] = {}
        is_changed = True
        while is_changed:
            is_changed = False
            for block, place, term in own:
                old, new = self._params[term], self._given(block, place, term)
                if new is None or new == old:
                    continue
                moves[term] = moves.get(term, 0) + 1
                self._params[term] = new if old is None else old.widen(new, moves[term] > _PATIENCE)
                is_changed = is_changed or self._params[term] != old

    def _own_terms(self, block: Block) -> Iterator[tuple[int, Term]]:
        """The parameters that are integers or lists and go along with no other, and where they stand."""
        for place, param in enumerate(block.params):
            is_list = isinstance(param.type, ListType)
            term = Term(param.id, is_list)
            sum_ = self.sums.length_of(Ref(param.id)) if is_list else self.sums.of(Ref(param.id))
            if sum_ == Sum(0, frozenset([(term, 1)])):
                yield place, term

    def _given(self, block: Block, place: int, term: Term) -> Interval | None:
        """What the edges hand to a parameter; None if no run takes any of them, as far as is known by now."""
        found: Interval | None = None
        for source, edge in self.sums.incoming[block.id]:
            sum_ = self.sums.length_of(edge.args[place]) if term.is_length else self.sums.of(edge.args[place])
            facts = self._facts[source.id] + self._told(source, block.id)
            given = Interval(least=0 if term.is_length else -math.inf) if sum_ is None else self.bounds(sum_, facts)
            if given is not None:
                found = given if found is None else found.join(given)
        return found


def _as_fact(sum_: Sum, relation: str) -> _Fact:
    """A comparison of a sum with 0 as a fact; of integers, `x < 0` is `-x - 1 >= 0`."""
    match relation:
        case "eq" | "ne" | "ge":
            return _Fact(sum_, relation)
        case "gt":
            return _Fact(sum_.plus(Sum(-1)), "ge")
        case "le":
            return _Fact(sum_.times(-1), "ge")
        case _:
            return _Fact(sum_.times(-1).plus(Sum(-1)), "ge")


def _narrow(sum_: Sum, interval: Interval, facts: Sequence[_Fact]) -> Interval:
    """The interval of a sum with what the facts say of the very same terms."""
    least, greatest = interval.least, interval.greatest
    for fact in facts:
        for sign in (1, -1):
            # The fact is about `sign * sum_ + rest`.
            rest = fact.sum.plus(sum_, -sign)
            if rest.terms or not sum_.terms:
                continue
            if fact.relation == "eq" or (fact.relation == "ge" and sign == 1):
                least = max(least, -sign * rest.constant)
            if fact.relation == "eq" or (fact.relation == "ge" and sign == -1):
                greatest = min(greatest, -sign * rest.constant)
    for excluded in sorted(_find_excluded(sum_, facts)):
        least = least + 1 if excluded == least else least
    for excluded in sorted(_find_excluded(sum_, facts), reverse=True):
        greatest = greatest - 1 if excluded == greatest else greatest
    return Interval(least, greatest)


def _find_excluded(sum_: Sum, facts: Sequence[_Fact]) -> set[int]:
    """The numbers that a sum is not, as the facts say of the very same terms."""
    found = set()
    for fact in facts:
        for sign in (1, -1):
            rest = fact.sum.plus(sum_, -sign)
            if fact.relation == "ne" and sum_.terms and not rest.terms:
                found.add(-sign * rest.constant)
    return found


def _decide(relation: str, found: Interval, excluded: Set[int]) -> bool | None:
    """What a comparison with 0 gives for all numbers of an interval but the excluded ones."""
    least, greatest = found.least, found.greatest
    match relation:
        case "eq" | "ne":
            is_equal = True if least == greatest == 0 else False if least > 0 or greatest < 0 or 0 in excluded else None
            return is_equal if is_equal is None or relation == "eq" else not is_equal
        case "lt" | "ge":
            is_less = True if greatest < 0 else False if least >= 0 else None
            return is_less if is_less is None or relation == "lt" else not is_less
        case _:
            is_more = True if least > 0 else False if greatest <= 0 else None
            return is_more if is_more is None or relation == "gt" else not is_more
