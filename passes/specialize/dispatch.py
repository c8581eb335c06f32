"""Subscripts by a run-time number: a table of numbers is looked up in the host, anything else is one arm a candidate.

The number's interval says which candidates there are. A negative index of a sequence is counted from its end first, so
that there is one arm for each item; what is out of range raises as in the source.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sympy
import torch
from torch.utils._sympy.numbers import int_oo

from dycl.diagnostics import UnsupportedError
from dycl.ir.nodes import HostOp
from dycl.ir.values import ScalarKind, ScalarType
from dycl.passes.specialize.hints import Position
from dycl.passes.specialize.scalars import kind_of
from dycl.passes.specialize.values import UNSET, Scalar, Text, TextPart

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine

_LIST_TYPES = (list, tuple, torch.nn.ModuleList, torch.nn.Sequential, torch.nn.ParameterList)


MIN_TABLE = 3  # items; of fewer there is an arm for each
_TABLE = "table"  # marks the places that are one


def lookup(machine: Machine, target: Any, index: Scalar) -> Any:
    """target[index] for numbers of one kind, or for texts, as one operation of the host; else UNSET.

    Where the number is needed at compile time after all, `Position` says that this place must not be a table.
    """
    frame = machine.state.frames[-1]
    position = Position((_TABLE, id(frame.code), frame.current))
    if index.kind is not ScalarKind.INT or position.place in machine.hints.pinned:
        return UNSET
    if (texts := _texts_of(target)) is not None:
        return _look_up_text(machine, target, texts, index, position)
    if type(target) not in (list, tuple):
        return UNSET
    kinds = {kind_of(item) if isinstance(item, (Scalar, bool, int, float)) else None for item in target}
    kind = next(iter(kinds), None)
    if kind is None or len(kinds) != 1 or len(target) < MIN_TABLE or any(_is_lazy(item) for item in target):
        return UNSET
    checked = _checked(machine, target, index)
    call = ("table", tuple(_identity(item) for item in target), checked.vid, str(checked.expr))
    found, out = machine.replayed(call)
    if found:
        return out
    vid = machine.values.new(ScalarType(kind))
    operands = (machine.operand(list(target)), machine.operand(checked))
    machine.emit(HostOp(function="list_get", args=operands, result=machine.value(vid), loc=machine.loc()))
    result = Scalar(kind, vid, None, frozenset({position}) | index.origin)
    if kind is ScalarKind.INT:
        machine._give_symbol(result)
        bounds = [_bounds(machine, item) for item in target]
        machine.state.facts.intervals[result.expr] = (min(low for low, _ in bounds), max(high for _, high in bounds))
    machine.log(call, result)
    return result


def _texts_of(target: Any) -> list[str] | None:
    """The texts of a list, tuple, text or dict by numbers from 0, if they are known and worth a table."""
    if type(target) is dict and list(target) == list(range(len(target))):
        target = list(target.values())
    if (
        type(target) not in (list, tuple, str)
        or len(target) < MIN_TABLE
        or not all(type(item) is str for item in target)
    ):
        return None
    return list(target)


def _look_up_text(machine: Machine, target: Any, texts: list[str], index: Scalar, position: Position) -> Text:
    """The text at a place that only the run knows."""
    if isinstance(target, dict) and not (
        machine.truth(machine.host("ge", index, 0)) and machine.truth(machine.host("lt", index, len(texts)))
    ):
        raise KeyError(index)
    checked = index if isinstance(target, dict) else _checked(machine, target, index)
    call = ("table", tuple(texts), checked.vid, str(checked.expr))
    found, out = machine.replayed(call)
    if found:
        return out  # type: ignore[no-any-return]
    vid = machine.values.new(ScalarType(ScalarKind.STR))
    operands = (machine.operand(texts), machine.operand(checked))
    machine.emit(HostOp(function="list_get", args=operands, result=machine.value(vid), loc=machine.loc()))
    result = machine.text_of(Scalar(ScalarKind.STR, vid, None, frozenset({position}) | index.origin))
    machine.log(call, result)
    return result


def cut(machine: Machine, target: Any, index: slice) -> Any:
    """target[start:stop:step] of a list, tuple or text at run-time numbers.

    The part of a list is one of run-time length, where its items have something in common; else, and where its items
    are needed one by one after all, there is a branch for each place where it may be cut.
    """
    found = machine.list_made_here("cut", target) if type(target) is list else None
    if found is not None:
        return machine.list_slice(found, index)
    return target[edges_of(machine, target, index)]


def edges_of(machine: Machine, target: Any, index: slice) -> slice:
    """The slice that it is on this path: one branch for each place where the items may be cut."""
    size, step = len(target), machine.concrete(index.step)
    return slice(_edge(machine, index.start, size), _edge(machine, index.stop, size), step)


def is_cut(target: Any, index: Any) -> bool:
    """Whether a subscript is a slice between numbers that only the run knows, of a sequence whose items are known."""
    return (
        type(index) is slice
        and type(target) in (list, tuple, str)
        and any(isinstance(bound, Scalar) for bound in (index.start, index.stop, index.step))
    )


def _edge(machine: Machine, bound: Any, size: int) -> Any:
    """A bound of a slice on this path: every number beyond an end means that end."""
    if not isinstance(bound, Scalar):
        return bound
    bound = machine.list_index(bound)
    if isinstance(bound, Scalar) and machine.truth(machine.host("lt", bound, 0)):
        bound = machine.host("add", bound, size)
        if not machine.truth(machine.host("gt", bound, 0)):
            return 0
    if not machine.truth(machine.host("lt", bound, size)):
        return size
    for candidate in range(size - 1):
        if machine.truth(machine.host("eq", bound, candidate)):
            return candidate
    return size - 1


def table_position(machine: Machine, *columns: list[list[Any]]) -> Position | None:
    """The place of the instruction as one where numbers are looked up; None where that was taken back."""
    frame = machine.state.frames[-1]
    position = Position((_TABLE, id(frame.code), frame.current))
    is_possible = position.place not in machine.hints.pinned and not any(
        _is_lazy(item) for group in columns for column in group for item in column
    )
    return position if is_possible else None


def table_bounds(machine: Machine, items: list[Any]) -> tuple[Any, Any]:
    """The interval of all the numbers of a list."""
    bounds = [_bounds(machine, item) for item in items if kind_of(item) is ScalarKind.INT]
    return min((low for low, _ in bounds), default=-int_oo), max((high for _, high in bounds), default=int_oo)


def keep_looked_up(machine: Machine, number: Scalar) -> None:
    """Take back that integers are a table, where one is handed to torch: it may be a size, and those are few."""
    tables = frozenset(position for position in number.origin if _is_table(position.place))
    if tables and machine.hints.pin(tables):
        raise machine.restart("a number from a table is handed to torch")


def _is_table(place: Any) -> bool:
    return isinstance(place, tuple) and place[:1] == (_TABLE,)


def _identity(item: Any) -> Any:
    return ("s", item.vid, str(item.expr)) if isinstance(item, Scalar) else (type(item), repr(item))


def _is_lazy(item: Any) -> bool:
    return isinstance(item, Scalar) and item.vid < 0


def _bounds(machine: Machine, item: Any) -> tuple[Any, Any]:
    if isinstance(item, Scalar):
        return machine.bounds_of(item.expr)
    return sympy.Integer(int(item)), sympy.Integer(int(item))


def _checked(machine: Machine, target: Any, index: Scalar) -> Scalar:
    """The index, in range on this path; Python's own error where it is not."""
    if machine.truth(machine.host("lt", index, len(target))) and machine.truth(machine.host("ge", index, -len(target))):
        return index
    raise IndexError(f"{type(target).__name__} index out of range")


