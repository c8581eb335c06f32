"""States that are alike: how many come by, and what of them is generalised when they are too many.

A loop comes by several joins in a round. So once a state is one too many somewhere, what differs between the states is
generalised wherever about as many have come by: one restart for the whole loop.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dycl.diagnostics import UnsupportedError
from dycl.ir.values import Operand, ValueId
from dycl.passes.specialize import parting
from dycl.passes.specialize.generalise import Generalise, trend
from dycl.passes.specialize.hints import Skeleton
from dycl.passes.specialize.intervals import Interval
from dycl.passes.specialize.outline import Outline
from dycl.passes.specialize.positions import Spot
from dycl.passes.specialize.signals import Restart
from dycl.passes.specialize.state import State

MAX_VARIANTS = 9  # states that differ in numbers before these are generalised: eight rounds, and what follows them
MIN_VALUES = 5  # different values that a number or a length has to take to be one that the loop changes
MAX_COMBINED = 24  # states that differ in numbers of few values each before these are generalised, too
MAX_FORGETFUL = 48  # variants of one skeleton before facts and known tensor values are forgotten there
MAX_FUTILE = 48  # outlines at a point that was generalised before that is given up: what grows there is no number
MAX_RELATED = 24  # states of one outline before the distances between their integers are forgotten
MAX_INTERVALS = 3  # states that differ in intervals alone before these are joined
MAX_TEXTS = 9  # ways in which a text at one place is made of run-time parts before it is taken to grow
MAX_KNOWN_TEXTS = 64  # the same for texts that are known on each path
MAX_KEY_SETS = 64  # sets of keys of one size that a dict has on other paths before its keys are the run's
MAX_KEPT_KEY_SETS = 8  # the same for a dict that the model keeps: each is a kind of state
MAX_AT_POINT = 1_000  # blocks at one point of one call stack


@dataclass(slots=True)
class Canonical:
    """A state in canonical form: what identifies it, its arguments, and the state as a new block starts with it."""

    key: tuple[Any, ...]
    args: tuple[Operand, ...]
    params: tuple[ValueId, ...]
    state: State
    skeleton: Skeleton
    row: tuple[Any, ...]
    outline: Outline
    positions: tuple[Spot, ...]
    known: dict[Any, tuple[Any, str | None]]
    partition: parting.Partition | None
    intervals: Mapping[int, Interval]  # by class of integers
    given: tuple[bool, ...] = ()  # which of its tensors lie in memory of the caller's
    texts: Mapping[Spot, Any] = field(default_factory=dict)  # at each position of a text: what it is made of
    spelled: Skeleton | None = None  # the skeleton without its texts, if it has any
    tables: Mapping[Spot, tuple[Any, Any]] = field(default_factory=dict)  # of each dict: where it is made, its keys


@dataclass(slots=True)
class _Kin:
    """The states of one outline that have come by."""

    point: Any
    known: list[dict[Any, tuple[Any, str | None]]] = field(default_factory=list)
    outlines: list[Outline] = field(default_factory=list)
    partitions: set[parting.Partition] = field(default_factory=set)
    rows: dict[Skeleton, list[tuple[Any, ...]]] = field(default_factory=lambda: collections.defaultdict(list))
    positions: dict[Skeleton, tuple[Spot, ...]] = field(default_factory=dict)


class Variants(Generalise):
    """The part of the machine that counts states, and learns from them for the next attempt."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.kin: dict[Any, _Kin] = {}
        self.same_tokens: dict[Any, int] = collections.defaultdict(int)
        self._intervals: dict[Any, list[Mapping[int, Interval]]] = collections.defaultdict(list)
        self.at_point: dict[Any, int] = collections.defaultdict(int)
        self._outlines_at: dict[Any, int] = collections.defaultdict(int)
        self._keys: dict[Any, set[Any]] = collections.defaultdict(set)  # by point and position: those of a dict
        self._texts: dict[Any, set[Any]] = collections.defaultdict(set)  # by point and position
        self._spelled: dict[Any, set[Any]] = collections.defaultdict(set)  # by skeleton without texts: the texts
        self._taken: dict[Any, list[Any]] = collections.defaultdict(list)  # by point and place: the values of a number

    def note_variant(self, form: Canonical, point: Any, variants: int = MAX_VARIANTS) -> None:
        """Count a new state of its skeleton; too many, and what differs between them is generalised from the start."""
        kin = self.kin.get(form.outline.skeleton)
        if kin is None:
            kin = self.kin[form.outline.skeleton] = _Kin(point)
            self._outlines_at[point] += 1
        kin.known.append(form.known)
        kin.rows[form.skeleton].append(form.row)
        kin.positions[form.skeleton] = form.positions
        for (place, _), value in zip(form.positions, form.row, strict=True):
            if type(value) is int:
                self._taken[point, place].append(value)
        self._check_texts(form, point)
        self._check_keys(form, point, MAX_KEY_SETS if variants == MAX_VARIANTS else MAX_KEPT_KEY_SETS)
        self._check_growth(point)
        self._check_intervals(form)
        self._check_ranges(form, point)
        self._check_partitions(form, kin)
        self._note_known(kin)
        self._note_numbers(form, kin, variants)
        self._note_lists(form, kin, variants)

    def count_rows(self, form: Canonical) -> int:
        """How many states of its skeleton have come by."""
        kin = self.kin.get(form.outline.skeleton)
        return 0 if kin is None else len(kin.rows[form.skeleton])

    def unbounded(self, what: str) -> UnsupportedError:
        """The refusal of a program that has no end."""
        return UnsupportedError(
            "DY207",
            self.loc(),
            f"the program does not close: {what}",
            hint="some Python value that decides what runs, or a list of tensors, differs in every round of a loop",
        )

    # ------------------------------------------------------------ what may not grow

    def _check_growth(self, point: Any) -> None:
        """A loop that does not close though its numbers are generalised is unrolled; if it still grows, refused."""
        self.at_point[point] += 1
        if self.at_point[point] > MAX_AT_POINT:
            raise self.unbounded(f"more than {MAX_AT_POINT} states at one place")
        is_futile = self._outlines_at[point] > MAX_FUTILE or self.at_point[point] > 4 * MAX_FUTILE
        if point in self.hints.points and is_futile:
            places = self.hints.places_at.get(point, set()) - self.hints.pinned
            if places:
                self.hints.pinned |= places
                raise Restart("a loop over generalised numbers does not close")

    def _check_texts(self, form: Canonical, point: Any) -> None:
        """A text that a loop makes longer and longer is a run-time text; so are texts of which there are many."""
        many = []
        for spot, made_of in form.texts.items():
            seen = self._texts[point, spot, isinstance(made_of, str)]
            seen.add(made_of)
            if len(seen) > (MAX_KNOWN_TEXTS if isinstance(made_of, str) else MAX_TEXTS):
                many.append(spot)
        if form.spelled is not None:
            rows = self._spelled[form.spelled]
            rows.add(frozenset(form.texts.items()))
            if len(rows) > MAX_COMBINED:
                seen_rows = [dict(row) for row in rows]
                many += [spot for spot in form.texts if len({row.get(spot) for row in seen_rows}) > 1]
        for spot in many:
            if spot[0] not in self.hints.pinned:
                self.hints.texts.add(spot)
                self.hints.general.setdefault(point, set()).add(spot)
                self.hints.places_at.setdefault(point, set()).add(spot[0])
                self.hints.points.add(point)
                self.postpone("texts are generalised")

    def _check_keys(self, form: Canonical, point: Any, most: int) -> None:
        """A dict that has other keys on each path is one whose keys only the run knows.

        A loop that puts one after the other in has one set of each size.
        """
        for spot, (site, keys) in form.tables.items():
            seen = self._keys[point, spot]
            seen.add(keys)
            is_kept = site in self.hints.tabled or site in self.hints.untabled
            if len(seen) - len(set(map(len, seen))) > most and not is_kept:
                self.hints.tabled.add(site)
                raise Restart("a dict has other keys on each path")

    def _check_intervals(self, form: Canonical) -> None:
        """States that differ in intervals alone are one: where a hull of them all grows, it opens (`_settle`)."""
        found = self._intervals[form.key[:2]]
        found.append(form.intervals)
        if len(found) > MAX_INTERVALS and form.key[:2] not in self.hints.hulls:
            common = set.intersection(*map(set, found))
            self.hints.hulls[form.key[:2]] = {
                index: (min(row[index][0] for row in found), max(row[index][1] for row in found)) for index in common
            }
            self.postpone("intervals are joined")

    def _check_ranges(self, form: Canonical, point: Any) -> None:
        """States that differ in what is known of tensors alone are one state: no round of a loop stands before it."""
        self.same_tokens[form.key[:5]] += 1
        if self.same_tokens[form.key[:5]] > 1 and point not in self.hints.forget_relations:
            self.hints.forget_relations.add(point)
            self.postpone("how tensors are related is forgotten")
        self.same_tokens[form.key[:4]] += 1
        if self.same_tokens[form.key[:4]] > 1 and point not in self.hints.forget_readings:
            self.hints.forget_readings.add(point)
            self.postpone("numbers read from tensors are forgotten")
        self.same_tokens[form.key[:3]] += 1
        if self.same_tokens[form.key[:3]] > 1 and point not in self.hints.forget_ranges:
            self.hints.forget_ranges.add(point)
            self.postpone("bounds of tensors are forgotten")

    def _check_partitions(self, form: Canonical, kin: _Kin) -> None:
        """States of a loop that differ in which of their tensors are one: these become values of their own."""
        if form.partition is None:
            return
        kin.partitions.add(form.partition)
        if kin.point in self.hints.points and self._set_apart(kin):
            for other in self._similar(kin, MAX_VARIANTS):
                self._set_apart(other)
            self.postpone("tensors that are one in some rounds of a loop are apart")

    def _set_apart(self, kin: _Kin) -> bool:
        return parting.part_differing(self, kin.point, kin.partitions)  # type: ignore[arg-type]

    # ------------------------------------------------------------ what is generalised

    def _similar(self, kin: _Kin, variants: int) -> Iterator[_Kin]:
        """The states of other joins of the same loop: of those about as many have come by. Not of the model's state."""
        if variants == MAX_VARIANTS:
            for other in self.kin.values():
                if other is not kin and len(other.known) > variants // 2:
                    yield other

    def _note_numbers(self, form: Canonical, kin: _Kin, variants: int) -> None:
        count = len(kin.rows[form.skeleton])
        if count > variants and self._generalise_numbers(kin, form.skeleton, count, variants):
            for other in self._similar(kin, variants):
                for skeleton, rows in other.rows.items():
                    if len(rows) > variants // 2:
                        self._generalise_numbers(other, skeleton, len(rows), variants)
            for other in (kin, *self._similar(kin, variants)):
                self._forget_differing(other)
                self._set_apart(other)
                self.note_relations(other.outlines)
            raise Restart("numbers are generalised")
        if count > MAX_FORGETFUL and kin.point not in self.hints.forget_facts:
            self.hints.forget_facts.add(kin.point)
            raise Restart("facts are forgotten")

    def _generalise_numbers(self, kin: _Kin, skeleton: Skeleton, count: int, variants: int) -> bool:
        """Generalise the numbers that differ between the states of a skeleton; True if that is new."""
        hints, positions, point = self.hints, kin.positions[skeleton], kin.point
        columns = [{(type(value), value) for value in column} for column in zip(*kin.rows[skeleton], strict=True)]
        general = hints.general.get(point, set())
        static = {i for i, found in enumerate(positions) if found[0] not in hints.pinned and found not in general}
        differing = {i for i in static if len(columns[i]) > 1}
        if variants == MAX_VARIANTS and count <= MAX_COMBINED:
            differing = {i for i in differing if len(columns[i]) >= MIN_VALUES}
        if not differing:
            return False
        for place in {positions[index][0] for index in differing}:
            hints.bounds.setdefault(place, trend(self._taken[point, place]))
            hints.places_at.setdefault(point, set()).add(place)
        hints.general.setdefault(point, set()).update(positions[index] for index in differing)
        hints.points.add(point)
        return True

    def _note_lists(self, form: Canonical, kin: _Kin, variants: int) -> None:
        kin.outlines.append(form.outline)
        if kin.point in self.hints.meeting and self.generalise_mixed(kin.outlines, kin.point):
            self.postpone("numbers that are known after the first round alone are generalised")
        if self.mark_listed(kin.outlines, kin.point):
            raise Restart("tensors lie in a run-time list in some rounds")
        if len(kin.outlines) <= variants:
            return
        least = MIN_VALUES if variants == MAX_VARIANTS else 2
        if self.generalise_outlines(kin.outlines, kin.point, least):
            for other in (kin, *self._similar(kin, variants)):
                self.generalise_outlines(other.outlines, other.point, least)
                self._forget_differing(other)
                self.note_relations(other.outlines)
            raise Restart("what grows is generalised")
        if self._forget_differing(kin):
            for other in self._similar(kin, variants):
                self._forget_differing(other)
            raise Restart("known values of tensors are forgotten")
        if len(kin.outlines) > MAX_RELATED and kin.point not in self.hints.unrelated:
            self.hints.unrelated.add(kin.point)
            raise Restart("the relations of integers are forgotten")

    def _note_known(self, kin: _Kin) -> None:
        if kin.point in self.hints.points and self._forget_differing(kin):
            self.postpone("known values of tensors are forgotten in a loop")

    def _forget_differing(self, kin: _Kin) -> bool:
        """Forget the known values of tensors that differ between the variants; True if that is new."""
        places = {
            place
            for address, (place, _) in kin.known[-1].items()
            if len({row[address][1] for row in kin.known if address in row}) > 1
        } - self.hints.forget_known
        self.hints.forget_known |= places
        return bool(places)
