"""Python of the model's own inside of native code is found; what the collector calls is none of the model's."""

from __future__ import annotations

import gc
import types
from collections.abc import Iterator
from typing import Any

import pytest

from dycl.diagnostics import UNKNOWN, UnsupportedError
from dycl.passes.specialize.guard import Guard
from dycl.passes.specialize.signals import CallsBack


def _reentry(code: types.CodeType) -> CallsBack:
    return CallsBack(UnsupportedError("DY203", UNKNOWN, code.co_qualname))


@pytest.fixture
def threshold() -> Iterator[None]:
    """What a test sets it to is as it was afterwards."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


EMPTY = [()] * 500


@pytest.mark.usefixtures("threshold")
def test_whom_the_collector_tells_is_no_call_of_the_models() -> None:
    told: list[str] = []

    def callback(phase: str, info: dict[str, Any]) -> None:
        told.append(phase)

    gc.callbacks.append(callback)
    gc.set_threshold(5, 1, 1)
    try:
        list(map(list, EMPTY))
        assert told
        told.clear()
        with Guard(_reentry):
            list(map(list, EMPTY))
            meanwhile = list(told)
        assert not meanwhile
        list(map(list, EMPTY))
        assert told
    finally:
        gc.callbacks.remove(callback)


@pytest.mark.usefixtures("threshold")
def test_what_is_freed_meanwhile_does_not_run() -> None:
    """A generator that nobody can reach goes on when it is freed, to its `finally`."""

    def wait() -> Iterator[None]:
        try:
            yield
        finally:
            told.append("freed")

    told: list[str] = []
    gc.set_threshold(1 << 30)
    ring: list[Any] = [wait()]
    next(ring[0])
    ring.append(ring)
    del ring
    with Guard(_reentry):
        gc.set_threshold(5, 1, 1)
        list(map(list, EMPTY))
        meanwhile = list(told)
    assert not meanwhile
    gc.collect()
    assert told == ["freed"]


def test_a_key_function_is_a_call_of_the_models() -> None:
    with pytest.raises(CallsBack), Guard(_reentry):
        sorted([2, 1], key=lambda item: -item)
