"""Which engine gets a subgraph: the first that takes it, the fastest, or the one that a plan names.

`Fastest` builds the first subgraph of each structure with every engine and times the functions that a host would call,
in turn, on one thread, and by their best rounds, since whatever else runs only adds. The others of the structure get
the same engine. What comes of that for the whole program, and of each engine alone, are hosts whose calls are timed in
the end. A plan is what was decided, as JSON: with it the same artifact comes out again.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch

from dycl.diagnostics import UNKNOWN, SourceRange, TargetError, UsageError
from dycl.ir.nodes import Subgraph
from dycl.targets.onnx.binding import BoundProgram, BoundSubgraph
from dycl.targets.onnx.engine import Engine, Opened
from dycl.targets.onnx.maker import Finished, Maker
from dycl.targets.ports import input_ports

Call = Callable[[], Any]

PLAN = "plan.json"
_ROUNDS = 15  # at least, and that many without a better one
_MOST_ROUNDS = 150
_BETTER = 0.99  # of the best round before: what is less of a gain is chance
_CLEARLY = 0.9  # of the time with the leading engine: less, and another one has the subgraph
_ROUND_SECONDS = 0.002
_MIXED = 0.98  # of the time with one runtime alone: less, and a mixture of two is worth it


Alternative = Sequence[Finished]  # the subgraphs of a program as they could be built


class Choice(Protocol):
    """Decides about the subgraphs of a program, one after the other."""

    @property
    def engines(self) -> Sequence[Engine]:
        """All that may be chosen."""

    def choose(self, maker: Maker, bound: BoundSubgraph) -> Finished:
        """The subgraph as the chosen engine builds it."""

    def vary(self, maker: Maker, program: BoundProgram, finished: Alternative) -> Sequence[Alternative]:
        """Once all are chosen: what may be fastest as a whole; where nothing can be timed the first is taken."""

    def anew(self) -> Choice:
        """One like it that has not chosen yet."""


@dataclass(frozen=True, slots=True)
class First:
    """The first engine that takes the subgraph; why those before it do not, is told. `strict`: the very first."""

    engines: Sequence[Engine]
    strict: bool = False

    def vary(self, maker: Maker, program: BoundProgram, finished: Alternative) -> Sequence[Alternative]:
        """Nothing else."""
        return [finished]

    def anew(self) -> First:
        """It remembers nothing."""
        return self

    def choose(self, maker: Maker, bound: BoundSubgraph) -> Finished:
        """As the class says."""
        reasons: list[str] = []
        for engine in self.engines[:-1]:
            try:
                return _explained(maker.make(bound, engine), reasons)
            except TargetError as error:
                reason = _refusal(engine, error, bound)
                if self.strict:
                    raise _left(bound, reason, error.loc) from error
                reasons.append(reason)
        return _explained(maker.make(bound, self.engines[-1]), reasons)


@dataclass(frozen=True, slots=True)
class Fastest:
    """The engine that was fastest on the first subgraph of the structure; the next where it refuses another one.

    Two runtimes in one host each find the caches full of the other's code, and hand arrays to each other. So hosts are
    compared in the end: each engine alone, what was chosen, and that but for what the engine that is best for all
    together hardly does slower.

    `strict`: every engine takes every structure, so that each is a choice.
    """

    engines: Sequence[Engine]
    strict: bool = False
    _ranks: dict[int, tuple[tuple[Engine, ...], Mapping[str, float], tuple[str, ...]]] = field(default_factory=dict)

    def anew(self) -> Fastest:
        """Everything is measured once more."""
        return Fastest(self.engines, self.strict)

    def choose(self, maker: Maker, bound: BoundSubgraph) -> Finished:
        """As the class says."""
        structure = bound.subgraph.structure
        if structure in self._ranks:
            ranked, seconds, reasons = self._ranks[structure]
            finished = First(ranked, self.strict).choose(maker, bound)
            told = "; ".join((*reasons, finished.compiled.reason)).rstrip("; ")
            return replace(finished, compiled=replace(finished.compiled, reason=told, microseconds=seconds))
        built, refused = self._build(maker, bound)
        seconds = time_calls(_open(bound.subgraph, built))
        built.sort(key=lambda item: seconds.get(item.engine.name, 0.0))
        if structure >= 0:
            self._ranks[structure] = (tuple(item.engine for item in built), seconds, tuple(refused))
        best = replace(built[0].compiled, reason="; ".join(refused), microseconds=seconds)
        return replace(built[0], compiled=best)

    def vary(self, maker: Maker, program: BoundProgram, finished: Alternative) -> Sequence[Alternative]:
        """As the class says; the engine that is best for all together, alone, comes first."""
        leading = self._leading(finished)
        plans = [self._replaced(finished, leading, clearly) for clearly in (0.0, _CLEARLY, 1.0)]
        plans += [self._replaced(finished, engine, 0.0) for engine in self.engines]
        different = {tuple(engine.name for engine in plan): plan for plan in plans}
        return [
            [self._remade(maker, *each) for each in zip(program.subgraphs, finished, plan, strict=True)]
            for plan in different.values()
        ]

    def _replaced(self, finished: Alternative, leading: Engine, clearly: float) -> list[Engine]:
        """The engine of each subgraph: the leading one, but where what was chosen is that much faster."""
        return [leading if _is_hardly_slower(item, leading, clearly) else item.engine for item in finished]

    def _leading(self, finished: Alternative) -> Engine:
        """The engine that would take least for what all have been timed on."""
        names = {engine.name for engine in self.engines}
        timed = [item.compiled.microseconds for item in finished if names <= set(item.compiled.microseconds)]
        return min(self.engines, key=lambda engine: sum(times[engine.name] for times in timed))

    def _remade(self, maker: Maker, bound: BoundSubgraph, item: Finished, engine: Engine) -> Finished:
        if item.engine is engine or item.compiled.structure < 0:
            return item
        try:
            made = maker.make(bound, engine)
        except TargetError:  # it takes others of the structure, but not this one
            return item
        told = replace(made.compiled, reason=item.compiled.reason, microseconds=item.compiled.microseconds)
        return replace(made, compiled=told)

    def _build(self, maker: Maker, bound: BoundSubgraph) -> tuple[list[Finished], list[str]]:
        """What each engine makes of it, and why some make nothing; if none does, the last one's error."""
        built: list[Finished] = []
        refused: list[str] = []
        for engine in self.engines:
            try:
                built.append(maker.make(bound, engine))
            except TargetError as error:
                if engine is self.engines[-1] and not built:
                    raise
                refused.append(_refusal(engine, error, bound))
                if self.strict:
                    raise _left(bound, refused[-1], error.loc) from error
        return built, refused


