"""Iteration: the machine's own iterators in the place of native ones, and lists of run-time length."""

from __future__ import annotations

import collections
import gc
from typing import Any

import torch

from dycl.ir.program import SchemaKind
from dycl.passes.specialize import objects, pyiterators
from dycl.passes.specialize.arrayvalue import Array
from dycl.passes.specialize.builtins import Interpret
from dycl.passes.specialize.protocols import own_method
from dycl.passes.specialize.runtime_lists import RuntimeLists
from dycl.passes.specialize.textops import characters
from dycl.passes.specialize.values import (
    Generator,
    RangeIterator,
    RuntimeList,
    RuntimeObject,
    RuntimeRange,
    SequenceIterator,
    Text,
)

_VIEWS = {type({}.keys()): "keys", type({}.values()): "values", type({}.items()): "items"}


class Iteration(RuntimeLists):
    """The part of the machine that iterates."""

    def iterator(self, value: Any) -> Any:
        """`iter(value)` as the machine's own iterator, or `Interpret`."""
        kind = type(value)
        if kind in (RangeIterator, SequenceIterator, Generator):
            return value
        if kind is RuntimeRange:
            return Interpret(pyiterators.range_, (value.start, value.stop, value.step))
        if kind is RuntimeList:
            return SequenceIterator(value)
        if isinstance(value, Array):
            if value.fake.dim() and isinstance(value.fake.shape[0], torch.SymInt):
                return Interpret(pyiterators.array_rows, (value,))
            return SequenceIterator(tuple(self.array_rows(value)))
        if isinstance(value, torch.Tensor) and value.dim() and not isinstance(value.shape[0], int):
            return Interpret(pyiterators.tensor_rows, (value,))
        if kind is range:
            return RangeIterator(value.start, value.stop, value.step)
        if kind is list:
            return SequenceIterator(value)
        if kind is RuntimeObject:
            return self._object_iterator(value)
        own = getattr(kind, "__iter__", None)
        if self.is_steppable(own):
            return Interpret(own, (value,))
        if isinstance(value, Text):
            self.keep_text(value)
            return SequenceIterator(characters(self, value))  # type: ignore[arg-type]
        if kind in _VIEWS:
            (table,) = gc.get_referents(value)  # the dict that the view looks at: it may change meanwhile
            if type(table) in (dict, collections.defaultdict, collections.Counter):
                return SequenceIterator(tuple(table), table, view=_VIEWS[kind])
        items = tuple(self.native(iter, (value,), {}))
        return SequenceIterator(items, value if isinstance(value, (dict, set, collections.deque)) else None)

    def _object_iterator(self, value: RuntimeObject) -> Any:
        own = own_method(self, value, "__iter__")  # type: ignore[arg-type]
        if own is not None:
            return Interpret(own, (value,))
        if self.schemas[value.schema].kind is SchemaKind.LIST:
            return Interpret(pyiterators.list_items, (value,))
        return SequenceIterator(tuple(objects.items(self, value)))  # type: ignore[arg-type]

    def store_object_attribute(self, target: RuntimeObject, name: str, value: Any) -> None:
        """target.name = value, of an object of the caller's."""
        objects.store_attribute(self, target, name, value)  # type: ignore[arg-type]

    def object_length(self, value: RuntimeObject) -> Any:
        """len() of an object of the caller's."""
        return objects.length(self, value)  # type: ignore[arg-type]

    def plain_iterator(self, value: Any) -> Any:
        """Something iterable that a fork can copy: native views and iterators become the machine's own."""
        if isinstance(
            value, (list, tuple, range, RuntimeList, RuntimeObject, RuntimeRange, Generator, torch.Tensor)
        ) or self.is_steppable(getattr(type(value), "__iter__", None)):
            return value
        found = self.iterator(value)
        if isinstance(found, Interpret):
            return value  # the loop over it steps into that
        if isinstance(found, SequenceIterator) and found is not value and found.watched is None:
            found.is_private = True
        return found
