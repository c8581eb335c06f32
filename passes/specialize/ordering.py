"""`sorted`, `list.sort`, `min` and `max` of run-time numbers: one operation of the host, not a tree of comparisons.

What is ordered may be numbers of one kind, or tuples of such numbers: then every item of the result is looked up at
its place. Of other objects the largest or smallest is found by one operation, with one arm for each; their sorted order
is a decision for each comparison that Python makes.

Before: `sorted(xs)` of n numbers ends in n! blocks. After: `ys = sorted([a, b, c])`, and `ys[0]`, `ys[1]`, `ys[2]`.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import sympy
from torch.utils._sympy.numbers import int_oo

from dycl.ir.nodes import HostOp
from dycl.ir.values import ListType, Ref, ScalarKind, ScalarType, ValueId
from dycl.passes.specialize import pyorders
from dycl.passes.specialize.builtins import Interpret, model
from dycl.passes.specialize.dispatch import choose, table_bounds, table_position
from dycl.passes.specialize.protocols import own_method
from dycl.passes.specialize.scalars import kind_of, result_kind
from dycl.passes.specialize.values import Generator, Scalar

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine

Column = list[Any]


def columns_of(items: list[Any]) -> list[Column] | None:
    """The items as columns of numbers of one kind each: one column, or one for each place of the tuples; else None."""
    if items and all(type(item) is tuple and len(item) == len(items[0]) for item in items):
        columns = [list(column) for column in zip(*items, strict=True)]
    else:
        columns = [list(items)]
    return columns if columns and all(_kind(column) is not None for column in columns) else None


def _kind(column: Column) -> ScalarKind | None:
    """The kind of all numbers of a column."""
    kinds = {kind_of(item) if is_number(item) else None for item in column}
    return next(iter(kinds)) if len(kinds) == 1 else None


def is_number(item: Any) -> bool:
    number = isinstance(item, (bool, int, float))
    return number or (isinstance(item, Scalar) and item.kind is not ScalarKind.STR)


def _is_runtime(columns: list[Column]) -> bool:
    return any(isinstance(item, Scalar) for column in columns for item in column)


# ---------------------------------------------------------------- operations


def _emit_list(machine: Machine, name: str, args: tuple[Any, ...], kind: ScalarKind) -> ValueId:
    """The list that a host operation makes; the same one when the instruction runs again."""
    call = (name, _identity(args))
    found, out = machine.replayed(call)
    if found:
        return out  # type: ignore[no-any-return]
    vid = _emit(machine, name, args, ListType(ScalarType(kind)))
    machine.log(call, vid)
    return vid


def _emit(machine: Machine, name: str, args: tuple[Any, ...], of: ListType | ScalarType) -> ValueId:
    operands = tuple(arg if isinstance(arg, Ref) else machine.operand(arg) for arg in args)
    vid = machine.values.new(of)
    machine.emit(HostOp(function=name, args=operands, result=machine.value(vid), loc=machine.loc()))
    return vid


def _identity(item: Any) -> Any:
    if isinstance(item, (list, tuple)):
        return tuple(_identity(part) for part in item)
    return ("s", item.vid, str(item.expr)) if isinstance(item, Scalar) else (type(item), repr(item))


def _number(machine: Machine, name: str, args: tuple[Any, ...], kind: ScalarKind, bounds: Any, origin: Any) -> Scalar:
    """A number that a host operation on lists gives, with its interval and the place that it came from."""
    call = (name, _identity(args))
    found, out = machine.replayed(call)
    if found:
        return out  # type: ignore[no-any-return]
    made = Scalar(kind, _emit(machine, name, args, ScalarType(kind)), None, origin)
    if kind is ScalarKind.INT:
        machine._give_symbol(made)
        machine.state.facts.intervals[made.expr] = tuple(sympy.sympify(bound) for bound in bounds)
    machine.log(call, made)
    return made


def _origin(columns: list[Column]) -> Any:
    return frozenset().union(*[item.origin for column in columns for item in column if isinstance(item, Scalar)])


# ---------------------------------------------------------------- models


def sort_numbers(machine: Machine, items: list[Any], reverse: bool) -> list[Any] | None:
    """The items in order, if they are numbers of one kind."""
    kind = _kind(items)
    if len(items) < 2 or kind is None or not _is_runtime([items]):
        return None
    made = Ref(_emit_list(machine, "sorted_down" if reverse else "sorted", (items,), kind))
    bounds, origin = table_bounds(machine, items), _origin([items])
    return [_number(machine, "list_get", (made, place), kind, bounds, origin) for place in range(len(items))]


def sort_by(machine: Machine, items: list[Any], keys: list[Any], reverse: bool) -> list[Any] | None:
    """The items in the order of their keys, if both are numbers or tuples of numbers."""
    columns, key_columns = columns_of(items), columns_of(keys)
    if len(items) < 2 or columns is None or key_columns is None or not _is_runtime(key_columns):
        return None
    position = table_position(machine, columns, key_columns)
    if position is None:
        return None
    order = Ref(_emit_list(machine, "numerics.order_of", (reverse, *key_columns), ScalarKind.INT))
    last, origin = len(items) - 1, frozenset({position}) | _origin(key_columns)
    ranks = range(len(items))
    places = [_number(machine, "list_get", (order, rank), ScalarKind.INT, (0, last), origin) for rank in ranks]
    found = [[_looked_up(machine, column, place, origin) for place in places] for column in columns]
    return list(zip(*found, strict=True)) if type(items[0]) is tuple else found[0]


def _looked_up(machine: Machine, column: Column, place: Scalar, origin: Any) -> Any:
    """The number at a place of a column."""
    if not any(isinstance(item, Scalar) for item in column):
        if column == list(range(len(column))):
            return place
        if all(item == column[0] for item in column[1:]) and repr(column[0]) == repr(column[-1]):
            return column[0]
    kind = _kind(column)
    assert kind is not None
    bounds = table_bounds(machine, column) if kind is ScalarKind.INT else (-int_oo, int_oo)
    return _number(machine, "list_get", (column, place), kind, bounds, origin | _origin([column]))


def best_of(machine: Machine, items: list[Any], keys: list[Any], is_max: bool) -> Any:
    """The item with the largest or smallest key; NotImplemented where that is no question of numbers."""
    key_columns = columns_of(keys)
    if len(items) < 2 or key_columns is None or not _is_runtime(key_columns):
        return NotImplemented
    columns = columns_of(items)
    position = table_position(machine, columns or [], key_columns)
    origin = _origin(key_columns) | (frozenset() if position is None else frozenset({position}))
    name = "numerics.place_of_max" if is_max else "numerics.place_of_min"
    place = _number(machine, name, tuple(key_columns), ScalarKind.INT, (0, len(items) - 1), origin)
    if columns is None or position is None:
        return items[choose(machine, items, Scalar(place.kind, place.vid, place.expr))]
    found = tuple(_looked_up(machine, column, place, origin) for column in columns)
    return found if type(items[0]) is tuple else found[0]


def extremum_of_numbers(machine: Machine, items: list[Any], name: str) -> Any:
    """`max` or `min` of numbers: one operation for two of a kind; where the result's type is open, a decision."""
    best = items[0]
    for item in items[1:]:
        if result_kind(name, (best, item)) is not None:
            best = machine.host(name, best, item)
        elif machine.truth(item > best if name == "max" else item < best):
            best = item
    return best


