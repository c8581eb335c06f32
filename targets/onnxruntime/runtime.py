"""Runs compiled subgraphs with ONNX Runtime. Copied into every artifact: needs numpy and onnxruntime, nothing else.

Weights. `weights.bin` is mapped into memory, never read as a whole; all sessions and processes share its pages.
ONNX Runtime packs the weights of matrix products into a private copy for each session (measured: four sessions over one
64 MiB matrix, 257 MiB with packing, 1 MiB without; a product with 8 rows takes 4.1 ms packed, 7.9 ms not, with one row
the same). So a session packs, unless more than `SHARED_BYTES_UNPACKED` of its weights are used by other sessions too.

Subgraphs that are the same but for their weights, and for numbers in their graphs, share a session where they were
optimised for this machine, and bind these like any other input: what a session needs for a call, its plan and its
kernels, is in the caches when the next one runs. Measured cold, 17 small blocks in a row: 14 microseconds each more
than one graph of all with a session for each, 5 with one for all; each weight that is bound takes 0.2.

Memory. Each session with an arena works in memory of its own, and with many sessions that is more than fits in the
caches next to the processor. Small subgraphs have none: the C library hands them what the one before has just given
back (2 to 5 % of a call). It would give large blocks back to the system and page them in again (32 MiB: 2.3 times).

Threads. With one thread a session has no pool at all, nor where no kernel of a subgraph is so large that a second
thread would save more time than it takes to wake it. With more, each session has a pool of its own that waits without
spinning; all sessions of the process share one pool only by explicit choice: `share_pool()` before the first model is
loaded, or `shared_pool=True`. Once such a pool exists, ONNX Runtime refuses every session of the process with default
options, those of other libraries too, so it is not for us to make it unasked in somebody's service.

Pools that spin keep each other from the processor (measured: docs/performance.md of dycl). The shared pool gains where
subgraphs are tiny, but there one thread is faster still. Own pools make (threads - 1) threads a session: with many
subgraphs on many cores choose `threads`, or the shared pool.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import os
import platform
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped]

from dycl.ir.contents import read_contents
from dycl.targets.onnx.graphs import Graphs
from dycl.targets.onnxruntime.dispatch import make_call
from dycl.targets.onnxruntime.memory import TYPES, Memory, Value

SHARED_BYTES_UNPACKED = 16 << 20

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
        optimization: str = "",
        tuned: bool = True,
        device: str = "",
        manifest: dict[str, Any] | None = None,
    ) -> None:
        """Open the artifact in `directory`.

        `threads`: how many compute (default: the processors this process may use; a shared pool has as many as it was
        made with). `lazy`: build a session when its subgraph first runs. `shared_pool`: run on the pool of the process
        and make it if there is none; see above. `optimization`: "all", "extended", "basic" or "none", in place of what
        the artifact was compiled with.
        `tuned`: take what was optimised for the machine that compiled, where this one is like it. `device`: where an
        artifact that was not compiled for the processor runs, if not on the device that it was compiled for.
        `manifest`: what it says, if it is not to be read.
        """
        self._directory = Path(directory).resolve()
        manifest = manifest or read_contents(self._directory)
        self._subgraphs: dict[str, dict[str, Any]] = manifest["subgraphs"]
        self._weights: dict[str, dict[str, Any]] = manifest["weights"]
        self._threads = threads or _processors()
        self._lazy = lazy
        self._shared_pool = shared_pool or _pool_made is True
        self._tuned = tuned and optimization in ("", "all") and _is_made_for_here(self._subgraphs)
        self._optimization = "none" if self._tuned else optimization
        self._shared = _shared_weights(self._subgraphs)
        self._files = WeightFiles(self._directory)
        self._graphs = Graphs(self._directory)
        self._sessions: dict[str, ort.InferenceSession] = {}  # those of several subgraphs, by their file
        self._opening = threading.Lock()
        self._memory = Memory()
        self._device = self._find_device(manifest.get("device", "cpu"), device)
        self._placed: dict[int, tuple[np.ndarray, Value]] = {}  # weights that were asked for, by the id of the array
        self.calls: dict[str, Callable[..., Value]] = {}

    def subgraph(self, name: str) -> Callable[..., Value]:
        """A function of the subgraph's inputs in order: its output, or a tuple of its outputs if it has several."""
        if name not in self.calls:
            entry = self._subgraphs[name]
            self.calls[name] = self._deferred(entry) if self._lazy else self._build(entry)
        return self.calls[name]

    def weight(self, name: str) -> np.ndarray:
        """A weight as a read-only array over the mapped file."""
        entry = self._weights[name]
        array = self._files.array("weights.bin", entry["offset"], entry["dtype"], tuple(entry["shape"]))
        if self._device is not None:
            self._placed[id(array)] = array, self._device.place(array)
        return array

    def place(self, value: Value) -> Value:
        """An array where subgraphs take it without a copy."""
        return value if self._device is None else self._device.place(value)

    def own(self, array: np.ndarray) -> np.ndarray:
        """A copy of an array where results of subgraphs lie: others read it without binding it anew."""
        copy = self._memory.make(array.dtype.name, array.shape)
        copy[...] = array
        return copy

    def _find_device(self, compiled_for: str, wanted: str) -> Any:
        """What keeps values on a device; None for artifacts for the processor, whose values are arrays."""
        if compiled_for == "cpu":
            return None
        return importlib.import_module(".device", __package__).Device(wanted or compiled_for)

    def _as_placed(self, value: Value) -> Value:
        """For an array that is a weight the one that lies on the device."""
        return self._placed[id(value)][1] if id(value) in self._placed else value

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
        settings = entry.get("settings", {})
        if self._tuned and "given" in settings:
            session, given = self._common_session(entry), settings["given"]
            entry = entry | {"inputs": _renamed(entry["inputs"], settings.get("names", {}))}
        else:
            session, given = self._session(entry), {}
        if self._device is not None:
            return self._device.call(session, entry, self._as_placed)  # type: ignore[no-any-return]
        return make_call(session, entry, self._memory, self._files.given(session, given))

    def _common_session(self, entry: dict[str, Any]) -> ort.InferenceSession:
        """The session of all subgraphs that are the same but for what they give it with each call."""
        with self._opening:
            file = entry["settings"]["tuned"]
            if file not in self._sessions:
                self._sessions[file] = self._session(entry)
            return self._sessions[file]

    def model(self, name: str) -> bytes:
        """The ONNX model of a subgraph; its weights lie in files of the artifact."""
        return self._read(self._subgraphs[name])

    def _read(self, entry: dict[str, Any]) -> bytes:
        settings = entry.get("settings", {})
        if self._tuned:
            file, offsets = settings["tuned"], settings.get("tuned_offsets", ())
        else:
            file, is_placed = entry["file"], settings.get("placed", False)
            offsets = [self._weights[name]["offset"] for name in entry["weights"]] if is_placed else ()
        return place_weights(self._graphs.read(file), offsets)

    def _session(self, entry: dict[str, Any]) -> ort.InferenceSession:
        model = self._read(entry)
        shared = sum(_bytes(self._weights[name]) for name in dict.fromkeys(entry["weights"]) if name in self._shared)
        packing = shared <= SHARED_BYTES_UNPACKED
        pooled = self._shared_pool and _make_pool(self._threads)
        settings = entry.get("settings", {})
        level = self._optimization or settings.get("optimization", "all")
        threads = 1 if settings.get("serial", False) else self._threads
        open_session = functools.partial(self._open, model, level, packing, settings.get("arena", True), threads)
        try:
            return open_session(pooled=pooled)
        except _ORT_ERRORS:
            # ONNX Runtime takes one kind of session in a process, and another library may have decided which. An error
            # of the model itself is raised again here.
            return open_session(pooled=not pooled)

    def _open(
        self, model: bytes, level: str, packing: bool, arena: bool, threads: int, *, pooled: bool
    ) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, LEVELS[level])
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = arena
        options.use_per_session_threads = not pooled
        if not pooled:
            options.intra_op_num_threads = threads
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if not packing:
            options.add_session_config_entry("session.disable_prepacking", "1")
        # The model comes as bytes, so ONNX Runtime has to be told where weights.bin lies.
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(self._directory))
        if self._device is not None:
            return self._device.open(model, options)
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"], enable_fallback=False)


