"""Calls of sessions in which sizes are known in the call only. Copied into artifacts beside their dispatch.

Nothing can be bound to memory before such a call, and what was bound in the last one has to be bound anew, input by
input and result by result. ONNX Runtime takes all inputs at once, too, and gives all results: measured with three of
each, in microseconds, 3.6 where it takes 6.3 to bind them. Threads share nothing, so there are no frames.

What ONNX Runtime makes of an array takes 1.1. Whole numbers are remembered as it has made them, results are not: memory
that is kept is not in the caches when it is used again, which costs more.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped]

Value = Any  # an array, what ONNX Runtime has made, or a Python number where the subgraph takes a scalar

RUN = ort.RunOptions()  # the defaults; who passes none has them made anew in each call, which takes 1 microsecond
SCALARS = {"int": np.int64, "float": np.float64, "bool": np.bool_}

_MOST_NUMBERS = 1 << 10
_MOST_GIVEN = 4  # inputs that are the same in each call: they cost nothing where they are bound, 0.3 microseconds here


def _processor() -> Any:
    """Where ONNX Runtime is to make a result whose size it learns in the call; None if it cannot be told."""
    device = getattr(ort.capi.onnxruntime_pybind11_state, "OrtDevice", None)
    return None if device is None else device(device.cpu(), device.default_memory(), 0)


CPU = _processor()
Made: Any = getattr(
    ort.capi.onnxruntime_pybind11_state, "OrtValue", None
)  # what ONNX Runtime has made, not an array yet


class Known:
    """Values as ONNX Runtime takes them: arrays of ours that stay, and whole numbers."""

    def __init__(self) -> None:
        self.values: dict[int, Any] = {}  # by the id of an array
        self._looks: dict[int, tuple[tuple[int, ...], np.dtype]] = {}  # as they were made
        self._numbers: dict[str, dict[int, Any]] = {"int": {}, "bool": {}}

    def add(self, array: np.ndarray, value: Any) -> None:
        """Let an array that stays be known as this."""
        self.values[id(array)] = value
        self._looks[id(array)] = array.shape, array.dtype

    def of_ours(self, array: np.ndarray) -> Any:
        """What ONNX Runtime takes for an array of ours; None for others, and where somebody gave it another shape."""
        value = self.values.get(id(array))
        return None if value is None or (array.shape, array.dtype) != self._looks[id(array)] else value

    def find(self, array: np.ndarray) -> Any:
        """What ONNX Runtime takes for an array: in the same memory, if that is in one piece."""
        value = self.of_ours(array)
        if value is not None:
            return value
        if type(array) is np.ndarray and array.flags.c_contiguous:
            return Made.ortvalue_from_numpy(array, CPU)
        return copied(np.asarray(array))._ortvalue

    def number(self, value: float, kind: str) -> Any:
        """A number as a tensor of its kind."""
        known = self._numbers.get(kind)  # not of floats: two that are equal may differ in their sign
        found = None if known is None else known.get(value)  # type: ignore[call-overload]
        if found is None:
            found = copied(np.array(value, SCALARS[kind]))._ortvalue
            if known is not None and len(known) < _MOST_NUMBERS:
                known[int(value)] = found
        return found


def copied(array: np.ndarray) -> Any:
    """A copy of an array in memory of ONNX Runtime's."""
    value = ort.OrtValue.ortvalue_from_shape_and_type(array.shape, array.dtype, "cpu", 0)
    value.numpy()[...] = array
    return value


# One call, written out for its inputs and results: loops would take longer than all the rest of it.
_CALL = """
def make(run, known, names, options, {given}):
    find, number = known.find, known.number
    def call({values}):
        made = run({{{feed}}}, names, options)
        return {returned}
    return call
"""


def can_feed(session: ort.InferenceSession, given: int) -> bool:
    """Whether this ONNX Runtime takes all inputs at once, and they are not so many."""
    takes = hasattr(getattr(session, "_sess", None), "run_with_ort_values") and hasattr(Made, "ortvalue_from_numpy")
    return takes and given <= _MOST_GIVEN


def fed_call(
    session: ort.InferenceSession,
    inputs: Sequence[dict[str, Any]],
    outputs: Sequence[tuple[str, bool]],
    known: Known,
    given: dict[str, np.ndarray],
) -> Callable[..., Value]:
    """The session as a function: `outputs` are names, and which are handed on as ONNX Runtime has made them."""
    kinds = tuple(port.get("scalar", "") for port in inputs)
    make = _call_maker(
        tuple(port["name"] for port in inputs), kinds, tuple(handed_on for _, handed_on in outputs), tuple(given)
    )
    values = [known.values[id(array)] for array in given.values()]
    call: Callable[..., Value] = make(
        session._sess.run_with_ort_values, known, [name for name, _ in outputs], RUN, *values
    )
    return call


@functools.cache
def _call_maker(
    names: tuple[str, ...], kinds: tuple[str, ...], handed_on: tuple[bool, ...], given: tuple[str, ...]
) -> Callable[..., Any]:
    """What makes calls with these inputs and results."""
    values = [f"value{index}" for index in range(len(names))]
    forms = [
        f"number({value}, {kind!r})" if kind else f"{value} if type({value}) is Made else find({value})"
        for value, kind in zip(values, kinds, strict=True)
    ]
    constants = [f"given{index}" for index in range(len(given))]
    feed = [f"{name!r}: {form}" for name, form in zip((*names, *given), (*forms, *constants), strict=True)]
    returned = [f"made[{i}]" if is_kept else f"made[{i}].numpy()" for i, is_kept in enumerate(handed_on)]
    text = _CALL.format(
        given=", ".join(constants),
        values=", ".join(values),
        feed=", ".join(feed),
        returned=returned[0] if len(returned) == 1 else f"({', '.join(returned)})",
    )
    scope: dict[str, Any] = {"Made": Made}
    exec(text, scope)
    made: Callable[..., Any] = scope["make"]
    return made
