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

Skeleton = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Position:
    """One numeric position of the states that share a skeleton."""

    skeleton: int
    index: int


@dataclass(slots=True)
class Hints:
    """Grows monotonically over the attempts of one compile."""

    general: dict[Skeleton, set[int]] = field(default_factory=dict)
    general_lists: dict[Skeleton, dict[int, Any]] = field(default_factory=dict)
    pinned: dict[Skeleton, set[int]] = field(default_factory=dict)
    points: set[Any] = field(default_factory=set)  # program points that have a generalised state
    bounds: dict[tuple[Skeleton, int], tuple[sympy.Basic, sympy.Basic]] = field(default_factory=dict)
    forget_facts: set[Any] = field(default_factory=set)  # points whose states are kept without intervals
    stateful: dict[int, Any] = field(default_factory=dict)  # weights that the model writes, by id
    unfolded: set[int] = field(default_factory=set)
    numbers: dict[Skeleton, int] = field(default_factory=dict)

    def number(self, skeleton: Skeleton) -> int:
        """A short name for a skeleton."""
        return self.numbers.setdefault(skeleton, len(self.numbers))

    def skeleton_of(self, number: int) -> Skeleton:
        """The skeleton of that name."""
        return next(skeleton for skeleton, n in self.numbers.items() if n == number)

    def pin(self, origin: frozenset[Position]) -> bool:
        """Keep these positions static from now on; False if they already are."""
        news = False
        for position in origin:
            pinned = self.pinned.setdefault(self.skeleton_of(position.skeleton), set())
            if position.index not in pinned:
                pinned.add(position.index)
                news = True
        return news
