"""Calls of ONNX Runtime's sessions over memory that stays bound. Copied into artifacts beside their runtime.

A session is a function of its subgraph's inputs (`make_call`). Results are written to arrays that stay bound and are
written again once nobody refers to them any more (`Memory`), so a value goes from subgraph to subgraph without a copy
and no result changes while somebody holds it. Where this ONNX Runtime or this Python does not let us, each call has new
arrays.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import sys
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped]

Value = Any  # an array, what ONNX Runtime has made, or a Python number where the subgraph takes a scalar

RUN = ort.RunOptions()  # the defaults; who passes none has them made anew in each call, which takes 1 microsecond
SCALARS = {"int": np.int64, "float": np.float64, "bool": np.bool_}
TYPES = {
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
    is_private: bool = False  # no caller comes to hold it, who could give it another shape

    @property
    def is_big(self) -> bool:
        """Whether it shares its memory with others of its size."""
        return self.is_late and self.shape is not None

    @property
    def is_late(self) -> bool:
        """Whether it has no memory of its own: shared with others of its size, or made by ONNX Runtime in each call."""
        return self.shape is None or int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize >= _BIG_BYTES


def make_call(
    session: ort.InferenceSession, entry: dict[str, Any], memory: Memory, given: dict[str, np.ndarray]
) -> Callable[..., Value]:
    """The session as a function: over bound memory where ONNX Runtime and Python let us, else by the plain call.

    `given`: the inputs besides those of the subgraph, the same in each call.
    """
    outputs = _find_outputs(session, entry)
    if outputs and _can_bind(session):
        for array in given.values():
            memory.keep(array)
        if _is_open(entry, outputs) and (unsized := _find_unsized()) and unsized.can_feed(session, len(given)):
            ports = [(output.name, output.is_handed_on) for output in outputs]
            fed_call: Callable[..., Value] = unsized.fed_call(session, entry["inputs"], ports, memory, given)
            return fed_call
        return _bound_call(session, entry, outputs, memory, given)
    return _plain_call(session, entry, given)


def _find_unsized() -> Any:
    """What calls subgraphs of unknown sizes best; an artifact without such sizes does not have it."""
    try:
        return importlib.import_module(".unsized", __package__)
    except ModuleNotFoundError:
        return None


def _is_open(entry: dict[str, Any], outputs: Sequence[_Output]) -> bool:
    """Whether sizes of inputs or results are known in the call only, and no memory could stay bound to any result.

    Larger results of known size are worth more bound: other subgraphs find them bound, too.
    """
    sizes = [size for port in entry["inputs"] for size in port.get("shape", ())]
    is_unknown = any(isinstance(size, str) for size in sizes) or any(output.shape is None for output in outputs)
    return is_unknown and all(not output.shape for output in outputs)


def _find_outputs(session: ort.InferenceSession, entry: dict[str, Any]) -> list[_Output] | None:
    """The outputs as the model itself declares them, if all of them are arrays of numbers."""
    declared = {port.name: port for port in session.get_outputs()}
    settings = entry.get("settings", {})
    handed_on, private = settings.get("handed_on", ()), settings.get("private", ())
    found = []
    for index, output in enumerate(entry["outputs"]):
        port = declared[output["name"]]
        dtype = TYPES.get(port.type)
        if dtype is None:
            return None
        # A shape of unknown rank is told as an empty one.
        is_known = len(port.shape) == len(output.get("shape", port.shape))
        is_known = is_known and all(isinstance(size, int) and size > 0 for size in port.shape)
        shape = tuple(port.shape) if is_known else None
        found.append(_Output(port.name, dtype, shape, shape is None and index in handed_on, index in private))
    return found


def _can_bind(session: ort.InferenceSession) -> bool:
    """Whether this ONNX Runtime has the calls below its public ones, and this Python counts references."""
    has_calls = hasattr(getattr(session, "_sess", None), "run_with_iobinding")
    return has_calls and hasattr(session.io_binding(), "_iobinding") and _COUNTS_REFERENCES and CPU is not None


def _plain_call(
    session: ort.InferenceSession, entry: dict[str, Any], given: dict[str, np.ndarray]
) -> Callable[..., Value]:
    """New arrays for each call. The session's inner `run` is private, and faster than the public one."""
    inner = getattr(getattr(session, "_sess", None), "run", None)
    run: Callable[..., list[Value]] = inner if inner is not None else session.run
    inputs = [(port["name"], SCALARS.get(port.get("scalar", ""))) for port in entry["inputs"]]
    outputs = [port["name"] for port in entry["outputs"]]
    single = len(outputs) == 1

    def call(*values: Value) -> Value:
        feed = {
            name: np.array(value, dtype) if dtype is not None else value.numpy() if type(value) is Made else value
            for (name, dtype), value in zip(inputs, values, strict=True)
        }
        results = run(outputs, feed | given, RUN)
        return results[0] if single else tuple(results)

    return call


