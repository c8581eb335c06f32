"""What a call of a generated host must pass, and the binder that takes a call's arguments apart.

This file is part of the artifact. It needs numpy and the standard library, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Union

import numpy as np


@dataclass(frozen=True)
class Array:
    """An array given at run time; a dimension with a name may have any size, the same wherever the name stands."""

    index: int
    dtype: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Number:
    """A Python int, float, bool or str given at run time."""

    index: int
    kind: str

    def __str__(self) -> str:
        return self.kind


@dataclass(frozen=True)
class ListOf:
    """A list given at run time, of any length."""

    index: int
    element: Array | Number

    def __str__(self) -> str:
        return f"list[{self.element}]"


@dataclass(frozen=True)
class Constant:
    """A value that was fixed when the model was compiled."""

    value: object

    def __str__(self) -> str:
        return repr(self.value)


@dataclass(frozen=True)
class TorchConstant:
    """A torch constant that was fixed when the model was compiled, as it is written; or that text itself."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Items:
    """A tuple, list or set of fixed length."""

    kind: str
    items: tuple[Spec, ...]

    def __str__(self) -> str:
        return f"{self.kind}[{', '.join(map(str, self.items))}]"


@dataclass(frozen=True)
class SliceOf:
    """A slice."""

    start: Spec
    stop: Spec
    step: Spec

    def __str__(self) -> str:
        return f"slice({self.start}, {self.stop}, {self.step})"


@dataclass(frozen=True)
class Keys:
    """A dict with these keys, in this order."""

    items: tuple[tuple[object, Spec], ...]

    def __str__(self) -> str:
        return "{" + ", ".join(f"{key!r}: {item}" for key, item in self.items) + "}"


@dataclass(frozen=True)
class Fields:
    """An object of a class of this name with these fields; `mapping`: a dict whose items they are."""

    cls: Callable[..., Any]
    mapping: bool
    fields: tuple[tuple[str, Spec], ...]

    @property
    def name(self) -> str:
        """The name of the class."""
        return str(getattr(self.cls, "__name__", self.cls))

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{name}: {item}' for name, item in self.fields)})"


@dataclass(frozen=True)
class Whole:
    """A value given at run time that is handed on as it is; a kind of this says what it may be (`schemas.py`)."""

    index: int

    def check(self, binder: Binder, where: str, value: object) -> None:
        """Raise TypeError or ValueError where the value is not what was compiled for."""
        raise NotImplementedError


Spec = Union[Array, Number, ListOf, Whole, Constant, TorchConstant, Items, SliceOf, Keys, Fields]  # noqa: UP007

UNSET: Any = object()  # the default of a parameter that cannot be written as a literal


@dataclass(frozen=True)
class Parameter:
    """A parameter of the compiled method."""

    name: str
    spec: Spec
    optional: bool = False


@dataclass(frozen=True)
class Slot:
    """An attribute of the model that outlives a call, in terms of the state values."""

    name: str
    spec: Spec


_SEQUENCES: dict[str, type | tuple[type, ...]] = {"tuple": tuple, "size": tuple, "list": list, "set": (set, frozenset)}
_KINDS = {"int": int, "float": float, "bool": bool, "str": str}


