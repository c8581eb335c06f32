"""Containers of the model that a run writes: adopted by the state, so that they are values like any other.

Before: `self.history.append(x)` writes into a list that existed before the run. Its content could only be journalled
as that of this one object, for ever. After: the first state says `self.history = [...]`, a list of the run, which is
copied when the path forks, generalised where its length differs from call to call, and dropped with the attribute.

A tensor that is replaced (`self.memory = ...`) is adopted, too: the first call then is like all others.

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
    from collections.abc import Callable, Iterator, Mapping

_ADOPTABLE = (list, dict, set, collections.deque, collections.OrderedDict, collections.defaultdict, collections.Counter)

Place = tuple[Any, str]


def find_places(names: WeightNames, container: Any) -> tuple[list[Place], list[Any]] | None:
    """The attributes (owner, name) and the containers that hold a container or tensor; None if anything else does."""
    if not _is_adoptable(names, container):
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


def _is_adoptable(names: WeightNames, value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        is_alone = len(names.sharing(value)) == 1 and value.untyped_storage().nbytes() == value.nbytes
        return is_alone and not isinstance(value, torch.nn.Parameter) and value.layout is torch.strided
    return type(value) in _ADOPTABLE and id(value) not in names.tables


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


def copy_adopted(adopted: Mapping[int, Any], stand_in: Callable[[torch.Tensor], Any]) -> dict[int, Any]:
    """What stands for each adopted value, by the id of its original: a copy that holds copies; for a tensor a fake."""
    copies = {
        key: stand_in(original) if isinstance(original, torch.Tensor) else _emptied(original)
        for key, original in adopted.items()
    }
    for key, original in adopted.items():
        made = copies[key]
        if isinstance(original, torch.Tensor):
            continue
        if isinstance(original, dict):
            made.update({name: copies.get(id(item), item) for name, item in original.items()})
        elif isinstance(original, set):
            made.update(original)
        else:
            made.extend(copies.get(id(item), item) for item in original)
    return copies


def adopted_entries(
    names: WeightNames,
    adopted: Mapping[int, Any],
    stand_in: Callable[[torch.Tensor], Any],
    note: Callable[[Any, str], Any],
) -> Iterator[JournalEntry]:
    """The journal of the first state: each attribute that held an adopted value holds what stands for it.

    `note` is told of a copy that no other one holds, and of its slot; it gives what stands there.
    """
    copies = copy_adopted(adopted, stand_in)
    for key, original in adopted.items():
        found = find_places(names, original)
        assert found is not None, "a container was adopted that cannot be"
        places = [(owner, name, names.paths.get(id(owner), "")) for owner, name in found[0]]
        slots = [f"{path}.{name}" if path else name for _, name, path in places]
        value = copies[key] if found[1] or not slots else note(copies[key], slots[0])
        for (owner, name, _), slot in zip(places, slots, strict=True):
            yield JournalEntry(owner, "attr", name, value, original, slot)


def _attributes(holder: Any) -> list[tuple[str, Any]]:
    found = list(vars(holder).items()) if hasattr(holder, "__dict__") else []
    if isinstance(holder, torch.nn.Module):
        found += holder._buffers.items()
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