def _processor() -> Any:
    """Where ONNX Runtime is to make a result whose size it learns in the call; None if it cannot be told."""
    device = getattr(ort.capi.onnxruntime_pybind11_state, "OrtDevice", None)
    return None if device is None else device(device.cpu(), device.default_memory(), 0)


CPU = _processor()
# What ONNX Runtime has made, and is not an array yet.
Made: Any = getattr(ort.capi.onnxruntime_pybind11_state, "OrtValue", None)

# ---------------------------------------------------------------- bound memory

_BIG_BYTES = 1 << 18
_COPIED_BYTES = 1 << 14  # of an array of the caller's
_MOVED_BYTES = 1 << 12  # of a result of ours
_MOST_BINDINGS = 4  # of an input to results of ours, before these are copied
_NAMES = frozenset(TYPES.values())
_MOST_KEPT = 8  # frames of one subgraph, big arrays of one size: who holds more results than that gets new arrays
# Without a global lock a count of references says nothing; nor does it elsewhere than in CPython.
_COUNTS_REFERENCES = sys.implementation.name == "cpython" and getattr(sys, "_is_gil_enabled", lambda: True)()


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
        for tried in range(_MOST_KEPT):
            try:
                box = [arrays.popleft()]
            except IndexError:
                return self.make(dtype, shape)
            if _is_unseen(box, dtype, shape):
                return box.pop()
            arrays.append(box.pop())
            if tried + 1 >= len(arrays):
                break
        return self.make(dtype, shape) if len(arrays) < _MOST_KEPT else np.empty(shape, dtype)

    def give_back(self, array: np.ndarray) -> None:
        """Let a big array be taken again, once nobody refers to it any more."""
        if id(array) in self.values:
            self._big[array.dtype.name, array.shape].append(array)


def _is_unseen(box: list[Any], dtype: str, shape: tuple[int, ...]) -> bool:
    """Whether an array of ours in a box is referred to by the box alone, and looks as it was made."""
    return sys.getrefcount(box[0]) == _REFERENCES and box[0].shape == shape and box[0].dtype == dtype


def _count_references() -> int:
    """The count of an array that nobody sees, taken as it is always taken: versions of Python count differently."""
    memory = Memory()
    box = [memory.make("float32", (1,))]
    return sys.getrefcount(box[0])


_REFERENCES = _count_references()


class _Frame:
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
        outputs: Sequence[_Output],
        memory: Memory,
        given: dict[str, np.ndarray],
    ) -> None:
        self.owner = session.io_binding()
        self.binding = self.owner._iobinding
        self.memory = memory
        self.names = [port["name"] for port in entry["inputs"]]
        self.bound = [0] * len(self.names)  # the ids of those of our arrays that are bound to the inputs
        self.bindings = [0] * len(self.names)  # how often that was done
        shapes = {port.name: port.shape for port in session.get_inputs()}
        self.is_sized = [all(isinstance(size, int) for size in shapes[name]) for name in self.names]
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

_IS_HELD = "count(results[{0}]) != unseen"
_IS_SEEN = f"{_IS_HELD} or results[{{0}}].shape != shape{{0}} or results[{{0}}].dtype != dtype{{0}}"

