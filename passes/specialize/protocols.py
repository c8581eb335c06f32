"""The special methods of the model's own classes: what Python would call, to be stepped into in its place.

Native code that would call them itself is refused (`Natives.guarded`): a fork inside would run it twice.
"""

from __future__ import annotations

import functools
import types
from typing import TYPE_CHECKING, Any

import torch

from dycl.diagnostics import UnsupportedError
from dycl.passes.specialize import pymodels
from dycl.passes.specialize.builtins import Interpret, class_of
from dycl.passes.specialize.values import RuntimeObject

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine

_REFLECTED = {"lt": "gt", "gt": "lt", "le": "ge", "ge": "le", "eq": "eq", "ne": "ne"}
_SIGNS = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "matmul": "@",
    "truediv": "/",
    "floordiv": "//",
    "mod": "%",
    "pow": "** or pow()",
    "lshift": "<<",
    "rshift": ">>",
    "and": "&",
    "or": "|",
    "xor": "^",
    "lt": "<",
    "gt": ">",
    "le": "<=",
    "ge": ">=",
}
_SEQUENCES = (str, bytes, list, tuple)  # their + and * come after the other operand's reflected method


def own_method(machine: Machine, value: Any, *names: str) -> types.FunctionType | None:
    """The first of these special methods that the class of the value has, if it is the model's own Python."""
    kind = class_of(value) if type(value) is RuntimeObject else type(value)
    for name in names:
        found = getattr(kind, name, None)
        if found is not None:
            return found if machine.is_steppable(found) else None
    return None


def truth_method(machine: Machine, value: Any) -> types.FunctionType | None:
    """What decides the truth of an object of the model's own class."""
    return own_method(machine, value, "__bool__", "__len__")


def binary_operation(machine: Machine, op: str, left: Any, right: Any) -> Interpret | None:
    """The methods that Python would try for an operator, if one of them is the model's own."""
    name = op.strip("_")
    is_in_place = name not in _SIGNS and name not in _REFLECTED
    name = name[1:] if is_in_place else name
    if name in _REFLECTED:
        calls = _comparison(machine, name, left, right)
        outcome: Any = {"eq": left is right, "ne": left is not right}.get(name, NotImplemented)
        words = f"{_SIGNS.get(name, '')!r} not supported between instances of "
        words += f"{class_of(left).__name__!r} and {class_of(right).__name__!r}"
    else:
        calls = _arithmetic(name, left, right, is_in_place)
        outcome = NotImplemented
        sign = _SIGNS.get(name, name).split(" ")[0] + "=" if is_in_place else _SIGNS.get(name, name)
        words = f"unsupported operand type(s) for {sign}: {class_of(left).__name__!r} and {class_of(right).__name__!r}"
    if not any(machine.is_steppable(method) or method is pymodels.not_equal for method, _ in calls):
        return None
    return Interpret(pymodels.operation, (tuple(calls), outcome, words))


def _comparison(machine: Machine, name: str, left: Any, right: Any) -> list[tuple[Any, tuple[Any, ...]]]:
    forward = _comparing(machine, name, left, right)
    backward = _comparing(machine, _REFLECTED[name], right, left)
    is_overriding = type(right) is not type(left) and issubclass(type(right), type(left))
    return [backward, forward] if is_overriding else [forward, backward]


def _comparing(machine: Machine, name: str, left: Any, right: Any) -> tuple[Any, tuple[Any, ...]]:
    method = getattr(type(left), f"__{name}__")
    if method is object.__ne__ and machine.is_steppable(type(left).__eq__):
        return pymodels.not_equal, (type(left).__eq__, left, right)
    return method, (left, right)


