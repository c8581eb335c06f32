"""What numbers, texts and constants must be. Copied into artifacts whose calls or states have any; it needs numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from dycl.hostgen.arguments import Binder, Leaf, Seen, Spec, same, shown

_KINDS = {"int": int, "float": float, "bool": bool, "str": str}


@dataclass(frozen=True)
class Number(Leaf):
    """A Python int, float, bool or str given at run time; an int may have bounds."""

    kind: str
    low: int | None = None
    high: int | None = None
    is_object: ClassVar[bool] = False

    def __str__(self) -> str:
        return self.kind

    def read(self, binder: Binder, where: str, value: object) -> object:
        """The number."""
        if type(value) is not _KINDS[self.kind]:
            if isinstance(value, np.float64) and self.kind == "float":
                return float(value)
            raise TypeError(f"{where}: expected {self}, got {shown(value)}")
        self._check_bounds(where, value)
        return value

    def is_usual(self, seen: Seen, value: Any) -> bool:
        """Whether it is of the very type, within its bounds."""
        return type(value) is _KINDS[self.kind] and self._is_within(value)

    def _is_within(self, value: Any) -> bool:
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    def _check_bounds(self, where: str, value: Any) -> None:
        if not self._is_within(value):
            wanted = f"{self.low} or more" if self.high is None else f"{self.high} or less"
            wanted = wanted if self.low is None or self.high is None else f"{self.low} to {self.high}"
            raise ValueError(f"{where}: compiled for {wanted}, got {value}")


@dataclass(frozen=True)
class Constant(Spec):
    """A value that was fixed when the model was compiled."""

    value: object

    def __str__(self) -> str:
        return repr(self.value)

    def bind(self, binder: Binder, where: str, value: object) -> None:
        """Refuse any other value."""
        if not same(self.value, value):
            kind = ValueError if type(self.value) is type(value) else TypeError
            raise kind(f"{where}: compiled for {self}, got {shown(value)}")

    def open(self, value: Any, leaves: list[Any]) -> bool:
        """Whether it is this value."""
        return value is self.value or same(self.value, value)

    def build(self, leaves: Mapping[int, Any]) -> Any:
        """The value."""
        return self.value


@dataclass(frozen=True)
class TorchConstant(Spec):
    """A torch constant that was fixed when the model was compiled, as it is written; or that text itself."""

    text: str

    def __str__(self) -> str:
        return self.text

    def bind(self, binder: Binder, where: str, value: object) -> None:
        """Refuse any other constant."""
        if self.text not in (value, str(value), repr(value)):
            raise ValueError(f"{where}: compiled for {self}, got {shown(value)}")

    def build(self, leaves: Mapping[int, Any]) -> Any:
        """Its text."""
        return self.text
