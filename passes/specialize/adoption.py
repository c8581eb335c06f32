"""Containers of the model that a run writes: adopted by the state, so that they are values like any other.

Before: `self.history.append(x)` writes into a list that existed before the run. Its content could only be journalled
as that of this one object, for ever. After: the first state says `self.history = [...]`, a list of the run, which is
copied when the path forks, generalised where its length differs from call to call, and dropped with the attribute.

A container is adopted only if nobody but attributes and other adopted containers hold it. Who meets the original after
all (through a closure, a global name) takes the adoption back.
"""

from __future__ import annotations

import collections
import gc
import types
from typing import TYPE_CHECKING, Any

import torch

from dycl.passes.specialize.state import JournalEntry
from dycl.passes.specialize.weights import WeightNames, slot_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ADOPTABLE = (list, dict, set, collections.deque, collections.OrderedDict, collections.defaultdict, collections.Counter)

Place = tuple[Any, str]


def find_places(names: WeightNames, container: Any) -> tuple[list[Place], list[Any]] | None:
    """The attributes (owner, name) and the containers that hold a container; None if anything else does."""
    if type(container) not in _ADOPTABLE or id(container) in names.tables:
        return None
    places: list[Place] = []
    outer: list[Any] = []
    for holder in names.objects.values():
        if isinstance(holder, torch.Tensor):
            continue
        places += [(holder, name) for name, held in _attributes(holder) if held is container]
        if id(holder) in names.tables or not any(item is container for item in _items(holder)):
            continue
        if type(holder) not in _ADOPTABLE or isinstance(holder, set):
            return None
        outer.append(holder)
    return (places, outer) if places or outer else None


def find_group(names: WeightNames, container: Any) -> list[Any] | None:
    """The container and those that hold it, which have to be adopted together; None if one of them cannot be."""
    group: dict[int, Any] = {}
    work = [container]
    while work:
        found = work.pop()
        if id(found) in group:
            continue
        places = find_places(names, found)
        if places is None:
            return None
        group[id(found)] = found
        work += places[1]
    return list(group.values())


def copy_adopted(adopted: Mapping[int, Any]) -> dict[int, Any]:
    """A copy of each adopted container, by the id of its original; within one another they are copies, too."""
    copies = {key: _emptied(original) for key, original in adopted.items()}
    for key, original in adopted.items():
        made = copies[key]
        if isinstance(original, dict):
            made.update({name: copies.get(id(item), item) for name, item in original.items()})
        elif isinstance(original, set):
            made.update(original)
        else:
            made.extend(copies.get(id(item), item) for item in original)
    return copies


def adopted_entries(names: WeightNames, adopted: Mapping[int, Any]) -> Iterator[JournalEntry]:
    """The journal of the first state: each attribute that held an adopted container holds its copy."""
    copies = copy_adopted(adopted)
    for key, original in adopted.items():
        found = find_places(names, original)
        assert found is not None, "a container was adopted that cannot be"
        for owner, name in found[0]:
            path = names.paths.get(id(owner), "")
            slot = f"{path}.{name}" if path else name
            yield JournalEntry(owner, "attr", name, copies[key], original, slot)


def _attributes(holder: Any) -> list[tuple[str, Any]]:
    found = list(vars(holder).items()) if hasattr(holder, "__dict__") else []
    return found + [(name, getattr(holder, name)) for name in slot_names(type(holder)) if hasattr(holder, name)]


def _items(holder: Any) -> list[Any]:
    if isinstance(holder, dict):
        return list(holder.values())
    return list(holder) if isinstance(holder, (list, tuple, set, frozenset, collections.deque)) else []


def _emptied(original: Any) -> Any:
    if isinstance(original, collections.defaultdict):
        return collections.defaultdict(original.default_factory)
    return collections.deque(maxlen=original.maxlen) if isinstance(original, collections.deque) else type(original)()


def reachable(model: torch.nn.Module) -> set[int]:
    """The ids of everything that can be reached from the model as it is now, by attributes, items and closures."""
    seen: set[int] = set()
    work: list[Any] = [model]
    while work:
        found = work.pop()
        if id(found) in seen or isinstance(found, (*_LEAVES, torch.Tensor, types.ModuleType, type)):
            continue
        seen.add(id(found))
        if isinstance(found, types.FunctionType):
            work += [found.__closure__, found.__defaults__, found.__kwdefaults__, found.__dict__]
        else:
            work += gc.get_referents(found)
    return seen


_LEAVES = (str, bytes, int, float, complex, type(None), types.CodeType, types.BuiltinFunctionType)