def choose(machine: Machine, target: Any, index: Scalar) -> Any:
    """The index that the run-time number is on this path: one branch for each candidate."""
    if index.kind is ScalarKind.STR and isinstance(target, (dict, torch.nn.ModuleDict, torch.nn.ParameterDict)):
        return _choose_text(machine, target, index)
    if isinstance(target, dict):
        return _choose_key(machine, target, index)
    if index.kind is ScalarKind.FLOAT:
        return 0.5  # no sequence takes a float: its own error says so
    if index.kind is ScalarKind.BOOL:
        return int(machine.truth(index))
    if not isinstance(target, (*_LIST_TYPES, range, str, torch.Size)):
        raise UnsupportedError("DY204", machine.loc(), f"a {type(target).__name__} indexed by a run-time number")
    if index.origin and machine.hints.pin(index.origin):
        raise machine.restart("a generalised number indexes a list")
    size = len(target)
    position = from_front(machine, index, size)
    low, high = machine.bounds_of(position.expr)
    for candidate in range(int(max(low, 0)), int(min(high, size - 1)) + 1):
        if machine.truth(machine.host("eq", position, candidate)):
            return candidate
    if isinstance(target, torch.nn.Module):
        raise IndexError(Text.of("index ", TextPart(index, "", ""), " is out of range"))
    return size


def _choose_text(machine: Machine, target: Any, index: Scalar) -> Any:
    for key in target.keys():  # noqa: SIM118  (not only dicts)
        if isinstance(key, str) and machine.truth(machine.host("eq", index, key)):
            return key
    if hasattr(type(target), "__missing__"):
        return machine.concrete(index)
    raise KeyError(Text.of(TextPart(index, "", "")))


def _choose_key(machine: Machine, target: dict[Any, Any], index: Scalar) -> Any:
    low, high = machine.bounds_of(index.expr) if index.kind is ScalarKind.INT else (-int_oo, int_oo)
    for key in sorted_keys(target):
        if low <= key <= high and machine.truth(machine.host("eq", index, key)):
            return key
    if hasattr(type(target), "__missing__"):
        return machine.concrete(index)
    raise KeyError(index)


def sorted_keys(target: dict[Any, Any]) -> list[Any]:
    """The numbers among the keys, in order: with each that the number is not, its interval shrinks."""
    return sorted(key for key in target if isinstance(key, (bool, int, float)) and key == key)


def from_front(machine: Machine, index: Scalar, size: int) -> Scalar:
    """The index counted from the first item, as a number whose interval the arms of a dispatch can narrow."""
    expr: Any = index.expr
    if machine.bounds_of(expr)[0] < 0:
        index = machine.host("from_front", index, size)
        expr = index.expr
    if expr.is_Symbol:
        return index
    call = ("symbol of", expr)
    if call not in machine.state.facts.results:
        named = Scalar(ScalarKind.INT, machine.vid_of(index), None, index.origin)
        machine._give_symbol(named)
        machine.state.facts.intervals[named.expr] = machine.bounds_of(expr)
        machine.state.facts.results[call] = named
    found: Scalar = machine.state.facts.results[call]
    return found