def _arithmetic(name: str, left: Any, right: Any, is_in_place: bool) -> list[tuple[Any, tuple[Any, ...]]]:
    forward = getattr(type(left), f"__{name}__", None)
    backward = getattr(type(right), f"__r{name}__", None) if type(left) is not type(right) else None
    calls: list[tuple[Any, tuple[Any, ...]]] = []
    if is_in_place and (own := getattr(type(left), f"__i{name}__", None)) is not None:
        calls.append((own, (left, right)))
    is_overriding = (
        backward is not None
        and issubclass(type(right), type(left))
        and getattr(type(left), f"__r{name}__", None) is not backward
    )
    if backward is not None and (is_overriding or isinstance(left, _SEQUENCES)):
        calls.append((backward, (right, left)))
    if forward is not None:
        calls.append((forward, (left, right)))
    if backward is not None and not (is_overriding or isinstance(left, _SEQUENCES)):
        calls.append((backward, (right, left)))
    return calls


def text_method(machine: Machine, value: Any, conversion: str, spec: str) -> Interpret | None:
    """What makes the text of an object of the model's own class."""
    if not conversion and (method := own_method(machine, value, "__format__")) is not None:
        return Interpret(method, (value, spec))
    kind: Any = type(value)
    if not conversion and kind.__format__ is not object.__format__:
        return None
    names = ("__repr__",) if conversion in ("r", "a") or kind.__str__ is object.__str__ else ("__str__",)
    method = own_method(machine, value, *names)
    if method is None:
        return None
    if spec or conversion == "a":
        raise UnsupportedError("DY203", machine.loc(), f"a format of an object of {type(value).__qualname__}")
    return Interpret(method, (value,))


def attribute_method(machine: Machine, target: Any, name: str) -> Interpret | None:
    """What computes an attribute in the model's own Python, if anything does."""
    kind = type(target)
    if kind is RuntimeObject:
        from dycl.passes.specialize import objects  # which needs the builtins, as this module does

        return objects.attribute_method(machine, target, name)
    if isinstance(target, (type, types.ModuleType)):
        return None
    if machine.is_steppable(kind.__getattribute__):
        return Interpret(kind.__getattribute__, (target, name))
    found = plain_attribute_method(machine, target, name)
    own = getattr(kind, "__getattr__", None)
    is_missing = own is not None and not any(name in vars(cls) for cls in kind.__mro__)
    if is_missing and machine.is_steppable(own) and not _has_plainly(target, name):
        return Interpret(own, (target, name))
    return found


def plain_attribute_method(machine: Machine, target: Any, name: str) -> Interpret | None:
    """What `object.__getattribute__` would call: a property or another descriptor of the model's own."""
    kind = type(target)
    found = next((vars(cls)[name] for cls in kind.__mro__ if name in vars(cls)), None)
    if isinstance(found, property):
        return Interpret(found.fget, (target,)) if machine.is_steppable(found.fget) else None
    if isinstance(found, functools.cached_property):
        if name in vars(target):
            return None
        return Interpret(pymodels.cached_attribute, (found.func, target, name))
    is_descriptor = found is not None and machine.is_steppable(getattr(type(found), "__get__", None))
    if is_descriptor and (hasattr(type(found), "__set__") or name not in getattr(target, "__dict__", {})):
        return Interpret(getattr(type(found), "__get__"), (found, target, kind))  # noqa: B009  (mypy)
    return None


def setting_method(machine: Machine, target: Any, name: str, value: Any) -> Interpret | None:
    """What sets an attribute in the model's own Python: the class's `__setattr__`, or a property."""
    kind: Any = type(target)
    custom = kind.__setattr__
    if custom is not torch.nn.Module.__setattr__ and machine.is_steppable(custom):
        return Interpret(custom, (target, name, value))
    return property_setter(machine, target, name, value)


def property_setter(machine: Machine, target: Any, name: str, value: Any) -> Interpret | None:
    """What `object.__setattr__` would call: the setter of a property or of another descriptor of the model's own."""
    found = next((vars(cls)[name] for cls in type(target).__mro__ if name in vars(cls)), None)
    if isinstance(found, property):
        return Interpret(found.fset, (target, value)) if machine.is_steppable(found.fset) else None
    setter = getattr(type(found), "__set__", None)
    return Interpret(setter, (found, target, value)) if machine.is_steppable(setter) else None


def _has_plainly(target: Any, name: str) -> bool:
    """Whether an attribute is found without `__getattr__` of the model's own."""
    return name in getattr(target, "__dict__", {}) or name == "__dict__"
