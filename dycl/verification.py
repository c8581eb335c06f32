"""Whether a compiled model does what its source does: by eager, reference executor and host, call by call.

First the example and the sampled inputs run as one sequence of calls, so that state is carried over: results, errors,
decisions and state must agree, and the executor must have read from its tensors what eager read. Then every edge of a
branch that none of these calls took is forced in executor and host (`dycl.forcing`).

A decision that hangs on a difference of rounding size (a *tie*) may fall otherwise in a compiled subgraph without any
number being wrong. It counts as a tie only if the reference itself gives the host's outcome once its weights and
inputs are disturbed by about one rounding, or leaves its own path as soon and ends as far off once each of its
operations rounds a little otherwise. Ties are reported, all other differences are errors (DY403).
"""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from dycl.comparison import Comparison, as_array
from dycl.diagnostics import UNKNOWN, SourceRange, TargetError
from dycl.eagerlog import find_unmatched
from dycl.forcing import (
    EdgeName,
    ForcedRun,
    Plan,
    Unforced,
    Visit,
    all_edges,
    compare_forced,
    compare_pair,
    force_edge,
    taken_edges,
)
from dycl.inputs import flatten_names
from dycl.ir.environment import Environment
from dycl.ir.objects import bind_inputs
from dycl.ir.values import BlockId
from dycl.rounding import RoundingNoise
from dycl.sampling import Sample, map_tensors
from dycl.trials import EagerTrial, ExecutorTrial, HostTrial, Outcome, Subject, compare_outcomes

# Sizes of the disturbances that a tie must not survive, relative to a value; float32 rounds at 6e-8 in one operation.
_ROUNDINGS = (1e-6, 1e-5)
_DISTURBED_RUNS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Tie:
    """A call in which a difference of rounding size decided otherwise."""

    origin: str
    difference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationReport:
    """What was compared. Every edge of the program is in exactly one of `exercised`, `forced` and `unreached`."""

    calls: int
    skipped: int  # sampled calls that the signature does not admit
    paths: int
    max_abs_error: float
    max_rel_error: float
    exercised: tuple[EdgeName, ...]
    forced: tuple[EdgeName, ...]
    unreached: tuple[Unforced, ...]
    ties: tuple[Tie, ...]
    state: tuple[str, ...]

    @property
    def edges(self) -> int:
        """The number of branch edges of the program."""
        return len(self.exercised) + len(self.forced) + len(self.unreached)


@dataclass(frozen=True, slots=True)
class _Call:
    """One natural call, the calls of its sequence before it, and what the executor made of it."""

    before: tuple[Sample, ...]
    sample: Sample
    outcome: Outcome


def verify_model(subject: Subject, samples: Sequence[Sample]) -> VerificationReport:
    """The report of a comparison in which everything agreed; DY403 otherwise."""
    admitted = [sample for sample in samples if is_admitted(subject, sample)]
    comparison = Comparison(subject.rtol, subject.atol)
    calls, ties = _run_sequence(subject, admitted, comparison)
    exercised = taken_edges(call.outcome for call in calls)
    forced, unreached, forced_ties = _force_edges(subject, calls, admitted, exercised, comparison)
    order = all_edges(subject.program)
    return VerificationReport(
        calls=len(admitted),
        skipped=len(samples) - len(admitted),
        paths=len({call.outcome.decisions for call in calls}),
        max_abs_error=comparison.max_abs_error,
        max_rel_error=comparison.max_rel_error,
        exercised=tuple(edge for edge in order if edge in exercised),
        forced=tuple(edge for edge in order if edge in forced),
        unreached=tuple(unreached),
        ties=tuple(ties + forced_ties),
        state=tuple(sorted({slot.name for entry in subject.program.entries for slot in entry.slots})),
    )


