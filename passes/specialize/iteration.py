"""Iteration: the machine's own iterators in the place of native ones, and lists of run-time length."""

from __future__ import annotations

import collections
import gc
from typing import Any

import torch

from dycl.diagnostics import UnsupportedError
from dycl.ir.nodes import HostOp, Ref, ScalarKind, ScalarType, TensorType
from dycl.passes.specialize import pymodels
from dycl.passes.specialize.arrayvalue import Array
from dycl.passes.specialize.builtins import Interpret
from dycl.passes.specialize.natives import Natives
from dycl.passes.specialize.scalars import kind_of
from dycl.passes.specialize.values import (
    Generator,
    RangeIterator,
    RuntimeList,
    RuntimeRange,
    Scalar,
    SequenceIterator,
    Text,
)

_VIEWS = {type({}.keys()): "keys", type({}.values()): "values", type({}.items()): "items"}


class Iteration(Natives):
    """The part of the machine that iterates."""

    def iterator(self, value: Any) -> Any:
        """`iter(value)` as the machine's own iterator, or `Interpret`."""
        kind = type(value)
        if kind in (RangeIterator, SequenceIterator, Generator):
            return value
        if kind is RuntimeRange:
            return Interpret(pymodels.range_, (value.start, value.stop, value.step))
        if kind is RuntimeList:
            return Interpret(pymodels.list_items, (value,))
        if isinstance(value, Array):
            if value.fake.dim() and isinstance(value.fake.shape[0], torch.SymInt):
                return Interpret(pymodels.array_rows, (value,))
            return SequenceIterator(tuple(self.array_rows(value)))
        if isinstance(value, torch.Tensor) and value.dim() and not isinstance(value.shape[0], int):
            return Interpret(pymodels.tensor_rows, (value,))
        if kind is range:
            return RangeIterator(value.start, value.stop, value.step)
        if kind is list:
            return SequenceIterator(value)
        own = getattr(kind, "__iter__", None)
        if self.is_steppable(own):
            return Interpret(own, (value,))
        if isinstance(value, Text):
            raise UnsupportedError("DY204", self.loc(), "iteration over a text with run-time numbers")
        if kind in _VIEWS:
            (table,) = gc.get_referents(value)  # the dict that the view looks at: it may change meanwhile
            if type(table) in (dict, collections.defaultdict, collections.Counter):
                return SequenceIterator(tuple(table), table, view=_VIEWS[kind])
        items = tuple(self.native(iter, (value,), {}))
        return SequenceIterator(items, value if isinstance(value, (dict, set, collections.deque)) else None)

    def plain_iterator(self, value: Any) -> Any:
        """Something iterable that a fork can copy: native views and iterators become the machine's own."""
        if isinstance(
            value, (list, tuple, range, RuntimeList, RuntimeRange, Generator, torch.Tensor)
        ) or self.is_steppable(getattr(type(value), "__iter__", None)):
            return value
        found = self.iterator(value)
        if isinstance(found, SequenceIterator) and found is not value and found.watched is None:
            found.is_private = True
        return found

    def list_length(self, items: RuntimeList) -> Scalar:
        """len() of a run-time list."""
        call = ("list_len", items.vid)
        found, out = self.replayed(call)
        if found:
            return out  # type: ignore[no-any-return]
        length = self.host_op("list_len", (self.operand(items),), ScalarKind.INT)
        self._give_symbol(length)
        self.bound_symbol(length.expr, 0, None)
        self.log(call, length)
        return length

    def list_append(self, items: RuntimeList, value: Any) -> None:
        """items.append(value)."""
        value = self.list_value(items, value)
        old = items.vid
        items.vid = self.values.new(items.type, self.values.names.get(old, ""))
        self.emit_list("list_append", (old, value), items.vid)

    def list_get(self, items: RuntimeList, index: Any) -> Any:
        """items[index], with the index checked as a decision."""
        length = self.list_length(items)
        position = index if self.truth(index >= 0) else self.host("add", index, length)
        if not (self.truth(self.host("ge", position, 0)) and self.truth(self.host("lt", position, length))):
            raise IndexError("list index out of range")
        call = ("list_get", items.vid, getattr(position, "vid", position), getattr(position, "expr", None))
        found, out = self.replayed(call)
        if found:
            return out
        assert isinstance(items.element, ScalarType)
        got = self.host_op("list_get", (self.operand(items), self.operand(position)), items.element.kind)
        if got.kind is ScalarKind.INT:
            self._give_symbol(got)
        self.log(call, got)
        return got

    def list_value(self, items: RuntimeList, value: Any) -> Any:
        """A value that such a list can hold."""
        element = items.element
        is_number = isinstance(value, (Scalar, bool, int, float))
        if is_number and isinstance(element, ScalarType) and kind_of(value) is element.kind:
            return value
        raise UnsupportedError(
            "DY204",
            self.loc(),
            f"a {type(value).__name__} in a list of run-time length that holds {_element_text(items.element)}",
        )

    def emit_list(self, name: str, args: tuple[Any, ...], vid: Any) -> None:
        """Emit a host operation that makes a list."""
        old, value = args
        self.emit(HostOp(function=name, args=(Ref(old), self.operand(value)), result=self.value(vid), loc=self.loc()))


def _element_text(element: TensorType | ScalarType) -> str:
    return element.kind.value if isinstance(element, ScalarType) else "tensors"