_BIND = "if bound[{0}] != id(value{0}): frame.bind_input({0}, value{0})"
_BIND_OR_COPY = """if bound[{0}] != id(value{0}):
                copy = frame.copies[{0}]
                if copy is not None and type(value{0}) is array and value{0}.dtype is copy.dtype: copy[...] = value{0}
                else: frame.bind_input({0}, value{0})"""
_COPY_NUMBER = "frame.copies[{0}][()] = value{0}"


def _bound_call(
    session: ort.InferenceSession,
    entry: dict[str, Any],
    outputs: Sequence[_Output],
    memory: Memory,
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

    shapes = {port.name: port.shape for port in session.get_inputs()}
    is_sized = [all(isinstance(size, int) for size in shapes[port["name"]]) for port in entry["inputs"]]
    taken = [
        _COPY_NUMBER if "scalar" in port else _BIND_OR_COPY if known else _BIND
        for port, known in zip(entry["inputs"], is_sized, strict=True)
    ]
    kinds = "".join(_kind(output) for output in outputs)
    call, is_free = _call_maker(tuple(taken), kinds)(
        frames,
        find_frame,
        _plain_call(session, entry, given),
        session._sess.run_with_iobinding,
        [output for output in outputs if output.is_big],
        *(output.shape for output in outputs if _kind(output) == _SMALL),
        *(np.dtype(output.dtype) for output in outputs if _kind(output) == _SMALL),
        *(output.name for output in outputs if output.shape is None),
    )
    bound_call: Callable[..., Value] = call
    return bound_call


_SMALL, _PRIVATE, _BIG, _UNKNOWN, _HANDED_ON = "spbuh"


def _kind(output: _Output) -> str:
    if output.shape is None:
        return _HANDED_ON if output.is_handed_on else _UNKNOWN
    if output.is_big:
        return _BIG
    return _PRIVATE if output.is_private else _SMALL


@functools.cache
def _call_maker(taken: tuple[str, ...], kinds: str) -> Callable[..., Any]:
    """What makes calls that take inputs in these ways and have these kinds of results."""
    values = [f"value{index}" for index in range(len(taken))]
    kept = [kind for kind in kinds if kind in (_SMALL, _PRIVATE)]
    small = len(kept)
    unknown = sum(kind in (_UNKNOWN, _HANDED_ON) for kind in kinds)
    forms = {_BIG: "big[{}]", _UNKNOWN: "made[{}].numpy()", _HANDED_ON: "made[{}]"}
    lists = {_SMALL: _PRIVATE, _UNKNOWN: _HANDED_ON}  # both kinds lie in one list
    places = {kind: itertools.count(small if kind == _HANDED_ON else 0) for kind in (_PRIVATE, _BIG, _HANDED_ON)}
    returned = [forms.get(kind, "results[{}]").format(next(places[lists.get(kind, kind)])) for kind in kinds]
    names = [f"name{index}" for index in range(unknown)]
    looks = [f"{look}{index}" for look in ("shape", "dtype") for index in range(small) if kept[index] == _SMALL]
    before, run, after = ["pass"], ["run(frame.binding, options)"], ["frames.append(frame)"]
    if _BIG in kinds:
        before = ["big = []"]
        run = ["frame.take(late, big)", *run]
        after = ["frame.give_back(big)", *after]
    if unknown:  # in the order in which they were bound first
        run += ["made = frame.binding.get_outputs()"]
        after = [*(f"frame.binding.bind_output({name}, processor)" for name in names), *after]
    text = _CALL.format(
        given=", ".join(["frames", "find_frame", "plain", "run", "late", *looks, *names]),
        values=", ".join(values),
        is_seen=" or ".join((_IS_SEEN if kept[i] == _SMALL else _IS_HELD).format(i) for i in range(small)) or "False",
        before="\n        ".join(before),
        binding="\n            ".join(way.format(index) for index, way in enumerate(taken)),
        run="\n            ".join(run),
        returned=returned[0] if len(returned) == 1 else f"({', '.join(returned)})",
        after="\n            ".join(after),
    )
    known: dict[str, Any] = {
        "options": RUN,
        "array": np.ndarray,
        "count": sys.getrefcount,
        "unseen": _REFERENCES,
        "processor": CPU,
    }
    exec(text, known)
    made: Callable[..., Any] = known["make"]
    return made
