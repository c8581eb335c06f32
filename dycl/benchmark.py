"""What a call of a compiled model costs and where: dispatches, the target's share and the host's own.

This module never imports torch: `dycl bench` measures artifacts where torch is not installed.
"""

from __future__ import annotations

import copy
import gc
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dycl.artifact import LoadedArtifact, load_artifact
from dycl.hosting import HostModel

Call = tuple[Sequence[object], Mapping[str, object]]
WARM_UP = 10


@dataclass(slots=True)
class Tally:
    """What the dispatches of some calls did."""

    count: int = 0
    seconds: float = 0.0
    by_name: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReport:
    """Medians over the calls, in microseconds."""

    calls: int
    load_seconds: float
    latency: tuple[float, float, float]  # quartiles
    dispatches: float
    decisions: float
    host_share: float  # of the time of a call, what is not spent in the target
    watched: int
    subgraphs: dict[str, tuple[int, float]]  # how often each ran in the watched calls, and its median


def measure_host(artifact: Path, calls: Sequence[Call], *, threads: int | None = None, repeat: int = 100) -> HostReport:
    """What the calls cost: first as they are, then once more with a watch on each dispatch."""
    start = time.perf_counter()
    loaded = load_artifact(artifact, threads=threads)
    load_seconds = time.perf_counter() - start
    host: Any = loaded.host
    latency = _times(host, calls, repeat)
    tally = Tally()
    with _watched(loaded, tally):
        watched = _times(host, calls, repeat)
    made = len(watched) + WARM_UP
    decisions = statistics.fmean(_decisions(host, calls))
    inside = tally.seconds / made
    return HostReport(
        calls=len(latency),
        load_seconds=load_seconds,
        latency=tuple(value * 1e6 for value in statistics.quantiles(latency, n=4)),  # type: ignore[arg-type]
        dispatches=tally.count / made,
        decisions=decisions,
        host_share=max(0.0, 1 - inside / statistics.fmean(watched)),
        watched=made,
        subgraphs={
            name: (len(spent), statistics.median(spent) * 1e6) for name, spent in tally.by_name.items() if spent
        },
    )


def _times(host: Any, calls: Sequence[Call], repeat: int) -> list[float]:
    found = []
    for number in range(WARM_UP + repeat):
        args, kwargs = calls[number % len(calls)]
        host.reset()
        start = time.perf_counter()
        host(*args, **kwargs)
        found.append(time.perf_counter() - start)
    return found[WARM_UP:]


def _decisions(host: Any, calls: Sequence[Call]) -> Iterator[int]:
    for args, kwargs in calls:
        host.reset()
        host(*args, **kwargs)
        yield len(host.decisions)


@contextmanager
def _watched(loaded: LoadedArtifact, tally: Tally) -> Iterator[None]:
    """While it is entered, every dispatch of the host is counted and timed."""
    host: Any = loaded.host
    calls = {id(call): name for name, call in host.runtime.calls.items()}
    before = {name: value for name, value in vars(host).items() if id(value) in calls}
    for name, call in before.items():
        setattr(host, name, _timed(call, tally, calls[id(call)]))
    try:
        yield
    finally:
        for name, call in before.items():
            setattr(host, name, call)


def _timed(call: Callable[..., Any], tally: Tally, name: str) -> Callable[..., Any]:
    spent = tally.by_name.setdefault(name, [])

    def watched(*args: Any) -> Any:
        start = time.perf_counter()
        result = call(*args)
        took = time.perf_counter() - start
        tally.count += 1
        tally.seconds += took
        spent.append(took)
        return result

    return watched


def take_turns(
    hosts: Sequence[HostModel], calls: Sequence[Call], *, seconds: float, least: int, most: int
) -> list[list[float]]:
    """The seconds that each host has taken in each turn: all make the same call, then all the next one.

    The order is random: who always comes after a host with the same runtime finds its code in the caches. `seconds`:
    after which no further turn begins, if there were `least` already. What a call raises is raised.
    """
    taken: list[list[float]] = [[] for _ in hosts]
    order, draw = list(range(len(hosts))), random.Random(0)
    for turn in range(2 * len(calls)):
        for host in hosts:
            _time_call(host, calls[turn % len(calls)])
    collects = gc.isenabled()
    gc.disable()
    try:
        end = time.perf_counter() + seconds
        for turn in range(most):
            if turn >= least and time.perf_counter() > end:
                break
            draw.shuffle(order)
            for index in order:
                taken[index].append(_time_call(hosts[index], calls[turn % len(calls)]))
    finally:
        if collects:
            gc.enable()
    return taken


def _time_call(host: HostModel, call: Call) -> float:
    """The seconds of a call from the first state."""
    args, kwargs = copy.deepcopy(call) if host.host.WRITTEN else call
    host.reset(None)
    host.seed(0)
    start = time.perf_counter()
    host.call(*args, **kwargs)
    return time.perf_counter() - start


def find_steady(hosts: Sequence[HostModel], calls: Sequence[Call]) -> tuple[list[int], list[Call]]:
    """The calls that some host returns from, and the hosts, by number, that return from all of these.

    Who raises at once would be the fastest. What the model raises by itself all raise, if each in its own words.
    """
    returned = [[_returns(host, call) for host in hosts] for call in calls]
    kept = [number for number, row in enumerate(returned) if any(row)]
    steady = [host for host in range(len(hosts)) if all(returned[number][host] for number in kept)]
    return steady, [calls[number] for number in kept]


def _returns(host: HostModel, call: Call) -> bool:
    try:
        _time_call(host, call)
    except Exception:  # the model's own, or what is wrong with the host: to tell these apart is not for a clock
        return False
    return True
