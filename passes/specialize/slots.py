"""The state as its reader sees it: a path for each attribute that the model writes, and an operand."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

import torch

from dycl.diagnostics import UNKNOWN, UnsupportedError
from dycl.ir.values import Operand
from dycl.passes.specialize.exits import OutputBuilder
from dycl.passes.specialize.pytables import RunDict, RunSet, RunView
from dycl.passes.specialize.values import UNSET, RuntimeList, Scalar, Text
from dycl.passes.specialize.weights import slot_names

Slots = list[tuple[str, Operand]]


def state_slots(outputs: OutputBuilder, path: str, value: Any) -> Slots:
    """The slots of an attribute: one, or one for each attribute of an object that a deployment has no class for.

    Collections of the standard library are shown as the lists and dicts that they extend, a dict whose keys only the
    run knows as two lists.
    """
    found: Slots = []
    _add(outputs, path, value, found, set())
    return found


def _add(outputs: OutputBuilder, path: str, value: Any, found: Slots, seen: set[int]) -> None:
    if value is UNSET or id(value) in seen:
        return
    if type(value) is RunDict:
        _add(outputs, f"{path}.keys()", value._keys, found, seen)
        _add(outputs, f"{path}.values()", value._values, found, seen)
        return
    if type(value) in (RunSet, RunView):
        raise UnsupportedError(
            "DY204",
            UNKNOWN,
            f"the model keeps a set whose elements only the run knows: {path}",
            hint="keep them in a list, or as the keys of a dict",
        )
    value = _plain(value)
    if not _holds_objects(value):
        found.append((path, outputs.operand(value, "the model's state", UNKNOWN)))
        return
    seen.add(id(value))
    if isinstance(value, dict):
        parts = [(f"{path}[{key!r}]", item) for key, item in value.items()]
    elif isinstance(value, (list, tuple)):
        parts = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    else:
        parts = [(f"{path}.{name}", item) for name, item in _attributes(value)]
    for name, item in parts:
        _add(outputs, name, item, found, seen)


def _plain(value: Any) -> Any:
    if isinstance(value, collections.deque):
        return [_plain(item) for item in value]
    if isinstance(value, (collections.OrderedDict, collections.defaultdict, collections.Counter)):
        return {key: _plain(item) for key, item in value.items()}
    if type(value) is dict:
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if type(value) is list else value


def _holds_objects(value: Any) -> bool:
    """Whether a value is, or holds, an object of a class that is no record."""
    if isinstance(value, dict):
        return any(_holds_objects(item) for item in value.values())
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(_holds_objects(item) for item in value)
    if isinstance(value, (torch.Tensor, torch.nn.Module, Scalar, RuntimeList, Text, str, type)) or callable(value):
        return False
    return bool(_attributes(value)) and not dataclasses.is_dataclass(value)


def _attributes(value: Any) -> list[tuple[str, Any]]:
    own = list(vars(value).items()) if hasattr(value, "__dict__") else []
    return own + [(name, getattr(value, name)) for name in slot_names(type(value)) if hasattr(value, name)]
