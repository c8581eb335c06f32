"""Runs subgraphs that TVM has compiled. Copied into artifacts: needs numpy and tvm_ffi, no compiler and no `tvm`.

A structure is bytecode, which TVM's virtual machine runs: it calls the kernels of a library that all structures share.

TVM's runtime libraries lie in the artifact under `lib/`. A process has them once: where the package `tvm` of the same
version is installed, its own are taken, so that it can be imported later.

Memory. Arrays go in and out by DLPack, without a copy. Compiled code reads vectors and takes for granted that memory
begins at a multiple of 64 bytes; nothing else checks it, and other memory crashes the process. So every input is
checked here, and one that does not fit is copied to memory of ours. Results are new memory in each call.

Weights are mapped from `weights.bin`. What is computed from them alone (a layout that suits the processor,
normalisation folded into a convolution) is computed once, when the subgraph is opened: by numpy in the steps that lie
beside the bytecode, or by the bytecode itself where it has a function for that.

Threads. TVM makes (threads - 1) threads for each thread that calls, and they spin. The number is the process's, and
lies in its variable `TVM_NUM_THREADS`: the last model that was opened decides.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tvm_ffi

from dycl.ir.contents import read_contents

Value = Any  # an array, or a Python number where the subgraph takes a scalar

_ALIGNMENT = 64
_LIBRARIES = ("libtvm_runtime.so", "libtvm_runtime_extra.so")
_SCALARS = {"int": np.dtype(np.int64), "float": np.dtype(np.float64), "bool": np.dtype(np.bool_)}
_CPU = (1, 0, 2)  # device type, device, allocator (pooled), as the virtual machine takes them

_lock = threading.Lock()


class Runtime:
    """The subgraphs and weights of one artifact, found by the manifest in its directory."""

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        threads: int | None = None,
        lazy: bool = False,
        device: str = "",
        manifest: dict[str, Any] | None = None,
    ) -> None:
        """Open the artifact in `directory`.

        `threads`: how many compute (default: the processors of this process). `lazy`: open a subgraph when it first
        runs. `device`: where an artifact for a GPU runs, if not there: "cpu". `manifest`: what it says, if it is not
        to be read.
        """
        self._directory = Path(directory).resolve()
        manifest = manifest or read_contents(self._directory)
        self._subgraphs: dict[str, dict[str, Any]] = manifest["subgraphs"]
        self._weights: dict[str, dict[str, Any]] = manifest["weights"]
        self._threads = threads or _processors()
        self._lazy = lazy
        self._opening = threading.Lock()
        self._mapped: np.memmap[Any, np.dtype[np.uint8]] | None = None
        self._libraries: dict[str, Any] = {}
        self._preparations: dict[str, dict[str, Any]] = {}
        self._opened: dict[str, Any] = {}
        self._is_mixed = len({entry.get("engine", "") for entry in self._subgraphs.values()}) > 1
        self._gpu = self._find_gpu((device or manifest.get("device", "cpu")) != "cpu")
        self._placed: dict[int, tuple[np.ndarray, Value]] = {}  # weights that were asked for, by the id of the array
        self.calls: dict[str, Callable[..., Value]] = {}

    def subgraph(self, name: str) -> Callable[..., Value]:
        """A function of the subgraph's inputs in order: its output, or a tuple of its outputs if it has several."""
        if name not in self.calls:
            entry = self._subgraphs[name]
            self.calls[name] = self._deferred(entry) if self._lazy else self._open(entry)
        return self.calls[name]

    def _open(self, entry: dict[str, Any]) -> Callable[..., Value]:
        weights = [self._parameter(weight) for weight in entry["weights"]]
        if self._gpu is None:
            return _bind(self._machine(entry), entry, weights, self._preparation(entry["settings"]))
        call: Callable[..., Value] = self._gpu.bind(self._machine(entry), entry, weights, self._as_placed)
        return call

    def place(self, value: Value) -> Value:
        """An array where subgraphs take it without a copy."""
        return value if self._gpu is None else self._gpu.place(value)

    def _find_gpu(self, is_wanted: bool) -> Any:
        """What runs subgraphs on a GPU; None where they run on the processor."""
        settings = [entry["settings"] for entry in self._subgraphs.values() if "gpu" in entry.get("settings", {})]
        if not is_wanted or not settings:
            return None
        _load_libraries(self._directory, settings[0]["tvm"])
        cuda = importlib.import_module(".cuda", __package__)
        folders = (_installed(settings[0]["tvm"]), self._directory / "lib")
        return cuda.Gpu(self._directory, folders, settings[0]["gpu"]["arch"], waits=self._is_mixed)

    def _as_placed(self, value: Value) -> Value:
        """For an array that is a weight the one that lies on the GPU."""
        return self._placed[id(value)][1] if id(value) in self._placed else value

    def _deferred(self, entry: dict[str, Any]) -> Callable[..., Value]:
        opened: list[Callable[..., Value]] = []

        def call(*inputs: Value) -> Value:
            if not opened:
                with self._opening:
                    if not opened:
                        opened.append(self._open(entry))
            return opened[0](*inputs)

        return call

    def weight(self, name: str) -> np.ndarray:
        """A weight as a read-only array over the mapped file."""
        array = self._parameter(name)
        array.flags.writeable = False
        if self._gpu is not None:
            self._placed[id(array)] = array, self._gpu.place(array)
        return array

    def _parameter(self, name: str) -> np.ndarray:
        if self._mapped is None:
            # private pages: what is handed to TVM must look writable, and nobody writes
            self._mapped = np.memmap(self._directory / "weights.bin", dtype=np.uint8, mode="c")
        entry = self._weights[name]
        dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
        size = dtype.itemsize * int(np.prod(shape, dtype=int))
        stored: np.ndarray = np.asarray(self._mapped[entry["offset"] : entry["offset"] + size])
        array: np.ndarray = stored.view(dtype).reshape(shape)
        return array

    def _machine(self, entry: dict[str, Any]) -> Any:
        """The virtual machine over a subgraph's bytecode; subgraphs of one structure share it."""
        file = entry["file"]
        if file not in self._opened:
            settings = entry["settings"]
            _check_processor(settings)
            _load_libraries(self._directory, settings["tvm"])
            set_threads(self._threads)
            if self._gpu is not None:
                machine = self._gpu.open(settings["gpu"]["file"], settings["gpu"]["kernels"])
                self._opened[file] = (machine, threading.Lock())
                return self._opened[file]
            load = tvm_ffi.get_global_func("ffi.Module.load_from_bytes.relax.VMExecutable")
            executable = load((self._directory / file).read_bytes())
            if "library" in settings:
                executable.import_module(self._library(settings["library"]))
            machine = executable["vm_load_executable"]()
            machine["vm_initialization"](*_CPU)
            self._opened[file] = (machine, threading.Lock())
        return self._opened[file]

    def _preparation(self, settings: dict[str, Any]) -> dict[str, Any] | None:
        """What is made of a subgraph's weights by numpy; subgraphs of one structure share it."""
        file = settings.get("preparation")
        if file is not None and file not in self._preparations:
            self._preparations[file] = json.loads((self._directory / file).read_text(encoding="utf-8"))
        return None if file is None else self._preparations[file]

    def _library(self, file: str) -> Any:
        """The kernels."""
        if file not in self._libraries:
            self._libraries[file] = tvm_ffi.load_module(str(self._directory / file))
        return self._libraries[file]


