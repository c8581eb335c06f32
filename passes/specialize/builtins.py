"""Models of the builtins that insist on concrete numbers, call back, or make native iterators.

A model takes the machine and the call's arguments. It returns the result, `Interpret` to have a function stepped into,
or NotImplemented where the native builtin is right.
"""

from __future__ import annotations

import math
import types
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from dycl.diagnostics import UnsupportedError
from dycl.ir.trees import leaves
from dycl.ir.values import ScalarKind
from dycl.passes.specialize import pymodels, pytables, scalars
from dycl.passes.specialize.arrayvalue import Array, class_of_array
from dycl.passes.specialize.textops import length_of_text, number_of_text
from dycl.passes.specialize.values import (
    KIND_TYPES,
    Active,
    Closure,
    Generator,
    RuntimeList,
    RuntimeObject,
    RuntimeRange,
    Scalar,
    Text,
)

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine


@dataclass(frozen=True, slots=True)
class Interpret:
    """Step into this function in the place of the builtin."""

    function: Any
    args: tuple[Any, ...]


Model = Callable[..., Any]
MODELS: dict[Any, Model] = {}


def model(*functions: Any) -> Callable[[Model], Model]:
    """Register a model for builtins."""

    def register(function: Model) -> Model:
        for native in functions:
            MODELS[native] = function
        return function

    return register


def is_runtime(value: Any) -> bool:
    """Whether a leaf is known at run time only."""
    return isinstance(
        value,
        (
            *(Scalar, FakeTensor, RuntimeList, RuntimeObject, Array, Text),
            *(torch.SymInt, torch.SymFloat, torch.SymBool),
            *(pytables.RunDict, pytables.RunSet, pytables.RunView),
        ),
    )


def has_runtime(value: Any) -> bool:
    """Whether anything in a nest is known at run time only."""
    return any(is_runtime(leaf) for leaf in leaves(value))


def number_of_element(machine: Machine, value: Any) -> Any:
    """A tensor of one element as its number; anything else as it is."""
    if isinstance(value, torch.Tensor):
        return machine.recorder.item(value)
    if isinstance(value, Array):
        return machine.array_number(value, "an array")
    return value


# ---------------------------------------------------------------- conversions


@model(int, float)
def _convert(machine: Machine, *args: Any, native: type, **kwargs: Any) -> Any:
    if len(args) != 1 or kwargs:
        return NotImplemented
    if not isinstance(args[0], (Scalar, torch.Tensor, Array)):
        own = machine.own_method(args[0], *(("__int__", "__index__") if native is int else ("__float__", "__index__")))
        if isinstance(args[0], Text):
            return number_of_text(machine, native.__name__, args[0])
        return NotImplemented if own is None else Interpret(pymodels.converted, (native, own, args[0]))
    return machine.convert(native, number_of_element(machine, args[0]))


@model(bool)
def _bool(machine: Machine, *args: Any, native: type, **kwargs: Any) -> Any:
    if len(args) != 1:
        return NotImplemented
    value = args[0]
    if isinstance(value, torch.Tensor):
        value = machine.recorder.item(value) if value.numel() == 1 else machine.recorder.truth(value)
    if isinstance(value, Array):
        value = machine.array_number(value, "the truth value of an array")
    if isinstance(value, Scalar):
        return value if value.kind is ScalarKind.BOOL else machine.host("ne", value, 0)
    own = machine.truth_method(value)
    return Interpret(pymodels.truth, (own, value)) if own is not None else machine.truth_of(value)


@model(torch.Tensor.tolist, FakeTensor.tolist)
def _tolist(machine: Machine, tensor: torch.Tensor, *, native: Any) -> Any:
    """One operation of the host; the fake tensor's own method would go through the elements."""
    return machine.recorder.tolist(tensor)


@model(str, repr)
def _text(machine: Machine, *args: Any, native: type, **kwargs: Any) -> Any:
    if len(args) != 1 or kwargs:
        return NotImplemented
    conversion = "s" if native is str else "r"
    own = machine.text_method(args[0], conversion, "")
    return own if own is not None else machine.formatted(args[0], conversion, "")


@model(format)
def _format(machine: Machine, value: Any, spec: str = "", *, native: Any) -> Any:
    own = machine.text_method(value, "", spec)
    return own if own is not None else machine.formatted(value, "", machine.plain(spec))


@model(*[getattr(math, name) for name in dir(math) if callable(getattr(math, name)) and not name.startswith("_")])
def _math(machine: Machine, *args: Any, native: Any, **kwargs: Any) -> Any:
    if not any(isinstance(arg, (Scalar, torch.Tensor, Array)) for arg in args):
        return NotImplemented
    if kwargs or f"math.{native.__name__}" not in machine.host_functions:
        raise UnsupportedError("DY203", machine.loc(), f"math.{native.__name__} of run-time numbers")
    return machine.host(f"math.{native.__name__}", *[number_of_element(machine, arg) for arg in args])


@model(abs, round, divmod, pow)
def _arithmetic(machine: Machine, *args: Any, native: Any, **kwargs: Any) -> Any:
    if native is divmod and any(isinstance(arg, Scalar) for arg in args):
        if scalars.result_kind("mod", args) is ScalarKind.FLOAT and not machine.truth(machine.host("ne", args[1], 0)):
            return divmod(1.0, 0.0)  # which says what is wrong
        quotient = args[0] // args[1]
        return (quotient, args[0] % args[1])
    return NotImplemented


# ---------------------------------------------------------------- asking about objects


