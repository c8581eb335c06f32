"""Models of the methods of `torch.nn.Module` that change it: what they do is state, nothing at all, or refused."""

from __future__ import annotations

import collections
import inspect
from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from dycl.diagnostics import UnsupportedError
from dycl.passes.specialize import pyautograd, pymodels
from dycl.passes.specialize.builtins import Interpret, model
from dycl.passes.specialize.protocols import plain_attribute_method, property_setter
from dycl.passes.specialize.walker import Walker

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine

_CASTS: dict[Any, torch.dtype] = {
    torch.nn.Module.float: torch.float32,
    torch.nn.Module.double: torch.float64,
    torch.nn.Module.half: torch.float16,
    torch.nn.Module.bfloat16: torch.bfloat16,
}


@model(torch.nn.Module.register_buffer)
def _register_buffer(
    machine: Machine, module: Any, name: Any, tensor: Any, persistent: bool = True, *, native: Any
) -> None:
    """A buffer made by the run is an attribute like another, beside that it is among `buffers()`."""
    name = machine.plain(name)
    if not isinstance(name, str) or "." in name or not name or (tensor is not None and not _is_tensor(tensor)):
        native(torch.nn.Module(), name, tensor, persistent)  # which says what is wrong
    if hasattr(module, name) and name not in module._buffers:
        raise KeyError(f"attribute '{name}' already exists")
    machine.store_buffer(module, name, tensor)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


@model(torch.autograd.Function.apply.__func__)  # type: ignore[attr-defined]
def _apply(machine: Machine, cls: Any, *args: Any, native: Any, **kwargs: Any) -> Any:
    if cls.setup_context is torch.autograd.Function.setup_context:
        return NotImplemented if kwargs else Interpret(pyautograd.apply_with_context, (cls, *args))
    bound = inspect.signature(cls.forward).bind(*args, **kwargs)
    bound.apply_defaults()
    return NotImplemented if bound.kwargs else Interpret(pyautograd.apply_then_set_up, (cls, *bound.args))


@model(torch.autograd.grad, torch.autograd.backward, torch.Tensor.backward)
def _backward(machine: Machine, *args: Any, native: Any, **kwargs: Any) -> Any:
    raise UnsupportedError(
        "DY203",
        machine.loc(),
        f"gradients are computed inside of the model ({native.__name__})",
        hint="write the gradient as a formula",
    )


# ---------------------------------------------------------------- moves


@model(torch.nn.Module.to)
def _to(machine: Machine, module: Any, *args: Any, native: Any, **kwargs: Any) -> Any:
    device, dtype, _, _ = torch._C._nn._parse_to(*args, **kwargs)
    return _moved(machine, module, device, dtype, "to")


@model(*_CASTS)
def _cast(machine: Machine, module: Any, *, native: Any) -> Any:
    return _moved(machine, module, None, _CASTS[native], native.__name__)


@model(torch.nn.Module.cpu)
def _cpu(machine: Machine, module: Any, *, native: Any) -> Any:
    return _moved(machine, module, torch.device("cpu"), None, "cpu")


@model(torch.nn.Module.type)
def _type(machine: Machine, module: Any, dst_type: Any, *, native: Any) -> Any:
    dtype = dst_type if isinstance(dst_type, torch.dtype) else getattr(dst_type, "dtype", None)
    if any(tensor.dtype != dtype for tensor in _tensors(module)):
        raise _change_refused(machine, "type")
    return module


@model(torch.nn.Module.requires_grad_, torch.nn.Module.zero_grad)
def _gradients(machine: Machine, module: Any, *args: Any, native: Any, **kwargs: Any) -> Any:
    """Everything runs without gradients."""
    return module if native is torch.nn.Module.requires_grad_ else None


@model(torch.nn.RNNBase.flatten_parameters)
def _flatten_parameters(machine: Machine, module: Any, *, native: Any) -> None:
    """A matter of memory, and of GPUs."""


