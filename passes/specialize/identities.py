"""Native code that tells objects apart by their identity: by `==` where their class has none of its own, by hashing.

An object that lies in a run-time list comes out of it as another one each time. So whoever compares such objects would
get another answer than eager, and is refused, as `is` is.
"""

from __future__ import annotations

import collections
import operator
from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import TYPE_CHECKING, Any

from dycl.passes.specialize.movers import COMPARE_ITEMS, KEYED

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine

_COMPARISONS = (operator.eq, operator.ne)
_SUBSCRIPTS = (operator.contains, operator.getitem, operator.setitem, operator.delitem)
_TABLES = (dict, set, frozenset)
_CONTAINERS = (list, tuple, collections.deque, *_TABLES)


def check_identities(machine: Machine, function: Any, args: tuple[Any, ...]) -> None:
    """Refuse a call that compares or hashes objects which may be one though they are two here."""
    if not machine.state.frozen:
        return
    for left, right in _compared(function, args):
        if _has_identity(left) and _has_identity(right):
            machine.check_identity(left, right)


def _has_identity(value: Any) -> bool:
    cls: Any = type(value)
    return cls.__eq__ is object.__eq__


def _compared(function: Any, args: tuple[Any, ...]) -> Iterator[tuple[Any, Any]]:
    """The pairs of objects that are compared, so far as it is seen by the function and its arguments."""
    owner, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
    if function in _COMPARISONS:
        yield from _pairs(*args)
    elif function in _SUBSCRIPTS and isinstance(args[0], _TABLES if function is not operator.contains else _CONTAINERS):
        yield from _with_items(args[0], args[1])
    elif isinstance(owner, _CONTAINERS) and args and name in (COMPARE_ITEMS | KEYED | {"get"}):
        if isinstance(owner, _TABLES) or name in COMPARE_ITEMS:
            yield from _with_items(owner, args[0])
    elif function in (set, frozenset, dict.fromkeys, collections.Counter) and args and isinstance(args[0], _CONTAINERS):
        yield from combinations(args[0], 2)


def _with_items(container: Iterable[Any], element: Any) -> Iterator[tuple[Any, Any]]:
    """An element beside all items; who finds itself among them is not compared with the others."""
    items = list(container)
    if not any(item is element for item in items):
        for item in items:
            yield from _pairs(item, element)


def _pairs(left: Any, right: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        for one, other in zip(left, right, strict=False):
            yield from _pairs(one, other)
    else:
        yield left, right
