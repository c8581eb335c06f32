"""Functions tuned for this machine (`--tune N`): the fastest schedule that was measured is kept, or that of the rules.

What was found is kept in the compile cache, one entry for each function and processor, written after each batch: a
compile that is interrupted loses a batch, the next one goes on where it stopped, and models share what they have in
common. Once a function has had its N trials, it is not measured again: the same schedule comes out.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dycl.targets.base import Cache
from dycl.targets.tvm.exact import mend_functions
from dycl.targets.tvm.functions import expand_functions
from dycl.targets.tvm.package import version
from dycl.targets.tvm.pipeline import build_module
from dycl.targets.tvm.processor import Processor
from dycl.targets.tvm.rules.blocks import find_blocks
from dycl.targets.tvm.runtime import aligned, set_threads
from dycl.targets.tvm.search import Search, replay
from dycl.targets.tvm.session import quiet

_KEPT = 8  # schedules of a function that are kept for later searches
_ROUND_SECONDS = 2e-3
_ROUNDS = 3
_FINAL_ROUNDS = 15
_MARGIN = 0.98  # a schedule that is not faster by this is not faster
_TRIFLE = 1e-6  # the seconds of a call that is not worth a search
_HOPELESS = 3.0  # times the best, in its first call
_RTOL, _ATOL = 1e-3, 1e-4
_FLOATS = ("float32", "float64")


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a function: trials so far, its best schedules with their seconds, and how the best one did.

    `is_faster`: whether the first of `best` beat the rules' schedule, measured in turns; None before that was done.
    """

    trials: int = 0
    best: tuple[tuple[float, object], ...] = ()
    is_faster: bool | None = None

    def encode(self) -> bytes:
        """As `decode_record` reads it."""
        return json.dumps({"trials": self.trials, "best": self.best, "is_faster": self.is_faster}).encode()


def decode_record(content: bytes | None) -> Record:
    """The record of an entry; an empty one where there is none."""
    if content is None:
        return Record()
    found = json.loads(content)
    best = tuple((float(seconds), trace) for seconds, trace in found["best"])
    return Record(int(found["trials"]), best, found["is_faster"])


class Tuner:
    """Tries up to `trials` schedules of each function of a program; `report` is told how far it is."""

    def __init__(self, trials: int, processor: Processor, cache: Cache | None, report: Callable[[str], None]) -> None:
        self._trials = trials
        self._processor = processor
        self._cache = cache
        self._report = report
        self._records: dict[str, Record] = {}  # those of this compile, where there is no cache

    def improve(self, name: str, function: Any, scheduled: Any) -> Any:
        """The faster of the scheduled function and the best schedule that is found for it; the former if none is."""
        if not _is_worth_it(function):
            return scheduled
        module = _module(function)
        key = self._key(module)
        record = self._find(key)
        if record.trials < self._trials or record.is_faster is None:
            record = self._tune(name, key, module, scheduled, record)
        if not record.is_faster:
            return scheduled
        main = replay(module, record.best[0][1]).mod["main"]
        return (
            main.with_attr("global_symbol", name).with_attr("tirx.is_scheduled", True).with_attr("dycl.rule", "tuned")
        )

    def _tune(self, name: str, key: str, module: Any, scheduled: Any, record: Record) -> Record:
        with quiet():
            bench = Bench(module["main"], scheduled, self._processor)
        if bench.baseline < _TRIFLE:
            record = replace(record, trials=self._trials, is_faster=False)
            self._keep(key, record)
            return record
        with quiet():
            search = Search(module["main"], self._target(), record.best, seed=1 + record.trials)
        while record.trials < self._trials:
            with quiet():
                batch = search.draw(self._trials - record.trials)
            if not batch:
                break  # there is nothing more to try
            for count, candidate in enumerate(batch, start=1):
                with quiet():
                    candidate.seconds = bench.time(candidate.module)
                self._tell(name, record.trials + count, bench)
            with quiet():
                search.learn(batch)
            found = [(item.seconds, item.trace_json()) for item in batch if item.seconds is not None]
            best = sorted((*record.best, *found), key=lambda item: item[0])[:_KEPT]
            record = Record(record.trials + len(batch), tuple(best))
            self._keep(key, record)
        with quiet():
            faster = bool(record.best) and bench.is_faster(replay(module, record.best[0][1]).mod)
        record = replace(record, trials=max(record.trials, self._trials), is_faster=faster)
        self._keep(key, record)
        return record

    def _tell(self, name: str, trials: int, bench: Bench) -> None:
        times = f"rules {1e6 * bench.baseline:.1f}, best {1e6 * bench.best:.1f} µs"
        self._report(f"tuning {name}: {trials} of {self._trials} tried; {times}")

    def _find(self, key: str) -> Record:
        if self._cache is None:
            return self._records.get(key, Record())
        return decode_record(self._cache.get(key))

    def _keep(self, key: str, record: Record) -> None:
        if self._cache is None:
            self._records[key] = record
        else:
            self._cache.put(key, record.encode())

    def _key(self, module: Any) -> str:
        """A function and where it runs; what else of ours changes does not make a schedule wrong."""
        import tvm

        about = (version(), self._processor, "schedules 2")
        return hashlib.sha256(repr(about).encode() + tvm.ir.save_json(module).encode()).hexdigest()

    def _target(self) -> Any:
        import tvm

        return tvm.target.Target({"kind": "llvm", "mcpu": self._processor.mcpu, "num-cores": 1})