@dataclass(frozen=True, slots=True)
class Planned:
    """The engine that a plan names; the timings are the plan's, and so is what `strict` refuses."""

    engines: Sequence[Engine]
    plan: Mapping[str, Any]
    strict: bool = False

    def vary(self, maker: Maker, program: BoundProgram, finished: Alternative) -> Sequence[Alternative]:
        """Nothing else."""
        return [finished]

    def anew(self) -> Planned:
        """It remembers nothing."""
        return self

    def choose(self, maker: Maker, bound: BoundSubgraph) -> Finished:
        """As the class says."""
        name = bound.subgraph.name
        entry = self.plan.get(name)
        engine = next((each for each in self.engines if entry and each.name == entry.get("engine")), None)
        if engine is None or entry is None:
            raise _bad_plan(f"it names no engine that is here for the subgraph {name}")
        if self.strict and entry.get("reason"):
            raise _left(bound, entry["reason"], bound.subgraph.loc)
        finished = maker.make(bound, engine)
        told = replace(finished.compiled, reason=entry.get("reason", ""), microseconds=entry.get("microseconds", {}))
        return replace(finished, compiled=told)


def read_plan(path: Path) -> Mapping[str, Any]:
    """The subgraphs of a plan."""
    try:
        subgraphs = json.loads(path.read_text(encoding="utf-8"))["subgraphs"]
        if all(isinstance(entry, dict) for entry in subgraphs.values()):
            found: Mapping[str, Any] = subgraphs
            return found
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _bad_plan(f"{path} cannot be read: {error}") from error
    raise _bad_plan(f"{path} is no plan")


