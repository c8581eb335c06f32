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

from dycl.targets.onnxruntime.dispatch import RUN
from dycl.targets.onnxruntime.memory import CPU, SCALARS, Made, Memory, Value

_MOST_NUMBERS = 1 << 10
_MOST_GIVEN = 4  # inputs that are the same in each call: they cost nothing where they are bound, 0.3 microseconds here


class Feeder:
    """Values as ONNX Runtime takes them: arrays, those of ours as they stay, and whole numbers."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._numbers: dict[str, dict[int, Any]] = {"int": {}, "bool": {}}

    def find(self, array: np.ndarray) -> Any:
        """What ONNX Runtime takes for an array: in the same memory, if that is in one piece."""
        value = self._memory.of_ours(array)
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
def make(run, find, number, names, options, {given}):
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
    memory: Memory,
    given: dict[str, np.ndarray],
) -> Callable[..., Value]:
    """The session as a function: `outputs` are names, and which are handed on as ONNX Runtime has made them."""
    kinds = tuple(port.get("scalar", "") for port in inputs)
    make = _call_maker(
        tuple(port["name"] for port in inputs), kinds, tuple(handed_on for _, handed_on in outputs), tuple(given)
    )
    values = [memory.of_ours(array) for array in given.values()]
    feeder = Feeder(memory)
    call: Callable[..., Value] = make(
        session._sess.run_with_ort_values, feeder.find, feeder.number, [name for name, _ in outputs], RUN, *values
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
