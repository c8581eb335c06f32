"""How containers and arrays are walked: the part of the walker that copies them, items and all."""

from __future__ import annotations

import collections
import gc
from typing import Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensor

from dycl.diagnostics import UnsupportedError
from dycl.passes.specialize.arrayvalue import Array, array_root
from dycl.passes.specialize.positions import ListSlot, Positions
from dycl.passes.specialize.state import State
from dycl.passes.specialize.values import RuntimeList, Scalar, Text
from dycl.passes.specialize.weights import slot_names

VIEWS: dict[type, str] = {type({}.keys()): "keys", type({}.values()): "values", type({}.items()): "items"}


class WalkedContainers(Positions):
    """The part of the walker that goes through containers and arrays."""

    def __init__(self, machine: Any, state: State, **options: Any) -> None:
        super().__init__(machine, state, **options)
        self._memo: dict[int, tuple[int, Any]] = {}
        self._keep: list[Any] = []
        self._gone_through: set[int] = set()  # what an iterator alone holds: what remains is no list that grows
        # what fills a container that stays the one it was: a list of the state, but never one of run-time length
        self._contents = {id(entry.value) for entry in state.journal.values() if entry.kind == "content"}

    def _remember(self, value: Any, copy: Any) -> Any:
        self._memo[id(value)] = (len(self._memo), copy)
        return copy

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
        site = self.machine.table_sites.get(id(value))
        if general and site is not None and all(type(key) in (str, int) for key in value):
            self.tables[self.place, self._scope] = (site, tuple(value))
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
        self.key.append(("view", VIEWS[kind]))
        return self._remember(value, getattr(self.walk(table), VIEWS[kind])())

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

    def _uncopyable(self, value: Any) -> UnsupportedError:
        return UnsupportedError(
            "DY205",
            self.machine.loc(),
            f"a {type(value).__module__}.{type(value).__qualname__} object would be shared by both sides of a branch",
            hint="keep its content in a list, a dict or an object of a Python class",
        )


def _may_grow(items: tuple[Any, ...]) -> bool:
    """Whether a tuple may be one that a loop makes longer: it is empty, or holds what only the run knows."""
    return not items or any(isinstance(item, (FakeTensor, Scalar, Text, RuntimeList, tuple)) for item in items)