def _bind(
    opened: tuple[Any, threading.Lock],
    entry: dict[str, Any],
    weights: Sequence[np.ndarray],
    preparation: dict[str, Any] | None,
) -> Callable[..., Value]:
    """The library as a function of the subgraph's inputs, its weights bound."""
    machine, lock = opened
    prepared = weights if preparation is None else _prepare(weights, preparation)
    parameters: list[Any] = [_tensor(weight) for weight in prepared]
    if weights and preparation is None:
        parameters = list(machine["main_transform_params"](parameters))
    return _call(machine["main"], lock, entry, parameters)


# What `_prepare` can do, by the name of the step.
_STEPS: dict[str, Callable[..., Any]] = {
    "constant": lambda value, dtype: np.array(value, dtype),
    "permute_dims": lambda array, axes: np.transpose(array, axes),
    "reshape": lambda array, shape: np.reshape(array, shape),
    "expand_dims": lambda array, axis: np.expand_dims(array, tuple(axis)),
    "squeeze": lambda array, axis: np.squeeze(array, axis and tuple(axis)),
    "astype": lambda array, dtype: array.astype(dtype, copy=False),
    "take": np.take,
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "sqrt": np.sqrt,
    "negative": np.negative,
}


def _prepare(weights: Sequence[np.ndarray], preparation: dict[str, Any]) -> list[np.ndarray]:
    """The parameters that the steps make of the weights; each step has numbers of weights, or of steps before it."""
    values = list(weights)
    for name, operands, attributes in preparation["steps"]:
        values.append(_STEPS[name](*(values[number] for number in operands), **attributes))
    return [np.asarray(values[number], order="C") for number in preparation["results"]]


