"""Which arguments of a call are structures: objects, and nests of uneven depth, whose shape only the run knows."""

from __future__ import annotations

import enum
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from dycl.ir.trees import map_leaves

TREE_DEPTH = 3  # nested lists or tuples of tensors are taken for a tree from this depth on

_PLAIN = (bool, int, float, str)
_NO_INSTANCES = (
    torch.Tensor,
    torch.nn.Module,
    torch.Size,
    torch.dtype,
    torch.device,
    torch.Generator,
    np.ndarray,
    np.generic,
    enum.Enum,
    types.ModuleType,
    types.FunctionType,
    types.MethodType,
    types.BuiltinFunctionType,
    type,
    dict,
    list,
    tuple,
    set,
    frozenset,
    str,
    bytes,
    int,
    float,
    complex,
    BaseException,
)


def is_instance(value: Any) -> bool:
    """Whether a value is an object of a Python class, known by its attributes."""
    if value is None or value is Ellipsis or isinstance(value, _NO_INSTANCES):
        return False
    return type(value).__module__ != "builtins" and (hasattr(value, "__dict__") or hasattr(type(value), "__slots__"))


def is_structure(value: Any) -> bool:
    """Whether an argument's structure is the run's to know."""
    if is_instance(value):
        return True
    if type(value) is list and value and all(item is None or is_instance(item) for item in value):
        return True
    return type(value) in (list, tuple) and _is_tree(value)


def _is_tree(value: Any) -> bool:
    """Nested lists or tuples of uneven depth: of numbers or text, or deep."""
    mixed, depth = False, 0
    numbers = True
    pending = [(value, 1)]
    while pending:
        found, level = pending.pop()
        depth = max(depth, level)
        nested = [item for item in found if type(item) in (list, tuple)]
        mixed |= 0 < len(nested) < len(found)
        if any(isinstance(item, (dict, set)) for item in found):
            return False
        numbers &= all(type(item) in _PLAIN or item is None for item in found if type(item) not in (list, tuple))
        pending += [(item, level + 1) for item in nested]
    return mixed and (numbers or depth >= TREE_DEPTH)


def map_arguments(function: Callable[[Any], Any], value: Any) -> Any:
    """The same nest with `function` applied to each leaf, where a structure is a leaf too."""
    return map_leaves(function, value, is_leaf=lambda part: isinstance(part, slice) or is_structure(part))


def find_structures(value: Any, base: str) -> Iterator[tuple[str, Any]]:
    """The structures in an argument, with names for where they stand."""
    if is_structure(value):
        yield base, value
    elif isinstance(value, (tuple, list)):
        for index, item in enumerate(value):
            yield from find_structures(item, f"{base}_{index}")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from find_structures(item, f"{base}_{key}")
