"""Edges that no input reached: forced in the reference executor and in the host alike, and compared.

A plan is the decisions on a shortest way from a branch that some call came to, through the edge. The calls before that
one are made again first, for the state; a way may cross the end of a call, where the next call starts elsewhere.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dycl.comparison import Comparison
from dycl.ir.nodes import Branch, Invoke, Jump, Raise, Reply, Return, edges
from dycl.ir.program import Program
from dycl.ir.values import BlockId
from dycl.sampling import Sample
from dycl.trials import ExecutorTrial, HostTrial, Outcome, Subject, compare_outcomes

EdgeName = tuple[int, bool]
_MOST_DECISIONS = 10_000
_ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class Visit:
    """A call that came to a branch: the calls of its sequence up to and with it, then those after it."""

    calls: tuple[Sample, ...]
    later: tuple[Sample, ...]


class EndlessRun(Exception):  # noqa: N818
    """A forced run was stopped: it makes decisions without end."""


class Plan:
    """Forces the planned decisions in their order, each when its block is come to; all others are the model's own."""

    def __init__(self, steps: Sequence[EdgeName]) -> None:
        self.steps = tuple(steps)
        self.is_active = False
        self._done = 0
        self._decisions = 0

    def __call__(self, block: BlockId, natural: bool) -> bool:
        self._decisions += 1
        if self._decisions > _MOST_DECISIONS:
            raise EndlessRun(f"more than {_MOST_DECISIONS} decisions")
        if self.is_active and not self.is_done and block == self.steps[self._done][0]:
            self._done += 1
            return self.steps[self._done - 1][1]
        return natural

    @property
    def is_done(self) -> bool:
        """Whether every planned decision has been taken."""
        return self._done == len(self.steps)


@dataclass(frozen=True, slots=True)
class ForcedRun:
    """The calls of a plan, with what executor and host made of them."""

    calls: tuple[Sample, ...]
    steps: tuple[EdgeName, ...]
    forced_from: int  # the first call in which the plan is followed
    executor: tuple[Outcome, ...]
    host: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Unforced:
    """An edge that could not be exercised, and why."""

    edge: EdgeName
    reason: str


def all_edges(program: Program) -> tuple[EdgeName, ...]:
    """Both sides of every branch."""
    return tuple(
        (block.id, side) for block in program.blocks if isinstance(block.end, Branch) for side in (True, False)
    )


def taken_edges(outcomes: Iterable[Outcome]) -> set[EdgeName]:
    """The edges that the outcomes' decisions took."""
    return {decision for outcome in outcomes for decision in outcome.decisions}


def find_plans(
    program: Program, edge: EdgeName, visited: Mapping[int, Visit]
) -> Iterator[tuple[Visit, list[EdgeName]]]:
    """Ways to an edge from branches that were visited, the shortest first."""
    before = _predecessors(program)
    after: dict[int, tuple[int, bool | None]] = {}
    pending = deque([edge[0]])
    seen = {edge[0]}
    while pending:
        block = pending.popleft()
        if block in visited:
            yield visited[block], [*_steps(after, block, edge[0]), edge]
        for source, side in before[block]:
            if source not in seen:
                seen.add(source)
                after[source] = (block, side)
                pending.append(source)


def _steps(after: Mapping[int, tuple[int, bool | None]], block: int, goal: int) -> Iterator[EdgeName]:
    while block != goal:
        following, side = after[block]
        if side is not None:
            yield block, side
        block = following


def _predecessors(program: Program) -> dict[int, list[tuple[int, bool | None]]]:
    """The blocks before each block, with the side taken; a call's end comes before the next call's entry."""
    found: dict[int, list[tuple[int, bool | None]]] = {block.id: [] for block in program.blocks}
    for block in program.blocks:
        match block.end:
            case Jump(edge=edge):
                found[edge.target].append((block.id, None))
            case Branch():
                for side, target in zip((True, False), edges(block.end), strict=True):
                    found[target.target].append((block.id, side))
            case Return(resume=resume) | Raise(resume=resume):
                for entry in program.entries_of(resume):
                    found[entry.block].append((block.id, None))
            case Reply():
                pass
        for op in block.ops:
            if isinstance(op, Invoke):
                found[program.procedures[op.procedure].block].append((block.id, None))
    return found


def force_edge(subject: Subject, edge: EdgeName, visited: Mapping[int, Visit]) -> ForcedRun | Unforced:
    """Run executor and host through the edge; `Unforced` if no way that was tried gets there and to the end."""
    reason = "no branch that was visited leads to it"
    for attempt, (visit, steps) in enumerate(find_plans(subject.program, edge, visited)):
        if attempt == _ATTEMPTS:
            break
        calls, executor, complete = _run_executor(subject, visit, steps)
        error = executor[-1].error
        if not complete:
            reason = "the forced run never comes there" if error is None else _tell(error)
        elif error is not None and not _is_own(subject.program, error):
            reason = _tell(error)
        else:
            return ForcedRun(
                calls, tuple(steps), len(visit.calls) - 1, executor, _run_host(subject, visit, steps, calls)
            )
    return Unforced(edge, reason)


def _tell(error: Exception) -> str:
    first = (str(error).splitlines() or [""])[0]
    return f"the forced run raises {type(error).__name__}: {first}"


def _is_own(program: Program, error: Exception) -> bool:
    """Whether the program itself raises this; an operation's error says that its values do not fit the path.

    The executor notes on the error of an operation where it stands.
    """
    if getattr(error, "__notes__", None):
        return False
    own = {block.end.class_name.split(":")[-1] for block in program.blocks if isinstance(block.end, Raise)}
    return type(error).__qualname__ in own


def _run_executor(
    subject: Subject, visit: Visit, steps: Sequence[EdgeName]
) -> tuple[tuple[Sample, ...], tuple[Outcome, ...], bool]:
    plan = Plan(steps)
    trial = ExecutorTrial(subject, plan)
    calls: list[Sample] = []
    outcomes: list[Outcome] = []
    count = len(steps) * (2 * len(subject.program.others) + 1)  # the method that is wanted need not be the next one
    more = (*visit.later, *visit.calls)[:count]
    for index, sample in enumerate((*visit.calls, *more)):
        plan.is_active = index >= len(visit.calls) - 1
        calls.append(sample)
        outcomes.append(trial.run(sample))
        failed = outcomes[-1].error
        if plan.is_done or (failed is not None and not _is_own(subject.program, failed)):
            break
    return tuple(calls), tuple(outcomes), plan.is_done


def _run_host(
    subject: Subject, visit: Visit, steps: Sequence[EdgeName], calls: Sequence[Sample]
) -> tuple[Outcome, ...]:
    plan = Plan(steps)
    trial = HostTrial(subject, plan)
    outcomes = []
    for index, sample in enumerate(calls):
        plan.is_active = index >= len(visit.calls) - 1
        outcomes.append(trial.run(sample))
    return tuple(outcomes)


def compare_forced(subject: Subject, run: ForcedRun, comparison: Comparison) -> bool:
    """Whether the host took every call of the plan as the executor did."""
    pairs = zip(run.executor, run.host, strict=True)
    return all(compare_pair(subject, expected, actual, comparison) for expected, actual in pairs)


def compare_pair(subject: Subject, expected: Outcome, actual: Outcome, comparison: Comparison) -> bool:
    """Whether host and executor agree on one forced call, in decisions too."""
    if expected.decisions != actual.decisions:
        comparison.differences.append(f"decisions {expected.decisions} expected, {actual.decisions} found")
        return False
    return compare_outcomes(expected, actual, subject, comparison)
