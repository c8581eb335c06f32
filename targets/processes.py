"""Work on many things in several processes: what comes back is in order, and as one process alone would make it.

The processes are forks: what is worked on (live models, weights) need not be sent, only what comes back. A fork has the
memory of its parent and none of its threads, so it computes on one thread, and it leaves alone what its parent has let
go of: a session whose threads are not there would wait for them for ever when it is destroyed. What fails in a fork is
left out: who needs it does it again, where the error can be told with all that it holds.
"""

from __future__ import annotations

import gc
import multiprocessing
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

_STALLED = 120.0  # seconds, of work that takes one or a few
_FEWEST = 4  # things for which processes are worth their start
_work: Callable[[int], object] | None = None  # what the forks are to do, set before they are made


@dataclass(frozen=True, slots=True)
class Done(Generic[Result]):
    """What has been made of a thing."""

    result: Result


def try_in_processes(function: Callable[[Item], Result], items: Sequence[Item], jobs: int) -> list[Done[Result] | None]:
    """What the function makes of each, in order, None where nothing came of it; results must be picklable.

    Nothing is tried where there is little to win. The first thing is done here, so that the forks have what it imports.
    """
    global _work
    if jobs < 2 or len(items) < _FEWEST or "fork" not in multiprocessing.get_all_start_methods():
        return [None] * len(items)
    first = _attempt(function, items[0])
    rest = items[1:]
    _work = lambda index: function(rest[index])  # noqa: E731
    try:
        with (
            _frozen_garbage(),
            ProcessPoolExecutor(
                min(jobs, len(rest)), mp_context=multiprocessing.get_context("fork"), initializer=_begin
            ) as pool,
        ):
            tried = [pool.submit(_do, index) for index in range(len(rest))]
            _await(tried, pool)
            return [first, *cast("list[Done[Result] | None]", [_result_of(future) for future in tried])]
    except BrokenProcessPool:  # before all was handed out
        return [first, *[None] * len(rest)]
    finally:
        _work = None


def _await(tried: Sequence[Future[Done[object] | None]], pool: ProcessPoolExecutor) -> None:
    """Wait until all is done; where nothing is for a long time, a fork waits for a lock that no thread of it holds."""
    left: Collection[Future[Done[object] | None]] = tried
    while left:
        done, left = wait(left, timeout=_STALLED, return_when=FIRST_COMPLETED)
        if not done:
            for process in list(pool._processes.values()):
                process.kill()
            return


def _result_of(future: Future[Done[object] | None]) -> Done[object] | None:
    try:
        return future.result()
    except BrokenProcessPool:  # one was killed, for want of memory perhaps
        return None


@contextmanager
def _frozen_garbage() -> Iterator[None]:
    """Inside, forks begin with a collector that looks at nothing that there was before them."""
    was_enabled, was_frozen = gc.isenabled(), gc.get_freeze_count() > 0
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        if not was_frozen:
            gc.unfreeze()
        if was_enabled:
            gc.enable()


def _begin() -> None:
    gc.enable()
    torch.set_num_threads(1)


def _do(index: int) -> Done[object] | None:
    assert _work is not None
    return _attempt(_work, index)


def _attempt(function: Callable[[Item], Result], item: Item) -> Done[Result] | None:
    try:
        return Done(function(item))
    except Exception:  # whatever it is, it is raised where the thing is done again
        return None
