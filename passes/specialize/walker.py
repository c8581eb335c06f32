"""The one traversal of values: copy, canonical key, block arguments and generalisation all see the same positions.

`Walker.state(s)` returns a copy of a state and collects, in traversal order, a hashable key and the run-time leaves:
tensors, scalars and run-time lists. Objects known before the run are atomic by identity; what the run made is copied;
a mutable native object that cannot be copied is refused, because both sides of a fork would share it.
"""

from __future__ import annotations

import collections
import contextvars
import datetime
import decimal
import enum
import fractions
import functools
import operator
import pathlib
import re
import types
from typing import Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensor

from dycl.passes.specialize.arrayvalue import Array
from dycl.passes.specialize.positions import KIND_OF
from dycl.passes.specialize.state import TRUTH, Frame, JournalEntry, State
from dycl.passes.specialize.values import (
    UNSET,
    Closure,
    Generator,
    RangeIterator,
    RuntimeList,
    RuntimeObject,
    RuntimeRange,
    Scalar,
    SequenceIterator,
    Text,
)
from dycl.passes.specialize.walkedcontainers import VIEWS
from dycl.passes.specialize.walkedobjects import WalkedObjects

_ATOMS: tuple[type, ...] = (
    types.FunctionType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.GetSetDescriptorType,
    types.ModuleType,
    types.CodeType,
    types.MappingProxyType,
    types.GenericAlias,
    type,
    property,
    staticmethod,
    classmethod,
    torch.nn.Module,
    torch.layout,
    torch.memory_format,
    torch.Generator,
    enum.Enum,
    re.Pattern,
    operator.itemgetter,  # those of before the run; `builtins` makes the others
    operator.attrgetter,
    datetime.date,
    datetime.timedelta,
    contextvars.ContextVar,
    np.dtype,
    type(UNSET),
)
_ATOMIC: dict[type, bool] = {}  # of each class met: whether all its objects are atoms
_VALUES: tuple[type, ...] = (torch.dtype, torch.device, decimal.Decimal, fractions.Fraction, pathlib.PurePath)
_LITERALS: tuple[type, ...] = (str, bytes, complex, type(None), type(Ellipsis), type(NotImplemented), np.generic)


