"""Runs compiled subgraphs with ONNX Runtime. Copied into every artifact: needs numpy and onnxruntime, nothing else.

Weights. `weights.bin` is mapped into memory, never read as a whole; all sessions and processes share its pages.
ONNX Runtime packs the weights of matrix products into a private copy for each session (measured: four sessions over one
64 MiB matrix, 257 MiB with packing, 1 MiB without; a product with 8 rows takes 4.1 ms packed, 7.9 ms not, with one row
the same). So a session packs, unless more than `SHARED_BYTES_UNPACKED` of its weights are used by other sessions too.

Threads. With one thread a session has no pool at all. With more, each session has a pool of its own that waits without
spinning; all sessions of the process share one pool only by explicit choice: `share_pool()` before the first model is
loaded, or `shared_pool=True`. Once such a pool exists, ONNX Runtime refuses every session of the process with default
options, those of other libraries too, so it is not for us to make it unasked in somebody's service. Measured, SkipNet,
38 layers in 37 sessions, batch 1, median microseconds a call, two runs on 2 cores that had other work too:

    channels  threads  own pools, no spinning  shared pool  own pools, spinning (ONNX Runtime's default)
    8         1        600                     560 to 670   560
    8         2        1040 to 1650            680 to 830   770 to 1050, one call in ten 50,000 and more
    64        1        21,600 to 28,400        21,100 to 44,800  20,400 to 21,400
    64        2        12,300 to 20,400        11,700 to 40,000  more than 180,000 (stopped)

Pools that spin keep each other from the processor. The shared pool gains where subgraphs are tiny, but there one thread
is faster still. Own pools make
(threads - 1) threads a session: with many subgraphs on many cores choose `threads`, or the shared pool.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped]

Value = Any  # an array, or a Python number where the subgraph takes a scalar

SHARED_BYTES_UNPACKED = 16 << 20
_SCALARS = {"int": np.int64, "float": np.float64, "bool": np.bool_}

_pool_lock = threading.Lock()
_pool_made: bool | None = None  # None: not asked for yet


class Runtime:
    """The subgraphs and weights of one artifact, found by the manifest in its directory."""

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        threads: int | None = None,
        lazy: bool = False,
        shared_pool: bool = False,
        optimization: str = "all",
    ) -> None:
        """Open the artifact in `directory`.

        `threads`: how many compute (default: the processors this process may use; a shared pool has as many as it was
        made with). `lazy`: build a session when its subgraph first runs. `shared_pool`: run on the pool of the process
        and make it if there is none; see above. `optimization`: "all", "extended", "basic" or "none".
        """
        self._directory = Path(directory).resolve()
        manifest = json.loads((self._directory / "manifest.json").read_text(encoding="utf-8"))
        self._subgraphs: dict[str, dict[str, Any]] = manifest["subgraphs"]
        self._weights: dict[str, dict[str, Any]] = manifest["weights"]
        self._threads = threads or _processors()
        self._lazy = lazy
        self._shared_pool = shared_pool or _pool_made is True
        self._level = getattr(ort.GraphOptimizationLevel, _LEVELS[optimization])
        self._shared = _shared_weights(self._subgraphs)
        self._mapped: np.memmap[Any, np.dtype[np.uint8]] | None = None
        self._calls: dict[str, Callable[..., Value]] = {}

    def subgraph(self, name: str) -> Callable[..., Value]:
        """A function of the subgraph's inputs in order: its output, or a tuple of its outputs if it has several."""
        if name not in self._calls:
            entry = self._subgraphs[name]
            self._calls[name] = self._deferred(entry) if self._lazy else self._build(entry)
        return self._calls[name]

    def weight(self, name: str) -> np.ndarray:
        """A weight as a read-only array over the mapped file."""
        if self._mapped is None:
            self._mapped = np.memmap(self._directory / "weights.bin", dtype=np.uint8, mode="r")
        entry = self._weights[name]
        dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
        size = _bytes(entry)
        stored: np.ndarray = np.asarray(self._mapped[entry["offset"] : entry["offset"] + size])
        array: np.ndarray = stored.view(dtype).reshape(shape)
        return array

    def _deferred(self, entry: dict[str, Any]) -> Callable[..., Value]:
        built: list[Callable[..., Value]] = []
        lock = threading.Lock()

        def call(*inputs: Value) -> Value:
            if not built:
                with lock:
                    if not built:
                        built.append(self._build(entry))
            return built[0](*inputs)

        return call

    def _build(self, entry: dict[str, Any]) -> Callable[..., Value]:
        return _dispatcher(self._session(entry), entry)

    def _session(self, entry: dict[str, Any]) -> ort.InferenceSession:
        model = (self._directory / entry["file"]).read_bytes()
        shared = sum(_bytes(self._weights[name]) for name in entry["weights"] if name in self._shared)
        packing = shared <= SHARED_BYTES_UNPACKED
        pooled = self._shared_pool and _make_pool(self._threads)
        try:
            return self._open(model, packing, pooled=pooled)
        except _ORT_ERRORS:
            # ONNX Runtime takes one kind of session in a process, and another library may have decided which. An error
            # of the model itself is raised again here.
            return self._open(model, packing, pooled=not pooled)

    def _open(self, model: bytes, packing: bool, *, pooled: bool) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.graph_optimization_level = self._level
        options.log_severity_level = 3
        options.use_per_session_threads = not pooled
        if not pooled:
            options.intra_op_num_threads = self._threads
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if not packing:
            options.add_session_config_entry("session.disable_prepacking", "1")
        # The model comes as bytes, so ONNX Runtime looks for weights.bin here. It refuses paths that lead upwards from
        # a model's own directory, so a model under subgraphs/ cannot name ../weights.bin.
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(self._directory))
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"], enable_fallback=False)


