"""`list.index` and `tuple.index` of numbers of which some are run-time numbers: a decision for each item.

Native code would find the item as well, but not say in its error which number is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dycl.passes.specialize import pymodels
from dycl.passes.specialize.builtins import has_runtime, model
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
