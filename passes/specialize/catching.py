"""Whether a function would notice an exception: not where all that catches it is a `with` that lets it pass unseen."""

from __future__ import annotations

import contextlib
import types
from typing import Any

import torch

from dycl.frontend import code as ir
from dycl.frontend.checks import exception_class
from dycl.passes.specialize.state import Frame

# Of these `__exit__` keeps no exception, and what it sets nobody finds set otherwise after one.
_UNSEEING = (
    torch.no_grad,
    torch.enable_grad,
    torch.set_grad_enabled,
    torch.inference_mode,
    contextlib.nullcontext,
)


def sees(frame: Frame) -> bool:
    """Whether the frame's function has a handler for what is raised here, and could tell."""
    at = frame.current
    while (handler := frame.code.handlers[at]) is not None:
        if not _is_unseeing(frame, handler):
            return True
        at = handler
    return False


def _is_unseeing(frame: Frame, handler: int) -> bool:
    """Whether the handler is that of a `with` over such a manager: it begins with a call of its `__exit__`."""
    begin = frame.code.instructions[handler : handler + 5]
    if len(begin) < 5 or not isinstance(begin[1], ir.Const) or begin[1].value is not exception_class:
        return False
    leave: Any = frame.regs.get(begin[4].func) if isinstance(begin[4], ir.Call) else None
    return isinstance(leave, types.MethodType) and type(leave.__self__) in _UNSEEING
