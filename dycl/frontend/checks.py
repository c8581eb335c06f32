"""What `match` and `with` ask of an object, as functions that lowered code calls; none has a side effect of its own."""

from __future__ import annotations

from typing import Any

# Py_TPFLAGS_SEQUENCE, _MAPPING and _Py_TPFLAGS_MATCH_SELF of CPython: what its own `match` tests.
_SEQUENCE = 1 << 5
_MAPPING = 1 << 6
_MATCHES_SELF = 1 << 22
_MISSING = object()


def exception_class(error: BaseException) -> type[BaseException]:
    """The class of an exception, as `__exit__` is told."""
    return type(error)


def is_sequence(subject: object) -> bool:
    """May a sequence pattern match it? Text and bytes are none."""
    return bool(type(subject).__flags__ & _SEQUENCE)


def is_mapping(subject: object) -> bool:
    """May a mapping pattern match it?"""
    return bool(type(subject).__flags__ & _MAPPING)


def values_of_keys(subject: Any, keys: tuple[object, ...]) -> tuple[object, ...] | None:
    """The values of a mapping pattern's keys; None where one is missing."""
    seen: set[object] = set()
    values = []
    get = subject.get
    for key in keys:
        if key in seen:
            raise ValueError(f"mapping pattern checks duplicate key ({key!r})")
        seen.add(key)
        value = get(key, _MISSING)
        if value is _MISSING:
            return None
        values.append(value)
    return tuple(values)


def mapping_without(subject: Any, keys: tuple[object, ...]) -> dict[object, object]:
    """What `**rest` of a mapping pattern is bound to."""
    rest = {}
    rest.update(subject)
    for key in keys:
        del rest[key]
    return rest


def class_attributes(subject: object, kind: object, count: int, names: tuple[str, ...]) -> tuple[object, ...] | None:
    """The values of a class pattern's `count` positional and named sub-patterns; None where it does not match."""
    if not isinstance(kind, type):
        raise TypeError("called match pattern must be a class")
    if not isinstance(subject, kind):
        return None
    seen: set[str] = set()
    values: list[object] = []
    positional = _match_args(kind, count) if count else ()
    if positional is None:
        values.append(subject)
        positional = ()
    for name in (*positional, *names):
        value = _attribute(subject, kind, name, seen)
        if value is _MISSING:
            return None
        values.append(value)
    return tuple(values)


def _match_args(kind: type, count: int) -> tuple[str, ...] | None:
    """The attributes of `count` positional sub-patterns; None: the one is matched with the subject itself."""
    args = getattr(kind, "__match_args__", _MISSING)
    matches_self = args is _MISSING and bool(kind.__flags__ & _MATCHES_SELF)
    args = () if args is _MISSING else args
    if type(args) is not tuple:
        raise TypeError(f"{kind.__name__}.__match_args__ must be a tuple (got {type(args).__name__})")
    allowed = 1 if matches_self else len(args)
    if allowed < count:
        plural = "" if allowed == 1 else "s"
        raise TypeError(f"{kind.__name__}() accepts {allowed} positional sub-pattern{plural} ({count} given)")
    if matches_self:
        return None
    for name in args[:count]:
        if type(name) is not str:
            raise TypeError(f"__match_args__ elements must be strings (got {type(name).__name__})")
    return args[:count]


def _attribute(subject: object, kind: type, name: str, seen: set[str]) -> object:
    if name in seen:
        raise TypeError(f"{kind.__name__}() got multiple sub-patterns for attribute {name!r}")
    seen.add(name)
    return getattr(subject, name, _MISSING)
