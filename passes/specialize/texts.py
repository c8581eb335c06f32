"""`str.format` and `%` with run-time numbers: the same text, put together field by field."""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING, Any

import torch

from dycl.diagnostics import UnsupportedError
from dycl.ir.values import ScalarKind
from dycl.passes.specialize.builtins import has_runtime
from dycl.passes.specialize.values import Scalar, Text

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine

_FIELD = re.compile(r"%(?:%|([+0]*)(\d*)((?:\.\d+)?)([srdifeEgG]))")
_KINDS = {"d": ScalarKind.INT, "i": ScalarKind.INT}


def format_text(machine: Machine, text: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """text.format(*args, **kwargs)"""
    parts: list[Any] = []
    position = 0
    for literal, name, spec, conversion in string.Formatter().parse(text):
        parts.append(literal)
        if name is None:
            continue
        if not re.fullmatch(r"\w*", name) or "{" in (spec or ""):
            raise _unsupported(machine, "a nested field of str.format()")
        if name == "":
            name, position = str(position), position + 1
        value = args[int(name)] if name.isdecimal() else kwargs[name]
        parts.append(machine.formatted(value, conversion or "", spec or ""))
    return Text.of(*parts)


def percent_text(machine: Machine, text: str, values: Any) -> Any:
    """text % values"""
    given = list(values) if isinstance(values, tuple) else [values]
    parts: list[Any] = []
    end = 0
    for found in _FIELD.finditer(text):
        parts.append(text[end : found.start()])
        end = found.end()
        if found.group() == "%%":
            parts.append("%")
            continue
        if not given:
            raise TypeError("not enough arguments for format string")
        parts.append(_percent_field(machine, given.pop(0), *found.groups()))
    if "%" in text[end:] or any("%" in part for part in parts if type(part) is str and part != "%"):
        raise _unsupported(machine, "this format")
    if given:
        raise TypeError("not all arguments converted during string formatting")
    return Text.of(*parts, text[end:])


def _percent_field(machine: Machine, value: Any, flags: str, width: str, precision: str, kind: str) -> Any:
    if isinstance(value, torch.Tensor) and kind not in "sr":
        value = machine.recorder.item(value)
    if not has_runtime(value) and not isinstance(value, torch.Tensor):
        return f"%{flags}{width}{precision}{kind}" % value
    if kind in "sr" and not (flags or width or precision):
        return machine.formatted(value, kind, "")
    is_number = isinstance(value, Scalar) and value.kind in (ScalarKind.INT, ScalarKind.FLOAT)
    if kind in "sr" or not is_number or (kind in _KINDS and (value.kind is not _KINDS[kind] or precision)):
        raise _unsupported(machine, f"%{flags}{width}{precision}{kind} of a run-time value")
    sign = "+" if "+" in flags else ""
    zero = "0" if "0" in flags else ""
    return machine.formatted(value, "", f"{sign}{zero}{width}{precision}{'d' if kind == 'i' else kind}")


def _unsupported(machine: Machine, what: str) -> UnsupportedError:
    return UnsupportedError("DY204", machine.loc(), f"{what} with run-time numbers", hint="write an f-string")