def is_admitted(subject: Subject, sample: Sample) -> bool:
    """Whether the signature takes the call: a sampler may make other shapes than the example's, these are not ours."""
    try:
        bind_inputs(subject.program, sample.args, sample.kwargs, subject.environment, sample.method)
    except (TypeError, ValueError) as error:
        if sample.is_example:
            raise TargetError("DY403", UNKNOWN, f"the compiled model refuses its own example: {error}") from error
        return False
    return True


# ---------------------------------------------------------------- the natural calls


def _run_sequence(subject: Subject, samples: Sequence[Sample], comparison: Comparison) -> tuple[list[_Call], list[Tie]]:
    """Make the calls in order. After a tie the states differ by right: a new sequence begins."""
    calls: list[_Call] = []
    ties: list[Tie] = []
    start = 0
    while start < len(samples):
        made, tie = _run_until_tie(subject, samples[start:], comparison)
        calls += made
        ties += [tie] if tie else []
        start += len(made) + (tie is not None)
    return calls, ties


def _run_until_tie(
    subject: Subject, samples: Sequence[Sample], comparison: Comparison
) -> tuple[list[_Call], Tie | None]:
    eager, executor, host = EagerTrial(subject), ExecutorTrial(subject), HostTrial(subject)
    calls: list[_Call] = []
    for index, sample in enumerate(samples):
        reads = eager.reads(sample)
        expected, reference, actual = eager.run(sample), executor.run(sample), host.run(sample)
        before = tuple(samples[:index])
        unread = find_unmatched(executor.observations, reads, subject.rtol, subject.atol)
        by_executor = _differences(subject, expected, reference, comparison, "the reference executor")
        if unread is not None:
            by_executor.append(f"the program reads {unread[1]!r} at {unread[0]}, the source does not")
        by_host = _differences(subject, reference, actual, comparison, "the host")
        by_host = by_host or _differences(subject, expected, actual, comparison, "the host, held against eager,")
        if by_executor or by_host:
            doubtful = ([expected] if by_executor else []) + ([actual] if by_host else [])
            attempt = _Attempt((*before, sample))
            if unread is None and all(_is_tie(subject, attempt, outcome) for outcome in doubtful):
                return calls, Tie(origin=sample.origin, difference=(by_executor + by_host)[0])
            raise _mismatch(subject, sample, index, by_executor + by_host, reference, actual)
        calls.append(_Call(before, sample, reference))
    return calls, None


def _differences(subject: Subject, expected: Outcome, actual: Outcome, comparison: Comparison, who: str) -> list[str]:
    """What differs between two outcomes, in words; the errors are counted only where nothing does."""
    found = Comparison(comparison.rtol, comparison.atol)
    # Eager has no decisions: what it read is compared with what the executor read.
    if expected.decisions and expected.decisions != actual.decisions:
        found.differences.append(_tell_decisions(subject, expected.decisions, actual.decisions))
    else:
        compare_outcomes(expected, actual, subject, found)
    if not found.differences:
        comparison.max_abs_error = max(comparison.max_abs_error, found.max_abs_error)
        comparison.max_rel_error = max(comparison.max_rel_error, found.max_rel_error)
    return [f"{who}: {difference}" for difference in found.differences]


def _first_difference(left: Sequence[EdgeName], right: Sequence[EdgeName]) -> int:
    pairs = zip(left, right, strict=False)
    return next((i for i, (one, other) in enumerate(pairs) if one != other), min(len(left), len(right)))


def _tell_decisions(subject: Subject, expected: Sequence[EdgeName], actual: Sequence[EdgeName]) -> str:
    index = _first_difference(expected, actual)
    if index >= min(len(expected), len(actual)):
        return f"{len(expected)} decisions expected, {len(actual)} found"
    loc = subject.program.block(_block_id(subject, expected[index])).end.loc
    return f"decision {index} at {loc} ({loc.text}): {expected[index][1]} expected, {actual[index][1]} found"


def _block_id(subject: Subject, edge: EdgeName) -> BlockId:
    return subject.program.blocks[edge[0]].id


