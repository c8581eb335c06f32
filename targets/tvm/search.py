"""Schedules to try for a function: TVM's MetaSchedule draws them, and learns from what was measured.

The search is evolutionary: schedules drawn at random from the spaces that a few rules span, and mutations of those that
were fastest (Shao et al., Tensor Program Optimization with Probabilistic Programs, NeurIPS 2022). There is no model of
the cost, which would need a package of its own: what is tried is measured.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_POPULATION = 16
_BATCH = 8
_VECTOR = 64  # the longest loop that is vectorised
_JOBS = 16  # pieces of parallel work a processor gets at most


@dataclass(slots=True)
class Candidate:
    """A schedule to try: the module that it makes of the function. `seconds`: what a call took, None if it failed."""

    module: Any
    seconds: float | None
    _found: Any

    def trace_json(self) -> object:
        """The steps of the schedule, as `replay` takes them."""
        return _plain(self._found.sch.trace.as_json())


class Search:
    """The search for one function; `known` are schedules of earlier searches, with their seconds."""

    def __init__(self, function: Any, target: Any, known: Sequence[tuple[float, object]], seed: int) -> None:
        from tvm.s_tir import meta_schedule

        self._target = target
        self._context = _context(function, target, seed)
        self._database = meta_schedule.database.MemoryDatabase()
        self._workload = self._database.commit_workload(self._context.mod)
        self._has_begun = False
        for seconds, trace in known:
            self._commit(replay(self._context.mod, trace).trace, seconds)

    def draw(self, trials: int) -> list[Candidate]:
        """The next to try; none if there are no more. `trials`: how many are wanted from now on."""
        from tvm.s_tir import meta_schedule

        context = self._context
        if not self._has_begun:
            self._has_begun = True
            spaces = context.generate_design_space()
            model = meta_schedule.cost_model.RandomModel(seed=0)
            context.pre_tuning(trials, min(_BATCH, trials), spaces, self._database, model)
        found = context.generate_measure_candidates() or ()
        return [Candidate(item.sch.mod, None, item) for item in found]

    def learn(self, batch: Sequence[Candidate]) -> None:
        """Take in how long these took."""
        self._context.notify_runner_results([item._found for item in batch], [_result(item.seconds) for item in batch])
        for item in batch:
            if item.seconds is not None:
                self._commit(item._found.sch.trace, item.seconds)

    def _commit(self, trace: Any, seconds: float) -> None:
        from tvm.s_tir import meta_schedule

        record = meta_schedule.database.TuningRecord(trace, self._workload, [seconds], self._target, None)
        self._database.commit_tuning_record(record)


def replay(module: Any, trace: object) -> Any:
    """The schedule that these steps make of a module."""
    from tvm.s_tir import Schedule
    from tvm.s_tir.schedule import Trace

    schedule = Schedule(module)
    Trace.apply_json_to_schedule(trace, schedule)
    return schedule


def _context(function: Any, target: Any, seed: int) -> Any:
    """TVM's context of a search, made without its constructor.

    That imports a hundred tensor intrinsics, a minute's work, of which the rules below use none.
    """
    from tvm.s_tir import meta_schedule
    from tvm.s_tir.meta_schedule import _ffi_api
    from tvm.s_tir.meta_schedule.logging import get_logging_func
    from tvm.s_tir.meta_schedule.tune_context import TuneContext, _normalize_mod

    strategy = meta_schedule.search_strategy.EvolutionarySearch(
        population_size=_POPULATION, init_measured_ratio=0.5, init_min_unmeasured=_BATCH, genetic_num_iters=1
    )
    log = get_logging_func(logging.getLogger(__name__))
    context = TuneContext.__new__(TuneContext)
    parts = (_normalize_mod(function), target, _space(), strategy, "main", 1, seed, log)
    context.__init_handle_by_constructor__(_ffi_api.TuneContext, *parts)
    _ffi_api.TuneContextInitialize(context)
    return context


def _space() -> Any:
    """What may be tried: tiles of loops and where a block is computed, vectors, unrolling, parallel loops."""
    from tvm.s_tir import meta_schedule

    rule, mutator, postproc = meta_schedule.schedule_rule, meta_schedule.mutator, meta_schedule.postproc
    return meta_schedule.space_generator.PostOrderApply(
        sch_rules=[
            rule.AutoInline(
                into_producer=False,
                into_consumer=True,
                inline_const_tensor=True,
                disallow_if_then_else=True,
                require_injective=True,
                require_ordered=True,
                disallow_op=["tirx.exp"],
            ),
            rule.AddRFactor(max_jobs_per_core=_JOBS, max_innermost_factor=_VECTOR),
            rule.MultiLevelTiling(
                structure="SSRSRS",
                max_innermost_factor=_VECTOR,
                reuse_write=rule.ReuseType(req="may", levels=[1, 2], scope="global"),
            ),
            rule.ParallelizeVectorizeUnroll(
                max_jobs_per_core=_JOBS,
                max_vectorize_extent=_VECTOR,
                unroll_max_steps=[0, 16, 64, 512],
                unroll_explicit=True,
            ),
            rule.RandomComputeLocation(),
        ],
        postprocs=[
            postproc.DisallowDynamicLoop(),
            postproc.RewriteParallelVectorizeUnroll(),
            postproc.RewriteReductionBlock(),
        ],
        mutator_probs={
            mutator.MutateTileSize(): 0.9,
            mutator.MutateComputeLocation(): 0.05,
            mutator.MutateUnroll(): 0.03,
            mutator.MutateParallel(max_jobs_per_core=_JOBS): 0.02,
        },
    )


def _result(seconds: float | None) -> Any:
    from tvm.s_tir.meta_schedule.runner import RunnerResult

    return RunnerResult(None, "it does not run") if seconds is None else RunnerResult([seconds], None)


def _plain(found: Any) -> object:
    """TVM's JSON as Python's."""
    if found is None or isinstance(found, bool | int | float):
        return found
    if isinstance(found, str):
        return str(found)
    if hasattr(found, "value"):  # a number as a node of its IR
        return found.value
    if hasattr(found, "items"):
        return {str(key): _plain(value) for key, value in found.items()}
    return [_plain(item) for item in found]
