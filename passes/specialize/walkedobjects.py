"""How callables, iterators and instances are walked: the part of the walker that copies what is not a container."""

from __future__ import annotations

import functools
import sys
import types
from typing import Any

import torch

from dycl.diagnostics import UnsupportedError
from dycl.passes.specialize.lists import LIST_METHODS
from dycl.passes.specialize.values import (
    Closure,
    Generator,
    RangeIterator,
    RuntimeList,
    RuntimeRange,
    SequenceIterator,
)
from dycl.passes.specialize.walkedcontainers import WalkedContainers
from dycl.passes.specialize.weights import slot_names


class WalkedObjects(WalkedContainers):
    """The part of the walker that goes through callables, iterators and instances."""

    def _slice(self, value: slice, general: bool) -> Any:
        self.key.append("slice")
        return self._remember(value, slice(*[self.walk(part, False) for part in (value.start, value.stop, value.step)]))

    def _range(self, value: range, general: bool) -> Any:
        self.key.append(("range", value.start, value.stop, value.step))
        return value

    def _cell(self, value: types.CellType, general: bool) -> Any:
        self.key.append("cell")
        copy = self._remember(value, types.CellType())
        try:
            content = value.cell_contents
        except ValueError:
            return copy
        copy.cell_contents = self.walk(content)
        return copy

    def _method(self, value: types.MethodType, general: bool) -> Any:
        if isinstance(value.__self__, RuntimeList):
            return self._list_method(value, value.__func__.__name__)
        self.key.append("method")
        return self._remember(value, types.MethodType(self.walk(value.__func__), self.walk(value.__self__)))

    def _super(self, value: Any, general: bool) -> Any:
        self.key.append(("super", id(value.__thisclass__)))
        return self._remember(value, super(value.__thisclass__, self.walk(value.__self__)))

    def _builtin(self, value: types.BuiltinMethodType, general: bool) -> Any:
        if value.__self__ is None or isinstance(value.__self__, (types.ModuleType, type)):
            self.key.append(("id", id(value)))
            return value
        if type(value.__self__) in (list, tuple):
            return self._list_method(value, value.__name__)
        self.key.append(("builtin method", value.__name__))
        return self._remember(value, getattr(self.walk(value.__self__), value.__name__))

    def _list_method(self, value: Any, name: str) -> Any:
        """A bound method of a list, which may be generalised between its look-up and its call."""
        self.key.append(("builtin method", name))
        items = self.walk(value.__self__)
        if not isinstance(items, RuntimeList):
            return self._remember(value, getattr(items, name))
        if name not in LIST_METHODS:
            self.machine.keep_static(items)
            raise UnsupportedError("DY203", self.machine.loc(), f"{items.kind.__name__}.{name} of run-time length")
        return self._remember(value, types.MethodType(LIST_METHODS[name], items))

    def _partial(self, value: functools.partial[Any], general: bool) -> Any:
        self.key.append(("partial", len(value.args), tuple(value.keywords)))
        function = self.walk(value.func)
        args = [self.walk(item) for item in value.args]
        keywords = {name: self.walk(item) for name, item in value.keywords.items()}
        return self._remember(value, functools.partial(function, *args, **keywords))

    def _closure(self, value: Closure, general: bool) -> Any:
        self.key.append(("closure", id(value.code), tuple(sorted(value.cells)), tuple(value.__dict__)))
        copy = self._remember(value, Closure(value.code, value.globals))
        copy.cells = {name: self.walk(value.cells[name]) for name in sorted(value.cells)}
        copy.defaults = tuple(self.walk(item) for item in value.defaults)
        copy.keyword_defaults = {name: self.walk(item) for name, item in value.keyword_defaults.items()}
        copy.__dict__.update({name: self.walk(item) for name, item in value.__dict__.items()})
        return copy

    def _range_iterator(self, value: RangeIterator, general: bool) -> Any:
        self.key.append("range iterator")
        copy = self._remember(value, RangeIterator(0, 0, 1))
        self._note_limit(value)
        copy.current = self.walk(value.current)
        copy.stop = self.walk(value.stop)
        copy.step = self.walk(value.step, False)
        return copy

    def _runtime_range(self, value: RuntimeRange, general: bool) -> Any:
        self.key.append("run-time range")
        return self._remember(value, RuntimeRange(self.walk(value.start), self.walk(value.stop), self.walk(value.step)))

    def _sequence_iterator(self, value: SequenceIterator, general: bool) -> Any:
        items, index = value.items, value.index
        # Elements already consumed are dead if nobody else sees the list: then the key is what remains.
        is_own = isinstance(items, tuple) or (type(items) is list and sys.getrefcount(items) <= 3)
        if value.watched is None and is_own and type(index) is int:
            items, index = items[index:], 0  # type: ignore[index]
        self.key.append(("iterator", value.watched_size, value.view))
        copy = self._remember(value, SequenceIterator(()))
        if type(items) is tuple or (is_own and type(items) is list):
            self._gone_through.add(id(items))
            self._keep.append(items)
        copy.items = self.walk(items, value.watched is None)  # keys of a dict, by which it is looked up, stay known
        if isinstance(copy.items, RuntimeList):
            copy.index = self.walk(index)
        else:  # it is known as long as the items are
            self.key.append(("index", index))
            copy.index = index
        copy.watched = self.walk(value.watched)
        copy.watched_size, copy.view = value.watched_size, value.view
        return copy

    def _generator(self, value: Generator, general: bool) -> Any:
        self.key.append(("generator", value.is_done, value.is_started))
        copy = self._remember(value, Generator(value.frame))
        copy.is_done, copy.is_started = value.is_done, value.is_started
        if not value.is_done:
            copy.frame = self.walk(value.frame)
        if value.buffer is not None:  # what the machine itself collects stays a list, whatever its length
            self.key.append(("buffer", len(value.buffer)))
            copy.buffer = [self.walk(item) for item in value.buffer]
        return copy

    def _exception(self, value: BaseException) -> Any:
        kind = type(value)
        self.key.append((kind, "exception", tuple(vars(value))))
        copy = self._remember(value, kind.__new__(kind))
        copy.args = tuple(self.walk(item) for item in value.args)
        copy.__dict__.update({name: self.walk(item) for name, item in vars(value).items()})
        copy.__cause__ = self.walk(value.__cause__)
        copy.__suppress_context__ = value.__suppress_context__
        return copy

    def _instance(self, value: Any) -> Any:
        kind: Any = type(value)
        names = slot_names(kind)
        if (
            kind.__reduce_ex__ is not object.__reduce_ex__
            or kind.__module__ == "builtins"
            or not (hasattr(value, "__dict__") or names)
        ):
            raise self._uncopyable(value)
        try:
            copy = kind() if kind is types.SimpleNamespace else object.__new__(kind)
            if isinstance(value, torch.nn.Module):
                self.machine.made_modules[id(copy)] = copy
        except TypeError:
            raise self._uncopyable(value) from None
        attributes = dict(getattr(value, "__dict__", {}))
        self.key.append((kind, tuple(attributes)))
        self._remember(value, copy)
        for name, item in attributes.items():
            copy.__dict__[name] = self.walk(item)
        for name in names:
            if hasattr(value, name):
                self.key.append(name)
                object.__setattr__(copy, name, self.walk(getattr(value, name)))
        return copy
