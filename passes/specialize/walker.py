"""The one traversal of values: copy, canonical key, block arguments and generalisation all see the same positions.

`Walker.state(s)` returns a copy of a state and collects, in traversal order, a hashable key and the run-time leaves:
tensors, scalars and run-time lists. Objects known before the run are atomic by identity; what the run made is copied;
a mutable native object that cannot be copied is refused, because both sides of a fork would share it.
"""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import fractions
import functools
import gc
import pathlib
import re
import sys
import types
from typing import Any

import numpy as np
import sympy
import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._sympy.functions import Max

from dycl.diagnostics import UnsupportedError
from dycl.ir.nodes import ScalarKind, ValueId
from dycl.passes.specialize.arrayvalue import Array, array_root
from dycl.passes.specialize.facts import EVERYTHING, Facts
from dycl.passes.specialize.signals import Restart
from dycl.passes.specialize.state import TRUTH, Frame, JournalEntry, State
from dycl.passes.specialize.values import (
    UNSET,
    Closure,
    Generator,
    RangeIterator,
    RuntimeList,
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
    datetime.date,
    datetime.timedelta,
    np.dtype,
    type(UNSET),
)
_VALUES: tuple[type, ...] = (torch.dtype, torch.device, decimal.Decimal, fractions.Fraction, pathlib.PurePath)
_LITERALS: tuple[type, ...] = (str, bytes, complex, type(None), type(Ellipsis), type(NotImplemented), np.generic)
_KIND_OF: dict[type, ScalarKind] = {int: ScalarKind.INT, float: ScalarKind.FLOAT, bool: ScalarKind.BOOL}


class Slot:
    """A numeric position that may be generalised: where in the key it stands and what it holds."""

    __slots__ = ("items", "kind", "place", "token", "value")

    def __init__(self, token: int, kind: ScalarKind, value: Any, place: Any, items: Any = ()) -> None:
        self.place = place
        self.items = items
        self.token = token
        self.kind = kind
        self.value = value


