"""Tables of torch's that its exporter makes anew for every graph, made once for as long as what they list is the same.

They list all operators of the process: which of them are composite, and which are taken apart for ONNX. That is a third
of the time of exporting a small subgraph, and the same every time.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch

from dycl.targets.onnx.division import register_divisions
from dycl.targets.onnx.recurrence import register_recurrences

_COMPOSITE = "_collect_all_valid_cia_ops"
_READERS = ("torch.export.exported_program", "torch.export.decomp_utils")  # modules that have that function's name
_TO_ONNX = "torch.onnx._internal.exporter._decomp.create_onnx_friendly_decomposition_table"


@functools.cache
def registry() -> Any:
    """The exporter's conversion functions."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    found = ONNXRegistry.from_torchlib()
    register_recurrences(found)
    register_divisions(found)
    return found


class _Kept:
    """A function of torch's that keeps its last result, while the operators that there are stay the same."""

    def __init__(self, function: Any) -> None:
        self._function = function
        self._seen: Any = None
        self._result: Any = None

    def __call__(self, *args: Any) -> Any:
        seen = (_operators(), args)
        if self._seen != seen:
            self._result = self._function(*args)
            self._seen = (_operators(), args)  # making the table makes operators known
        return self._result.copy()


def _operators() -> tuple[Any, ...]:
    """What the tables are made of: the operators in C++, those in Python, and how they are taken apart."""
    registered = torch._C._dispatch_get_registrations_for_dispatch_key("CompositeImplicitAutograd")
    return len(registered), tuple(torch.ops._dir), dict(torch._decomp.decomposition_table)


@functools.cache
def _composite() -> _Kept:
    from torch._export import utils

    return _Kept(utils._collect_all_valid_cia_ops)


@functools.cache
def _to_onnx() -> _Kept:
    from torch.onnx._internal.exporter import _decomp

    return _Kept(_decomp.create_onnx_friendly_decomposition_table)


@contextlib.contextmanager
def kept_tables() -> Iterator[None]:
    """Torch's exporter takes the tables from here; a version of torch that has none of them makes its own."""
    try:
        composite, to_onnx = _composite(), _to_onnx()
    except (ImportError, AttributeError):
        yield
        return
    with contextlib.ExitStack() as stack:
        for module in _READERS:
            stack.enter_context(mock.patch(f"{module}.{_COMPOSITE}", composite))
        stack.enter_context(mock.patch(_TO_ONNX, to_onnx))
        yield
