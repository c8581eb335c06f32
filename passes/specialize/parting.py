"""Tensors that are one in some rounds of a loop and several in others: in the loop each is a value of its own.

    y = x0                      # y is x0 before the first round, and whenever a step was refused
    while error > bound:
        y, error = step(y)

Without that, each way in which the live tensors may coincide is a state of its own, and each state a copy of the loop.
Tensors that are apart though they may be one are *parted*. That is right as long as nobody writes into them and nobody
asks whether they are the same: who does so has them kept together, and the compile begins again.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from dycl.passes.specialize.outline import is_below
from dycl.passes.specialize.positions import Positions, Spot
from dycl.passes.specialize.signals import Restart
from dycl.passes.specialize.state import State

if TYPE_CHECKING:
    from dycl.passes.specialize.joins import Joins

Partition = tuple[tuple[Spot, int, int], ...]  # where tensors are, numbers of their contents and of their memory
Parts = Mapping[Spot, Spot]  # a position, and the first of those that always hold the same tensor


def find_parts(machine: Joins, walker: Positions, state: State, point: Any, lists: Iterable[Any]) -> Parts:
    """The positions of the state that was walked whose tensors are values of their own in its block."""
    hints = machine.hints
    sources = {place: machine.parted.get(machine.memory_of(tensor)) for place, tensor in walker.met.items()}
    tainted = {place for place, source in sources.items() if source is not None}
    keep_together(machine, {sources[place] for place in tainted & walker.fixed})
    if point not in hints.parted_at or not _may_part(state):
        return {}
    parts: dict[Spot, Spot] = {}
    for group in _groups(machine, walker, lists):
        parted = {place for place in group if place in hints.parted}
        if not parted and not group & tainted:
            continue
        if group & hints.together or any(_is_fixed(machine, walker, place) for place in group):
            keep_together(machine, parted | {sources[place] for place in group & tainted})
        for place in group:
            parts[place] = hints.parted.setdefault(place, place)
            hints.companions.setdefault(place, set()).update(group)
    return parts


def find_partition(machine: Joins, walker: Positions, state: State, lists: Iterable[Any]) -> Partition | None:
    """Which tensors of the state are one; None where that is never generalised."""
    if not _may_part(state):
        return None
    roots = list(lists)
    contents: dict[Any, int] = {}
    memories: dict[Any, int] = {}
    found = []
    for place, tensor in walker.met.items():
        if not is_below(place[1], roots):
            content = contents.setdefault(machine.current_vid(tensor), len(contents))
            memory = memories.setdefault(machine.memory_group(machine.memory_of(tensor)), len(memories))
            found.append((place, content, memory))
    return tuple(found)


def part_differing(machine: Joins, point: Any, found: set[Partition]) -> bool:
    """Note what coincides in some of these states and not in others, as values of their own; True if that is new."""
    if len(found) < 2:
        return False
    hints = machine.hints
    memories, contents = (
        [_sharing(partition, 2) for partition in found],
        [_sharing(partition, 1) for partition in found],
    )
    places = {place for shared in memories for place in shared}
    differing = [place for place in places if len({shared.get(place) for shared in memories if place in shared}) > 1]
    news = {}
    for place in differing:
        always = frozenset.intersection(*(shared[place] for shared in contents if place in shared))
        first = hints.parted.get(place)
        if place not in hints.together and (first is None or first in places - always):
            # who was apart stays apart, or the parts of one point would undo those of another without an end
            kin = [other for other in differing if other in always and hints.parted.get(other) == first]
            news[place] = min(kin, key=repr)
    is_new = point not in hints.parted_at or any(hints.parted.get(place) != first for place, first in news.items())
    hints.parted.update(news)
    hints.parted_at.add(point)
    return bool(news) and is_new


def _sharing(partition: Partition, part: int) -> dict[Spot, frozenset[Spot]]:
    groups: dict[int, set[Spot]] = collections.defaultdict(set)
    for cell in partition:
        groups[cell[part]].add(cell[0])  # type: ignore[index]
    return {place: frozenset(group) for group in groups.values() for place in group}


def keep_together(machine: Joins, places: Iterable[Any]) -> None:
    """Begin again with the tensors at these positions, and all that were ever one with them, as they are."""
    waiting, hints = list(places), machine.hints
    if not waiting:
        return
    while waiting:
        place = waiting.pop()
        if place not in hints.together:
            hints.together.add(place)
            waiting += hints.companions.get(place, ())
    for place in hints.together & set(hints.parted):
        del hints.parted[place]
    raise Restart("tensors that may be one are written or compared")


def check_whole(machine: Joins, *tensors: torch.Tensor, least: int = 1) -> None:
    """Keep these tensors as they are, as somebody needs to know who else has their memory: `least` of them together."""
    parted = {machine.parted[memory] for tensor in tensors if (memory := machine.memory_of(tensor)) in machine.parted}
    keep_together(machine, parted if len(parted) >= least else ())


def _may_part(state: State) -> bool:
    """What a recursive function is handed and gives back may share its memory, which its callers have to know."""
    return bool(state.frames) and state.procedure is None and state.given is None


def _groups(machine: Joins, walker: Positions, lists: Iterable[Any]) -> list[frozenset[Spot]]:
    """The positions by the memory that they hold; what is put into a run-time list has none."""
    roots = list(lists)
    found: dict[int, set[Spot]] = collections.defaultdict(set)
    for place, tensor in walker.met.items():
        if not is_below(place[1], roots):
            found[machine.memory_group(machine.memory_of(tensor))].add(place)
    return [frozenset(group) for group in found.values()]


def _is_fixed(machine: Joins, walker: Positions, place: Spot) -> bool:
    """Whether the tensor there is known by its identity, or by memory that others have by other names."""
    tensor = walker.met[place]
    return (
        place in walker.fixed
        or hasattr(tensor, "_dycl_array")
        or machine.is_linked(machine.memory_of(tensor))
        or any(machine.memory_of(weight) == machine.memory_of(tensor) for weight in machine.stateful_fakes.values())
    )