class Walker:
    """Copies values and collects their canonical form; see the module docstring.

    `substitute` gives new scalars for numeric positions (by index), `respell` new symbols for integer expressions.
    """

    def __init__(
        self,
        machine: Any,
        state: State,
        *,
        substitute: dict[int, Scalar] | None = None,
        lists: dict[int, RuntimeList] | None = None,
        respell: dict[sympy.Basic, Scalar] | None = None,
        retensor: dict[ValueId, FakeTensor] | None = None,
    ) -> None:
        self.machine = machine
        self.source = state
        self.substitute = substitute or {}
        self.list_substitute = lists or {}
        self.respell = respell or {}
        self.retensor = retensor or {}
        self.key: list[Any] = []
        self.tensors: list[FakeTensor] = []
        self.scalars: list[Scalar] = []  # one per class of equal values
        self.lists: list[RuntimeList] = []
        self.sizes: set[sympy.Basic] = set()  # the dimensions of the tensors that only the run knows
        self.slots: list[Slot] = []
        self.list_slots: list[Slot] = []
        self.known_slots: list[tuple[Any, str | None]] = []  # of each tensor: the place and what is known of its value
        self.forgotten: dict[ValueId, FakeTensor] = {}  # tensors whose known values the hints drop
        self._tensor_index: dict[Any, int] = {}
        self._storage_index: dict[int, int] = {}
        self._scalar_index: dict[Any, int] = {}
        self._memo: dict[int, tuple[int, Any]] = {}
        self._keep: list[Any] = []
        # what fills a container that stays the one it was: a list of the state, but never one of run-time length
        self._contents = {id(entry.value) for entry in state.journal.values() if entry.kind == "content"}
        self.place: Any = None  # the function and variable being walked

    # ------------------------------------------------------------ leaves

    def _scalar_class(self, scalar: Scalar) -> int:
        name: Any = scalar.vid if scalar.expr is None or scalar.kind is not ScalarKind.INT else scalar.expr
        index = self._scalar_index.get(name)
        if index is None:
            index = self._scalar_index[name] = len(self.scalars)
            self.scalars.append(scalar)
        return index

    def _dimension(self, size: Any) -> Any:
        if not isinstance(size, torch.SymInt):
            return int(size)
        expr = size.node.expr
        if expr.is_Integer:
            return int(expr)
        return ("s", self._scalar_class(self.machine.scalar_of_expr(expr)))

    def _layout(self, tensor: FakeTensor) -> Any:
        """How the elements lie in memory, which `view` and `is_contiguous` ask about: "dense", or the strides."""
        if is_dense(tensor):
            return "dense"
        return tuple(self._dimension(stride) for stride in strides(tensor))

    def _tensor(self, tensor: FakeTensor) -> Any:
        vid = self.machine.current_vid(tensor, self.source)
        index = self._tensor_index.get(vid)
        if index is not None:
            self.key.append(("t", index))
            return self.retensor.get(vid, tensor)
        index = self._tensor_index[vid] = len(self.tensors)
        self.tensors.append(tensor)
        memory = self.machine.memory_group(self.machine.memory_of(tensor))
        storage = self._storage_index.setdefault(memory, index)
        sizes: tuple[Any, ...] = tensor.shape
        shape = tuple(self._dimension(size) for size in sizes), self._layout(tensor)
        self.sizes.update(size.node.expr for size in sizes if isinstance(size, torch.SymInt))
        known = self.machine.known.get(vid)
        if known is not None and self.place in self.machine.hints.forget_known:
            self.forgotten[vid] = tensor
            known = None
        self.known_slots.append((self.place, None if known is None else repr(known.tolist())))
        self.key.append(("T", tensor.dtype, shape, storage, None if known is None else repr(known.tolist())))
        return self.retensor.get(vid, tensor)

    def _number(self, value: Any, general: bool) -> Any:
        kind = _KIND_OF[type(value)]
        token: Any = (kind, repr(value))
        if general:
            index = len(self.slots)
            self.slots.append(Slot(len(self.key), kind, value, self.place))
            if index in self.substitute:
                value = self.substitute[index]
                token = ("s", kind, self._scalar_class(value))
        self.key.append(token)
        return value

    def _runtime_number(self, value: Scalar, general: bool) -> Any:
        if general:
            self.slots.append(Slot(len(self.key), value.kind, value, self.place))
        replacement = self.respell.get(value.expr, value) if value.expr is not None else value
        self.key.append(("s", value.kind, self._scalar_class(value)))
        return replacement

    def _runtime_list(self, value: RuntimeList) -> Any:
        self.list_slots.append(Slot(len(self.key), ScalarKind.INT, value, self.place))
        self.key.append(("L", value.element, len(self.lists)))
        self.lists.append(value)
        return RuntimeList(value.element, value.vid, value.origin)

    # ------------------------------------------------------------ values

    def walk(self, value: Any, general: bool = True) -> Any:
        """A copy of the value; its canonical form goes to the key. `general`: numbers in it may be generalised."""
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
        if kind in _KIND_OF:
            return self._number(value, general)
        if isinstance(value, _LITERALS) and not isinstance(value, enum.Enum):
            self.key.append((kind, repr(value) if isinstance(value, (np.generic, complex)) else value))
            return value
        if kind is Scalar:
            return self._runtime_number(value, general)
        if isinstance(value, FakeTensor):
            return self._tensor(value)
        if kind in (torch.SymInt, torch.SymFloat, torch.SymBool):
            return self._runtime_number(self.machine.scalar_of(value), general)
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
        return self._object(value, general)

    def _is_atom(self, value: Any) -> bool:
        return (
            isinstance(value, (torch.Tensor, *_ATOMS))
            or id(value) in self.machine.known_objects
            or type(value).__module__ in ("typing", "inspect")
            or type(value) is object
        )

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
        return self._instance(value)

    def _tuple(self, value: tuple[Any, ...], general: bool) -> Any:
        self.key.append(("tuple", len(value)))
        items = tuple([self.walk(item, general) for item in value])
        # an unchanged tuple keeps its identity, which `is` may ask about
        return self._remember(value, value if all(a is b for a, b in zip(items, value, strict=True)) else items)

    def _size(self, value: torch.Size, general: bool) -> Any:
        self.key.append(("size", len(value)))
        self.key.extend(self._dimension(size) for size in value)
        if not self.respell:
            return self._remember(value, value)
        return self._remember(value, torch.Size([self.machine.respelled(size, self.respell) for size in value]))

    def _named_tuple(self, value: Any, general: bool) -> Any:
        kind = type(value)
        self.key.append((kind, len(value)))
        items = [self.walk(item, general) for item in value]
        return self._remember(value, kind(*items) if hasattr(kind, "_fields") else kind(items))

    def _list(self, value: list[Any], general: bool) -> Any:
        elements = self.machine.list_element(value) if id(value) not in self._contents else None
        if elements is not None and general:
            index = len(self.list_slots)
            self.list_slots.append(Slot(len(self.key), ScalarKind.INT, (elements, len(value)), self.place, value))
            if index in self.list_substitute:
                replacement = self.list_substitute[index]
                self.key.append(("L", replacement.element, len(self.lists)))
                self.lists.append(replacement)
                return self._remember(value, replacement)
        start = len(self.key)
        self.key.append((list, len(value)))
        copy: list[Any] = self._remember(value, [])
        copy.extend([self.walk(item, general) for item in value])
        if elements is not None and general:
            self.list_slots[index].value = (elements, len(value), start, len(self.key))
        return copy

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
        return copy

    def _view(self, value: Any, general: bool) -> Any:
        kind = type(value)
        (table,) = gc.get_referents(value)
        self.key.append(("view", _VIEWS[kind]))
        return self._remember(value, getattr(self.walk(table), _VIEWS[kind])())

    def _array(self, value: Array, general: bool) -> Any:
        self.key.append(("array", value.is_scalar))
        return self._remember(value, Array(self.walk(value.fake), is_scalar=value.is_scalar))

    def _static_array(self, value: np.ndarray, general: bool) -> Any:
        """A copy of an array that the run has made; of a view, the same view of a copy of what it looks at."""
        root = array_root(value)
        if value.dtype.hasobject or not (root.flags.c_contiguous or root.flags.f_contiguous):
            raise self._uncopyable(value)
        self.key.append(("ndarray", value.dtype.str, value.shape, value.strides))
        if root is value:
            self.key.append(value.tobytes())
            copy = self._remember(value, value.copy(order="K"))
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
        self.key.append("method")
        return self._remember(value, types.MethodType(self.walk(value.__func__), self.walk(value.__self__)))

    def _builtin(self, value: types.BuiltinMethodType, general: bool) -> Any:
        if value.__self__ is None or isinstance(value.__self__, (types.ModuleType, type)):
            self.key.append(("id", id(value)))
            return value
        self.key.append(("builtin method", value.__name__))
        return self._remember(value, getattr(self.walk(value.__self__), value.__name__))

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
        copy.current = self.walk(value.current)
        copy.stop = self.walk(value.stop)
        copy.step = self.walk(value.step, False)
        return copy

    def _runtime_range(self, value: RuntimeRange, general: bool) -> Any:
        self.key.append("run-time range")
        return self._remember(value, RuntimeRange(self.walk(value.start), self.walk(value.stop), self.walk(value.step)))

    def _sequence_iterator(self, value: SequenceIterator, general: bool) -> Any:
        items, index = value.items, value.index
        if isinstance(items, RuntimeList):
            raise UnsupportedError("DY204", self.machine.loc(), "an iterator over a list of run-time length")
        # Elements already consumed are dead if nobody else sees the list: then the key is what remains.
        if value.watched is None and (isinstance(items, tuple) or sys.getrefcount(items) <= 3):
            items, index = items[index:], 0
        self.key.append(("iterator", index, value.watched_size, value.view))
        copy = self._remember(value, SequenceIterator(()))
        copy.items = self.walk(items)
        if isinstance(copy.items, RuntimeList):
            if not self.machine.hints.pin(copy.items.origin):
                raise UnsupportedError("DY204", self.machine.loc(), "an iterator over a list of run-time length")
            raise Restart("a list is generalised while it is iterated over")
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
        copy.ip, copy.current, copy.forks = value.ip, value.current, value.forks
        for name in sorted(value.regs):
            if name in live or name == TRUTH:
                self.key.append(name)
                self.place = (id(value.code), name)
                copy.regs[name] = self.walk(value.regs[name])
        for name in sorted(value.cells):
            self.place = (id(value.code), name)
            copy.cells[name] = self.walk(value.cells[name])
        self.place = None
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
        for key, entry in sorted(source.journal.items(), key=lambda item: (item[1].slot, item[1].kind)):
            self.key.append(("journal", key))
            self.place = key
            copy.journal[key] = JournalEntry(
                entry.target, entry.kind, entry.name, self.walk(entry.value), entry.original, entry.slot
            )
        for tensor in self.machine.stateful_fakes.values():  # written weights outlive the call, whoever holds them
            self.walk(tensor)
        copy.fuzz, copy.needless = self.walk(source.fuzz), source.needless
        copy.block, copy.replay = source.block, list(source.replay)
        copy.facts = source.facts.copy()
        copy.current, copy.aliases = dict(source.current), dict(source.aliases)
        copy.forks, copy.is_dirty, copy.may_join = source.forks, source.is_dirty, source.may_join
        copy.has_asked, copy.is_split = source.has_asked, source.is_split
        return copy

    def intervals(self, facts: Facts) -> tuple[Any, ...]:
        """The canonical facts about the integer scalars met, by their class."""
        found = []
        for index, scalar in enumerate(self.scalars):
            expr = scalar.expr
            if scalar.kind is ScalarKind.INT and expr is not None:
                symbol = self.respell[expr].expr if expr in self.respell else expr
                interval = facts.interval(symbol)
                if interval != EVERYTHING:
                    found.append((index, str(interval[0]), str(interval[1])))
        return tuple(found)

    def ranges(self, facts: Facts) -> tuple[Any, ...]:
        """The canonical facts about the elements of the tensors met; `facts` are those of the source."""
        found = []
        for index, tensor in enumerate(self.tensors):
            vid = self.machine.current_vid(tensor, self.source)
            bounds = facts.ranges.get(vid)
            if bounds is not None and vid not in self.machine.known:
                found.append((index, str(bounds[0]), str(bounds[1])))
        return tuple(found)


def is_dense(tensor: torch.Tensor) -> bool:
    """Whether the elements certainly lie in the order of the indices without gaps; nothing is asked."""
    expected: Any = sympy.S.One
    for size, stride in zip(reversed(tensor.shape), reversed(strides(tensor)), strict=True):
        if isinstance(size, int) and size == 1:
            continue
        if sympy.expand(_expression(stride) - expected) != 0:
            return any(isinstance(size, int) and size == 0 for size in tensor.shape)
        expected = expected * _expression(size)
    return True


def strides(tensor: torch.Tensor) -> tuple[Any, ...]:
    """The strides; torch writes `max(1, size)` where a size is 0 that makes all strides meaningless."""
    found: list[Any] = []
    for stride in tensor.stride():
        if isinstance(stride, torch.SymInt):
            expr = stride.node.expr.replace(
                lambda part: isinstance(part, Max) and part.args[0] == 1, lambda part: Max(*part.args[1:])
            )
            stride = stride.node.shape_env.create_symintnode(expr, hint=None)
        found.append(stride)
    return tuple(found)


def _expression(size: Any) -> sympy.Basic:
    return size.node.expr if isinstance(size, torch.SymInt) else sympy.Integer(size)


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
