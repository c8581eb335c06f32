"""Tells a fault of the machine from an exception of the model: only the latter may become control flow."""

from __future__ import annotations

import os
import re
import types

_HERE = os.path.dirname(__file__) + os.sep
_OWN_CLASS = "dycl.passes.specialize."
_OWN_CALL = re.compile(
    r"\b(Machine|Calls|Iteration|Natives|Journal|Joins|Symbols|Numbers|Operands|Emission|Recorder|Watch|Walker|Facts)\.\w+\(\)"
)
_SYMPY = f"{os.sep}sympy{os.sep}"
_FAKE = "'FakeTensor'"  # as Python words what such a one cannot do
_RAISES_THE_MODELS = frozenset({"raise_", "reraise"})  # instructions that raise what the model made


def is_own_fault(error: BaseException) -> bool:
    """Whether an exception comes from a mistake in the machine itself.

    Native code called by the machine raises from the machine's own frame as well, so the frame alone does not tell: a
    name or an attribute that the machine's code lacks does, and so do a wrong call of its methods and its assertions.
    """
    innermost = _innermost(error.__traceback__)
    if innermost is None:
        return False
    file, function = innermost.co_filename, innermost.co_name
    is_here = os.path.realpath(file).startswith(os.path.realpath(_HERE)) and not file.endswith("pymodels.py")
    if not is_here and _SYMPY in file:
        return not isinstance(error, ZeroDivisionError)  # of expressions that the machine alone computes with
    if not is_here:
        return "/dycl/frontend/" in file or "/dycl/ir/" in file
    match error:
        case NameError():
            return error.name is not None  # set where Python itself found no such name, not by `raise NameError(...)`
        case AttributeError():
            return type(error.obj).__module__.startswith(_OWN_CLASS)
        case AssertionError():
            return function not in _RAISES_THE_MODELS
        case TypeError():
            return _OWN_CALL.search(str(error)) is not None or "of type Scalar" in str(error)
        case _:
            return False


def _innermost(traceback: types.TracebackType | None) -> types.CodeType | None:
    if traceback is None:
        return None
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback.tb_frame.f_code


def as_said(error: Exception) -> Exception:
    """The exception as eager words it, which knows of no fake tensors."""
    if len(error.args) == 1 and isinstance(error.args[0], str) and _FAKE in error.args[0]:
        error.args = (error.args[0].replace(_FAKE, "'Tensor'"),)
    return error