# ---------------------------------------------------------------- ties


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A sequence of calls, its decisions forced by a plan from the call `forced_from` on."""

    calls: tuple[Sample, ...]
    steps: tuple[EdgeName, ...] = ()
    forced_from: int = 0


def _is_tie(subject: Subject, attempt: _Attempt, outcome: Outcome) -> bool:
    """Whether a disturbance of rounding size makes the reference give this outcome of the last call.

    Where rounding grows along the path (an adaptive solver), no disturbance hits the very outcome. Then it is enough
    that one spreads at least as far, and no later.
    """
    for size in _ROUNDINGS:
        for seed in range(_DISTURBED_RUNS):
            generator = torch.Generator().manual_seed(seed)
            environment = _disturb_environment(subject.environment, generator, size)
            calls = [_disturb_sample(sample, generator, size) for sample in attempt.calls]
            found = _repeat(subject, attempt, calls, environment)
            same_path = not outcome.decisions or found.decisions == outcome.decisions
            if same_path and compare_outcomes(found, outcome, subject, Comparison(subject.rtol, subject.atol)):
                return True
    natural = _repeat(subject, attempt, attempt.calls, subject.environment)
    on_path = not outcome.decisions or outcome.decisions == natural.decisions
    for seed in range(_DISTURBED_RUNS):
        with RoundingNoise(_ROUNDINGS[0], seed):
            found = _repeat(subject, attempt, attempt.calls, subject.environment)
        if on_path and found.decisions != natural.decisions:
            continue  # another path explains no number of this one
        if _spreads(subject, natural, found) >= _spreads(subject, natural, outcome):
            return True
    return False


def _repeat(subject: Subject, attempt: _Attempt, calls: Sequence[Sample], environment: Environment) -> Outcome:
    """What the reference makes of the last of these calls."""
    plan = Plan(attempt.steps)
    trial = ExecutorTrial(subject, plan, environment)
    found = Outcome()
    for index, sample in enumerate(calls):
        plan.is_active = index >= attempt.forced_from
        found = trial.run(sample)
    return found


def _spreads(subject: Subject, natural: Outcome, other: Outcome) -> tuple[float, float]:
    """How soon an outcome leaves the natural path (less is later, and never is least), then how far off it ends.

    Infinitely far where no rounding can be the cause.
    """
    path = other.decisions or natural.decisions  # eager has none
    if natural.decisions != path:
        return (-_first_difference(natural.decisions, path), 0.0)
    found = Comparison(rtol=0.0, atol=1e30)  # differs only where no rounding could be the cause
    is_rounding = compare_outcomes(natural, other, subject, found)
    return (-math.inf, found.max_abs_error if is_rounding else math.inf)


def _disturb(tensor: torch.Tensor, generator: torch.Generator, size: float) -> torch.Tensor:
    if not tensor.is_floating_point():
        return tensor
    noise = torch.randn(tensor.shape, generator=generator).to(tensor.dtype)
    return tensor * (1 + size * noise)


def _disturb_sample(sample: Sample, generator: torch.Generator, size: float) -> Sample:
    def change(tensor: torch.Tensor) -> torch.Tensor:
        return _disturb(tensor, generator, size)

    return replace(sample, args=map_tensors(sample.args, change), kwargs=map_tensors(dict(sample.kwargs), change))


def _disturb_environment(environment: Environment, generator: torch.Generator, size: float) -> Environment:
    """A copy with every weight disturbed once, however many names and modules it has."""
    weights, modules = copy.deepcopy((environment.weights, environment.modules))
    tensors = [*weights.values()]
    for module in modules.values():
        tensors += [*module.parameters(), *module.buffers()]
    with torch.no_grad():
        for tensor in {id(tensor): tensor for tensor in tensors}.values():
            tensor.copy_(_disturb(tensor, generator, size))
    return Environment(weights, modules, environment.classes)


# ---------------------------------------------------------------- the forced edges


def _force_edges(
    subject: Subject,
    calls: Sequence[_Call],
    samples: Sequence[Sample],
    exercised: set[EdgeName],
    comparison: Comparison,
) -> tuple[set[EdgeName], list[Unforced], list[Tie]]:
    visited = _find_visits(subject, calls, samples)
    forced: set[EdgeName] = set()
    unreached: list[Unforced] = []
    ties: list[Tie] = []
    for edge in all_edges(subject.program):
        if edge in exercised or edge in forced:
            continue
        run = force_edge(subject, edge, visited)
        if isinstance(run, Unforced):
            unreached.append(run)
            continue
        tie = _check_forced(subject, run, comparison)
        ties += [tie] if tie else []
        forced |= taken_edges(run.executor) - exercised
    return forced, [found for found in unreached if found.edge not in forced], ties


def _find_visits(subject: Subject, calls: Sequence[_Call], samples: Sequence[Sample]) -> dict[int, Visit]:
    """For each branch that was come to, the shortest sequence of calls that comes there.

    Without state a call does not depend on those before it: it is a sequence by itself.
    """
    has_state = subject.program.kinds > 1 or bool(subject.program.initial)
    found: dict[int, Visit] = {}
    for call in sorted(calls, key=lambda call: len(call.before)):
        for site, _ in call.outcome.decisions:
            found.setdefault(site, Visit((*(call.before if has_state else ()), call.sample), tuple(samples)))
    return found


def _check_forced(subject: Subject, run: ForcedRun, comparison: Comparison) -> Tie | None:
    found = Comparison(comparison.rtol, comparison.atol)
    if compare_forced(subject, run, found):
        comparison.max_abs_error = max(comparison.max_abs_error, found.max_abs_error)
        comparison.max_rel_error = max(comparison.max_rel_error, found.max_rel_error)
        return None
    sample = run.calls[-1]
    origin = f"{sample.origin}, forced {_tell_steps(subject, run.steps)}"
    last = _first_failure(subject, run)
    attempt = _Attempt(run.calls[: last + 1], run.steps, run.forced_from)
    if _is_tie(subject, attempt, run.host[last]):
        return Tie(origin=origin, difference=found.differences[0])
    differences = [f"the host: {difference}" for difference in found.differences]
    forced = replace(sample, origin=origin)
    raise _mismatch(subject, forced, last, differences, run.executor[last], run.host[last])


def _first_failure(subject: Subject, run: ForcedRun) -> int:
    """The first call of the run that host and executor took differently."""
    pairs = zip(run.executor, run.host, strict=True)
    return next(
        index for index, (left, right) in enumerate(pairs) if not compare_pair(subject, left, right, Comparison())
    )


def _tell_steps(subject: Subject, steps: Sequence[EdgeName]) -> str:
    return ", ".join(f"{subject.program.block(_block_id(subject, s)).end.loc} {s[1]}" for s in steps)


# ---------------------------------------------------------------- mismatches


def _mismatch(
    subject: Subject, sample: Sample, index: int, differences: Sequence[str], expected: Outcome, actual: Outcome
) -> TargetError:
    kept = _keep_inputs(sample)
    message = f"call {index} ({sample.origin}): " + "; ".join(differences[:3])
    return TargetError("DY403", _place(subject, expected, actual), message, hint=f"the inputs are kept in {kept}")


def _place(subject: Subject, expected: Outcome, actual: Outcome) -> SourceRange:
    index = _first_difference(expected.decisions, actual.decisions)
    if index >= min(len(expected.decisions), len(actual.decisions)):
        return UNKNOWN
    return subject.program.block(_block_id(subject, expected.decisions[index])).end.loc


def _keep_inputs(sample: Sample) -> Path:
    named = {f"args.{index}": arg for index, arg in enumerate(sample.args)} | dict(sample.kwargs)
    leaves = {key: leaf for name, arg in named.items() for key, leaf in flatten_names(name, arg).items()}
    path = Path(tempfile.mkdtemp(prefix="dycl-mismatch-")) / "inputs.npz"
    np.savez(path, **{key: as_array(leaf) for key, leaf in leaves.items()})  # type: ignore[arg-type]
    return path
