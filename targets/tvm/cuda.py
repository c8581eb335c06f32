"""Runs what TVM has compiled for a GPU. Copied into artifacts for one: needs numpy and tvm_ffi.

Values stay on the GPU between subgraphs. The machine code of a library's kernels lies beside it, by the sha256 of their
source, which the library holds; TVM asks for it when the library is opened. Kernels run in order, on one stream of the
process. Where another runtime has subgraphs of the same artifact, each call waits for the GPU before it returns.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tvm_ffi

from dycl.targets.devicearray import DeviceArray, DeviceError

Value = Any  # an array here or there, or a Python number where the subgraph takes a scalar

_CUDA, _CPU, _POOLED = 2, 1, 2  # device types and allocators, as the virtual machine takes them
_SCALARS = {"int": np.int64, "float": np.float64, "bool": np.bool_}
_LIBRARY = "libtvm_runtime_cuda.so"
_COMPILE = "tvm_callback_cuda_compile"
_EXISTS, _COMPUTE_VERSION = 0, 4  # attributes of a device
_lock = threading.Lock()
_ADVICE = (
    "install a driver and nvidia-cuda-runtime of CUDA 13, or load the artifact with device='cpu', which runs the same "
    "models on the processor"
)


class Gpu:
    """The first GPU of this machine."""

    def __init__(self, directory: Path, folders: Sequence[Path | None], arch: str, *, waits: bool) -> None:
        """`folders`: where TVM's part for CUDA may lie. `arch`: what the code was compiled for.

        `waits`: for the GPU at the end of each call.
        """
        self._directory = directory
        self._waits = waits
        self._device = tvm_ffi.device("cuda", 0)
        _load([folder / _LIBRARY for folder in folders if folder is not None])
        attribute = _global("runtime.GetDeviceAttr")
        if not attribute(_CUDA, 0, _EXISTS):
            raise DeviceError("CUDA finds no GPU here", _ADVICE)
        version = str(attribute(_CUDA, 0, _COMPUTE_VERSION))
        if int(version.replace(".", "")) < int(arch.removeprefix("sm_")):
            raise DeviceError(f"compiled for {arch}, but this GPU is of compute capability {version}", _ADVICE)

    def open(self, file: str, kernels: Mapping[str, str]) -> Any:
        """The virtual machine over a library; `kernels`: the files of its kernels, by the sha256 of the source."""

        def find(source: Any, *rest: Any) -> bytes:
            name = kernels[hashlib.sha256(str(source).encode()).hexdigest()]
            return (self._directory / name).read_bytes()

        with _lock:
            before = tvm_ffi.get_global_func(_COMPILE, allow_missing=True)
            tvm_ffi.register_global_func(_COMPILE, find, override=True)
            try:
                machine = tvm_ffi.load_module(str(self._directory / file))["vm_load_executable"]()
            finally:  # `tvm` itself has a function of this name
                tvm_ffi.remove_global_func(_COMPILE)
                if before is not None:
                    tvm_ffi.register_global_func(_COMPILE, before)
        machine["vm_initialization"](_CUDA, 0, _POOLED, _CPU, 0, _POOLED)
        return machine

    def place(self, value: Value) -> Value:
        """An array of the host's on the GPU, remembering its content here; anything else as it is."""
        return DeviceArray(self, self._placed(value), value) if isinstance(value, np.ndarray) else value

    def _placed(self, array: np.ndarray) -> Any:
        whole = np.ascontiguousarray(array)
        made = _global("runtime.TVMTensorAllocWithScope")(
            tvm_ffi.Shape(list(array.shape)), tvm_ffi.dtype(str(array.dtype)), self._device, None
        )
        if whole.nbytes:
            _global("runtime.TVMTensorCopyFromBytes")(made, _address(whole), whole.nbytes)
        return made

    def shape(self, value: tvm_ffi.Tensor) -> tuple[int, ...]:
        """The size of a value on the GPU."""
        return tuple(int(size) for size in value.shape)

    def dtype(self, value: tvm_ffi.Tensor) -> str:
        """The type of its elements, as numpy calls it."""
        return str(value.dtype)

    def read(self, value: tvm_ffi.Tensor) -> np.ndarray:
        """A copy of its content here, when all that was begun before is done."""
        array = np.empty(self.shape(value), self.dtype(value))
        if array.nbytes:
            _global("runtime.TVMTensorCopyToBytes")(value, _address(array), array.nbytes)
        return array

    def export(self, value: tvm_ffi.Tensor, stream: Any) -> Any:
        """A capsule for another runtime; kernels run in order, on one stream."""
        return value.__dlpack__()

    def device(self, value: tvm_ffi.Tensor) -> tuple[int, int]:
        """Where it is, in the numbers of DLPack."""
        return _CUDA, 0

    def bind(
        self,
        opened: tuple[Any, threading.Lock],
        entry: Mapping[str, Any],
        weights: Sequence[np.ndarray],
        as_placed: Callable[[Value], Value],
    ) -> Callable[..., Value]:
        """The library as a function of the subgraph's inputs, its weights bound.

        `as_placed` gives for an array that is a weight the one on the GPU.
        """
        machine, lock = opened
        parameters = [self._placed(weight) for weight in weights]
        if parameters:
            parameters = list(machine["main_transform_params"](parameters))
        main, wait = machine["main"], _global("runtime.Device_StreamSync")
        single = len(entry["outputs"]) == 1
        guarded = bool(entry["settings"].get("guarded"))
        numbers = [_SCALARS.get(port.get("scalar", "")) for port in entry["inputs"]]

        def call(*values: Value) -> Value:
            with lock:
                given = [self._input(as_placed(value), number) for value, number in zip(values, numbers, strict=True)]
                results = main(*given, *parameters)
                if self._waits:
                    wait(self._device, 0)
            arrays = [DeviceArray(self, result) for result in (results if guarded or not single else (results,))]
            if guarded and not arrays.pop().fetch():
                raise IndexError("index out of range")
            return arrays[0] if single else tuple(arrays)

        return call

    def _input(self, value: Value, number: Any) -> Any:
        if isinstance(value, DeviceArray) and isinstance(value.value, tvm_ffi.Tensor):
            return value.value
        if number is not None:
            return self._placed(np.array(value, number))
        return self._placed(value) if isinstance(value, np.ndarray) else tvm_ffi.from_dlpack(value)


def _global(name: str) -> Any:
    return tvm_ffi.get_global_func(name)


def _address(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _load(places: Sequence[Path]) -> None:
    """TVM's part for CUDA, once in a process, from the first place that has it; the rest of its runtime is loaded."""
    with _lock:
        if tvm_ffi.get_global_func("device_api.cuda", allow_missing=True) is not None:
            return
        try:
            ctypes.CDLL(_find_runtime(), ctypes.RTLD_GLOBAL)
            ctypes.CDLL(str(next(place for place in places if place.is_file())), ctypes.RTLD_GLOBAL)
        except OSError as error:
            raise DeviceError(f"CUDA's libraries are not here: {error}", _ADVICE) from error


def _find_runtime() -> str:
    """CUDA's runtime: the system's, or that of the package nvidia-cuda-runtime."""
    name = "libcudart.so.13"
    try:
        ctypes.CDLL(name)
    except OSError:
        found = importlib.util.find_spec("nvidia")
        for folder in found.submodule_search_locations or () if found else ():
            for path in Path(folder).glob(f"**/{name}"):
                return str(path)
    return name
