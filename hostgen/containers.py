"""What lists, tuples, dicts, slices and records must be. Copied into artifacts whose calls or states have any.

It needs the standard library, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from dycl.hostgen.arguments import Array, Binder, Constant, Leaf, Number, Spec, Taken, same, shown


@dataclass(frozen=True)
class ListOf(Leaf):
    """A list given at run time, of any length."""

    element: Array | Number

    def __str__(self) -> str:
        return f"list[{self.element}]"

    def read(self, binder: Binder, where: str, value: object) -> list[object]:
        """A list of what the model computes with of each item."""
        if not isinstance(value, list):
            raise TypeError(f"{where}: expected {self}, got {shown(value)}")
        return [self.element.read(binder, f"{where}[{i}]", item) for i, item in enumerate(value)]

    def equals(self, first: object, second: object) -> bool:
        """Whether two lists hold the same."""
        if not isinstance(first, list) or not isinstance(second, list):
            return same(first, second)
        return len(first) == len(second) and all(map(self.element.equals, first, second))


_SEQUENCES: dict[str, type | tuple[type, ...]] = {"tuple": tuple, "size": tuple, "list": list, "set": (set, frozenset)}
_BUILT: dict[str, Callable[[list[Any]], Any]] = {"tuple": tuple, "size": tuple, "list": list, "set": set}


@dataclass(frozen=True)
class Items(Spec):
    """A tuple, list or set of fixed length."""

    kind: str
    items: tuple[Spec, ...]

    def __str__(self) -> str:
        return f"{self.kind}[{', '.join(map(str, self.items))}]"

    def bind(self, binder: Binder, where: str, value: object) -> None:
        """Bind each item; a set must be as it was compiled for."""
        if not isinstance(value, _SEQUENCES[self.kind]):
            raise TypeError(f"{where}: expected {self}, got {shown(value)}")
        if isinstance(value, (set, frozenset)):
            expected = {item.value for item in self.items if isinstance(item, Constant)}
            if value != expected or {(type(v), v) for v in value} != {(type(v), v) for v in expected}:
                raise ValueError(f"{where}: compiled for {expected!r}, got {value!r}")
            return
        assert isinstance(value, (tuple, list))
        if isinstance(value, list):
            _check_container(binder, where, value)
        if len(value) != len(self.items):
            raise ValueError(f"{where}: expected {len(self.items)} items, {self}, got {len(value)}")
        for index, (item, part) in enumerate(zip(value, self.items, strict=True)):
            part.bind(binder, f"{where}[{index}]", item)

    def take(self, taken: Taken, value: Any) -> bool:
        """Take each item; a set is told by `bind`."""
        if not isinstance(value, (tuple, list)) or not isinstance(value, _SEQUENCES[self.kind]):
            return False
        if len(value) != len(self.items):
            return False
        return all(part.take(taken, item) for part, item in zip(self.items, value, strict=True))

    def build(self, leaves: Mapping[int, Any]) -> Any:
        """The sequence."""
        return _BUILT[self.kind]([item.build(leaves) for item in self.items])

    def indices(self) -> tuple[int, ...]:
        """Those of the items."""
        return tuple(index for item in self.items for index in item.indices())


@dataclass(frozen=True)
class SliceOf(Spec):
    """A slice."""

    start: Spec
    stop: Spec
    step: Spec

    def __str__(self) -> str:
        return f"slice({self.start}, {self.stop}, {self.step})"

    def bind(self, binder: Binder, where: str, value: object) -> None:
        """Bind its three parts."""
        if not isinstance(value, slice):
            raise TypeError(f"{where}: expected {self}, got {shown(value)}")
        self.start.bind(binder, f"{where}.start", value.start)
        self.stop.bind(binder, f"{where}.stop", value.stop)
        self.step.bind(binder, f"{where}.step", value.step)

    def build(self, leaves: Mapping[int, Any]) -> Any:
        """The slice."""
        return slice(self.start.build(leaves), self.stop.build(leaves), self.step.build(leaves))

    def indices(self) -> tuple[int, ...]:
        """Those of its parts."""
        return (*self.start.indices(), *self.stop.indices(), *self.step.indices())


@dataclass(frozen=True)
class Keys(Spec):
    """A dict with these keys, in this order."""

    items: tuple[tuple[object, Spec], ...]

    def __str__(self) -> str:
        return "{" + ", ".join(f"{key!r}: {item}" for key, item in self.items) + "}"

    def bind(self, binder: Binder, where: str, value: object) -> None:
        """Bind each value; the keys must be these."""
        if not isinstance(value, Mapping):
            raise TypeError(f"{where}: expected {self}, got {shown(value)}")
        _check_container(binder, where, value)
        expected = [key for key, _ in self.items]
        if not same(expected, list(value)):
            raise ValueError(f"{where}: expected the keys {expected}, in this order, got {list(value)}")
        for key, part in self.items:
            part.bind(binder, f"{where}[{key!r}]", value[key])

    def take(self, taken: Taken, value: Any) -> bool:
        """Take each value."""
        if type(value) is not dict or len(value) != len(self.items):
            return False
        for (key, part), (given, item) in zip(self.items, value.items()):  # noqa: B905  seen above
            if (given is not key and not same(key, given)) or not part.take(taken, item):
                return False
        return True

    def build(self, leaves: Mapping[int, Any]) -> Any:
        """The dict."""
        return {key: item.build(leaves) for key, item in self.items}

    def indices(self) -> tuple[int, ...]:
        """Those of the values."""
        return tuple(index for _, item in self.items for index in item.indices())


@dataclass(frozen=True)
class Fields(Spec):
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

    def bind(self, binder: Binder, where: str, value: object) -> None:
        """Bind each field."""
        if type(value).__name__ != self.name:
            raise TypeError(f"{where}: expected {self}, got {shown(value)}")
        for name, part in self.fields:
            item = value[name] if self.mapping and isinstance(value, Mapping) else getattr(value, name)
            part.bind(binder, f"{where}.{name}", item)

    def build(self, leaves: Mapping[int, Any]) -> Any:
        """The object."""
        fields = {name: item.build(leaves) for name, item in self.fields}
        return self.cls(fields) if self.mapping else self.cls(**fields)

    def indices(self) -> tuple[int, ...]:
        """Those of the fields."""
        return tuple(index for _, item in self.fields for index in item.indices())


def _check_container(binder: Binder, where: str, value: object) -> None:
    """Refuse one list or dict in two places of a call that writes to them."""
    if binder.written is None:
        return
    if not isinstance(value, (list, MutableMapping)):
        raise TypeError(f"{where}: the model may write to this, and it is {shown(value)}")
    other = binder.containers.setdefault(id(value), where)
    if other != where:
        raise ValueError(f"{where}: the model may write to this, which is given as {other} too: pass a copy")
