"""The guard of native code: Python of the model's own may not run inside of it."""

from __future__ import annotations

import gc
import types
from collections.abc import Callable
from typing import Any

from dycl.passes.specialize.callhook import borrow, give_back
from dycl.passes.specialize.origins import OWN, is_library
from dycl.passes.specialize.signals import CallsBack

_NATIVE_PACKAGES = frozenset({"builtins", "torch", "numpy", "dycl", "collections", "types", "enum", "functools", "re"})


class Guard:
    """While it is entered, a call of the model's own Python by native code is an error; None: nothing can be called.

    The collector waits meanwhile: who it tells of its work, and what objects do that it frees, are no calls of the
    model's, and it comes whenever it wants, whatever native code does.
    """

    def __init__(self, reentry: Callable[[types.CodeType], CallsBack] | None) -> None:
        self._reentry = reentry
        self._called: types.CodeType | None = None
        self._before: Any = None
        self._collects = False

    def __enter__(self) -> None:
        if self._reentry is not None:
            self._collects = gc.isenabled()
            gc.disable()
            self._before = borrow(self._watch)

    def __exit__(self, *error: object) -> None:
        if self._reentry is not None:
            give_back(self._before)
            if self._collects:
                gc.enable()
            if self._called is not None:  # native code may have swallowed the error
                raise self._reentry(self._called) from None

    def _watch(self, frame: types.FrameType, event: str, arg: object) -> None:
        if event != "call" or self._called is not None or is_library(frame.f_code.co_filename) or _imports(frame):
            return
        if self._reentry is not None:
            self._called = frame.f_code
            raise self._reentry(frame.f_code)


def _imports(frame: types.FrameType) -> bool:
    """Whether native code imports something: what finds modules and what is in them is none of the model's calls."""
    caller = frame.f_back
    while caller is not None and not caller.f_code.co_filename.startswith(OWN):
        if caller.f_code.co_filename.startswith("<frozen importlib"):
            return True
        caller = caller.f_back
    return False


def is_foreign(leaf: Any) -> bool:
    """Whether a class of the model's own could have special methods that native code calls."""
    kind = type(leaf)
    return kind.__module__.partition(".")[0] not in _NATIVE_PACKAGES or isinstance(leaf, types.FunctionType)
