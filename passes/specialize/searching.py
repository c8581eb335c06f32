"""Looking for a number or text in a list, a tuple or a dict, where some only the run knows: a decision for each item.

Native code would find a number as well, but not say in its error which one is missing. A text of the run's has no
characters that native code could compare.
"""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any

from dycl.ir.values import ScalarKind
from dycl.passes.specialize import pylists, pymodels
from dycl.passes.specialize.builtins import Interpret, has_runtime, is_runtime_tuple, model
from dycl.passes.specialize.dispatch import sorted_keys
from dycl.passes.specialize.ordering import is_number
from dycl.passes.specialize.values import Scalar, Text, TextPart

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine


@model(pymodels.held)
def _held(machine: Machine, value: Any, *, native: Any) -> Any:
    machine.hold(value)
    return value


@model(list.index, tuple.index)
def _index(machine: Machine, items: Any, *args: Any, native: Any) -> Any:
    if type(items) not in (list, tuple) or len(args) != 1 or not has_runtime((items, args)):
        return NotImplemented
    if _is_text_among(items, args):
        return Interpret(pylists.list_index, (items, *args))
    (value,) = args
    if not all(is_number(item) for item in (*items, value)):
        return NotImplemented
    for place, item in enumerate(items):
        if item is value or machine.truth(machine.host("eq", item, value)):
            return place
    if type(items) is tuple:
        raise ValueError("tuple.index(x): x not in tuple")
    shown = TextPart(value, "r", "") if isinstance(value, Scalar) else repr(value)
    raise ValueError(Text.of(shown, " is not in list"))


@model(list.count, tuple.count, list.remove)
def _compare_items(machine: Machine, items: Any, value: Any, *, native: Any) -> Any:
    if not _is_text_among(items, (value,)):
        return NotImplemented
    return Interpret(pylists.list_remove if native is list.remove else pylists.list_count, (items, value))


def _is_text_among(items: Any, args: tuple[Any, ...]) -> bool:
    return any(type(item) is Text for item in (*items, *args))


@model(dict.get)
def _get(machine: Machine, table: Any, key: Any, *default: Any, native: Any) -> Any:
    """With a key that only the run knows, or knows a part of: a comparison for each key that it could be."""
    if type(table) not in _PLAIN_TABLES:
        return NotImplemented
    candidates: list[Any]
    if is_runtime_tuple(key):
        candidates = [other for other in table if type(other) is tuple]
    elif type(key) is Text:
        candidates = [other for other in table if isinstance(other, str)]
    elif isinstance(key, Scalar) and key.kind is not ScalarKind.BOOL and all(isinstance(k, _FIXED_KEYS) for k in table):
        candidates = sorted_keys(table)
    else:
        return NotImplemented
    return Interpret(pymodels.table_get, (tuple(candidates), table, key, *default))


_PLAIN_TABLES = (dict, collections.OrderedDict, collections.defaultdict, collections.Counter)
_FIXED_KEYS = (bool, int, float, str, bytes, tuple, type(None))  # whose equality is Python's own
