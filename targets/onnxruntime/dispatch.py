"""Calls of ONNX Runtime's sessions over memory that stays bound. Copied into artifacts beside their runtime.

A session is a function of its subgraph's inputs (`make_call`), over memory that stays bound (`memory.py`). Where this
ONNX Runtime or this Python does not let us, each call has new arrays.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped]

from dycl.targets.onnxruntime.memory import (
    COUNTS_REFERENCES,
    CPU,
    MOST_KEPT,
    REFERENCES,
    SCALARS,
    TYPES,
    Frame,
    Made,
    Memory,
    Output,
    Value,
    find_sized,
)

RUN = ort.RunOptions()  # the defaults; who passes none has them made anew in each call, which takes 1 microsecond


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


def _is_open(entry: dict[str, Any], outputs: Sequence[Output]) -> bool:
    """Whether sizes of inputs or results are known in the call only, and no memory could stay bound to any result.

    Larger results of known size are worth more bound: other subgraphs find them bound, too.
    """
    sizes = [size for port in entry["inputs"] for size in port.get("shape", ())]
    is_unknown = any(isinstance(size, str) for size in sizes) or any(output.shape is None for output in outputs)
    return is_unknown and all(not output.shape for output in outputs)


def _find_outputs(session: ort.InferenceSession, entry: dict[str, Any]) -> list[Output] | None:
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
        found.append(Output(port.name, dtype, shape, shape is None and index in handed_on, index in private))
    return found


def _can_bind(session: ort.InferenceSession) -> bool:
    """Whether this ONNX Runtime has the calls below its public ones, and this Python counts references."""
    has_calls = hasattr(getattr(session, "_sess", None), "run_with_iobinding")
    return has_calls and hasattr(session.io_binding(), "_iobinding") and COUNTS_REFERENCES and CPU is not None


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


# One call, written out for the kinds of its inputs and results: loops would take longer than all the rest of it. All
# subgraphs with these kinds share its code, so that it is in the caches when the next one is called.
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

_BIND = "bind(input{0}, value{0}) if type(value{0}) is Made else frame.bind_input({0}, value{0})"
_BIND_OR_COPY = """if bound[{0}] != id(value{0}):
                copy = frame.copies[{0}]
                if (
                    copy is not None and type(value{0}) is array
                    and value{0}.dtype is copy.dtype and value{0}.nbytes == copy.nbytes
                ): copy[...] = value{0}
                else: frame.bind_input({0}, value{0})"""
_COPY_NUMBER = "frame.copies[{0}][()] = value{0}"


def _bound_call(
    session: ort.InferenceSession,
    entry: dict[str, Any],
    outputs: Sequence[Output],
    memory: Memory,
    given: dict[str, np.ndarray],
) -> Callable[..., Value]:
    """Inputs and results bound to memory that stays; big results are bound to whatever memory of their size is free.

    Measured, in microseconds: one tiny graph 2.6, ONNX Runtime's own call 2.0; with six inputs and results 4.9 and 3.3
    (6.4 where a loop goes over them). A result of 32 KiB: 65, by the plain call 74, which allocates and copies.
    """
    frames: list[Frame] = []  # the one used last at the end, so that its results may live through the next call
    made = itertools.count()

    def find_frame(last: Frame | None) -> Frame | None:
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
        return Frame(session, entry, outputs, memory, given) if next(made) < MOST_KEPT else None

    taken = [
        _COPY_NUMBER if "scalar" in port else _BIND_OR_COPY if known else _BIND
        for port, known in zip(entry["inputs"], find_sized(session, entry), strict=True)
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
        *(port["name"] for port, way in zip(entry["inputs"], taken, strict=True) if way == _BIND),
    )
    bound_call: Callable[..., Value] = call
    return bound_call


_SMALL, _PRIVATE, _BIG, _UNKNOWN, _HANDED_ON = "spbuh"


def _kind(output: Output) -> str:
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
    inputs = [f"input{index}" for index, way in enumerate(taken) if way == _BIND]
    looks = [f"{look}{index}" for look in ("shape", "dtype") for index in range(small) if kept[index] == _SMALL]
    before, run, after = ["bound = frame.bound"], ["run(frame.binding, options)"], ["frames.append(frame)"]
    if inputs:
        before += ["bind = frame.binding.bind_ortvalue_input"]
    if _BIG in kinds:
        before += ["big = []"]
        run = ["frame.take(late, big)", *run]
        after = ["frame.give_back(big)", *after]
    if unknown:  # in the order in which they were bound first
        run += ["made = frame.binding.get_outputs()"]
        after = [*(f"frame.binding.bind_output({name}, processor)" for name in names), *after]
    text = _CALL.format(
        given=", ".join(["frames", "find_frame", "plain", "run", "late", *looks, *names, *inputs]),
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
        "Made": Made,
        "count": sys.getrefcount,
        "unseen": REFERENCES,
        "processor": CPU,
    }
    exec(text, known)
    made: Callable[..., Any] = known["make"]
    return made
