"""`copy.deepcopy`: the standard library knows objects by their addresses, which mean nothing at run time.

A deep copy has copies of tensors, lists, dicts, sets, tuples and plain objects, each once. A class of the model's own
that says how it is copied is asked if it is what is copied, and refused inside of something else.
"""

from __future__ import annotations

import copy
import copyreg
import enum
import types
from collections import OrderedDict, defaultdict, deque
from typing import TYPE_CHECKING, Any

import torch

from dycl.diagnostics import UnsupportedError
from dycl.passes.specialize.builtins import Interpret, model
from dycl.passes.specialize.protocols import own_method
from dycl.passes.specialize.values import Closure, RuntimeList, Scalar, Text

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine

# What is never changed: a copy of it is the thing itself.
ATOMS = (
    type(None),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    type,
    range,
    enum.Enum,
    Scalar,
    Text,
    Closure,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.ModuleType,
    torch.dtype,
    torch.device,
    torch.Size,
)


@model(copy.deepcopy)
def _deepcopy(machine: Machine, value: Any, memo: Any = None, *, native: Any) -> Any:
    own = own_method(machine, value, "__deepcopy__")
    if own is not None:
        return Interpret(own, (value, {} if memo is None else memo))
    return _DeepCopy(machine).copy(value)


class _DeepCopy:
    """One deep copy: what was copied before is not copied again."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._copies: dict[int, Any] = {}
        self._storages: dict[int, torch.Tensor] = {}

    def copy(self, value: Any) -> Any:
        """The copy of a value."""
        if isinstance(value, ATOMS):
            return value
        if id(value) not in self._copies:
            self._copies[id(value)] = self._made(value)
        return self._copies[id(value)]

    def _made(self, value: Any) -> Any:
        kind = type(value)
        if isinstance(value, torch.Tensor):
            return self._tensor(value)
        if kind is RuntimeList:
            return value if value.kind is tuple else value.copy()
        if kind in (list, dict, OrderedDict, defaultdict, set, deque):
            return self._container(value)
        if kind is tuple:
            items = tuple(self.copy(item) for item in value)
            return value if all(a is b for a, b in zip(items, value, strict=True)) else items
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return kind(*(self.copy(item) for item in value))
        if kind is frozenset:
            return frozenset(self.copy(item) for item in value)
        return self._instance(value)

    def _tensor(self, value: torch.Tensor) -> torch.Tensor:
        storage = value.untyped_storage()._cdata
        if storage in self._storages:
            raise self._refused("a deep copy of two tensors that share their memory")
        self._storages[storage] = value
        return value.detach().clone()

    def _container(self, value: Any) -> Any:
        kind = type(value)
        made: Any = (
            defaultdict(value.default_factory)
            if kind is defaultdict
            else deque(maxlen=value.maxlen)
            if kind is deque
            else kind()
        )
        self._copies[id(value)] = made
        if isinstance(value, dict):
            made.update({self.copy(key): self.copy(item) for key, item in value.items()})
        elif kind is set:
            made.update(self.copy(item) for item in value)
        else:
            made.extend(self.copy(item) for item in value)
        return made

    def _instance(self, value: Any) -> Any:
        kind: Any = type(value)
        if own_method(self.machine, value, "__deepcopy__") is not None:
            raise self._refused(f"a deep copy of what holds a {kind.__name__}, which has a __deepcopy__ of its own")
        if not _is_plain(kind):
            raise self._refused(f"a deep copy of a {kind.__module__}.{kind.__qualname__}")
        made = object.__new__(kind)
        self._copies[id(value)] = made
        made.__dict__.update({name: self.copy(item) for name, item in vars(value).items()})
        return made

    def _refused(self, words: str) -> UnsupportedError:
        return UnsupportedError("DY203", self.machine.loc(), words, hint="copy its parts one by one")


def _is_plain(kind: Any) -> bool:
    """Whether an object of this class is its `__dict__` and nothing else."""
    return (
        kind.__reduce_ex__ is object.__reduce_ex__
        and kind.__reduce__ is object.__reduce__
        and kind.__getstate__ is object.__getstate__
        and not hasattr(kind, "__setstate__")
        and kind.__new__ is object.__new__
        and kind not in copyreg.dispatch_table
        and not issubclass(kind, (torch.nn.Module, BaseException, list, dict, set, tuple))
        and kind.__dictoffset__ != 0
        and not any("__slots__" in vars(cls) and vars(cls)["__slots__"] for cls in kind.__mro__)
        and kind.__module__ != "builtins"
    )
