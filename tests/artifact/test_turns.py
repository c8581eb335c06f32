"""Hosts that are compared make the same calls in turns."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from dycl import benchmark
from dycl.benchmark import find_steady, take_turns
from dycl.hosting import HostModel


class Recorded:
    """Stands for a host: its calls are written down, and what it is given is written to."""

    def __init__(self, number: int, log: list[tuple[int, float]], raises: frozenset[Any] = frozenset()) -> None:
        self.number, self.log, self.raises = number, log, raises
        self.host: Any = self
        self.WRITTEN = {"": (0,)}

    def reset(self, force: None) -> None:
        assert force is None

    def seed(self, seed: int) -> None:
        assert seed == 0

    def call(self, given: np.ndarray) -> None:
        self.log.append((self.number, float(given[0])))
        given[0] += 100
        if (self.number, self.log[-1][1]) in self.raises:
            raise ValueError("the model's own")


def test_each_turn_is_one_call_in_random_order() -> None:
    log: list[tuple[int, float]] = []
    hosts = cast(list[HostModel], [Recorded(number, log) for number in range(3)])
    calls = [((np.full(1, value),), {}) for value in (0.0, 1.0)]
    taken = take_turns(hosts, calls, seconds=0.0, least=20, most=40)
    assert [len(times) for times in taken] == [20, 20, 20]
    assert all(seconds > 0 for times in taken for seconds in times)
    turns = [log[start : start + 3] for start in range(4 * 3, len(log), 3)]  # each call twice before that
    assert all(sorted(turn) == [(host, number % 2) for host in range(3)] for number, turn in enumerate(turns))
    assert len({tuple(host for host, _ in turn) for turn in turns}) > 1


def test_turns_end_with_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: float(next(clock)))
    hosts = cast(list[HostModel], [Recorded(0, [])])
    calls = [((np.zeros(1),), {})]
    assert len(take_turns(hosts, calls, seconds=0.0, least=3, most=10)[0]) == 3
    assert len(take_turns(hosts, calls, seconds=1000.0, least=3, most=10)[0]) == 10


def test_who_raises_where_others_return_is_not_compared() -> None:
    """All raise at the first call; the second host alone at the last one."""
    raises = frozenset({(0, 0.0), (1, 0.0), (2, 0.0), (1, 2.0)})
    hosts = cast(list[HostModel], [Recorded(number, [], raises) for number in range(3)])
    calls = [((np.full(1, value),), {}) for value in (0.0, 1.0, 2.0)]
    steady, kept = find_steady(hosts, calls)
    assert steady == [0, 2]
    assert [float(args[0][0]) for args, _ in kept] == [1.0, 2.0]
    with pytest.raises(ValueError, match="the model's own"):
        take_turns(hosts, calls, seconds=0.0, least=3, most=3)