@model(pyorders.permuted)
def _permuted(machine: Machine, items: Any, keys: Any, reverse: Any, *, native: Any) -> Any:
    if _compare_themselves(machine, keys):
        return Interpret(pyorders.permuted_by_methods, (items, keys, reverse))
    found = sort_by(machine, items, keys, bool(reverse))
    if found is not None:
        return found
    order = machine.native(sorted, (range(len(items)),), {"key": keys.__getitem__, "reverse": reverse})
    return [items[index] for index in order]


@model(pyorders.best)
def _best(machine: Machine, items: Any, keys: Any, is_max: Any, *, native: Any) -> Any:
    found = best_of(machine, items, keys, is_max)
    return Interpret(pyorders.best_by_comparison, (items, keys, is_max)) if found is NotImplemented else found


@model(sorted)
def _sorted(machine: Machine, iterable: Any, *, native: Any, key: Any = None, reverse: Any = False) -> Any:
    if key is not None:
        return Interpret(pyorders.sorted_, (iterable, key, reverse))
    items = _taken(machine, iterable)
    if items is None:
        return NotImplemented
    if _compare_themselves(machine, items):
        return Interpret(pyorders.permuted_by_methods, (items, items, reverse))
    reverse = machine.truth_of(reverse)
    found = sort_numbers(machine, items, reverse)
    return sort_by(machine, items, items, reverse) or NotImplemented if found is None else found


@model(min, max)
def _extremum(machine: Machine, *args: Any, native: Any, key: Any = None, **kwargs: Any) -> Any:
    if key is not None:
        items = args[0] if len(args) == 1 else args
        default = (kwargs["default"],) if "default" in kwargs else ()
        return Interpret(pyorders.extremum, (items, key, default, native is max))
    found = _taken(machine, args[0]) if len(args) == 1 else list(args)
    if found and _compare_themselves(machine, found):
        return Interpret(pyorders.extremum_of_list, (found, pyorders.identity, (), native is max))
    if not found or not any(isinstance(item, Scalar) for part in found for item in _parts(part)):
        return NotImplemented
    if all(is_number(item) for item in found):
        return extremum_of_numbers(machine, found, native.__name__)
    return best_of(machine, found, found, native is max)


def _compare_themselves(machine: Machine, items: Any) -> bool:
    """Whether the model's own Python says which of some objects is less."""
    return any(
        own_method(machine, part, name) is not None
        for item in items
        for part in _parts(item)
        for name in ("__lt__", "__gt__")
    )


@model(functools.cmp_to_key)
def _cmp_to_key(machine: Machine, compare: Any, *, native: Any) -> Any:
    return Interpret(pyorders.cmp_to_key, (compare,))


def _parts(item: Any) -> tuple[Any, ...]:
    return item if type(item) is tuple else (item,)


def _taken(machine: Machine, iterable: Any) -> list[Any] | None:
    """The items of a list, tuple or generator; None of anything else, which is gone through as ever."""
    return list(iterable) if type(iterable) in (list, tuple, Generator) else None