@model(len)
def _len(machine: Machine, value: Any, *, native: Any) -> Any:
    if isinstance(value, torch.Tensor):
        if value.dim() == 0:
            raise TypeError("len() of a 0-d tensor")
        return value.shape[0]
    if isinstance(value, RuntimeList):
        return machine.list_length(value)
    if isinstance(value, Array):
        return machine.array_length(value)
    if isinstance(value, Scalar) and value.kind is ScalarKind.STR:
        raise UnsupportedError("DY204", machine.loc(), "the length of a run-time text")
    if isinstance(value, RuntimeObject):
        length = machine.own_method(value, "__len__")
        return Interpret(length, (value,)) if length is not None else machine.object_length(value)
    if isinstance(value, RuntimeRange):
        size = (value.stop - value.start + value.step - 1) // value.step
        return size if machine.truth(size > 0) else 0
    if isinstance(value, Text):
        return length_of_text(machine, value)
    length = getattr(type(value), "__len__", None)
    return Interpret(length, (value,)) if machine.is_steppable(length) else NotImplemented


def is_runtime_tuple(key: Any) -> bool:
    """Whether a key is a tuple of which the run knows a part, or how long it is."""
    return (type(key) is tuple and has_runtime(key)) or (isinstance(key, RuntimeList) and key.kind is tuple)


@model(isinstance)
def _isinstance(machine: Machine, value: Any, classes: Any, *, native: Any) -> Any:
    if type(value) is classes:
        return True
    stand_in = value.kind if isinstance(value, RuntimeList) else _STAND_INS.get(type(value))
    if isinstance(value, Scalar):
        stand_in = KIND_TYPES[value.kind]
    if isinstance(value, Array):
        stand_in = class_of_array(value)
    if isinstance(value, (RuntimeObject, pytables.RunDict)):
        stand_in = class_of(value)
    return NotImplemented if stand_in is None else issubclass(stand_in, classes)


@model(type)
def _type(machine: Machine, *args: Any, native: Any, **kwargs: Any) -> Any:
    return class_of(args[0]) if len(args) == 1 else NotImplemented


_STAND_INS: dict[type, type] = {
    RuntimeRange: range,
    Generator: types.GeneratorType,
    Closure: types.FunctionType,
    pytables.RunSet: set,
    pytables.RunView: type({}.items()),
}


def class_of(value: Any) -> type:
    """The class that the model would see."""
    if isinstance(value, Scalar):
        return KIND_TYPES[value.kind]
    if type(value) is Array:
        return class_of_array(value)
    if type(value) is RuntimeObject:
        return Active.get().schemas.class_of(value.schema)
    if type(value) is pytables.RunDict:
        return value._kind  # type: ignore[no-any-return]
    if type(value) is FakeTensor:
        return torch.Tensor
    if type(value) is RuntimeList:
        return value.kind
    return str if type(value) is Text else _STAND_INS.get(type(value), type(value))


@model(callable)
def _callable(machine: Machine, value: Any, *, native: Any) -> Any:
    return NotImplemented


@model(getattr)
def _getattr(machine: Machine, target: Any, name: Any, *default: Any, native: Any) -> Any:
    name = machine.plain(name)
    own = machine.attribute_method(target, name)
    if own is not None:
        return Interpret(pymodels.attribute_or, (own, default[0])) if default else own
    try:
        return machine.load_attribute(target, name)
    except AttributeError:
        if default:
            return default[0]
        raise


@model(hasattr)
def _hasattr(machine: Machine, target: Any, name: Any, *, native: Any) -> Any:
    name = machine.plain(name)
    own = machine.attribute_method(target, name)
    if own is not None:
        return Interpret(pymodels.has_attribute, (own,))
    try:
        machine.load_attribute(target, name)
    except AttributeError:
        return False
    return True


@model(setattr)
def _setattr(machine: Machine, target: Any, name: Any, value: Any, *, native: Any) -> Any:
    if isinstance(target, RuntimeObject):
        machine.store_object_attribute(target, machine.plain(name), value)
        return None
    own = machine.setting_method(target, machine.plain(name), value)
    if own is not None:
        return Interpret(pymodels.effect, (own,))
    return machine.store_attribute(target, machine.plain(name), value)


@model(delattr)
def _delattr(machine: Machine, target: Any, name: Any, *, native: Any) -> Any:
    machine.delete_attribute(target, machine.plain(name))


@model(globals)
def _globals(machine: Machine, *, native: Any) -> Any:
    return machine.state.frames[-1].globals


@model(locals, vars)
def _locals(machine: Machine, *args: Any, native: Any) -> Any:
    if args:
        return NotImplemented
    return {name: value for name, value in machine.state.frames[-1].regs.items() if not name.startswith("%")}


# ---------------------------------------------------------------- effects


@model(print, warnings.warn)
def _print(machine: Machine, *args: Any, native: Any, **kwargs: Any) -> Any:
    machine.dropped_effects.append(machine.loc())


@model(torch.set_grad_enabled, torch.autograd.set_grad_enabled)
def _set_grad_enabled(machine: Machine, *args: Any, native: Any, **kwargs: Any) -> Any:
    return torch.no_grad()


@model(
    torch.overrides.has_torch_function,
    torch.overrides.has_torch_function_unary,
    torch.overrides.has_torch_function_variadic,
    torch._C._has_torch_function,
    torch._C._has_torch_function_unary,
    torch._C._has_torch_function_variadic,
)
def _has_torch_function(machine: Machine, *args: Any, native: Any) -> Any:
    """Torch's Python asks it first of all; what would answer are the machine's own modes, which are not the model's."""
    return False


@model(torch.is_grad_enabled)
def _is_grad_enabled(machine: Machine, *, native: Any) -> Any:
    return False