class WeightFiles:
    """The files of an artifact that hold weights, mapped into memory when the first weight in them is asked for."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._mapped: dict[str, np.ndarray] = {}

    def array(self, file: str, offset: int, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        """The weight that begins there, as a read-only array."""
        if file not in self._mapped:
            self._mapped[file] = np.asarray(np.memmap(self._directory / file, dtype=np.uint8, mode="r"))
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        array: np.ndarray = self._mapped[file][offset : offset + size].view(dtype).reshape(shape)
        return array

    def given(self, session: ort.InferenceSession, places: Mapping[str, tuple[str, int]]) -> dict[str, np.ndarray]:
        """The weights at these places, each in the type that the session's input of its name has."""
        ports = {port.name: port for port in session.get_inputs()}
        return {
            name: self.array(file, offset, TYPES[ports[name].type], tuple(ports[name].shape))
            for name, (file, offset) in places.items()
        }


LEVELS = {
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


def describe_machine() -> str:
    """A digest of all that ONNX Runtime chooses its kernels by: its version, and what the processor can do."""
    facts = [ort.__version__, platform.machine()]
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        facts += [platform.processor(), platform.version()]
    else:
        facts += sorted({line for line in lines if line.split(":")[0].strip() in _CPU_FACTS})
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


_CPU_FACTS = ("vendor_id", "cpu family", "model", "flags", "CPU implementer", "CPU part", "CPU variant", "Features")


def _is_made_for_here(subgraphs: dict[str, dict[str, Any]]) -> bool:
    """Whether all subgraphs were tuned for a machine like this one; values between them may lie in its own layout."""
    machines = {entry.get("settings", {}).get("machine") for entry in subgraphs.values()}
    return None not in machines and machines == {describe_machine()}


def place_weights(model: bytes, offsets: Sequence[int]) -> bytes:
    """The model with its weights at these places in their files: subgraphs of one structure share a model's file."""
    if not offsets:
        return model
    placed = bytearray(model)
    for found, offset in zip(_OFFSET.finditer(model), offsets, strict=True):
        placed[found.start(1) : found.end(1)] = b"%0*d" % (OFFSET_DIGITS, offset)
    return bytes(placed)


OFFSET_DIGITS = 12
# As a pair of texts lies in an ONNX file: the length of each before it.
_OFFSET = re.compile(rb"\x0a\x06offset\x12\x0c(\d{12})")


def _renamed(inputs: Sequence[dict[str, Any]], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """The inputs of a subgraph under the names that they have in a session that it shares."""
    return [port | {"name": names.get(port["name"], port["name"])} for port in inputs]


def _shared_weights(subgraphs: dict[str, dict[str, Any]]) -> frozenset[str]:
    users: dict[str, int] = {}
    for entry in subgraphs.values():
        for name in dict.fromkeys(entry["weights"]):
            users[name] = users.get(name, 0) + 1
    return frozenset(name for name, count in users.items() if count > 1)


def _bytes(entry: dict[str, Any]) -> int:
    size: int = np.dtype(entry["dtype"]).itemsize
    for dim in entry["shape"]:
        size *= dim
    return size