def shown(value: object) -> str:
    """A short description of what was given."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype.name}[{', '.join(map(str, value.shape))}]"
    if isinstance(value, (bool, int, float, str, bytes, type(None), slice)):
        text = repr(value)
        return text if len(text) < 60 else text[:57] + "..."
    return f"a {type(value).__name__}"


class Binder:
    """Takes one call's arguments apart; the first that does not fit raises an error that names it."""

    def __init__(
        self, *, by_identity: bool, schemas: Mapping[str, Any] | None = None, written: tuple[int, ...] | None = None
    ) -> None:
        self.has_tensors = False  # torch's, in the objects that were given
        self.schemas = schemas or {}
        self.checked: dict[int, str] = {}  # objects known to fit their schema
        self.leaves: dict[int, object] = {}
        self._by_identity = by_identity  # what stands in two places must be one object, not just equal
        self._given: dict[int, object] = {}
        self._written = written  # the arrays that the call fills; None: it writes to nothing that it is given
        self._places: dict[int, str] = {}
        self._containers: dict[int, str] = {}
        self._sizes: dict[str, tuple[int, str]] = {}

    def bind(self, where: str, spec: Spec, value: object) -> None:
        """Check a value and keep the run-time values in it."""
        if isinstance(spec, Whole):
            spec.check(self, where, value)
            self.leaves[spec.index] = value
        elif isinstance(spec, (Array, Number, ListOf)):
            self._bind_leaf(where, spec, value)
        elif isinstance(spec, Constant):
            if not _same(spec.value, value):
                kind = ValueError if type(spec.value) is type(value) else TypeError
                raise kind(f"{where}: compiled for {spec}, got {shown(value)}")
        elif isinstance(spec, TorchConstant):
            if spec.text not in (value, str(value), repr(value)):
                raise ValueError(f"{where}: compiled for {spec}, got {shown(value)}")
        elif isinstance(spec, Items):
            self._bind_items(where, spec, value)
        elif isinstance(spec, SliceOf):
            if not isinstance(value, slice):
                raise TypeError(f"{where}: expected {spec}, got {shown(value)}")
            self.bind(f"{where}.start", spec.start, value.start)
            self.bind(f"{where}.stop", spec.stop, value.stop)
            self.bind(f"{where}.step", spec.step, value.step)
        elif isinstance(spec, Keys):
            self._bind_keys(where, spec, value)
        else:
            self._bind_fields(where, spec, value)

    def _bind_leaf(self, where: str, spec: Array | Number | ListOf, value: object) -> None:
        if spec.index in self.leaves:
            before = self._given[spec.index]
            if value is not before and (
                (self._by_identity and not isinstance(spec, Number)) or not _equal(spec, before, value)
            ):
                raise ValueError(f"{where}: compiled for the same object given in two places, got different ones")
            return
        self._given[spec.index] = value
        self._places[spec.index] = where
        self.leaves[spec.index] = self._leaf(where, spec, value)

    def _leaf(self, where: str, spec: Array | Number | ListOf, value: object) -> object:
        if isinstance(spec, ListOf):
            if not isinstance(value, list):
                raise TypeError(f"{where}: expected {spec}, got {shown(value)}")
            return [self._leaf(f"{where}[{i}]", spec.element, item) for i, item in enumerate(value)]
        if isinstance(spec, Number):
            if type(value) is not _KINDS[spec.kind]:
                if isinstance(value, np.float64) and spec.kind == "float":
                    return float(value)
                raise TypeError(f"{where}: expected {spec}, got {shown(value)}")
            return value
        if not isinstance(value, np.ndarray) or value.dtype.name != spec.dtype or value.ndim != len(spec.shape):
            raise TypeError(f"{where}: expected {spec}, got {shown(value)}")
        for size, expected in zip(value.shape, spec.shape, strict=True):
            if size != expected:
                self._check_size(where, spec, expected, size, value)
        if value.flags.c_contiguous and value.flags.aligned and value.dtype.isnative:
            return value
        return np.array(value, dtype=value.dtype.newbyteorder("="), order="C")

    def _check_size(self, where: str, spec: Array, expected: int | str, size: int, value: object) -> None:
        """A named size is whatever comes first under the name."""
        if isinstance(expected, int):
            raise ValueError(f"{where}: expected {spec}, got {shown(value)}")
        first, place = self._sizes.setdefault(expected, (size, where))
        if first != size:
            raise ValueError(f"{where}: expected {spec} where {expected} is {first} as in {place}, got {shown(value)}")

    def check_dimension(self, name: str, low: int, high: int | None) -> None:
        """Raise ValueError where the size under this name is not one that the model was compiled for."""
        size, place = self._sizes.get(name, (low, ""))
        if size < low or (high is not None and size > high):
            wanted = f"{low} or more" if high is None else f"{low} to {high}"
            raise ValueError(f"{place}: compiled for {name} of {wanted}, got {size}")

    def check_apart(self) -> None:
        """Raise ValueError where the call would write to what it cannot write, or to two things at once."""
        arrays = {index: value for index, value in self._given.items() if isinstance(value, np.ndarray)}
        for index in self._written or ():
            array, where = arrays[index], self._places[index]
            if not array.flags.writeable:
                raise ValueError(f"{where}: the model writes into this array, which is read-only")
            for other, found in arrays.items():
                if other != index and np.shares_memory(array, found):
                    raise ValueError(
                        f"{where}: the model writes into this array, which shares its memory with {self._places[other]}"
                    )

    def _check_container(self, where: str, value: object) -> None:
        """Refuse one list or dict in two places of a call that writes to them."""
        if self._written is None:
            return
        if not isinstance(value, (list, MutableMapping)):
            raise TypeError(f"{where}: the model may write to this, and it is {shown(value)}")
        other = self._containers.setdefault(id(value), where)
        if other != where:
            raise ValueError(f"{where}: the model may write to this, which is given as {other} too: pass a copy")

    def _bind_items(self, where: str, spec: Items, value: object) -> None:
        if not isinstance(value, _SEQUENCES[spec.kind]):
            raise TypeError(f"{where}: expected {spec}, got {shown(value)}")
        if isinstance(value, (set, frozenset)):
            expected = {item.value for item in spec.items if isinstance(item, Constant)}
            if value != expected or {(type(v), v) for v in value} != {(type(v), v) for v in expected}:
                raise ValueError(f"{where}: compiled for {expected!r}, got {value!r}")
            return
        assert isinstance(value, (tuple, list))
        if isinstance(value, list):
            self._check_container(where, value)
        if len(value) != len(spec.items):
            raise ValueError(f"{where}: expected {len(spec.items)} items, {spec}, got {len(value)}")
        for index, (item, part) in enumerate(zip(value, spec.items, strict=True)):
            self.bind(f"{where}[{index}]", part, item)

    def _bind_keys(self, where: str, spec: Keys, value: object) -> None:
        if not isinstance(value, Mapping):
            raise TypeError(f"{where}: expected {spec}, got {shown(value)}")
        self._check_container(where, value)
        expected = [key for key, _ in spec.items]
        if not _same(expected, list(value)):
            raise ValueError(f"{where}: expected the keys {expected}, in this order, got {list(value)}")
        for key, part in spec.items:
            self.bind(f"{where}[{key!r}]", part, value[key])

    def _bind_fields(self, where: str, spec: Fields, value: object) -> None:
        if type(value).__name__ != spec.name:
            raise TypeError(f"{where}: expected {spec}, got {shown(value)}")
        for name, part in spec.fields:
            item = value[name] if spec.mapping and isinstance(value, Mapping) else getattr(value, name)
            self.bind(f"{where}.{name}", part, item)


