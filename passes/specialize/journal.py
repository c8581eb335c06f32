"""Writes to what existed before the run: journalled per path, undone and redone when the machine changes paths."""

from __future__ import annotations

import collections
import contextlib
import os
import types
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from dycl.diagnostics import UnsupportedError
from dycl.ir.values import ValueId
from dycl.passes.specialize import received
from dycl.passes.specialize.adoption import find_group
from dycl.passes.specialize.joins import Joins
from dycl.passes.specialize.signals import Restart
from dycl.passes.specialize.state import JournalEntry
from dycl.passes.specialize.values import UNSET, Scalar, Text

_LIBRARY = (os.path.dirname(os.__file__) + os.sep, os.path.dirname(torch.__file__) + os.sep)
CONTAINERS = (list, dict, set, collections.deque)


class Journal(Joins):
    """The part of the machine that keeps the model's own objects apart between paths."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.known_objects: dict[int, Any] = dict(self.weight_names.objects)
        self.casts: dict[ValueId, torch.Tensor] = {}  # of which weight a value is a cast to a wider type
        self.known_objects.update((key, table) for key, (table, _, _) in self.weight_names.tables.items())
        self.made_modules: dict[int, Any] = {}  # modules that the run has made: they are copied when the path forks
        self.applied: dict[Any, JournalEntry] = {}
        self.input_objects: dict[int, Any] = {}

    def switch(self, journal: dict[Any, JournalEntry]) -> None:
        """Make the live objects look as this path left them."""
        for key, entry in self.applied.items():
            if key not in journal:
                _put(entry, entry.original)
        for entry in journal.values():
            _put(entry, entry.value)
        self.applied = journal

    def is_old(self, target: Any) -> bool:
        """Whether an object existed before the run, so that a write to it has to be journalled."""
        if id(target) in self.made_modules:
            return False
        return id(target) in self.known_objects or isinstance(
            target, (torch.nn.Module, type, types.ModuleType, types.FunctionType)
        )

    def is_frozen(self, value: Any) -> bool:
        """Whether an object lies in a run-time list (`RuntimeLists`)."""
        raise NotImplementedError

    def check_not_frozen(self, value: Any) -> None:
        """Refuse a write into an object that lies in a run-time list (`RuntimeLists`)."""
        raise NotImplementedError

    def store_attribute(self, target: Any, name: str, value: Any) -> None:
        """target.name = value."""
        if not self.is_old(target):
            self.check_not_frozen(target)
            plainly_set(target, name, value)
            return
        if isinstance(target, types.ModuleType):
            self.store_global(vars(target), name, value)
            return
        self._check_mine(target)
        if isinstance(target, torch.Tensor):
            raise UnsupportedError("DY211", self.loc(), f"assignment to .{name} of a tensor of the model")
        original = _get(target, name)
        if isinstance(value, torch.nn.Module) and value is original:
            return  # as in `self.layer = self.layer.to(dtype)` where nothing is to be done
        if isinstance(original, (torch.nn.Parameter, torch.nn.Module)) or isinstance(value, (torch.nn.Module,)):
            raise UnsupportedError(
                "DY206", self.loc(), f"the parameter or module {name!r} of the model is replaced at run time"
            )
        descriptor = getattr(type(target), name, None)
        is_slot = isinstance(descriptor, types.MemberDescriptorType)
        if isinstance(descriptor, property) or (hasattr(type(descriptor), "__set__") and not is_slot):
            raise UnsupportedError(
                "DY206", self.loc(), f"assignment to {name!r}, a property, of an object made before the run"
            )
        if isinstance(original, torch.Tensor) and self._is_replaceable(original) and value is not original:
            self._adopt(original)
        if isinstance(target, torch.nn.Module) and name in target._buffers and not _fits_buffer(value):
            kind = torch.typename(value)
            raise TypeError(
                f"cannot assign '{kind}' as buffer '{name}' (torch.nn.Buffer, torch.Tensor or None expected)"
            )
        self.record(JournalEntry(target, self._kind(target, name), name, value, original, self.slot_name(target, name)))

    def store_buffer(self, target: torch.nn.Module, name: str, value: Any) -> None:
        """target.register_buffer(name, value), its arguments checked."""
        if name in target._buffers:
            self.store_attribute(target, name, value)
            return
        self._check_mine(target)
        self.record(JournalEntry(target, "buffer", name, value, UNSET, self.slot_name(target, name)))

    def store_parameter(self, target: torch.nn.Module, name: str, value: Any) -> None:
        """The parameter holds other numbers from now on: a tensor of the run in its place, or the parameter itself."""
        self._check_mine(target)
        original = target._parameters[name]
        self.record(JournalEntry(target, "parameter", name, value, original, self.slot_name(target, name)))

    def store_global(self, names: dict[str, Any], name: str, value: Any) -> None:
        """A global variable that the model writes: state of the artifact, which shares it with nobody."""
        file = str(names.get("__file__", ""))
        if file.startswith(_LIBRARY) and "site-packages" not in file:
            raise UnsupportedError("DY206", self.loc(), f"a write to the global {name!r} of {names.get('__name__')}")
        self.keep_alive(names)
        slot = f"{names.get('__name__')}:{name}"
        self.record(JournalEntry(names, "global", name, value, names.get(name, UNSET), slot))

    def is_written_global(self, names: dict[str, Any], name: str) -> bool:
        """Whether a global variable holds a value of the run, not one from before."""
        return (id(names), "global", name) in self.state.journal

    def _is_replaceable(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor that is replaced was the model's before the run, and may stand in the state instead."""
        if isinstance(tensor, FakeTensor) or id(tensor) in self.hints.unadoptable:
            return False
        return id(tensor) not in self.hints.adopted and id(tensor) not in self.hints.stateful

    def _kind(self, target: Any, name: str) -> str:
        """How the journal writes a place: a buffer that the run has registered is none without the journal."""
        return "buffer" if (id(target), "buffer", name) in self.state.journal else "attr"

    def delete_attribute(self, target: Any, name: str) -> None:
        """del target.name."""
        if not self.is_old(target):
            self.check_not_frozen(target)
            if _is_interpreted(type(target).__delattr__):
                object.__delattr__(target, name)
            else:
                delattr(target, name)
            return
        self._check_mine(target)
        original = _get(target, name)
        if original is UNSET:
            raise AttributeError(name)
        self.record(JournalEntry(target, self._kind(target, name), name, UNSET, original, self.slot_name(target, name)))

    def record(self, entry: JournalEntry) -> None:
        journal = self.state.journal
        if entry.key in journal:
            entry.original = journal[entry.key].original
        journal = dict(journal)
        journal[entry.key] = entry
        _put(entry, entry.value)
        self.state.journal = self.applied = journal
        self.state.is_dirty = True

    def slot_name(self, target: Any, name: str) -> str:
        """The path of a place from the model."""
        path = self.weight_names.paths.get(id(target), "")
        return f"{path}.{name}" if path and name else path or name

    def _check_mine(self, target: Any) -> None:
        if id(target) in self.input_objects and not received.begin_again(self):  # type: ignore[arg-type]
            raise UnsupportedError(
                "DY212",
                self.loc(),
                f"an input of the model, a {type(target).__name__}, is changed, which the caller would see",
                hint="change a copy of it",
            )
        if id(target) not in self.weight_names.objects and id(target) not in self.weight_names.tables:
            name = getattr(target, "__qualname__", None) or type(target).__qualname__
            raise UnsupportedError(
                "DY206",
                self.loc(),
                f"a write to {name}, which does not belong to the model",
                hint="keep what changes at run time in attributes of the model",
            )

    # ------------------------------------------------------------ containers

    def before_native(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[tuple[Any, Any]]:
        """Snapshots of the containers that a native call could change."""
        return [
            (value, _content(value))
            for value in (getattr(function, "__self__", None), *args, *kwargs.values())
            if type(value) in CONTAINERS or (isinstance(value, CONTAINERS) and id(value) in self.known_objects)
        ]

    def after_native(self, snapshots: list[tuple[Any, Any]]) -> None:
        """Journal the changes to old containers."""
        for container, before in snapshots:
            if id(container) in self.known_objects and not _same(_content(container), before):
                self.container_changed(container, before)

    def undo_native(self, snapshots: list[tuple[Any, Any]]) -> None:
        """An interrupted native call leaves nothing behind: it will run again."""
        for container, before in snapshots:
            if not _same(_content(container), before):
                _fill(container, before)

    def container_changed(self, container: Any, before: Any) -> None:
        """Journal the new content of a container that existed before the run."""
        try:
            self._check_mine(container)
        except (UnsupportedError, Restart):
            _fill(container, before)  # a compile that fails leaves nothing behind
            raise
        if id(container) in self.weight_names.tables:
            self._table_changed(container, before)
            return
        if id(container) not in self.hints.unadoptable:
            _fill(container, before)
            self._adopt(container)
        self.record(JournalEntry(container, "content", "", _content(container), before, self.slot_name(container, "")))

    def adopt_table(self, container: dict[Any, Any], key: Any) -> None:
        """Adopt a dict of the model that is written at a key which only the run knows: it can be the run's."""
        known = {*self.weight_names.tables, *self.hints.unadoptable, *self.hints.adopted}
        if isinstance(key, (Scalar, Text)) and id(container) in self.known_objects and id(container) not in known:
            self._check_mine(container)
            self._adopt(container)

    def _adopt(self, container: Any) -> None:
        """Begin again with a container of the model as a value of the state; or with its content as state."""
        self.switch({})  # who holds it is asked of the model as it was
        group = find_group(self.weight_names, container)
        if group is None or any(id(found) in self.hints.unadoptable for found in group):
            self.hints.unadoptable[id(container)] = container
        else:
            self.hints.adopted.update((id(found), found) for found in group)
        raise Restart("a container of the model is written")

    def check_adopted(self, value: Any) -> None:
        """Whoever meets the original of an adopted container came by a way that the adoption did not see."""
        if id(value) not in self.hints.adopted:
            return
        self.hints.unadoptable.update(self.hints.adopted)
        self.hints.adopted.clear()
        raise Restart("a container of the model is held elsewhere, too")

    def _table_changed(self, table: dict[str, Any], before: dict[str, Any]) -> None:
        """`self.__dict__[name] = value` is an assignment to the attribute."""
        _, owner, kind = self.weight_names.tables[id(table)]
        after = dict(table)
        _fill(table, before)
        if kind not in ("attr", "buffer"):
            raise UnsupportedError(
                "DY206", self.loc(), f"the {kind}s of a {type(owner).__name__} are replaced at run time"
            )
        for name in [name for name in before if name not in after]:
            self.delete_attribute(owner, name)
        for name, value in after.items():
            if name not in before or before[name] is not value:
                (self.store_buffer if kind == "buffer" else self.store_attribute)(owner, name, value)

    def remember_old(self, value: Any) -> None:
        """An object that the run meets outside of the model, and all that it holds: they existed before."""
        work = [value]
        while work:
            found = work.pop()
            self.check_adopted(found)
            if id(found) in self.known_objects or not _is_mutable(found):
                if isinstance(found, tuple):
                    work.extend(found)
                continue
            self.known_objects[id(found)] = found
            work.extend(_held_by(found))

    def remember_inputs(self, arguments: Any) -> None:
        """The containers of the caller: a write to them would be visible outside."""
        if isinstance(arguments, (list, dict, tuple)):
            self.remember_given(arguments)
            for item in arguments.values() if isinstance(arguments, dict) else arguments:
                self.remember_inputs(item)

    def remember_given(self, container: Any) -> Any:
        """One container of the caller's, or what stands for it behind a join: its tensors have other names there."""
        self.input_objects[id(container)] = container
        self.known_objects[id(container)] = container
        return container

    def is_given(self, value: Any) -> bool:
        """Whether this is a container of the caller's."""
        return id(value) in self.input_objects


def _get(target: Any, name: str) -> Any:
    if isinstance(target, torch.nn.Module):
        for group in ("_parameters", "_buffers", "_modules"):
            if name in target.__dict__.get(group, {}):
                return target.__dict__[group][name]
    if hasattr(target, "__dict__") and not _is_slot(target, name):
        return vars(target).get(name, UNSET)
    return getattr(target, name, UNSET)


def _is_slot(target: Any, name: str) -> bool:
    return isinstance(getattr(type(target), name, None), types.MemberDescriptorType)


def _fits_buffer(value: Any) -> bool:
    return value is None or isinstance(value, torch.Tensor)


def _put(entry: JournalEntry, value: Any) -> None:
    target, name = entry.target, entry.name
    if entry.kind == "content":
        _fill(target, value)
        return
    if entry.kind in ("buffer", "global", "parameter"):
        tables = {"buffer": "_buffers", "parameter": "_parameters"}
        table = getattr(target, tables[entry.kind]) if entry.kind in tables else target
        if value is UNSET:
            table.pop(name, None)
        else:
            table[name] = value
        return
    if isinstance(target, torch.nn.Module) and name in target.__dict__.get("_buffers", {}):
        target.__dict__["_buffers"][name] = None if value is UNSET else value
    elif hasattr(target, "__dict__") and not _is_slot(target, name):
        if value is UNSET:
            vars(target).pop(name, None)
        else:
            vars(target)[name] = value
    elif value is UNSET:
        delattr(target, name)
    else:
        object.__setattr__(target, name, value)


def plainly_set(target: Any, name: str, value: Any) -> None:
    """target.name = value, past a `__setattr__` of the class's own, which has been interpreted."""
    if _is_interpreted(type(target).__setattr__):
        object.__setattr__(target, name, value)
    else:
        setattr(target, name, value)


def _is_interpreted(method: Any) -> bool:
    """Whether a method is Python with a source: one that `dataclasses` wrote, or torch's own, runs natively."""
    if not isinstance(method, types.FunctionType):
        return False
    return not method.__code__.co_filename.startswith(("<", os.path.dirname(torch.__file__)))


def _is_mutable(value: Any) -> bool:
    return isinstance(value, CONTAINERS) or (
        (hasattr(value, "__dict__") or hasattr(type(value), "__next__"))
        and not isinstance(value, (type, types.ModuleType))
    )


def _held_by(value: Any) -> list[Any]:
    """The objects one step away."""
    held: list[Any] = []
    if isinstance(value, dict):
        held += list(value.values())
    elif isinstance(value, CONTAINERS):
        held += list(value)
    if isinstance(value, types.FunctionType):
        held += [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
        for cell in value.__closure__ or ():
            with contextlib.suppress(ValueError):  # a cell without content
                held.append(cell.cell_contents)
    if hasattr(value, "__dict__"):
        held += list(vars(value).values())
    return held


def _content(container: Any) -> Any:
    return dict(container) if isinstance(container, dict) else list(container)


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, dict):
        return len(left) == len(right) and all(a is b and left[a] is right[b] for a, b in zip(left, right, strict=True))
    return len(left) == len(right) and all(a is b for a, b in zip(left, right, strict=True))


def _fill(container: Any, content: Any) -> None:
    container.clear()
    if isinstance(container, (dict, set)):
        container.update(content)
    else:
        container.extend(content)


def same_content(container: Any, before: Any) -> bool:
    """Whether a container still holds what it held."""
    return _same(_content(container), before)


def undo_content(container: Any, before: Any) -> None:
    """The container as it was."""
    _fill(container, before)
