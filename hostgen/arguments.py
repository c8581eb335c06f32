"""What a call of a generated host must pass, and the binder that takes a call's arguments apart.

This file is part of the artifact. It needs numpy and the standard library, nothing else. What lists, dicts and the like
must be stands in `containers.py`, what objects must be in `schemas.py`: artifacts hold them where calls pass any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np


class Seen:
    """What comes out while the run-time values of a call are looked at."""

    __slots__ = ("has_tensors", "schemas", "sizes")

    def __init__(self, schemas: Mapping[str, Any]) -> None:
        self.has_tensors = False  # torch's, in the objects that were given
        self.schemas = schemas
        self.sizes: dict[str, int] = {}


class Spec:
    """What an argument, or a part of it, must be."""

    def bind(self, binder: Binder, where: str, value: object) -> None:
        """Check what was given and keep the run-time values in it; TypeError or ValueError where it does not fit."""
        raise NotImplementedError

    def open(self, value: Any, leaves: list[Any]) -> bool:
        """Put the values that stand for run-time values in their order; False: only `bind` can tell whether it fits."""
        return False

    def build(self, leaves: Mapping[int, Any]) -> Any:
        """The value that this stands for in a template."""
        raise NotImplementedError

    def leaves(self) -> tuple[Leaf, ...]:
        """The run-time values in it."""
        return ()


@dataclass(frozen=True)
class Leaf(Spec):
    """A value given at run time, the same wherever its number stands."""

    index: int
    is_object: ClassVar[bool] = True  # what is given in two places must be one object, not just equal

    def bind(self, binder: Binder, where: str, value: object) -> None:
        """Keep it, or compare it with what was given under its number before."""
        binder.bind_leaf(where, self, value)

    def open(self, value: Any, leaves: list[Any]) -> bool:
        """Put the value in its place, to be looked at later."""
        leaves.append(value)
        return True

    def is_usual(self, seen: Seen, value: Any) -> bool:
        """Whether `bind` would keep the value as it is; False: only `bind` can tell."""
        return False

    def build(self, leaves: Mapping[int, Any]) -> Any:
        """The value itself."""
        return leaves[self.index]

    def leaves(self) -> tuple[Leaf, ...]:
        """It is one itself."""
        return (self,)

    def read(self, binder: Binder, where: str, value: object) -> object:
        """What the model computes with of what was given; TypeError or ValueError where it does not fit."""
        raise NotImplementedError

    def equals(self, first: object, second: object) -> bool:
        """Whether two values are equal."""
        return same(first, second)


READY = 0x101  # numpy's flags for arrays whose rows lie one after the other, at addresses that fit their type


@dataclass(frozen=True)
class Array(Leaf):
    """An array given at run time; a dimension with a name may have any size, the same wherever the name stands."""

    dtype: str
    shape: tuple[int | str, ...]
    usual: np.dtype | None = field(init=False, repr=False, compare=False)  # the type's one object

    def __post_init__(self) -> None:
        object.__setattr__(self, "usual", np.dtype(self.dtype) if self.dtype in np.sctypeDict else None)

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"

    def read(self, binder: Binder, where: str, value: object) -> np.ndarray:
        """The array, in one piece and in the machine's order of bytes."""
        if not isinstance(value, np.ndarray) or value.ndim != len(self.shape) or not self._fits(value.dtype):
            raise TypeError(f"{where}: expected {self}, got {shown(value)}")
        for size, expected in zip(value.shape, self.shape, strict=True):
            if size != expected:
                binder.check_size(where, self, expected, size, value)
        if value.flags.c_contiguous and value.flags.aligned and value.dtype.isnative:
            return value
        return np.array(value, dtype=value.dtype.newbyteorder("="), order="C")

    def is_usual(self, seen: Seen, value: Any) -> bool:
        """Whether it is an array of numpy's own class, as subgraphs take it."""
        if type(value) is not np.ndarray or not self._is_of_type(value.dtype) or value.flags.num & READY != READY:
            return False
        return value.shape == self.shape or self._takes_sizes(seen.sizes, value.shape)

    def _fits(self, dtype: np.dtype) -> bool:
        return self._is_of_type(dtype) or dtype.name == self.dtype  # the name takes numpy long

    def _is_of_type(self, dtype: np.dtype) -> bool:
        """Whether it is the usual type; an array that was unpickled has another object for it."""
        return dtype is self.usual or (self.usual is not None and dtype == self.usual)

    def _takes_sizes(self, sizes: dict[str, int], shape: tuple[int, ...]) -> bool:
        if len(shape) != len(self.shape):
            return False
        for size, want in zip(shape, self.shape, strict=True):
            if size != want and (isinstance(want, int) or sizes.setdefault(want, size) != size):
                return False
        return True

    def equals(self, first: object, second: object) -> bool:
        """Whether two arrays hold the same."""
        if not isinstance(second, np.ndarray):
            return False
        return np.array_equal(np.asarray(first), second, equal_nan=second.dtype.kind in "fc")


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
        self.checked: dict[int, tuple[str, object]] = {}  # objects known to fit their schema; kept, as their ids are
        self.containers: dict[int, str] = {}  # those that were given, and where
        self.leaves: dict[int, object] = {}
        self.written = written  # the arrays that the call fills; None: it writes to nothing that it is given
        self._by_identity = by_identity  # what stands in two places must be one object, not just equal
        self._given: dict[int, object] = {}
        self._places: dict[int, str] = {}
        self._sizes: dict[str, tuple[int, str]] = {}

    def bind_leaf(self, where: str, spec: Leaf, value: object) -> None:
        """Check a value given at run time and keep it."""
        if spec.index in self.leaves:
            before = self._given[spec.index]
            by_identity = self._by_identity and spec.is_object
            if value is not before and (by_identity or not spec.equals(before, value)):
                raise ValueError(f"{where}: compiled for the same object given in two places, got different ones")
            return
        self._given[spec.index] = value
        self._places[spec.index] = where
        self.leaves[spec.index] = spec.read(self, where, value)

    def check_size(self, where: str, spec: Array, expected: int | str, size: int, value: object) -> None:
        """Raise ValueError for another size than expected; a named one is whatever comes first under the name."""
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
        for index in self.written or ():
            array, where = arrays[index], self._places[index]
            if not array.flags.writeable:
                raise ValueError(f"{where}: the model writes into this array, which is read-only")
            for other, found in arrays.items():
                if other != index and np.shares_memory(array, found):
                    raise ValueError(
                        f"{where}: the model writes into this array, which shares its memory with {self._places[other]}"
                    )


def same(a: object, b: object) -> bool:
    """Equal and of one type, at every depth: True is not 1, 1 is not 1.0, 0.0 is not -0.0, nan is nan."""
    if type(a) is not type(b):
        return False
    if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)):
        return len(a) == len(b) and all(map(same, a, b))
    return repr(a) == repr(b) if isinstance(a, float) else bool(a == b)


def unset_value(parameter: Parameter) -> Any:
    """What leaving out an optional parameter means."""
    if parameter.spec.leaves():
        raise TypeError(f"{parameter.name}: compiled for a call that passes {parameter.spec}, got nothing")
    return parameter.spec.build({})
