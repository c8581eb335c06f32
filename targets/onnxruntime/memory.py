"""Memory that sessions of ONNX Runtime stay bound to. Copied into artifacts beside their dispatch.

Results are written to arrays that stay bound and are written again once nobody refers to them any more (`Memory`), so a
value goes from subgraph to subgraph without a copy and no result changes while somebody holds it. A session's inputs
and results bound to such memory are a `Frame`.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped]

Value = Any  # an array, what ONNX Runtime has made, or a Python number where the subgraph takes a scalar

SCALARS = {"int": np.int64, "float": np.float64, "bool": np.bool_}
TYPES = {
    f"tensor({name})": dtype
    for name, dtype in (
        ("float", "float32"),
        ("double", "float64"),
        *((name, name) for name in ("float16", "int64", "int32", "int16", "int8", "uint8", "bool")),
    )
}


class Output(NamedTuple):
    """An output of a model."""

    name: str
    dtype: str
    shape: tuple[int, ...] | None  # None: the size is known at run time only
    is_handed_on: bool = False  # of unknown size, and seen by other subgraphs alone: as ONNX Runtime has made it
    is_private: bool = False  # no caller comes to hold it, who could give it another shape

    @property
    def is_big(self) -> bool:
        """Whether it shares its memory with others of its size."""
        return self.is_late and self.shape is not None

    @property
    def is_late(self) -> bool:
        """Whether it has no memory of its own: shared with others of its size, or made by ONNX Runtime in each call."""
        return self.shape is None or int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize >= _BIG_BYTES


def _processor() -> Any:
    """Where ONNX Runtime is to make a result whose size it learns in the call; None if it cannot be told."""
    device = getattr(ort.capi.onnxruntime_pybind11_state, "OrtDevice", None)
    return None if device is None else device(device.cpu(), device.default_memory(), 0)


CPU = _processor()
# What ONNX Runtime has made, and is not an array yet.
Made: Any = getattr(ort.capi.onnxruntime_pybind11_state, "OrtValue", None)

_BIG_BYTES = 1 << 18
_COPIED_BYTES = 1 << 14  # of an array of the caller's
_MOVED_BYTES = 1 << 12  # of a result of ours
_MOST_BINDINGS = 4  # of an input to results of ours, before these are copied
_NAMES = frozenset(TYPES.values())
MOST_KEPT = 8  # frames of one subgraph, big arrays of one size: who holds more results than that gets new arrays
# Without a global lock a count of references says nothing; nor does it elsewhere than in CPython.
COUNTS_REFERENCES = sys.implementation.name == "cpython" and getattr(sys, "_is_gil_enabled", lambda: True)()


class Memory:
    """The arrays that results are written to. One is written again only when nobody but we refer to it.

    Whoever holds a result (a variable of the host, the caller, a view, a torch tensor over it) refers to the array, so
    no result changes while somebody can see it. Small arrays belong to a frame of one subgraph and stay bound. Big ones
    are shared by all subgraphs with results of that size: there are as many as are alive at once.
    """

    def __init__(self) -> None:
        self.values: dict[int, Any] = {}  # by the id of an array of ours: its memory as ONNX Runtime takes it
        self._looks: dict[int, tuple[tuple[int, ...], np.dtype]] = {}  # as they were made
        self._kept: list[np.ndarray] = []  # so that an id stays that of its array
        self._big: dict[tuple[str, tuple[int, ...]], deque[np.ndarray]] = {}

    def make(self, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        """A new array, kept for ever."""
        value = ort.OrtValue.ortvalue_from_shape_and_type(shape, np.dtype(dtype), "cpu", 0)
        array: np.ndarray = value.numpy()
        self._add(array, value)
        return array

    def keep(self, array: np.ndarray) -> None:
        """Let an array that is never written be bound as ours are."""
        if id(array) not in self.values:
            self._add(array, ort.OrtValue.ortvalue_from_numpy(array))

    def _add(self, array: np.ndarray, value: ort.OrtValue) -> None:
        self._looks[id(array)] = array.shape, array.dtype
        self.values[id(array)] = value._ortvalue
        self._kept.append(array)

    def of_ours(self, array: np.ndarray) -> Any:
        """What ONNX Runtime takes for an array of ours; None for others, and where somebody gave it another shape."""
        value = self.values.get(id(array))
        return None if value is None or (array.shape, array.dtype) != self._looks[id(array)] else value

    def take(self, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        """A big array that nobody refers to, and that nobody else can take until `give_back`."""
        arrays = self._big.setdefault((dtype, shape), deque())
        for tried in range(MOST_KEPT):
            try:
                box = [arrays.popleft()]
            except IndexError:
                return self.make(dtype, shape)
            if _is_unseen(box, dtype, shape):
                return box.pop()
            arrays.append(box.pop())
            if tried + 1 >= len(arrays):
                break
        return self.make(dtype, shape) if len(arrays) < MOST_KEPT else np.empty(shape, dtype)

    def give_back(self, array: np.ndarray) -> None:
        """Let a big array be taken again, once nobody refers to it any more."""
        if id(array) in self.values:
            self._big[array.dtype.name, array.shape].append(array)


def _is_unseen(box: list[Any], dtype: str, shape: tuple[int, ...]) -> bool:
    """Whether an array of ours in a box is referred to by the box alone, and looks as it was made."""
    return sys.getrefcount(box[0]) == REFERENCES and box[0].shape == shape and box[0].dtype == dtype


def _count_references() -> int:
    """The count of an array that nobody sees, taken as it is always taken: versions of Python count differently."""
    memory = Memory()
    box = [memory.make("float32", (1,))]
    return sys.getrefcount(box[0])


REFERENCES = _count_references()


def find_sized(session: ort.InferenceSession, entry: dict[str, Any]) -> list[bool]:
    """For each input of a subgraph whether its session knows all its sizes."""
    shapes = {port.name: port.shape for port in session.get_inputs()}
    return [all(isinstance(size, int) for size in shapes[port["name"]]) for port in entry["inputs"]]


class Frame:
    """A session's inputs and outputs bound to memory; one call at a time has it.

    `results` has an array for each output that is not late; those that are late are bound anew in each call. Inputs are
    read where the values lie, but for small ones that lie elsewhere in each call: to copy those to memory that stays
    bound takes 0.15 microseconds, to bind them 0.8, and cold much more.
    """

    __slots__ = ("binding", "bindings", "bound", "copies", "is_sized", "memory", "names", "own", "owner", "results")

    def __init__(
        self,
        session: ort.InferenceSession,
        entry: dict[str, Any],
        outputs: Sequence[Output],
        memory: Memory,
        given: dict[str, np.ndarray],
    ) -> None:
        self.owner = session.io_binding()
        self.binding = self.owner._iobinding
        self.memory = memory
        self.names = [port["name"] for port in entry["inputs"]]
        self.bound = [0] * len(self.names)  # the ids of those of our arrays that are bound to the inputs
        self.bindings = [0] * len(self.names)  # how often that was done
        self.is_sized = find_sized(session, entry)
        self.own: list[np.ndarray | None] = [None] * len(self.names)  # what small arrays may be copied to
        # Where each is copied to without being looked at: numbers, and what comes from several places.
        self.copies: list[np.ndarray | None] = [
            np.zeros((), SCALARS[p["scalar"]]) if "scalar" in p else None for p in entry["inputs"]
        ]
        for name, number in zip(self.names, self.copies, strict=True):
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
                self.binding.bind_output(output.name, CPU)

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

    def take(self, outputs: Sequence[Output], taken: list[np.ndarray]) -> None:
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
        """Let an input be read from an array, or from a copy of it."""
        self.copies[index] = None
        if type(value) is Made:
            self.bound[index] = 0
            self.binding.bind_ortvalue_input(self.names[index], value)
            return
        known = self.memory.of_ours(value)
        if (own := self._own_for(index, value, is_ours=known is not None)) is not None:
            own[...] = value
            if self.is_sized[index]:
                self.copies[index] = own
            if self.bound[index] == id(own):
                return
            value, known = own, self.memory.values[id(own)]
        if known is not None:
            self.bound[index] = id(value) if self.is_sized[index] else 0  # the caller may give it another shape
            self.bindings[index] += 1
            self.binding.bind_ortvalue_input(self.names[index], known)
        else:
            self.bound[index] = 0  # somebody else's: tomorrow another array may have its id
            self.binding.bind_input(self.names[index], value)

    def _own_for(self, index: int, value: Value, *, is_ours: bool) -> np.ndarray | None:
        """What to copy an array to, if it is small, and would have to be bound each time."""
        if is_ours and (self.bindings[index] < _MOST_BINDINGS or value.nbytes > _MOVED_BYTES):
            return None
        own = self.own[index]
        if own is None:
            if type(value) is not np.ndarray or not 0 < value.nbytes <= _COPIED_BYTES or value.dtype.name not in _NAMES:
                return None
            own = self.own[index] = self.memory.make(value.dtype.name, value.shape)
        return own if own.shape == value.shape and own.dtype == value.dtype else None
