"""The structure of a subgraph as a text that means the same in every process.

A key (`structure.py`) compares classes, functions and foreign objects by identity. Those that torch itself defines have
names, and what is behind a name is fixed by torch's version. A key with anything else in it has no text.
"""

from __future__ import annotations

import enum
import sys
from typing import Any

from dycl.ir.resolve import function_name
from dycl.passes.analysis.structure import Key, Same

_OWN = "torch.ops.aten."  # operators that torch defines; others under `torch.ops` are anybody's


def portable(key: Key) -> str | None:
    """A text that is equal for equal keys and differs for others, in whatever process; None where there is none."""
    try:
        return repr(_portable(key))
    except _Unnamed:
        return None


class _Unnamed(Exception):  # noqa: N818 (it is no error)
    """Something that only this process knows."""


def _portable(part: Any) -> Any:
    if isinstance(part, tuple):
        if part[:1] == ("function",) and not _is_torchs(part[1]):
            raise _Unnamed
        return tuple(_portable(item) for item in part)
    if isinstance(part, Same):
        return ("named", _name(part.held))
    if part is None or type(part) in (str, int, bool):
        return part
    raise _Unnamed


def _is_torchs(function: Any) -> bool:
    return isinstance(function, str) and (not function.startswith("torch.ops.") or function.startswith(_OWN))


def _name(held: Any) -> str:
    """The name of a class, a function or a member of an enumeration in torch, which leads back to it."""
    if isinstance(held, enum.Enum):
        return f"{_name(type(held))}.{held.name}"
    if callable(held) and not isinstance(held, type):
        name = function_name(held)
        if name is not None and _is_torchs(name):
            return name
    module, path = getattr(held, "__module__", None), getattr(held, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(path, str) or module.partition(".")[0] != "torch":
        raise _Unnamed
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    if found is not held:
        raise _Unnamed
    return f"{module}.{path}"