def write_plan(finished: Sequence[Finished]) -> bytes:
    """What was decided, as `read_plan` reads it."""
    entries = {
        item.compiled.name: {
            "engine": item.engine.name,
            "microseconds": dict(item.compiled.microseconds),
            "reason": item.compiled.reason,
        }
        for item in finished
    }
    return (json.dumps({"subgraphs": entries}, indent=1, sort_keys=True) + "\n").encode()


def pick(alternatives: Sequence[Alternative], seconds: Sequence[float]) -> Alternative:
    """The one that takes least; one with more runtimes than others need only if it is clearly faster than those."""
    runtimes = [len({item.engine.name for item in finished}) for finished in alternatives]
    numbers = range(len(alternatives))
    best = min(numbers, key=lambda number: seconds[number])
    plain = min(numbers, key=lambda number: (runtimes[number], seconds[number]))
    return alternatives[best if seconds[best] < _MIXED * seconds[plain] else plain]


def _is_hardly_slower(item: Finished, leading: Engine, clearly: float) -> bool:
    """Whether no other engine takes less than this part of the time that the leading one takes for a subgraph."""
    times = item.compiled.microseconds
    return leading.name in times and times[item.engine.name] >= clearly * times[leading.name]


def _open(subgraph: Subgraph, built: Sequence[Finished]) -> Mapping[str, Call]:
    """What each engine has built, on inputs that all have run; nothing where torch has accepted none."""
    examples = [item.example for item in built if item.example is not None]
    if len(examples) < len(built):
        return {}
    inputs = max(examples, key=lambda example: example.number).inputs
    opened = {item.engine.name: item.built.open() for item in built}
    return {name: partial(each.call, *_arguments(subgraph, inputs, each)) for name, each in opened.items()}


def time_calls(calls: Mapping[str, Call]) -> Mapping[str, float]:
    """The microseconds of a call of each function in its best round: what else the machine does only adds to them.

    It does so for longer than a few rounds take: they go on until no function has got better for a while.
    """
    counts = {name: _repetitions(call) for name, call in calls.items()}
    best = dict.fromkeys(calls, float("inf"))
    collects = gc.isenabled()
    gc.disable()
    try:
        since = 0  # rounds in which no function was better
        for _ in range(_MOST_ROUNDS):
            taken = {name: _round(call, counts[name]) for name, call in calls.items()}
            since = 0 if any(taken[name] < _BETTER * best[name] for name in calls) else since + 1
            best = {name: min(best[name], taken[name]) for name in calls}
            if since == _ROUNDS:
                break
    finally:
        if collects:
            gc.enable()
    return {name: round(1e6 * seconds, 1) for name, seconds in best.items()}


def _round(call: Call, count: int) -> float:
    begin = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - begin) / count


def _repetitions(call: Call) -> int:
    call()
    begin = time.perf_counter()
    call()
    return max(1, int(_ROUND_SECONDS / max(time.perf_counter() - begin, 1e-6)))


def _arguments(subgraph: Subgraph, tensors: Sequence[torch.Tensor], opened: Opened) -> list[Any]:
    """Inputs as a host hands over what other subgraphs have made."""
    return [
        tensor.item() if port.scalar else opened.own(tensor.numpy())
        for port, tensor in zip(input_ports(subgraph), tensors, strict=True)
    ]


def _explained(finished: Finished, reasons: Sequence[str]) -> Finished:
    return replace(finished, compiled=replace(finished.compiled, reason="; ".join(reasons))) if reasons else finished


def _refusal(engine: Engine, error: TargetError, bound: BoundSubgraph) -> str:
    what = error.message.removeprefix(f"subgraph {bound.subgraph.name}").lstrip(":, ")
    return f"not {engine.title}: {what}"


def _left(bound: BoundSubgraph, reason: str, loc: SourceRange) -> TargetError:
    """What `strict` says where an engine does not take a subgraph."""
    return TargetError("DY405", loc, f"subgraph {bound.subgraph.name}: {reason}")


def _bad_plan(what: str) -> UsageError:
    return UsageError(
        "DY505", UNKNOWN, f"--target-plan: {what}", hint=f"compile without one: the artifact has a {PLAN}"
    )