def _moved(machine: Machine, module: Any, device: Any, dtype: Any, name: str) -> Any:
    """The module, whose weights are cast where they are of another dtype."""
    if any(device is not None and not _is_on(tensor, device) for tensor in _tensors(module)):
        raise _change_refused(machine, name)
    if dtype is None or not any(_is_cast(tensor, dtype) for tensor in _tensors(module)):
        return module
    if any(own is not torch.nn.Module._apply for own in {type(part)._apply for part in module.modules()}):
        raise _change_refused(machine, name)  # recurrent layers keep a list of their weights besides
    for part in module.modules():
        for key, tensor in list(part._buffers.items()):
            if tensor is not None and _is_cast(tensor, dtype):
                machine.store_attribute(part, key, machine.wrapped(tensor).to(dtype))
        for tensor in list(part._parameters.values()):
            if tensor is not None and _is_cast(tensor, dtype):
                _cast_parameter(machine, tensor, dtype, name)
    return module


def _is_cast(tensor: torch.Tensor, dtype: torch.dtype) -> bool:
    return tensor.dtype != dtype and (tensor.is_floating_point() or tensor.is_complex())


def _cast_parameter(machine: Machine, tensor: torch.Tensor, dtype: torch.dtype, name: str) -> None:
    """Other numbers in a parameter, which stays the object that it is: so all modules that have it see them.

    Who has cast a parameter to a wider type and casts it back, has what there was before.
    """
    known = [found for found in machine.known_objects.values() if isinstance(found, torch.nn.Module)]
    owners = [(part, key) for part in known for key, own in part._parameters.items() if own is tensor]
    if id(tensor) in machine.hints.stateful or _is_held(machine, tensor, {id(part._parameters) for part in known}):
        raise _change_refused(machine, name)
    is_original = not isinstance(tensor, FakeTensor)
    value: Any = None if is_original else machine.casts.get(machine.current_vid(tensor))
    if value is None or value.dtype != dtype:
        value = tensor.to(dtype)
        if is_original and torch.promote_types(tensor.dtype, dtype) == dtype:
            machine.casts[machine.current_vid(value)] = tensor
    for part, key in owners:
        machine.store_parameter(part, key, value)


def _is_held(machine: Machine, tensor: torch.Tensor, tables: set[int]) -> bool:
    """Whether anything but the tables of modules refers to a parameter: the run, or an object of before."""
    for found in list(machine.known_objects.values()):
        held = [*vars(found).values()] if hasattr(found, "__dict__") else []
        if isinstance(found, (list, tuple, set, collections.deque)):
            held += found
        elif isinstance(found, dict) and id(found) not in tables:
            held += found.values()
        if any(item is tensor for item in held):
            return True
    walker = Walker(machine, machine.state)
    for frame in machine.state.frames:
        walker.walk(frame)
    return ("id", id(tensor)) in walker.key


def _is_on(tensor: Any, device: torch.device) -> bool:
    return bool(tensor.device.type == device.type and device.index in (None, tensor.device.index, 0))


def _tensors(module: torch.nn.Module) -> list[torch.Tensor]:
    return [*module.parameters(), *module.buffers()]


def _change_refused(machine: Machine, name: str) -> UnsupportedError:
    return UnsupportedError(
        "DY206",
        machine.loc(),
        f"Module.{name} changes the dtype or the device of weights while the model runs",
        hint="convert the model before it is compiled",
    )


# ---------------------------------------------------------------- what special methods of the model's own fall back on


@model(object.__getattribute__)
def _plain_attribute(machine: Machine, target: Any, name: Any, *, native: Any) -> Any:
    name = machine.plain(name)
    own = plain_attribute_method(machine, target, name)
    return own if own is not None else machine.wrapped(native(target, name))


@model(object.__setattr__, torch.nn.Module.__setattr__)
def _plain_store(machine: Machine, target: Any, name: Any, value: Any, *, native: Any) -> Any:
    own = property_setter(machine, target, machine.plain(name), value)
    if own is not None:
        return Interpret(pymodels.effect, (own,))
    return machine.store_attribute(target, machine.plain(name), value)


@model(object.__delattr__, torch.nn.Module.__delattr__)
def _plain_delete(machine: Machine, target: Any, name: Any, *, native: Any) -> None:
    machine.delete_attribute(target, machine.plain(name))
