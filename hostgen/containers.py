"""What lists, tuples, dicts, slices and records must be. Copied into artifacts whose calls or states have any.

It needs the standard library, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from dycl.hostgen.arguments import Binder, Leaf, Seen, Spec, same, shown


@dataclass(frozen=True)
class ListOf(Leaf):
    """A list given at run time, of any length."""

    element: Leaf

    def __str__(self) -> str:
        return f"list[{self.element}]"

    def read(self, binder: Binder, where: str, value: object) -> list[object]:
        """A list of what the model computes with of each item."""
        if not isinstance(value, list):
            raise TypeError(f"{where}: expected {self}, got {shown(value)}")
        seen = Seen({})
        if all(self.element.is_usual(seen, item) for item in value) and not seen.sizes:
            return list(value)
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
            expected = {item.build({}) for item in self.items if not item.leaves()}
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

    def open(self, value: Any, leaves: list[Any]) -> bool:
        """Open each item; of a set `bind` tells."""
        if not isinstance(value, (tuple, list)) or not isinstance(value, _SEQUENCES[self.kind]):
            return False
        if len(value) != len(self.items):
            return False
        for part, item in zip(self.items, value, strict=True):
            if isinstance(part, Leaf):
                leaves.append(item)
            elif not part.open(item, leaves):
                return False
        return True

    def build(self, leaves: Mapping[int, Any]) -> Any:
        """The sequence."""
        return _BUILT[self.kind]([item.build(leaves) for item in self.items])

    def leaves(self) -> tuple[Leaf, ...]:
        """Those of the items."""
        return tuple(leaf for item in self.items for leaf in item.leaves())


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

    def leaves(self) -> tuple[Leaf, ...]:
        """Those of its parts."""
        return (*self.start.leaves(), *self.stop.leaves(), *self.step.leaves())


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

    def open(self, value: Any, leaves: list[Any]) -> bool:
        """Open each value of a dict."""
        if type(value) is not dict or len(value) != len(self.items):
            return False
        for (key, part), (given, item) in zip(self.items, value.items(), strict=True):
            if given is not key and not same(key, given):
                return False
            if isinstance(part, Leaf):
                leaves.append(item)
            elif not part.open(item, leaves):
                return False
        return True

    def build(self, leaves: Mapping[int, Any]) -> Any:
        """The dict."""
        return {key: item.build(leaves) for key, item in self.items}

    def leaves(self) -> tuple[Leaf, ...]:
        """Those of the values."""
        return tuple(leaf for _, item in self.items for leaf in item.leaves())


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

    def leaves(self) -> tuple[Leaf, ...]:
        """Those of the fields."""
        return tuple(leaf for _, item in self.fields for leaf in item.leaves())


def _check_container(binder: Binder, where: str, value: object) -> None:
    """Refuse one list or dict in two places of a call that writes to them."""
    if binder.written is None:
        return
    if not isinstance(value, (list, MutableMapping)):
        raise TypeError(f"{where}: the model may write to this, and it is {shown(value)}")
    other = binder.containers.setdefault(id(value), where)
    if other != where:
        raise ValueError(f"{where}: the model may write to this, which is given as {other} too: pass a copy")
