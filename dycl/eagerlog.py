"""What an eager run read out of its tensors: every conversion to Python, in order, with the line that asked.

`item`, `bool`, `int`, `float`, `index` all come down to one operation of torch, which is watched below Python, so that
conversions inside of torch's own functions are seen too; `equal` likewise. `tolist` reads memory directly and is
watched where Python calls it.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from dycl.diagnostics import UNKNOWN, SourceRange

_TORCH = str(Path(torch.__file__).parent)
_READS = ("aten::_local_scalar_dense", "aten::equal", "aten::is_nonzero", "aten::allclose")


@dataclass(frozen=True, slots=True)
class Read:
    """One value that left a tensor, and the innermost line outside torch that asked for it."""

    value: object
    loc: SourceRange


class EagerLog:
    """The values read from tensors while the log is entered."""

    def __init__(self) -> None:
        self.reads: list[Read] = []
        self._modes = (_CallLog(self), _DispatchLog(self))

    def __enter__(self) -> EagerLog:
        for mode in self._modes:
            mode.__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(*error)  # type: ignore[no-untyped-call]

    def add(self, value: object) -> None:
        """Note a value that is being read now."""
        loc = _find_caller()
        self.reads.extend(Read(leaf, loc) for leaf in _flatten(value))


class _DispatchLog(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, log: EagerLog) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._log = log

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func._schema.name in _READS:
            self._log.add(result)
        return result


class _CallLog(TorchFunctionMode):
    def __init__(self, log: EagerLog) -> None:
        super().__init__()
        self._log = log

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.Tensor.tolist and isinstance(result, list):  # of no dimension: one number, seen below
            self._log.add(result)
        return result


def _flatten(value: object) -> Iterator[object]:
    if isinstance(value, list):
        for item in value:
            yield from _flatten(item)
    else:
        yield value


def _find_caller() -> SourceRange:
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name != __file__ and not name.startswith(_TORCH):
            return SourceRange(name, frame.f_lineno, function=frame.f_code.co_qualname)
        frame = frame.f_back  # type: ignore[assignment]
    return UNKNOWN


def find_unmatched(
    observations: Sequence[tuple[SourceRange, object]], reads: Sequence[Read], rtol: float, atol: float
) -> tuple[SourceRange, object] | None:
    """The first observation of a program that the eager run did not make; None if it made them all.

    The program may read less than the source does (what nothing depends on is gone), never more and never otherwise.
    What a block reads of several subgraphs may come in another order than in the source: each observation is one read,
    at its own place if there is one.
    """
    unused = dict(enumerate(reads))
    for loc, value in observations:
        close = (at for at, read in unused.items() if _is_close(value, read.value, rtol, atol))
        here = (at for at, read in unused.items() if _is_at(read, loc) and _is_close(value, read.value, rtol, atol))
        found = next(itertools.chain(here, close), None)
        if found is None:
            return loc, value
        del unused[found]
    return None


def _is_at(read: Read, loc: SourceRange) -> bool:
    return (read.loc.file, read.loc.line) == (loc.file, loc.line)


def _is_close(value: object, read: object, rtol: float, atol: float) -> bool:
    if isinstance(value, bool):
        return value is bool(read)  # `bool(t)` reads the number; the program may ask torch for the bool
    if isinstance(value, float) and isinstance(read, float):
        return value == read or abs(value - read) <= atol + rtol * abs(read) or (value != value and read != read)
    return type(value) is type(read) and value == read
