"""The `__init__` that `dataclasses` writes: it has no source, so what it does is said again by its fields.

It runs Python of the model's own where a class has a `__post_init__`, a `__setattr__` or a default factory.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine

_GENERATED = "<string>"
_FACTORY: Any = dataclasses._HAS_DEFAULT_FACTORY  # type: ignore[attr-defined]  # what a parameter is by default


def written_init(function: Any, args: tuple[Any, ...]) -> type | None:
    """The dataclass whose `__init__` a function is, as it was written for it, if it is one."""
    if type(function) is not types.FunctionType or not args or function.__name__ != "__init__":
        return None
    return next((cls for cls in type(args[0]).__mro__ if _is_init_of(function, cls)), None)


def _is_init_of(function: types.FunctionType, cls: Any) -> bool:
    code = function.__code__
    if code.co_filename != _GENERATED or "__dataclass_fields__" not in vars(cls):
        return False
    taken = [field.name for field in _fields(cls) if field.init and not _is_keyword(field)]
    taken += [field.name for field in _fields(cls) if field.init and _is_keyword(field)]
    count = code.co_argcount + code.co_kwonlyargcount
    return function.__qualname__ == f"{cls.__qualname__}.__init__" and list(code.co_varnames[1:count]) == taken


def _fields(cls: Any) -> list[Any]:
    """The fields and the parameters that are none, in order."""
    return [field for field in cls.__dataclass_fields__.values() if not _is(field, "_FIELD_CLASSVAR")]


def _is(field: Any, kind: str) -> bool:
    return field._field_type is getattr(dataclasses, kind)


def _is_keyword(field: Any) -> bool:
    return field.kw_only is True


def initialization(
    function: types.FunctionType, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, ...]:
    """The arguments of `pymodels.initialize` for a call of a dataclass's `__init__`."""
    bound = inspect.signature(function, follow_wrapped=False).bind(*args, **kwargs)
    bound.apply_defaults()
    values: list[tuple[str, Any, bool]] = []
    arguments: list[Any] = []
    for field in _fields(cls):
        if _is(field, "_FIELD_INITVAR"):
            arguments.append(bound.arguments.get(field.name, field.default))
            continue
        has_factory = field.default_factory is not dataclasses.MISSING
        if field.init:
            value = bound.arguments[field.name]
            is_made = value is _FACTORY
            values.append((field.name, field.default_factory if is_made else value, is_made))
        elif has_factory:
            values.append((field.name, field.default_factory, True))
        elif "__slots__" in vars(cls) and field.default is not dataclasses.MISSING:
            values.append((field.name, field.default, False))
    store = object.__setattr__ if cls.__dataclass_params__.frozen else setattr
    return args[0], tuple(values), store, hasattr(cls, "__post_init__"), tuple(arguments)


def runs_own_code(machine: Machine, cls: Any) -> bool:
    """Whether making an instance of a dataclass runs Python of the model's."""
    function = cls.__init__
    owner = next((base for base in cls.__mro__ if _is_init_of(function, base)), None) if _is_plain(function) else None
    if owner is None:
        return False
    fields = _fields(owner)
    found = [getattr(cls, "__post_init__", None), cls.__setattr__, *(field.default_factory for field in fields)]
    return any(type(one) is types.FunctionType and machine.is_steppable(one) for one in found)


def _is_plain(function: Any) -> bool:
    return type(function) is types.FunctionType and function.__name__ == "__init__"
