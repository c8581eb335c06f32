"""Writes to what existed before the run: journalled per path, undone and redone when the machine changes paths."""

from __future__ import annotations

import collections
import contextlib
import types
from typing import Any

import torch

from dycl.diagnostics import UnsupportedError
from dycl.passes.specialize.joins import Joins
from dycl.passes.specialize.state import JournalEntry
from dycl.passes.specialize.values import UNSET

CONTAINERS = (list, dict, set, collections.deque)


class Journal(Joins):
    """The part of the machine that keeps the model's own objects apart between paths."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.known_objects: dict[int, Any] = dict(self.weight_names.objects)
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
        return id(target) in self.known_objects or isinstance(
            target, (torch.nn.Module, type, types.ModuleType, types.FunctionType)
        )

    def store_attribute(self, target: Any, name: str, value: Any) -> None:
        """target.name = value."""
        if not self.is_old(target):
            setattr(target, name, value)
            return
        self._check_mine(target)
        if isinstance(target, torch.Tensor):
            raise UnsupportedError("DY211", self.loc(), f"assignment to .{name} of a tensor of the model")
        original = _get(target, name)
        if isinstance(original, (torch.nn.Parameter, torch.nn.Module)) or isinstance(value, (torch.nn.Module,)):
            raise UnsupportedError(
                "DY206", self.loc(), f"the parameter or module {name!r} of the model is replaced at run time"
            )
        descriptor = getattr(type(target), name, None)
        if isinstance(descriptor, property) or hasattr(type(descriptor), "__set__"):
            raise UnsupportedError(
                "DY206", self.loc(), f"assignment to {name!r}, a property, of an object made before the run"
            )
        self._record(JournalEntry(target, "attr", name, value, original, self.slot_name(target, name)))

    def delete_attribute(self, target: Any, name: str) -> None:
        """del target.name."""
        if not self.is_old(target):
            delattr(target, name)
            return
        self._check_mine(target)
        original = _get(target, name)
        if original is UNSET:
            raise AttributeError(name)
        self._record(JournalEntry(target, "attr", name, UNSET, original, self.slot_name(target, name)))

    def _record(self, entry: JournalEntry) -> None:
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
        if id(target) in self.input_objects:
            raise UnsupportedError(
                "DY212",
                self.loc(),
                f"an input of the model, a {type(target).__name__}, is changed, which the caller would see",
                hint="change a copy of it",
            )
        if id(target) not in self.weight_names.objects:
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
        except UnsupportedError:
            _fill(container, before)  # a compile that fails leaves nothing behind
            raise
        self._record(JournalEntry(container, "content", "", _content(container), before, self.slot_name(container, "")))

    def remember_old(self, value: Any) -> None:
        """An object that the run meets outside of the model, and all that it holds: they existed before."""
        work = [value]
        while work:
            found = work.pop()
            if id(found) in self.known_objects or not _is_mutable(found):
                if isinstance(found, tuple):
                    work.extend(found)
                continue
            self.known_objects[id(found)] = found
            work.extend(_held_by(found))

    def remember_inputs(self, arguments: Any) -> None:
        """The containers of the caller: a write to them would be visible outside."""
        if isinstance(arguments, (list, dict, tuple)):
            self.input_objects[id(arguments)] = arguments
            self.known_objects[id(arguments)] = arguments
            for item in arguments.values() if isinstance(arguments, dict) else arguments:
                self.remember_inputs(item)


def _get(target: Any, name: str) -> Any:
    if isinstance(target, torch.nn.Module):
        for group in ("_parameters", "_buffers", "_modules"):
            if name in target.__dict__.get(group, {}):
                return target.__dict__[group][name]
    if hasattr(target, "__dict__"):
        return vars(target).get(name, UNSET)
    return getattr(target, name, UNSET)


def _put(entry: JournalEntry, value: Any) -> None:
    target, name = entry.target, entry.name
    if entry.kind == "content":
        _fill(target, value)
        return
    if isinstance(target, torch.nn.Module) and name in target.__dict__.get("_buffers", {}):
        target.__dict__["_buffers"][name] = None if value is UNSET else value
    elif hasattr(target, "__dict__"):
        if value is UNSET:
            vars(target).pop(name, None)
        else:
            vars(target)[name] = value
    elif value is UNSET:
        delattr(target, name)
    else:
        object.__setattr__(target, name, value)


def _is_mutable(value: Any) -> bool:
    return isinstance(value, CONTAINERS) or (
        hasattr(value, "__dict__") and not isinstance(value, (type, types.ModuleType))
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
