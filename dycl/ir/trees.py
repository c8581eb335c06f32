"""Nested arguments of a call: their leaves, and the same nest with other leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def leaves(value: Any) -> Iterator[Any]:
    """The leaves of nested tuples, lists, dicts and slices, in order."""
    if isinstance(value, (tuple, list)):
        for item in value:
            yield from leaves(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, slice):
        yield from leaves((value.start, value.stop, value.step))
    else:
        yield value


def map_leaves(function: Callable[[Any], Any], value: Any, *, is_leaf: Callable[[Any], bool] = lambda _: False) -> Any:
    """The same nest with `function` applied to each leaf; a part in which nothing changes keeps its identity."""
    if is_leaf(value):
        return function(value)
    if isinstance(value, (tuple, list)):
        items = [map_leaves(function, item, is_leaf=is_leaf) for item in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*items)
        return tuple(items) if isinstance(value, tuple) else items
    if isinstance(value, dict):
        mapped = {key: map_leaves(function, item, is_leaf=is_leaf) for key, item in value.items()}
        return value if all(mapped[key] is item for key, item in value.items()) else mapped
    if isinstance(value, slice):
        old_parts = (value.start, value.stop, value.step)
        parts = [map_leaves(function, part, is_leaf=is_leaf) for part in old_parts]
        return slice(*parts) if any(new is not old for new, old in zip(parts, old_parts, strict=True)) else value
    return function(value)
