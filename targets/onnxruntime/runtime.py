"""Runs compiled subgraphs with ONNX Runtime. Copied into every artifact: needs numpy and onnxruntime, nothing else.

Weights. `weights.bin` is mapped into memory, never read as a whole; all sessions and processes share its pages.
ONNX Runtime packs the weights of matrix products into a private copy for each session (measured: four sessions over one
64 MiB matrix, 257 MiB with packing, 1 MiB without; a product with 8 rows takes 4.1 ms packed, 7.9 ms not, with one row
the same). So a session packs, unless more than `SHARED_BYTES_UNPACKED` of its weights are used by other sessions too.

Subgraphs that are the same but for their weights share a session where they were optimised for this machine, and bind
their weights like any other input: what a session needs for a call, its plan and its kernels, is in the caches when the
next one runs. Measured cold, 17 small blocks in a row: 14 microseconds each more than one graph of all with a session
for each, 5 with one for all; each weight that is bound takes 0.2.

Memory. Each session with an arena works in memory of its own, and with many sessions that is more than fits in the
caches next to the processor. Small subgraphs have none: the C library hands them what the one before has just given
back (2 to 5 % of a call). It would give large blocks back to the system and page them in again (32 MiB: 2.3 times).

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

import functools
import hashlib
import importlib
import itertools
import json
import os
import platform
import re
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped]

Value = Any  # an array, or a Python number where the subgraph takes a scalar

SHARED_BYTES_UNPACKED = 16 << 20
_RUN = ort.RunOptions()  # the defaults; who passes none has them made anew in each call, which takes 1 microsecond
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
        if manifest is None:
            manifest = json.loads((self._directory / "manifest.json").read_text(encoding="utf-8"))
        self._subgraphs: dict[str, dict[str, Any]] = manifest["subgraphs"]
        self._weights: dict[str, dict[str, Any]] = manifest["weights"]
        self._threads = threads or _processors()
        self._lazy = lazy
        self._shared_pool = shared_pool or _pool_made is True
        self._tuned = tuned and optimization in ("", "all") and _is_made_for_here(self._subgraphs)
        self._optimization = "none" if self._tuned else optimization
        self._shared = _shared_weights(self._subgraphs)
        self._files = WeightFiles(self._directory)
        self._sessions: dict[str, ort.InferenceSession] = {}  # those of several subgraphs, by their file
        self._opening = threading.Lock()
        self._memory = _Memory()
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
        given = entry.get("settings", {}).get("given", {}) if self._tuned else {}
        session = self._common_session(entry) if given else self._session(entry)
        if self._device is not None:
            return self._device.call(session, entry, self._as_placed)  # type: ignore[no-any-return]
        return _dispatcher(session, entry, self._memory, self._files.given(session, given))

    def _common_session(self, entry: dict[str, Any]) -> ort.InferenceSession:
        """The session of all subgraphs that are the same but for the weights, which they give it with each call."""
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
        kind = "tuned" if self._tuned else "plain"
        file = settings["tuned"] if self._tuned else entry["file"]
        return place_weights((self._directory / file).read_bytes(), settings.get(f"{kind}_offsets", ()))

    def _session(self, entry: dict[str, Any]) -> ort.InferenceSession:
        model = self._read(entry)
        shared = sum(_bytes(self._weights[name]) for name in entry["weights"] if name in self._shared)
        packing = shared <= SHARED_BYTES_UNPACKED
        pooled = self._shared_pool and _make_pool(self._threads)
        settings = entry.get("settings", {})
        level = self._optimization or settings.get("optimization", "all")
        open_session = functools.partial(self._open, model, level, packing, settings.get("arena", True))
        try:
            return open_session(pooled=pooled)
        except _ORT_ERRORS:
            # ONNX Runtime takes one kind of session in a process, and another library may have decided which. An error
            # of the model itself is raised again here.
            return open_session(pooled=not pooled)

    def _open(self, model: bytes, level: str, packing: bool, arena: bool, *, pooled: bool) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, LEVELS[level])
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = arena
        options.use_per_session_threads = not pooled
        if not pooled:
            options.intra_op_num_threads = self._threads
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if not packing:
            options.add_session_config_entry("session.disable_prepacking", "1")
        # The model comes as bytes, so ONNX Runtime looks for weights.bin here. It refuses paths that lead upwards from
        # a model's own directory, so a model under subgraphs/ cannot name ../weights.bin.
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

    def given(self, session: ort.InferenceSession, places: dict[str, tuple[str, int]]) -> dict[str, np.ndarray]:
        """The weights at these places, each in the type that the session's input of its name has."""
        ports = {port.name: port for port in session.get_inputs()}
        return {
            name: self.array(file, offset, _TYPES[ports[name].type], tuple(ports[name].shape))
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


# ---------------------------------------------------------------- one dispatch

_TYPES = {
    f"tensor({name})": dtype
    for name, dtype in (
        ("float", "float32"),
        ("double", "float64"),
        *((name, name) for name in ("float16", "int64", "int32", "int16", "int8", "uint8", "bool")),
    )
}


class _Output(NamedTuple):
    """An output of a model."""

    name: str
    dtype: str
    shape: tuple[int, ...] | None  # None: the size is known at run time only
    is_handed_on: bool = False  # of unknown size, and seen by other subgraphs alone: as ONNX Runtime has made it

    @property
    def is_big(self) -> bool:
        """Whether it shares its memory with others of its size."""
        return self.is_late and self.shape is not None

    @property
    def is_late(self) -> bool:
        """Whether it has no memory of its own: shared with others of its size, or made by ONNX Runtime in each call."""
        return self.shape is None or int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize >= _BIG_BYTES


def _dispatcher(
    session: ort.InferenceSession, entry: dict[str, Any], memory: _Memory, given: dict[str, np.ndarray]
) -> Callable[..., Value]:
    """The session as a function: over bound memory where ONNX Runtime and Python let us, else by the plain call.

    `given`: the inputs besides those of the subgraph, the same in each call.
    """
    outputs = _find_outputs(session, entry)
    if outputs and _can_bind(session):
        for array in given.values():
            memory.keep(array)
        return _bound_call(session, entry, outputs, memory, given)
    return _plain_call(session, entry, given)


def _find_outputs(session: ort.InferenceSession, entry: dict[str, Any]) -> list[_Output] | None:
    """The outputs as the model itself declares them, if all of them are arrays of numbers."""
    declared = {port.name: port for port in session.get_outputs()}
    handed_on = entry.get("settings", {}).get("handed_on", ())
    found = []
    for index, output in enumerate(entry["outputs"]):
        port = declared[output["name"]]
        dtype = _TYPES.get(port.type)
        if dtype is None:
            return None
        # A shape of unknown rank is told as an empty one.
        is_known = len(port.shape) == len(output.get("shape", port.shape))
        is_known = is_known and all(isinstance(size, int) and size > 0 for size in port.shape)
        shape = tuple(port.shape) if is_known else None
        found.append(_Output(port.name, dtype, shape, shape is None and index in handed_on))
    return found


def _can_bind(session: ort.InferenceSession) -> bool:
    """Whether this ONNX Runtime has the calls below its public ones, and this Python counts references."""
    has_calls = hasattr(getattr(session, "_sess", None), "run_with_iobinding")
    return has_calls and hasattr(session.io_binding(), "_iobinding") and _COUNTS_REFERENCES and _CPU is not None


def _plain_call(
    session: ort.InferenceSession, entry: dict[str, Any], given: dict[str, np.ndarray]
) -> Callable[..., Value]:
    """New arrays for each call. The session's inner `run` is private, and faster than the public one."""
    inner = getattr(getattr(session, "_sess", None), "run", None)
    run: Callable[..., list[Value]] = inner if inner is not None else session.run
    inputs = [(port["name"], _SCALARS.get(port.get("scalar", ""))) for port in entry["inputs"]]
    outputs = [port["name"] for port in entry["outputs"]]
    single = len(outputs) == 1

    def call(*values: Value) -> Value:
        feed = {
            name: np.array(value, dtype) if dtype is not None else value.numpy() if type(value) is _Made else value
            for (name, dtype), value in zip(inputs, values, strict=True)
        }
        results = run(outputs, feed | given, _RUN)
        return results[0] if single else tuple(results)

    return call


def _processor() -> Any:
    """Where ONNX Runtime is to make a result whose size it learns in the call; None if it cannot be told."""
    device = getattr(ort.capi.onnxruntime_pybind11_state, "OrtDevice", None)
    return None if device is None else device(device.cpu(), device.default_memory(), 0)


_CPU = _processor()
_Made = getattr(ort.capi.onnxruntime_pybind11_state, "OrtValue", None)  # what ONNX Runtime has made, not an array yet

# ---------------------------------------------------------------- bound memory

_BIG_BYTES = 1 << 18
_COPIED_BYTES = 1 << 14
_NAMES = frozenset(_TYPES.values())
_MOST_KEPT = 8  # frames of one subgraph, big arrays of one size: who holds more results than that gets new arrays
# Without a global lock a count of references says nothing; nor does it elsewhere than in CPython.
_COUNTS_REFERENCES = sys.implementation.name == "cpython" and getattr(sys, "_is_gil_enabled", lambda: True)()


class _Memory:
    """The arrays that results are written to. One is written again only when nobody but we refer to it.

    Whoever holds a result (a variable of the host, the caller, a view, a torch tensor over it) refers to the array, so
    no result changes while somebody can see it. Small arrays belong to a frame of one subgraph and stay bound. Big ones
    are shared by all subgraphs with results of that size: there are as many as are alive at once.
    """

    def __init__(self) -> None:
        self.values: dict[int, Any] = {}  # by the id of an array of ours: its memory as ONNX Runtime takes it
        self._kept: list[np.ndarray] = []  # so that an id stays that of its array
        self._big: dict[tuple[str, tuple[int, ...]], deque[np.ndarray]] = {}

    def make(self, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        """A new array, kept for ever."""
        value = ort.OrtValue.ortvalue_from_shape_and_type(shape, np.dtype(dtype), "cpu", 0)
        array: np.ndarray = value.numpy()
        self.values[id(array)] = value._ortvalue
        self._kept.append(array)
        return array

    def keep(self, array: np.ndarray) -> None:
        """Let an array that is never written be bound as ours are."""
        if id(array) not in self.values:
            self.values[id(array)] = ort.OrtValue.ortvalue_from_numpy(array)._ortvalue
            self._kept.append(array)

    def take(self, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        """A big array that nobody refers to, and that nobody else can take until `give_back`."""
        arrays = self._big.setdefault((dtype, shape), deque())
        for tried in range(_MOST_KEPT):
            try:
                box = [arrays.popleft()]
            except IndexError:
                return self.make(dtype, shape)
            if _is_unseen(box, shape):
                return box.pop()
            arrays.append(box.pop())
            if tried + 1 >= len(arrays):
                break
        return self.make(dtype, shape) if len(arrays) < _MOST_KEPT else np.empty(shape, dtype)

    def give_back(self, array: np.ndarray) -> None:
        """Let a big array be taken again, once nobody refers to it any more."""
        if id(array) in self.values:
            self._big[array.dtype.name, array.shape].append(array)


def _is_unseen(box: list[Any], shape: tuple[int, ...]) -> bool:
    """Whether an array of ours in a box is referred to by the box alone, and looks as it was made."""
    return sys.getrefcount(box[0]) == _REFERENCES and box[0].shape == shape


def _count_references() -> int:
    """The count of an array that nobody sees, taken as it is always taken: versions of Python count differently."""
    memory = _Memory()
    box = [memory.make("float32", (1,))]
    return sys.getrefcount(box[0])


_REFERENCES = _count_references()


class _Frame:
    """A session's inputs and outputs bound to memory; one call at a time has it.

    `results` has an array for each output that is not late; those that are late are bound anew in each call.
    """

    __slots__ = ("binding", "bound", "memory", "names", "numbers", "own", "owner", "results")

    def __init__(
        self,
        session: ort.InferenceSession,
        entry: dict[str, Any],
        outputs: Sequence[_Output],
        memory: _Memory,
        given: dict[str, np.ndarray],
    ) -> None:
        self.owner = session.io_binding()
        self.binding = self.owner._iobinding
        self.memory = memory
        self.names = [port["name"] for port in entry["inputs"]]
        self.bound = [0] * len(self.names)  # the ids of those of our arrays that are bound to the inputs
        self.numbers: list[np.ndarray | None] = [
            np.zeros((), _SCALARS[p["scalar"]]) if "scalar" in p else None for p in entry["inputs"]
        ]
        self.own: list[np.ndarray | None] = [None] * len(self.names)  # what small arrays of others are copied to
        for name, number in zip(self.names, self.numbers, strict=True):
            if number is not None:
                self.binding.bind_input(name, number)
        for name, array in given.items():
            self.binding.bind_ortvalue_input(name, memory.values[id(array)])
        self.results = [
            self._bind_result(output.name, output.dtype, output.shape)
            for output in outputs
            if output.shape is not None and not output.is_late
        ]
        for output in outputs:
            if output.shape is None:
                self.binding.bind_output(output.name, _CPU)

    def _bind_result(self, name: str, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        array = self.memory.make(dtype, shape)
        self.bind_output(name, array)
        return array

    def bind_output(self, name: str, array: np.ndarray) -> None:
        """Let an output be written to an array of ours, or to a new one of nobody's."""
        known = self.memory.values.get(id(array))
        if known is not None:
            self.binding.bind_ortvalue_output(name, known)
        else:
            self.owner.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)

    def take(self, outputs: Sequence[_Output], taken: list[np.ndarray]) -> None:
        """Let big outputs be written to memory that is taken for them."""
        for output in outputs:
            assert output.shape is not None
            taken.append(self.memory.take(output.dtype, output.shape))
            self.bind_output(output.name, taken[-1])

    def give_back(self, taken: list[np.ndarray]) -> None:
        """Let this memory be taken again, once nobody refers to it any more."""
        while taken:
            self.memory.give_back(taken.pop())

    def bind_input(self, index: int, value: Value) -> None:
        """Let an input be read from an array; a number is written to memory that is bound already."""
        number = self.numbers[index]
        if number is not None:
            number[()] = value
            return
        if type(value) is _Made:
            self.bound[index] = 0
            self.binding.bind_ortvalue_input(self.names[index], value)
            return
        known = self.memory.values.get(id(value))
        if known is None and (own := self._own_for(index, value)) is not None:
            own[...] = value
            if self.bound[index] == id(own):
                return
            value, known = own, self.memory.values[id(own)]
        if known is not None:
            self.bound[index] = id(value)
            self.binding.bind_ortvalue_input(self.names[index], known)
        else:
            self.bound[index] = 0  # somebody else's: tomorrow another array may have its id
            self.binding.bind_input(self.names[index], value)

    def _own_for(self, index: int, value: Value) -> np.ndarray | None:
        """What to copy somebody else's array to, if it is small: binding it takes longer, cold ten times as long."""
        own = self.own[index]
        if own is None:
            if type(value) is not np.ndarray or not 0 < value.nbytes <= _COPIED_BYTES or value.dtype.name not in _NAMES:
                return None
            own = self.own[index] = self.memory.make(value.dtype.name, value.shape)
        return own if own.shape == value.shape and own.dtype == value.dtype else None


# One call, written out for the numbers of inputs and results: loops would take longer than all the rest of it. All
# subgraphs with these numbers share its code, so that it is in the caches when the next one is called.
_CALL = """
def make({given}):
    def call({values}):
        try:
            frame = frames.pop(0)
        except IndexError:
            frame = find_frame(None)
        else:
            results = frame.results
            if {is_seen}:
                frame = find_frame(frame)
        if frame is None:
            return plain({values})
        results = frame.results
        {before}
        try:
            bound = frame.bound
            {binding}
            {run}
            return {returned}
        finally:
            {after}

    def is_free(frame):
        results = frame.results
        return not ({is_seen})

    return call, is_free
"""

_IS_SEEN = "count(results[{0}]) != unseen or results[{0}].shape != shape{0}"


def _bound_call(
    session: ort.InferenceSession,
    entry: dict[str, Any],
    outputs: Sequence[_Output],
    memory: _Memory,
    given: dict[str, np.ndarray],
) -> Callable[..., Value]:
    """Inputs and results bound to memory that stays; big results are bound to whatever memory of their size is free.

    Measured, in microseconds: one tiny graph 2.6, ONNX Runtime's own call 2.0; with six inputs and results 4.9 and 3.3
    (6.4 where a loop goes over them). A result of 32 KiB: 65, by the plain call 74, which allocates and copies.
    """
    frames: list[_Frame] = []  # the one used last at the end, so that its results may live through the next call
    made = itertools.count()

    def find_frame(last: _Frame | None) -> _Frame | None:
        """A frame for this call alone, if the last one is not free."""
        if last is not None:
            frames.append(last)
        for _ in range(len(frames)):
            try:
                frame = frames.pop(0)
            except IndexError:  # another thread was faster
                break
            if is_free(frame):
                return frame
            frames.append(frame)
        return _Frame(session, entry, outputs, memory, given) if next(made) < _MOST_KEPT else None

    kinds = "".join(_kind(output) for output in outputs)
    call, is_free = _call_maker(len(entry["inputs"]), kinds)(
        frames,
        find_frame,
        _plain_call(session, entry, given),
        session._sess.run_with_iobinding,
        [output for output in outputs if output.is_big],
        *(output.shape for output in outputs if not output.is_late),
        *(output.name for output in outputs if output.shape is None),
    )
    bound_call: Callable[..., Value] = call
    return bound_call


_SMALL, _BIG, _UNKNOWN, _HANDED_ON = "sbuh"


def _kind(output: _Output) -> str:
    if output.shape is None:
        return _HANDED_ON if output.is_handed_on else _UNKNOWN
    return _BIG if output.is_big else _SMALL


@functools.cache
def _call_maker(inputs: int, kinds: str) -> Callable[..., Any]:
    """What makes calls with these numbers of inputs and kinds of results."""
    values = [f"value{index}" for index in range(inputs)]
    small = kinds.count(_SMALL)
    unknown = sum(kind in (_UNKNOWN, _HANDED_ON) for kind in kinds)
    places = {kind: itertools.count(start) for kind, start in ((_SMALL, 0), (_BIG, 0), (_UNKNOWN, small))}
    forms = {_SMALL: "results[{}]", _BIG: "big[{}]", _UNKNOWN: "made[{}].numpy()", _HANDED_ON: "made[{}]"}
    returned = [forms[kind].format(next(places[_UNKNOWN if kind == _HANDED_ON else kind])) for kind in kinds]
    names = [f"name{index}" for index in range(unknown)]
    before, run, after = ["pass"], ["run(frame.binding, options)"], ["frames.append(frame)"]
    if _BIG in kinds:
        before = ["big = []"]
        run = ["frame.take(late, big)", *run]
        after = ["frame.give_back(big)", *after]
    if unknown:  # in the order in which they were bound first
        run += ["made = frame.binding.get_outputs()"]
        after = [*(f"frame.binding.bind_output({name}, processor)" for name in names), *after]
    text = _CALL.format(
        given=", ".join(["frames", "find_frame", "plain", "run", "late", *(f"shape{i}" for i in range(small)), *names]),
        values=", ".join(values),
        is_seen=" or ".join(_IS_SEEN.format(index) for index in range(small)) or "False",
        before="\n        ".join(before),
        binding="\n            ".join(
            f"if bound[{i}] != id({value}): frame.bind_input({i}, {value})" for i, value in enumerate(values)
        ),
        run="\n            ".join(run),
        returned=returned[0] if len(returned) == 1 else f"({', '.join(returned)})",
        after="\n            ".join(after),
    )
    known: dict[str, Any] = {
        "options": _RUN,
        "count": sys.getrefcount,
        "unseen": _REFERENCES,
        "processor": _CPU,
    }
    exec(text, known)
    made: Callable[..., Any] = known["make"]
    return made