class Bench:
    """Measures schedules of one function on the same random inputs, on one thread, and compares what they compute."""

    def __init__(self, function: Any, scheduled: Any, processor: Processor) -> None:
        from tvm.s_tir.meta_schedule.arg_info import ArgInfo

        self._processor = processor
        generator = np.random.default_rng(0)
        shapes = [info.as_json() for info in ArgInfo.from_prim_func(function)]
        self._arrays = [
            aligned(generator.standard_normal([int(size) for size in shape]).astype(str(dtype)))
            for _, dtype, shape in shapes
        ]
        set_threads(1)
        self._base = self._load(_module(scheduled))
        self._expected = self._results(self._base)
        self.baseline = self.best = _time(self._base, self._tensors, _ROUNDS)

    def time(self, module: Any) -> float | None:
        """The seconds of a call; None for what cannot be built, computes something else, or is not worth measuring."""
        import tvm

        try:
            call = self._load(module)
        except (tvm.error.TVMError, ValueError, TypeError):  # some of what is drawn does not compile
            return None
        begin = time.perf_counter()
        results = self._results(call)
        taken = time.perf_counter() - begin
        if not self._agrees(results):
            return None
        seconds = taken if taken > _HOPELESS * max(self.best, 1e-4) else _time(call, self._tensors, _ROUNDS)
        self.best = min(self.best, seconds)
        return seconds

    def is_faster(self, module: Any) -> bool:
        """Whether it beats the rules' schedule, both measured in turns."""
        call = self._load(module)
        if not self._agrees(self._results(call)):
            return False
        pairs = [(_time(self._base, self._tensors, 1), _time(call, self._tensors, 1)) for _ in range(_FINAL_ROUNDS)]
        return min(mine for _, mine in pairs) < _MARGIN * min(base for base, _ in pairs)

    @property
    def _tensors(self) -> list[Any]:
        import tvm_ffi

        return [tvm_ffi.from_dlpack(array) for array in self._arrays]

    def _load(self, module: Any) -> Callable[..., Any]:
        import tvm

        built = build_module(expand_functions(mend_functions(module)), self._processor.target())
        call: Callable[..., Any] = tvm.runtime.Executable(built)["main"]
        return call

    def _results(self, call: Callable[..., Any]) -> list[np.ndarray]:
        """All arrays after a call that began with the same ones: which are results, only the function knows."""
        before = [array.copy() for array in self._arrays]
        call(*self._tensors)
        after = [array.copy() for array in self._arrays]
        for array, old in zip(self._arrays, before, strict=True):
            array[...] = old
        return after

    def _agrees(self, results: Sequence[np.ndarray]) -> bool:
        return all(
            np.allclose(found, expected, rtol=_RTOL, atol=_ATOL, equal_nan=True)
            for found, expected in zip(results, self._expected, strict=True)
        )


def _time(call: Callable[..., Any], tensors: Sequence[Any], rounds: int) -> float:
    """The seconds of a call in its best round."""
    begin = time.perf_counter()
    call(*tensors)
    count = max(1, int(_ROUND_SECONDS / max(time.perf_counter() - begin, 1e-6)))
    best = float("inf")
    for _ in range(rounds):
        begin = time.perf_counter()
        for _ in range(count):
            call(*tensors)
        best = min(best, (time.perf_counter() - begin) / count)
    return best


def _module(function: Any) -> Any:
    """The function alone, as `main`."""
    import tvm

    return tvm.IRModule({"main": function.with_attr("global_symbol", "main")})


def _is_worth_it(function: Any) -> bool:
    """Whether it reduces floats: what works element by element has one schedule, which the rules know."""
    from tvm.s_tir import Schedule
    from tvm.s_tir.meta_schedule.arg_info import ArgInfo
    from tvm.s_tir.schedule import ScheduleError

    try:
        blocks = find_blocks(Schedule(_module(function)))
    except ScheduleError:
        return False
    reduces = blocks is not None and any(not block.is_elementwise for block in blocks)
    return reduces and all(str(info.as_json()[1]) in _FLOATS for info in ArgInfo.from_prim_func(function))
