"""Subgraphs whose values stay on a device between them, with ONNX Runtime. Copied into artifacts for a GPU.

A subgraph's inputs are bound to the memory that they lie in, and ONNX Runtime makes its results where the next subgraph
takes them. A result that no subgraph takes (a predicate, say) is written to the host's memory, in the same run.

ONNX Runtime waits for the device at the end of each run, so a result is complete when it is handed on, to another
session with another stream, or to another runtime by DLPack. Only its public interface is used here.

On the device "cpu" all of it is done in the same way, in the processor's memory: so it is checked where no GPU is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped]

from dycl.targets.devicearray import DeviceArray, DeviceError
from dycl.targets.onnxruntime.memory import TYPES

Value = Any  # an array here or there, or a Python number where the subgraph takes a scalar

_SCALARS = {"int": np.int64, "float": np.float64, "bool": np.bool_}
_PROVIDERS = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}
# Of CUDA's: products of float32 with all their bits, as torch multiplies them unless it is told otherwise.
_OPTIONS = {"cuda": {"use_tf32": "0", "arena_extend_strategy": "kSameAsRequested"}}
_MOST_KEPT = 8  # bindings of one subgraph: as many threads may call it without making new ones


_ADVICE = (
    "install onnxruntime-gpu in place of onnxruntime, with a driver, or load the artifact with device='cpu', which "
    "runs the same models on the processor"
)


class Device:
    """Where the subgraphs of one artifact run, and their values lie."""

    def __init__(self, name: str, number: int = 0) -> None:
        """`name`: "cuda" or "cpu". What ONNX Runtime cannot use here is a `DeviceError`."""
        if name not in _PROVIDERS:
            raise DeviceError(f"there is no device {name!r}; known: {', '.join(_PROVIDERS)}", _ADVICE)
        self.name = name
        self.number = number
        self.provider = _PROVIDERS[name]
        here = ort.get_available_providers()
        if self.provider not in here:
            raise DeviceError(
                f"the onnxruntime {ort.__version__} that is installed has no {self.provider}, only {', '.join(here)}",
                _ADVICE,
            )

    def open(self, model: bytes, options: ort.SessionOptions) -> ort.InferenceSession:
        """A session on the device; never one that runs elsewhere in its place.

        Single nodes that have no kernel for the device run on the processor, as ONNX Runtime decides.
        """
        providers: list[Any] = [self.provider]
        if self.name != "cpu":
            providers = [(self.provider, {"device_id": str(self.number), **_OPTIONS[self.name]}), _PROVIDERS["cpu"]]
        try:
            session = ort.InferenceSession(model, options, providers=providers, enable_fallback=False)
        except Exception as error:  # it has a class for each of its status codes and no base of its own
            if self.name == "cpu" or "CUDA" not in str(error):
                raise
            raise DeviceError(f"ONNX Runtime opens no session for {self.name} here: {error}", _ADVICE) from error
        if self.provider not in session.get_providers():  # where a library of CUDA's is missing, it only warns
            raise DeviceError(f"ONNX Runtime opens no session for {self.name} here; its own messages say why", _ADVICE)
        return session

    def place(self, value: Value) -> Value:
        """An array of the host's on the device, remembering its content here; anything else as it is."""
        return self._placed(value) if isinstance(value, np.ndarray) else value

    def _placed(self, array: np.ndarray) -> DeviceArray:
        whole = np.ascontiguousarray(array).reshape(array.shape)  # the first makes a row of a single number
        return DeviceArray(self, ort.OrtValue.ortvalue_from_numpy(whole, self.name, self.number), array)

    def shape(self, value: ort.OrtValue) -> tuple[int, ...]:
        """The size of a value on the device."""
        return tuple(value.shape())

    def dtype(self, value: ort.OrtValue) -> str:
        """The type of its elements, as numpy calls it."""
        return TYPES[value.data_type()]

    def read(self, value: ort.OrtValue) -> np.ndarray:
        """A copy of its content here."""
        content: np.ndarray = value.numpy()
        return content

    def export(self, value: ort.OrtValue, stream: Any) -> Any:
        """A capsule for another runtime."""
        return value.__dlpack__(stream=stream)

    def device(self, value: ort.OrtValue) -> tuple[int, int]:
        """Where it is, in the numbers of DLPack."""
        place: tuple[int, int] = value.__dlpack_device__()
        return place

    def input(self, value: Value, dtype: Any) -> Any:
        """What an input is bound to: memory of the device, of whatever runtime; or a number or array to go there."""
        if isinstance(value, DeviceArray) and isinstance(value.value, ort.OrtValue):
            return value.value
        if dtype is not None:  # ONNX Runtime takes it from here to where the model wants it
            return ort.OrtValue.ortvalue_from_numpy(np.array(value, dtype), "cpu", 0)
        if isinstance(value, np.ndarray):
            return self._placed(value).value
        return ort.OrtValue.from_dlpack(value)

    def call(
        self, session: ort.InferenceSession, entry: dict[str, Any], weights: Callable[[Value], Value]
    ) -> Callable[..., Value]:
        """The session as a function; `weights` gives for an array that is a weight the one on the device."""
        taken = {port.name for port in session.get_inputs()}
        inputs = [(port["name"], _SCALARS.get(port.get("scalar", ""))) for port in entry["inputs"]]
        is_here = frozenset(entry.get("settings", {}).get("host", ()))
        outputs = [(port["name"], index in is_here) for index, port in enumerate(entry["outputs"])]
        kept: deque[Any] = deque(maxlen=_MOST_KEPT)

        def call(*values: Value) -> Value:
            try:
                binding = kept.pop()
            except IndexError:
                binding = session.io_binding()
            try:
                for (name, dtype), value in zip(inputs, values, strict=True):
                    if name in taken:
                        binding.bind_ortvalue_input(name, self.input(weights(value), dtype))
                for name, here in outputs:  # anew: what the last call has made is bound
                    if here:
                        binding.bind_output(name, "cpu", 0)
                    else:
                        binding.bind_output(name, self.name, self.number)
                binding.synchronize_inputs()
                session.run_with_iobinding(binding)
                return self._results(binding.get_outputs(), outputs)
            finally:
                binding.clear_binding_inputs()
                binding.clear_binding_outputs()
                kept.append(binding)

        return call

    def _results(self, made: Sequence[Any], outputs: Sequence[tuple[str, bool]]) -> Value:
        results = [
            value.numpy() if here else DeviceArray(self, value) for value, (_, here) in zip(made, outputs, strict=True)
        ]
        return results[0] if len(results) == 1 else tuple(results)
