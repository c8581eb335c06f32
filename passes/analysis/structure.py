"""What a module is but for the content of its weights, as a key that is equal for modules of equal structure.

A key never says "equal" for modules that may compute differently from equal weights: whatever is not understood (a
foreign object among the attributes, a hook, a tensor that is no parameter and no buffer) is equal to itself alone.
"""

from __future__ import annotations

import enum
import types
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

Key = tuple[Any, ...]

# What torch keeps in every module beside its configuration. Forward hooks are not among it: they are part of the key.
_BOOKKEEPING = frozenset(
    {
        "_parameters",
        "_buffers",
        "_modules",
        "_non_persistent_buffers_set",
        "_backward_hooks",
        "_backward_pre_hooks",
        "_is_full_backward_hook",
        "_state_dict_hooks",
        "_state_dict_pre_hooks",
        "_load_state_dict_pre_hooks",
        "_load_state_dict_post_hooks",
        "_forward_hooks_with_kwargs",
        "_forward_hooks_always_called",
        "_forward_pre_hooks_with_kwargs",
    }
)
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...))
_PLAIN_TORCH = (torch.dtype, torch.device, torch.layout, torch.memory_format)


class Same:
    """An object that is equal to itself alone; it keeps the object alive, so that its identity is not given away."""

    __slots__ = ("_held",)

    def __init__(self, held: object) -> None:
        self._held = held

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self._held is other._held

    def __hash__(self) -> int:
        return id(self._held)

    @property
    def held(self) -> object:
        """The object."""
        return self._held


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for a weight: the tensor and where it was found."""

    name: str
    tensor: torch.Tensor


def module_slots(path: str, module: torch.nn.Module) -> Iterator[Slot]:
    """The parameters and buffers of a module and all below, in an order that is the same for equal structures."""
    own: list[tuple[str, torch.Tensor | None]] = [*module._parameters.items(), *module._buffers.items()]
    for name, tensor in own:
        if tensor is not None:
            yield Slot(f"{path}.{name}" if path else name, tensor)
    for name, child in module._modules.items():
        if child is not None:
            yield from module_slots(f"{path}.{name}" if path else name, child)


def module_key(module: torch.nn.Module) -> Key:
    """What is equal for modules that differ in the content of their weights at most."""
    return (
        Same(type(module)),
        module.extra_repr(),
        tuple(_attribute_key(module, name, value) for name, value in sorted(vars(module).items())),
        tuple((name, _weight_key(tensor)) for name, tensor in module._parameters.items()),
        tuple((name, _weight_key(tensor)) for name, tensor in module._buffers.items()),
        tuple((name, None if child is None else module_key(child)) for name, child in module._modules.items()),
    )


def weight_type(tensor: torch.Tensor) -> Key:
    """What a weight is but for its content."""
    return (str(tensor.dtype), tuple(tensor.shape), str(tensor.device))


def _weight_key(tensor: torch.Tensor | None) -> Key | None:
    return None if tensor is None else weight_type(tensor)


def _attribute_key(module: torch.nn.Module, name: str, value: object) -> Key:
    return () if name in _BOOKKEEPING else (name, _object_key(module, value))


def _own_name(owner: torch.nn.Module, tensor: torch.Tensor) -> str | None:
    """The name of a tensor that is a parameter or buffer of the module itself (an LSTM keeps a list of them)."""
    own = {**owner._parameters, **owner._buffers}
    return next((name for name, found in own.items() if found is tensor), None)


def _object_key(owner: torch.nn.Module, value: object) -> Key:
    """Equal for plain values that are equal and of one type; else for one and the same object."""
    match value:
        case enum.Enum():
            return ("object", Same(value))
        case _ if type(value) in _PLAIN:
            return ("plain", type(value).__name__, repr(value))
        case _ if isinstance(value, _PLAIN_TORCH):
            return ("torch", repr(value))
        case tuple() | list() if type(value) in (tuple, list, torch.Size):
            return (type(value).__name__, tuple(_object_key(owner, item) for item in value))
        case dict() if hasattr(type(value), "move_to_end") or type(value) is dict:
            return ("dict", tuple((_object_key(owner, k), _object_key(owner, v)) for k, v in value.items()))
        case types.MethodType() if value.__self__ is owner:
            return ("own method", Same(value.__func__))
        case torch.Tensor() if (name := _own_name(owner, value)) is not None:
            return ("own tensor", name)
        case weakref.ref() if (referent := value()) is not None:
            return ("weak", _object_key(owner, referent))
        case _:
            return ("object", Same(value))
