"""The names of everything the model had before the run: weights, modules, constants, and the objects it may write."""

from __future__ import annotations

import collections
import types
from typing import Any

import torch


class WeightNames:
    """Names tensors and modules by where they hang on the model; what hangs nowhere gets a number."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._model = model
        self._names: dict[int, str] = {}
        self._tensors: dict[int, torch.Tensor] = {}  # those reachable from the model, by id
        self.weights: dict[str, torch.Tensor] = {}
        self.modules: dict[str, torch.nn.Module] = {}
        self.objects: dict[int, Any] = {}  # everything reachable from the model, by id
        self.paths: dict[int, str] = {}
        self.tables: dict[int, tuple[Any, Any, str]] = {}  # dicts of attributes, by id: dict, owner, which one it is
        self._module_names: dict[int, str] = {}
        for name, module in model.named_modules():
            self._module_names.setdefault(id(module), name)
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            self._names.setdefault(id(tensor), name)
            self._tensors[id(tensor)] = tensor
        self._reach(model)

    def _reach(self, model: torch.nn.Module) -> None:
        work: list[tuple[str, Any]] = [("", model)]
        while work:
            path, value = work.pop()
            if isinstance(value, torch.Tensor):
                self._names.setdefault(id(value), path)
                self._tensors[id(value)] = value
                self.objects[id(value)] = value
                continue
            if id(value) in self.objects or isinstance(
                value,
                (
                    str,
                    bytes,
                    int,
                    float,
                    complex,
                    type(None),
                    type,
                    types.ModuleType,
                    types.FunctionType,
                    types.BuiltinFunctionType,
                ),
            ):
                continue
            self.objects[id(value)] = value
            self.paths[id(value)] = path
            self._note_tables(value)
            work.extend(reversed([(_join(path, name), part) for name, part in _parts(value)]))

    def _note_tables(self, value: Any) -> None:
        """Know the dicts in which an object keeps its attributes: a write to them is a write to the attributes."""
        if not hasattr(value, "__dict__"):
            return
        table = vars(value)
        self.tables[id(table)] = (table, value, "attr")
        if isinstance(value, torch.nn.Module):
            for group, kind in _GROUPS.items():
                if group in table:
                    self.tables[id(table[group])] = (table[group], value, kind)

    def forget_used(self) -> None:
        """Before another attempt: no weight or module is in use, and numbers for what hangs nowhere start again."""
        self._names = {key: name for key, name in self._names.items() if key in self._tensors}
        self.weights.clear()
        self.modules.clear()

    def name(self, tensor: torch.Tensor) -> str:
        """The name of a tensor, registered as used."""
        name = self._names.get(id(tensor))
        if name is None:
            name = self._names[id(tensor)] = f"constant_{len(self._names)}"
        self.weights[name] = tensor
        return name

    def state_name(self, tensor: torch.Tensor) -> str | None:
        """The name of a tensor that belongs to the model, else None."""
        return self._names.get(id(tensor)) if id(tensor) in self._tensors else None

    def sharing(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """The tensors of the model that lie in the memory of this one, itself among them."""
        memory = tensor.untyped_storage()._cdata
        return [held for held in self._tensors.values() if held.untyped_storage()._cdata == memory]

    def module(self, module: torch.nn.Module) -> str:
        """The name of a module, registered as used."""
        name = self._module_names.get(id(module))
        if name is None:
            name = self._module_names[id(module)] = self.paths.get(id(module)) or f"module_{len(self._module_names)}"
        self.modules[name] = module
        return name


# The dicts of a module beside its `__dict__`, and what stands in them.
_GROUPS = {"_buffers": "buffer", "_parameters": "parameter", "_modules": "module"}


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _parts(value: Any) -> list[tuple[str, Any]]:
    parts: list[tuple[str, Any]] = []
    if isinstance(value, torch.nn.Module):
        own = vars(value)
        for group in ("_parameters", "_buffers", "_modules"):
            parts += [(name, item) for name, item in own.get(group, {}).items() if item is not None]
        # the dictionaries themselves are machinery of torch, but they are old and must be known as such
        return parts + [(name, item) for name, item in own.items() if item is not None]
    if isinstance(value, dict):
        parts += [(str(key), item) for key, item in value.items()]
    elif isinstance(value, (list, tuple, set, frozenset, collections.deque)):
        parts += [(str(index), item) for index, item in enumerate(value)]
    elif isinstance(value, types.MethodType):
        parts.append(("__self__", value.__self__))
    if hasattr(value, "__dict__"):
        parts += list(vars(value).items())
    return parts + [(name, getattr(value, name)) for name in slot_names(type(value)) if hasattr(value, name)]


def slot_names(cls: type) -> list[str]:
    """The attributes of a class that has `__slots__`."""
    found: list[str] = []
    for base in cls.__mro__:
        slots = base.__dict__.get("__slots__", ())
        names = (slots,) if isinstance(slots, str) else tuple(slots)
        found += [f"_{base.__name__.lstrip('_')}{name}" if _is_mangled(name) else name for name in names]
    return [name for name in found if name not in ("__dict__", "__weakref__")]


def _is_mangled(name: str) -> bool:
    return name.startswith("__") and not name.endswith("__")