_LEVELS = {
    "all": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
    "none": "ORT_DISABLE_ALL",
}
_ORT_ERRORS = (
    RuntimeError,
    ort.capi.onnxruntime_pybind11_state.Fail,
    ort.capi.onnxruntime_pybind11_state.InvalidArgument,
)


def share_pool(threads: int | None = None) -> None:
    """Let all sessions of this process run on one pool; before the first is made, and see above what it means."""
    if not _make_pool(threads or _processors()):
        raise RuntimeError("ONNX Runtime has a thread pool already, or sessions that stand in the way of one")


def _make_pool(threads: int) -> bool:
    """Make the pool of the process, once; False if ONNX Runtime does not let us."""
    global _pool_made
    with _pool_lock:
        if _pool_made is None:
            try:
                ort.set_global_thread_pool_sizes(threads, 1)
            except _ORT_ERRORS:
                _pool_made = False  # made by another library, or (older versions) a session came first
            else:
                _pool_made = True
        return _pool_made


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _shared_weights(subgraphs: dict[str, dict[str, Any]]) -> frozenset[str]:
    users: dict[str, int] = {}
    for entry in subgraphs.values():
        for name in entry["weights"]:
            users[name] = users.get(name, 0) + 1
    return frozenset(name for name, count in users.items() if count > 1)


def _bytes(entry: dict[str, Any]) -> int:
    size: int = np.dtype(entry["dtype"]).itemsize
    for dim in entry["shape"]:
        size *= dim
    return size


def _dispatcher(session: ort.InferenceSession, entry: dict[str, Any]) -> Callable[..., Value]:
    """The fastest call from Python that was measured, for one tiny graph, in microseconds.

    The session's inner `run` 4.1; its public `run` 5.3; an IOBinding bound anew for each call 6.8 to 8.2. The inner one
    is private: without it the public one is called.
    """
    inner = getattr(getattr(session, "_sess", None), "run", None)
    run: Callable[..., list[Value]] = inner if inner is not None else session.run
    inputs = [port["name"] for port in entry["inputs"]]
    outputs = [port["name"] for port in entry["outputs"]]
    scalars = {port["name"]: _SCALARS[port["scalar"]] for port in entry["inputs"] if "scalar" in port}
    if scalars:
        return _scalar_call(run, inputs, outputs, scalars)
    if len(inputs) == 1:
        return _unary_call(run, inputs[0], outputs)
    if len(outputs) == 1:
        return lambda *values: run(outputs, dict(zip(inputs, values, strict=True)), None)[0]
    return lambda *values: tuple(run(outputs, dict(zip(inputs, values, strict=True)), None))


def _unary_call(run: Callable[..., list[Value]], name: str, outputs: list[str]) -> Callable[..., Value]:
    if len(outputs) == 1:
        return lambda value: run(outputs, {name: value}, None)[0]
    return lambda value: tuple(run(outputs, {name: value}, None))


def _scalar_call(
    run: Callable[..., list[Value]], inputs: list[str], outputs: list[str], scalars: dict[str, Any]
) -> Callable[..., Value]:
    single = len(outputs) == 1
    converters = [(name, scalars.get(name)) for name in inputs]

    def call(*values: Value) -> Value:
        feed = {
            name: value if dtype is None else np.array(value, dtype)
            for (name, dtype), value in zip(converters, values, strict=True)
        }
        results = run(outputs, feed, None)
        return results[0] if single else tuple(results)

    return call