def _same(a: object, b: object) -> bool:
    """Equal and of one type, at every depth: True is not 1, 1 is not 1.0, 0.0 is not -0.0, nan is nan."""
    if type(a) is not type(b):
        return False
    if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)):
        return len(a) == len(b) and all(map(_same, a, b))
    return repr(a) == repr(b) if isinstance(a, float) else bool(a == b)


def _equal(spec: Spec, a: object, b: object) -> bool:
    if isinstance(spec, Array):
        return isinstance(b, np.ndarray) and np.array_equal(np.asarray(a), b, equal_nan=b.dtype.kind in "fc")
    if isinstance(spec, ListOf) and isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_equal(spec.element, x, y) for x, y in zip(a, b, strict=True))
    return _same(a, b)


def build(spec: Spec, leaves: Mapping[int, Any]) -> Any:
    """The value that a template stands for."""
    if isinstance(spec, (Array, Number, ListOf, Whole)):
        return leaves[spec.index]
    if isinstance(spec, Constant):
        return spec.value
    if isinstance(spec, TorchConstant):
        return spec.text
    if isinstance(spec, SliceOf):
        return slice(*(build(part, leaves) for part in (spec.start, spec.stop, spec.step)))
    if isinstance(spec, Keys):
        return {key: build(item, leaves) for key, item in spec.items}
    if isinstance(spec, Items):
        items = [build(item, leaves) for item in spec.items]
        return {"tuple": tuple, "size": tuple, "list": list, "set": set}[spec.kind](items)
    fields = {name: build(item, leaves) for name, item in spec.fields}
    return spec.cls(fields) if spec.mapping else spec.cls(**fields)


def unset_value(parameter: Parameter) -> Any:
    """What leaving out an optional parameter means."""
    if _leaf_indices(parameter.spec):
        raise TypeError(f"{parameter.name}: compiled for a call that passes {parameter.spec}, got nothing")
    return build(parameter.spec, {})


def _leaf_indices(spec: Spec) -> list[int]:
    """The run-time values in a specification."""
    if isinstance(spec, (Array, Number, ListOf, Whole)):
        return [spec.index]
    if isinstance(spec, Items):
        return [index for item in spec.items for index in _leaf_indices(item)]
    if isinstance(spec, SliceOf):
        return [index for item in (spec.start, spec.stop, spec.step) for index in _leaf_indices(item)]
    if isinstance(spec, Keys):
        return [index for _, item in spec.items for index in _leaf_indices(item)]
    if isinstance(spec, Fields):
        return [index for _, item in spec.fields for index in _leaf_indices(item)]
    return []
