"""Python of the model's own inside of native code is found; what the collector calls is none of the model's."""

from __future__ import annotations

import gc
import types
from typing import Any

import pytest

from dycl.diagnostics import UNKNOWN, UnsupportedError
from dycl.passes.specialize.guard import Guard
from dycl.passes.specialize.signals import CallsBack


def _reentry(code: types.CodeType) -> CallsBack:
    return CallsBack(UnsupportedError("DY203", UNKNOWN, code.co_qualname))


def test_a_callback_of_the_collector_is_no_call_of_the_models() -> None:
    told: list[str] = []

    def note(phase: str) -> None:
        told.append(phase)

    def callback(phase: str, info: dict[str, Any]) -> None:
        note(phase)

    gc.callbacks.append(callback)
    try:
        with Guard(_reentry):
            gc.collect()
    finally:
        gc.callbacks.remove(callback)
    assert told == ["start", "stop"]


def test_a_key_function_is_a_call_of_the_models() -> None:
    with pytest.raises(CallsBack), Guard(_reentry):
        sorted([2, 1], key=lambda item: -item)