def _call(
    main: Callable[..., Any], lock: threading.Lock, entry: dict[str, Any], parameters: list[Any]
) -> Callable[..., Value]:
    """One call at a time runs on a machine: the lock is held while it computes, and while its inputs are placed."""
    single = len(entry["outputs"]) == 1
    places = [_number(port) if "scalar" in port else _place(port) for port in entry["inputs"]]
    copied = frozenset(entry["settings"].get("copied", ()))
    guarded = bool(entry["settings"].get("guarded"))
    view = np.from_dlpack

    def call(*values: Value) -> Value:
        with lock:
            given = [place(value) for place, value in zip(places, values, strict=True)]
            results = main(*given, *parameters)
        return view(results) if single else tuple([view(result) for result in results])

    def careful(*values: Value) -> Value:
        """What TVM returns without computing it is copied; indices were inside or it raises."""
        with lock:
            given = [place(value) for place, value in zip(places, values, strict=True)]
            results = main(*given, *parameters)
        arrays = [view(result) for result in (results if guarded or not single else (results,))]
        if guarded and not arrays.pop():
            raise IndexError("index out of range")
        if copied:
            arrays = [array.copy() if index in copied else array for index, array in enumerate(arrays)]
        return arrays[0] if single else tuple(arrays)

    return careful if copied or guarded else call


def _number(port: dict[str, Any]) -> Callable[[Value], Any]:
    """Puts a number into memory that stays."""
    memory = aligned(np.zeros((), _SCALARS[port["scalar"]]))
    tensor = _tensor(memory)

    def place(value: Value) -> Any:
        memory[()] = value
        return tensor

    return place


def _place(port: dict[str, Any]) -> Callable[[Value], Any]:
    """An array as TVM takes it: as it is, or in memory that stays where compiled code could not read it."""
    from_dlpack = tvm_ffi.from_dlpack
    kept: list[tuple[np.ndarray, Any]] = []

    def place(value: Value) -> Any:
        try:
            tensor = from_dlpack(value, require_contiguous=True)
        except _REFUSED:
            return copy(value)
        return tensor if tensor.data_ptr() % _ALIGNMENT == 0 else copy(value)

    def copy(value: Value) -> Any:
        value = value if isinstance(value, np.ndarray) else value.fetch()  # another runtime's
        if not kept:
            memory = aligned(np.zeros(port["shape"], port["dtype"]))
            kept.append((memory, _tensor(memory)))
        memory, tensor = kept[0]
        if value.shape != memory.shape or value.dtype != memory.dtype:
            raise TypeError(f"{port['name']}: {value.dtype}{list(value.shape)} for {port['dtype']}{port['shape']}")
        memory[...] = value
        return tensor

    return place


# What tvm_ffi and numpy raise for memory that is read-only, or not in one piece.
_REFUSED = (RuntimeError, ValueError, BufferError)


def _tensor(array: np.ndarray) -> Any:
    """An array as TVM takes it, without a copy where its memory is such as compiled code needs."""
    tensor = tvm_ffi.from_dlpack(array)
    return tensor if tensor.data_ptr() % _ALIGNMENT == 0 else tvm_ffi.from_dlpack(aligned(array))


def aligned(array: np.ndarray) -> np.ndarray:
    """A copy of the array where compiled code can read it."""
    room = np.empty(array.nbytes + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    copy: np.ndarray = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


# ---------------------------------------------------------------- the process


def _check_processor(settings: dict[str, Any]) -> None:
    """Refuse a processor that lacks instructions which the library may contain."""
    machine = settings["machine"]
    if platform.machine() != machine:
        raise RuntimeError(f"compiled for {machine} ({settings['mcpu']}), but this processor is {platform.machine()}")
    missing = [name for name in settings["features"] if name not in _features()]
    if missing:
        raise RuntimeError(
            f"compiled for {settings['mcpu']}, but this processor lacks {', '.join(missing)}: "
            "compile the model again with --mcpu and a name that all processors it shall run on fulfil"
        )


def _features() -> frozenset[str]:
    """What Linux says the processor can."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return frozenset(flags.partition(":")[2].split())


def _load_libraries(directory: Path, version: str) -> None:
    """TVM's runtime, once in a process."""
    with _lock:
        if tvm_ffi.get_global_func("runtime.config_threadpool", allow_missing=True) is not None:
            return
        folder = _installed(version) or directory / "lib"
        for name in _LIBRARIES:
            ctypes.CDLL(str(folder / name), ctypes.RTLD_GLOBAL)


def _installed(version: str) -> Path | None:
    """The folder of the installed package's libraries; the package is not imported."""
    try:
        found = importlib.util.find_spec("tvm")
        if found is None or found.origin is None or importlib.metadata.version("apache-tvm") != version:
            return None
    except (ImportError, ValueError):
        return None
    folder = Path(found.origin).parent / "lib"
    return folder if all((folder / name).is_file() for name in _LIBRARIES) else None


def set_threads(threads: int) -> None:
    """How many threads TVM computes with, from now on.

    TVM reads the variable at each parallel loop: with one thread it then calls no pool at all.
    """
    os.environ["TVM_NUM_THREADS"] = str(threads)
    configure = tvm_ffi.get_global_func("runtime.config_threadpool")
    configure(1, threads)


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
