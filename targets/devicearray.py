"""Arrays that lie on a device, whichever runtime made them. Copied into artifacts for a GPU: needs numpy alone."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np


class DeviceError(Exception):
    """The device that the artifact is for is not there. `advice`: what to do."""

    def __init__(self, message: str, advice: str) -> None:
        """Say both."""
        super().__init__(message)
        self.advice = advice


class Memory(Protocol):
    """What a runtime knows of values of its own; a device holds them."""

    def shape(self, value: Any) -> tuple[int, ...]:
        """Its size."""

    def dtype(self, value: Any) -> str:
        """The type of its elements, as numpy calls it."""

    def read(self, value: Any) -> np.ndarray:
        """A copy of its content here, when all that was begun before is done."""

    def export(self, value: Any, stream: Any) -> Any:
        """A capsule for another runtime."""

    def device(self, value: Any) -> tuple[int, int]:
        """Where it is, in the numbers of DLPack."""


class DeviceArray:
    """An array on a device. The host knows its type and size; its content it fetches."""

    __slots__ = ("_host", "_memory", "value")

    def __init__(self, memory: Memory, value: Any, host: np.ndarray | None = None) -> None:
        """Over a value of the runtime whose `memory` it is; `host`: the same content here, if it is known."""
        self.value = value
        self._memory = memory
        self._host = host

    @property
    def shape(self) -> tuple[int, ...]:
        """Its size."""
        return self._memory.shape(self.value)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its elements, as numpy has it."""
        return np.dtype(self._memory.dtype(self.value))

    def fetch(self) -> np.ndarray:
        """The content as an array here; it is copied once."""
        if self._host is None:
            self._host = self._memory.read(self.value)
        return self._host

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Nothing takes it for an array by mistake."""
        raise TypeError("this array is on the device; fetch it first")

    def __dlpack__(self, **options: Any) -> Any:
        """For another runtime."""
        return self._memory.export(self.value, options.get("stream"))

    def __dlpack_device__(self) -> tuple[int, int]:
        """Where it is."""
        return self._memory.device(self.value)
