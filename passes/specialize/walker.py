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
import gc
import operator
import pathlib
import re
import sys
import types
from typing import Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensor

from dycl.diagnostics import UnsupportedError
from dycl.passes.specialize.arrayvalue import Array, array_root
from dycl.passes.specialize.lists import LIST_METHODS
from dycl.passes.specialize.positions import KIND_OF, ListSlot, Positions
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
    TextPart,
)
from dycl.passes.specialize.weights import slot_names

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


class Walker(Positions):
    """Copies values and collects their canonical form; see the module docstring."""

    def __init__(self, machine: Any, state: State, **options: Any) -> None:
        super().__init__(machine, state, **options)
        self._memo: dict[int, tuple[int, Any]] = {}
        self._keep: list[Any] = []
        self._gone_through: set[int] = set()  # what an iterator alone holds: what remains is no list that grows
        # what fills a container that stays the one it was: a list of the state, but never one of run-time length
        self._contents = {id(entry.value) for entry in state.journal.values() if entry.kind == "content"}

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
        if kind is Text:
            self.key.append(
                ("text", tuple(part if isinstance(part, str) else (part.conversion, part.spec) for part in value.parts))
            )
            return Text.of(
                *[
                    part if isinstance(part, str) else TextPart(self.walk(part.value), part.conversion, part.spec)
                    for part in value.parts
                ]
            )
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

    def _remember(self, value: Any, copy: Any) -> Any:
        self._memo[id(value)] = (len(self._memo), copy)
        return copy

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

    def _tuple(self, value: tuple[Any, ...], general: bool) -> Any:
        start, address = len(self.key), self._scope
        replacement = self.list_substitute.get(address)
        if replacement is not None:
            return self._generalised(value, replacement)
        self.key.append(("tuple", len(value)))
        items = tuple([self.walk(item, general) for item in value])
        if general and id(value) not in self._gone_through and _may_grow(value):
            self.list_slots.append(ListSlot(address, self.place, start, len(self.key), value))
        # an unchanged tuple keeps its identity, which `is` may ask about
        return self._remember(value, value if all(a is b for a, b in zip(items, value, strict=True)) else items)

    def _size(self, value: torch.Size, general: bool) -> Any:
        self.key.append(("size", len(value)))
        tokens, sizes = self._sizes(value)
        self.key.append(tokens)
        if not self.respell and not self.size_substitute:
            return self._remember(value, value)
        return self._remember(value, torch.Size([self.machine.sym_size(size) for size in self.new_shape(sizes)]))

    def _named_tuple(self, value: Any, general: bool) -> Any:
        kind = type(value)
        self.key.append((kind, len(value)))
        items = [self.walk(item, general) for item in value]
        return self._remember(value, kind(*items) if hasattr(kind, "_fields") else kind(items))

    def _list(self, value: list[Any], general: bool) -> Any:
        start = len(self.key)
        replacement = self.list_substitute.get(self._scope)
        if replacement is not None:
            return self._generalised(value, replacement)
        self.key.append((list, len(value)))
        copy: list[Any] = self._remember(value, [])
        address = self._scope
        copy.extend([self.walk(item, general) for item in value])
        if general and id(value) not in self._contents and id(value) not in self._gone_through:
            self.list_slots.append(ListSlot(address, self.place, start, len(self.key), value))
        return copy

    def _generalised(self, value: list[Any] | tuple[Any, ...], replacement: RuntimeList) -> Any:
        """The run-time list that a list or tuple becomes."""
        start = len(self.key)
        self.list_slots.append(ListSlot(self._scope, self.place, start, start + 1, replacement))
        self.key.append(("L", replacement.kind, replacement.element, self._list_class(replacement)))
        return self._remember(value, replacement)

    def _deque(self, value: collections.deque[Any], general: bool) -> Any:
        self.key.append(("deque", len(value), value.maxlen))
        copy: collections.deque[Any] = self._remember(value, collections.deque(maxlen=value.maxlen))
        copy.extend([self.walk(item, general) for item in value])
        return copy

    def _set(self, value: Any, general: bool) -> Any:
        kind = type(value)
        self.key.append((kind, len(value)))
        items = [self.walk(item, False) for item in value]
        # The order of a set depends on its history; the copy must go on in the same one.
        same_items = all(new is old for new, old in zip(items, value, strict=True))
        for copy in (value.copy() if same_items else kind(items), kind(items), kind(reversed(items))):
            if all(new is old for new, old in zip(copy, items, strict=True)):
                self._note_table(value, copy)
                return self._remember(value, copy)
        raise UnsupportedError(
            "DY205", self.machine.loc(), "a set whose order a copy does not have", hint="use a dict or a sorted list"
        )

    def _dict(self, value: dict[Any, Any], general: bool) -> Any:
        kind = type(value)
        self.key.append((kind, len(value)))
        copy: Any = (
            collections.defaultdict(value.default_factory) if isinstance(value, collections.defaultdict) else kind()
        )
        self._remember(value, copy)
        for key, item in list(value.items()):
            copy[self.walk(key, False)] = self.walk(item, general)
        self._note_table(value, copy)
        return copy

    def _note_table(self, value: Any, copy: Any) -> None:
        """A dict or set is copied: where it was made stays known."""
        site = self.machine.table_sites.get(id(value))
        if site is not None:
            self.machine.table_sites[id(copy)] = site
            self.machine.keep_alive(copy)

    def _view(self, value: Any, general: bool) -> Any:
        kind = type(value)
        (table,) = gc.get_referents(value)
        self.key.append(("view", _VIEWS[kind]))
        return self._remember(value, getattr(self.walk(table), _VIEWS[kind])())

    def _array(self, value: Array, general: bool) -> Any:
        self.key.append(("array", value.form))
        return self._remember(value, Array(self.walk(value.fake), value.form))

    def _static_array(self, value: np.ndarray, general: bool) -> Any:
        """A copy of an array that the run has made; of a view, the same view of a copy of what it looks at."""
        root = array_root(value)
        if not (root.flags.c_contiguous or root.flags.f_contiguous):
            raise self._uncopyable(value)
        self.key.append(("ndarray", value.dtype.str, value.shape, value.strides))
        if root is value:
            copy = self._remember(value, value.copy(order="K"))
            if value.dtype == object:
                for index in np.ndindex(value.shape):
                    copy[index] = self.walk(value[index])
            else:
                self.key.append(value.tobytes())
            self.machine.copied_array(value, copy)
            return copy
        base = self.walk(root)
        offset = value.__array_interface__["data"][0] - root.__array_interface__["data"][0]
        self.key.append(offset)
        copy = np.ndarray(value.shape, value.dtype, buffer=base, offset=offset, strides=value.strides)
        return self._remember(value, copy)

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
        copy.items = self.walk(items)
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

    def _dict_subclass(self, value: Any) -> Any:
        kind: Any = type(value)
        if kind.__reduce_ex__ is not object.__reduce_ex__ and kind.__module__.partition(".")[0] in (
            "builtins",
            "collections",
        ):
            raise self._uncopyable(value)
        self.key.append((kind, len(value), tuple(vars(value)) if hasattr(value, "__dict__") else ()))
        copy: Any = self._remember(value, kind.__new__(kind))
        store = collections.OrderedDict.__setitem__ if isinstance(value, collections.OrderedDict) else dict.__setitem__
        items = list(
            collections.OrderedDict.items(value) if isinstance(value, collections.OrderedDict) else dict.items(value)
        )
        for key, item in items:
            store(copy, self.walk(key, False), self.walk(item))
        for name, item in list(getattr(value, "__dict__", {}).items()):
            object.__setattr__(copy, name, self.walk(item))
        return copy

    def _list_subclass(self, value: Any) -> Any:
        """A list with methods or attributes of its own: how many items it has is always known."""
        kind: Any = type(value)
        if kind.__reduce_ex__ is not object.__reduce_ex__ or kind.__module__ == "builtins" or slot_names(kind):
            raise self._uncopyable(value)
        self.key.append((kind, list.__len__(value), tuple(vars(value))))
        copy: Any = self._remember(value, kind.__new__(kind))
        for item in list.__iter__(value):
            list.append(copy, self.walk(item))
        for name, item in vars(value).items():
            copy.__dict__[name] = self.walk(item)
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

    def _uncopyable(self, value: Any) -> UnsupportedError:
        return UnsupportedError(
            "DY205",
            self.machine.loc(),
            f"a {type(value).__module__}.{type(value).__qualname__} object would be shared by both sides of a branch",
            hint="keep its content in a list, a dict or an object of a Python class",
        )

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
        copy.result = self.walk(value.result)
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


def _may_grow(items: tuple[Any, ...]) -> bool:
    """Whether a tuple may be one that a loop makes longer: it is empty, or holds what only the run knows."""
    return not items or any(isinstance(item, (FakeTensor, Scalar, Text, RuntimeList, tuple)) for item in items)


_VIEWS: dict[type, str] = {type({}.keys()): "keys", type({}.values()): "values", type({}.items()): "items"}
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
    **dict.fromkeys(_VIEWS, Walker._view),
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
