"""Integers of a loop that keep their distances from its second round on: a decoder reads `tokens[:, before:now]`.

In the first round it reads the whole prompt, later one word. With all rounds in one block nothing is known of
`now - before`, and who asks about it forks in every round. So where it is asked about, they are one symbol and offsets,
and the first round stays apart (`rounds.py`). If nobody asks, each integer is a symbol of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sympy

from dycl.passes.specialize.outline import Address, Outline, is_below

if TYPE_CHECKING:
    from dycl.passes.specialize.hints import Hints

MAX_EXCEPTIONS = 2  # states of known numbers in which a relation may not hold
MIN_PAIRS = 3  # different pairs of values that two integers must have had at one distance


@dataclass(slots=True)
class Relation:
    """Integers of one outline that differ by these amounts in all states but the first."""

    number: int  # below 0, where those of classes are not
    members: dict[Address, int]
    places: frozenset[Any]
    is_wanted: bool = False  # somebody asked what only the relation tells
    exceptions: set[tuple[int, ...]] = field(default_factory=set)  # values of states in which it does not hold


def find_relations(
    found: list[Outline], lists: Collection[Address], classes: Iterable[Collection[Address]]
) -> list[dict[Address, int]]:
    """The relations of the integers that change between the states of an outline, where their classes do not tell."""
    ints = found[-1].ints
    columns: dict[Address, list[tuple[sympy.Basic, int]]] = {}
    for address in sorted(ints, key=lambda address: ints[address].order):
        cells = [outline.ints.get(address) for outline in found]
        if None not in cells and not is_below(address, lists):
            column = [_split(one.value) for one in cells]  # type: ignore[union-attr]
            if len(set(column)) > 1:
                columns[address] = column
    groups: list[dict[Address, int]] = []
    for address, column in columns.items():
        for group in groups:
            distance = _distance(columns[next(iter(group))], column)
            if distance is not None:
                group[address] = distance
                break
        else:
            groups.append({address: 0})
    known = [set(members) for members in classes]
    return [group for group in groups if len(group) > 1 and not any(set(group) <= members for members in known)]


def want_relations(hints: Hints, places: Collection[Any]) -> bool:
    """Keep the relations of these places from now on; True if that is new."""
    hints.related.update(places)
    found = [
        relation
        for generality in hints.outlines.values()
        for relation in generality.relations
        if not relation.is_wanted and not relation.places.isdisjoint(hints.related)
    ]
    for relation in found:
        relation.is_wanted = True
    return bool(found)


def _split(value: Any) -> tuple[sympy.Basic, int]:
    constant, rest = sympy.sympify(value).as_coeff_Add()
    return rest, int(constant)


def _distance(one: list[tuple[sympy.Basic, int]], other: list[tuple[sympy.Basic, int]]) -> int | None:
    """How far one column lies above another, wherever they are not as in the first row."""
    pairs = list(zip(one, other, strict=True))
    later = {pair for pair in pairs if pair != pairs[0]}
    found = {above[1] - below[1] if above[0] == below[0] else None for below, above in later}
    return found.pop() if len(found) == 1 and len(later) >= MIN_PAIRS else None