class Walker(WalkedObjects):
    """Copies values and collects their canonical form; see the module docstring."""

    # ------------------------------------------------------------ values

    def walk(self, value: Any, general: bool = True) -> Any:
        """A copy of the value; its canonical form goes to the key. `general`: numbers in it may be generalised."""
        scope, count = self._scope, self._count
        self._scope, self._count = (*scope, count), 0
        copy = self._walk(value, general)
        self._scope, self._count = scope, count + 1
        return copy

    def _walk(self, value: Any, general: bool) -> Any:
        kind = type(value)
        if kind is Text or kind is str:
            return self._text(value, general)
        if kind in KIND_OF:
            return self._number(value, general)
        if isinstance(value, _LITERALS) and not isinstance(value, enum.Enum):
            self.key.append((kind, repr(value) if isinstance(value, (np.generic, complex)) else value))
            return value
        if kind is Scalar:
            return self._runtime_number(value, general)
        if isinstance(value, FakeTensor):
            return self._tensor(value, general)
        if kind is RuntimeObject:
            return self._runtime_object(value)
        if kind in (torch.SymInt, torch.SymFloat, torch.SymBool):
            found = self.machine.scalar_of(value)  # a number where the facts of the path tell it
            return self._runtime_number(found, general) if type(found) is Scalar else self.walk(found, general)
        if isinstance(value, _VALUES):
            self.key.append((kind, str(value)))
            return value
        if self._is_atom(value):
            self.key.append(("id", id(value)))
            self.machine.keep_alive(value)
            return value
        if id(value) in self._memo:
            number, copy = self._memo[id(value)]
            self.key.append(("ref", number))
            return copy
        self._keep.append(value)
        if id(value) in self.source.frozen:
            self.key.append("frozen")
        if self.machine.is_given(value):
            self.key.append("given")
            return self.machine.remember_given(self._object(value, False))
        return self._object(value, general)

    def _is_atom(self, value: Any) -> bool:
        if id(value) in self.machine.made_modules:
            return False
        kind: Any = type(value)
        is_atomic = _ATOMIC.get(kind)
        if is_atomic is None:
            is_atomic = _ATOMIC[kind] = (
                isinstance(value, (torch.Tensor, *_ATOMS)) or kind.__module__ in ("typing", "inspect") or kind is object
            )
        return is_atomic or (id(value) in self.machine.known_objects and not self.machine.is_given(value))

    def _object(self, value: Any, general: bool) -> Any:
        kind = type(value)
        maker = _MAKERS.get(kind)
        if maker is not None:
            return maker(self, value, general)
        if isinstance(value, BaseException):
            return self._exception(value)
        if isinstance(value, tuple):
            return self._named_tuple(value, general)
        if isinstance(value, dict):
            return self._dict_subclass(value)
        if isinstance(value, list):
            return self._list_subclass(value)
        return self._instance(value)

    # ------------------------------------------------------------ frames and states

    def _frame(self, value: Frame, general: bool) -> Any:
        live = value.live(is_waiting=value is not self.source.frames[-1])
        self.key.append(("frame", id(value.code), value.ip, value.result if isinstance(value.result, str) else None))
        copy = self._remember(value, Frame(value.code, value.globals))
        copy.ip, copy.current, copy.forks, copy.forms = value.ip, value.current, value.forks, value.forms
        scope = self._scope
        for name in sorted(value.regs):
            if name in live or name == TRUTH:
                self.key.append(name)
                self.place = (id(value.code), name)
                self._scope, self._count = (*scope, name), 0
                copy.regs[name] = self.walk(value.regs[name])
        for name in sorted(value.cells):
            self.place = (id(value.code), name)
            self._scope, self._count = (*scope, name), 0
            copy.cells[name] = self.walk(value.cells[name])
        self.place = None
        self._scope, self._count = scope, 0
        copy.exc = self.walk(value.exc)
        copy.pending = self.walk(value.pending)
        copy.result = self.walk(value.result, False)
        copy.owner = self.walk(value.owner)
        return copy

    def state(self) -> State:
        """A copy of the whole state."""
        source = self.source
        copy = State()
        copy.frames = [self.walk(frame) for frame in source.frames]
        if source.procedure is not None or source.given is not None:
            self.key.append(("procedure", None if source.procedure is None else source.procedure.number))
            self.place = None
            copy.procedure = source.procedure
            copy.given, copy.expected = self.walk(source.given, False), self.walk(source.expected, False)
        for key, entry in sorted(source.journal.items(), key=lambda item: (item[1].slot, item[1].kind)):
            self.key.append(("journal", key))
            self.place = key
            copy.journal[key] = JournalEntry(
                entry.target, entry.kind, entry.name, self.walk(entry.value), entry.original, entry.slot
            )
        for place, given in source.received.items():
            self.key.append(("received", place))
            self.place = ("received", *place)
            copy.received[place] = self.walk(given)
        for tensor in self.machine.stateful_fakes.values():  # written weights outlive the call, whoever holds them
            self.walk(tensor)
        for variable, held in source.contexts.items():
            self.key.append(("context variable", id(variable)))
            copy.contexts[variable] = self.walk(held)
        copy.waiting = [self.walk(generator) for generator in source.waiting]
        copy.fuzz, copy.needless = self.walk(source.fuzz), source.needless
        copy.block, copy.replay = source.block, list(source.replay)
        copy.facts = source.facts.copy()
        copy.current, copy.aliases = dict(source.current), dict(source.aliases)
        copy.forks, copy.is_dirty, copy.may_join = source.forks, source.is_dirty, source.may_join
        copy.has_asked, copy.is_split = source.has_asked, source.is_split
        copy.listed = source.listed
        copy.first_rounds, copy.has_left = source.first_rounds, source.has_left
        copy.frozen = {id(self._memo[key][1]): self._memo[key][1] for key in source.frozen if key in self._memo}
        if source.replay:  # what an interrupted instruction got out of a list it will get again
            copy.frozen |= {key: value for key, value in source.frozen.items() if key not in self._memo}
        return copy

    def forget_objects(self) -> None:
        """Walk containers again as if they were new; tensors and numbers stay known."""
        self._memo = {}

    def objects_met(self) -> dict[int, Any]:
        """The containers met since, by the order in which they were."""
        numbers = {id(value): value for value in self._keep}
        return {number: numbers[key] for key, (number, _) in self._memo.items() if key in numbers}

    def number_of(self, value: Any) -> int | None:
        """Which of the containers met since it is."""
        found = self._memo.get(id(value))
        return None if found is None else found[0]

    def is_atom(self, value: Any) -> bool:
        """Whether a value is known by its identity alone."""
        return self._is_atom(value)


_MAKERS: dict[type, Any] = {
    tuple: Walker._tuple,
    torch.Size: Walker._size,
    list: Walker._list,
    collections.deque: Walker._deque,
    set: Walker._set,
    frozenset: Walker._set,
    dict: Walker._dict,
    collections.OrderedDict: Walker._dict,
    collections.defaultdict: Walker._dict,
    collections.Counter: Walker._dict,
    **dict.fromkeys(VIEWS, Walker._view),
    Array: Walker._array,
    np.ndarray: Walker._static_array,
    slice: Walker._slice,
    range: Walker._range,
    types.CellType: Walker._cell,
    types.MethodType: Walker._method,
    super: Walker._super,
    types.BuiltinFunctionType: Walker._builtin,
    types.MethodWrapperType: Walker._builtin,
    functools.partial: Walker._partial,
    Closure: Walker._closure,
    RangeIterator: Walker._range_iterator,
    RuntimeRange: Walker._runtime_range,
    RuntimeList: lambda walker, value, general: walker._remember(value, walker._runtime_list(value)),
    SequenceIterator: Walker._sequence_iterator,
    Generator: Walker._generator,
    Frame: Walker._frame,
}
