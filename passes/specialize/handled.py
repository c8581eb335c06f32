"""What Python keeps about the exception that is being handled: the exception itself, but neither traceback nor context.

The standard library asks for more only to tidy it up; the model is refused it.
"""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING, Any

from dycl.diagnostics import UnsupportedError
from dycl.passes.specialize.builtins import model
from dycl.passes.specialize.origins import STDLIB, TORCH

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine

UNKEPT = ("__context__", "__traceback__")  # attributes of an exception


def check_kept(machine: Machine, name: str) -> None:
    """Refuse the model what is not kept of an exception."""
    if not machine.state.frames[-1].code.file.startswith((STDLIB, TORCH)):
        raise UnsupportedError(
            "DY203", machine.loc(), f"{name} of an exception", hint="use `except ... as error` and `raise ... from`"
        )


def handled_exception(machine: Machine) -> BaseException | None:
    """The exception that is being handled, innermost first."""
    return next((frame.exc for frame in reversed(machine.state.frames) if frame.exc is not None), None)


@model(sys.exc_info)
def _exc_info(machine: Machine, *, native: Any) -> Any:
    error = handled_exception(machine)
    if error is None:
        return None, None, None
    check_kept(machine, "exc_info()")
    return type(error), error, None


@model(sys.exception)
def _exception(machine: Machine, *, native: Any) -> Any:
    return handled_exception(machine)


@model(traceback.format_exc, traceback.print_exc)
def _traceback(machine: Machine, *args: Any, native: Any, **kwargs: Any) -> Any:
    check_kept(machine, f"{native.__name__}()")
    return NotImplemented
