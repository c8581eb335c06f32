"""The methods of a list of run-time length, as the machine runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dycl.passes.specialize import pymodels
from dycl.passes.specialize.builtins import MODELS, Interpret

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine
    from dycl.passes.specialize.values import RuntimeList


def append(items: RuntimeList, value: Any) -> None:
    """list.append"""


def extend(items: RuntimeList, more: Any) -> None:
    """list.extend"""


def copy(items: RuntimeList) -> Any:
    """list.copy"""


def _append(machine: Machine, items: RuntimeList, value: Any, *, native: Any) -> None:
    machine.list_append(items, value)


def _extend(machine: Machine, items: RuntimeList, more: Any, *, native: Any) -> Any:
    return Interpret(pymodels.list_extend, (items, more))


def _copy(machine: Machine, items: RuntimeList, *, native: Any) -> Any:
    return type(items)(items.element, items.vid, items.origin)


MODELS[append] = _append
MODELS[extend] = _extend
MODELS[copy] = _copy
LIST_METHODS: dict[str, Any] = {"append": append, "extend": extend, "copy": copy}
