"""What earlier attempts learned: which positions of a join are generalised, which must stay static.

Partial evaluation cannot know in advance which numbers differ from round to round. So the machine starts with
everything static, compares the variants that arrive at one skeleton, writes down the positions that differ, and
specialises again from the start. A generalised position that is later demanded as a Python number at compile time (an
index into the layers, say) is pinned: it was static after all. Both sets only grow, so this ends.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import sympy

from dycl.passes.specialize.intervals import Interval
from dycl.passes.specialize.outline import Generality
from dycl.passes.specialize.results import Results
from dycl.passes.specialize.templates import Template, is_alike, unify

Skeleton = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Position:
    """Where a generalised value comes from."""

    place: Any  # the function and variable it is in: pinned there, it is pinned at every join


@dataclass(slots=True)
class Hints:
    """Grows monotonically over the attempts of one compile."""

    general: dict[Any, set[Any]] = field(default_factory=dict)  # by point: positions of numbers
    outlines: dict[Skeleton, Generality] = field(default_factory=dict)
    wider: dict[Any, list[Template]] = field(default_factory=dict)  # by place: what elements of lists turned out to be
    texts: set[Any] = field(default_factory=set)  # positions of texts that grow
    listed: set[Any] = field(default_factory=set)  # tensors that lie in a run-time list in some round
    parted: dict[Any, Any] = field(default_factory=dict)  # positions whose tensors are apart though they may be one
    parted_at: set[Any] = field(default_factory=set)  # points whose states have such tensors
    together: set[Any] = field(default_factory=set)  # positions whose tensors never are
    companions: dict[Any, set[Any]] = field(default_factory=dict)  # by parted position: those it was one with
    related: set[Any] = field(default_factory=set)  # places of integers whose relations somebody asked about
    peeled: set[Any] = field(default_factory=set)  # points where loops begin whose first rounds are apart
    meeting: set[Any] = field(default_factory=set)  # points where paths that leave a first round join the others
    unrelated: set[Any] = field(default_factory=set)  # points whose states forget how integers relate
    pinned: set[Any] = field(default_factory=set)  # places
    places_at: dict[Any, set[Any]] = field(default_factory=dict)  # what is generalised at a point
    points: set[Any] = field(default_factory=set)  # program points that have a generalised state
    bounds: dict[Any, tuple[sympy.Basic, sympy.Basic]] = field(default_factory=dict)  # by place
    unlimited: set[Any] = field(default_factory=set)  # places of counters of ranges that lie beyond the range's end
    forget_known: set[Any] = field(default_factory=set)  # places whose tensors are kept without their known values
    hulls: dict[Any, dict[int, Interval]] = field(default_factory=dict)  # by point and tokens: of the integers there
    forget_ranges: set[Any] = field(default_factory=set)  # points whose tensors are kept without their bounds
    forget_readings: set[Any] = field(default_factory=set)  # points whose tensors do not know what was read from them
    forget_relations: set[Any] = field(default_factory=set)  # points whose tensors do not know how they are related
    forget_facts: set[Any] = field(default_factory=set)  # points without intervals and known values
    adopted: dict[int, Any] = field(default_factory=dict)  # containers of the model that are written, by id
    unadoptable: dict[int, Any] = field(default_factory=dict)  # written ones that somebody else holds too, by id
    stateful: dict[int, Any] = field(default_factory=dict)  # weights that the model writes, by id
    writes_arrays: bool = False  # something writes into a numpy array: arrays and tensors share no memory then
    exact_memory: bool = False  # what is a view for some sizes alone is written: whether it is one is asked
    lifted: set[Any] = field(default_factory=set)  # where static arrays are made that are written with run-time values
    tabled: set[Any] = field(default_factory=set)  # where dicts and sets are made that get keys of the run
    marks: dict[Any, object] = field(default_factory=dict)  # by such a place: what its tables know it by
    untabled: set[Any] = field(default_factory=set)  # those of them that are needed as ordinary ones
    writes: list[Any] = field(default_factory=list)  # what the model writes into objects of the caller's
    received: bool = False  # the model writes to lists, dicts or tensors that it is given
    filled: set[Any] = field(default_factory=set)  # which of the tensors, by method and place
    recursive: set[int] = field(default_factory=set)  # lowered functions, by id, whose calls are procedures
    procedure_numbers: dict[Any, int] = field(default_factory=dict)  # by canonical form of the call
    guarded: set[int] = field(default_factory=set)  # functions, by id, whose exceptions a caller catches
    replies: dict[Any, list[Any]] = field(default_factory=dict)  # by procedure: the ways in which it ends
    unfolded: set[int] = field(default_factory=set)
    results: Results = field(default_factory=Results)  # of operations on fake tensors
    draws: bool = False  # random operations are the host's to do: the user's choice, never changed
    large_integers: bool = False  # integers that loops carry may grow beyond every float

    def forget_generality(self) -> None:
        """What was generalised stood on states that are told apart now: learn it of these anew."""
        for learned in (self.general, self.outlines, self.places_at, self.bounds, self.hulls):
            learned.clear()
        for points in (self.points, self.unrelated, self.unlimited, self.texts):
            points.clear()
        for forgotten in (self.forget_known, self.forget_ranges, self.forget_readings, self.forget_facts):
            forgotten.clear()

    def widen(self, place: Any, element: Template) -> bool:
        """Remember what the elements of a list at a place are; False if that is known.

        A function that is called with several things has lists of several structures at one place.
        """
        known = self.wider.setdefault(place, [])
        for index, before in enumerate(known):
            if is_alike(before, element):
                known[index] = unify(before, element) or element
                return known[index] != before
        known.append(element)
        return True

    def widened(self, place: Any, element: Template) -> Template:
        """The elements with what others of their structure at that place turned out to be."""
        for wider in self.wider.get(place, ()):
            if is_alike(element, wider):
                element = unify(element, wider) or element
        return element

    def pin_texts(self) -> bool:
        """Keep all texts as they are known, since one that the run knows may be what is refused; False if none is."""
        places = {place for place, _ in self.texts} - self.pinned
        self.pinned |= places
        return bool(places)

    def pin(self, origin: frozenset[Position]) -> bool:
        """Keep these positions static from now on; False if they already are."""
        news = {position.place for position in origin} - self.pinned
        self.pinned |= news
        return bool(news)
