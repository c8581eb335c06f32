"""Items of a list or tuple of run-time length that are spread: `f(*xs)`, `[*xs, y]`, `a, *rest = xs`, `zip(*xs)`.

What takes any number of them gets the list itself, as a tuple of run-time length: a function's own `*args`, a new list.
What takes a fixed number of them is a decision: a function's parameters, the names that are unpacked to.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dycl.diagnostics import UnsupportedError
from dycl.frontend.code import Parameters
from dycl.frontend.lower import lower_function
from dycl.ir.program import SchemaKind
from dycl.ir.values import Lit, Ref
from dycl.passes.specialize.builtins import class_of
from dycl.passes.specialize.listoperators import concatenated
from dycl.passes.specialize.templates import Items, ListOf, Object, Template, template_of_type
from dycl.passes.specialize.values import Closure, RuntimeList, Scalar, SequenceIterator, Text, TextPart

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine
    from dycl.passes.specialize.state import Frame

_GOES_THROUGH = (min, max)  # of several arguments they do what they do of one list


@dataclass(frozen=True, slots=True)
class Rest:
    """What a function gets for its `*args`, as its last positional argument."""

    items: RuntimeList


# ---------------------------------------------------------------- building


def joined_items(machine: Machine, parts: list[Any], kind: type) -> Any:
    """`[*xs, a, *ys]`: each part a list of items, or a list or tuple of run-time length."""
    total: Any = kind()
    for part in parts:
        part = machine.converted_list(part, kind) if isinstance(part, RuntimeList) else kind(part)
        is_run = isinstance(total, RuntimeList) or isinstance(part, RuntimeList)
        total = concatenated(machine, total, part) if is_run else total + part
    return total


# ---------------------------------------------------------------- unpacking


def unpacked(machine: Machine, items: RuntimeList, wanted: int, star: int) -> list[Any]:
    """The items for `a, *b, c = xs`, of which that at `star` gets a list; -1: none does. How many they are, is decided.

    Where the list was generalised, and was not unpacked like this, that is taken back.
    """
    if star < 0:
        machine.keep_static(items)
    least = wanted - (star >= 0)
    length = machine.list_length(items)
    if not machine.truth(machine.host("ge", length, least)):
        bound = "at least " if star >= 0 else ""
        found = _counted(machine, length, least)
        raise ValueError(f"not enough values to unpack (expected {bound}{least}, got {found})")
    if star < 0:
        if machine.truth(machine.host("gt", length, wanted)):
            raise ValueError(f"too many values to unpack (expected {wanted})")
        return [machine.list_element_at(items, index) for index in range(wanted)]
    after = wanted - star - 1
    end = machine.host("sub", length, after) if after else length
    rest = machine.converted_list(machine.list_slice(items, slice(star, end)), list)
    ends = [machine.list_element_at(items, machine.host("add", end, place)) for place in range(after)]
    return [*(machine.list_element_at(items, index) for index in range(star)), rest, *ends]


def _counted(machine: Machine, length: Scalar, below: int) -> int:
    """The length on this path, where it is known to be small."""
    for found in range(below - 1):
        if machine.truth(machine.host("eq", length, found)):
            return found
    return below - 1


# ---------------------------------------------------------------- calls


def call_starred(
    machine: Machine, frame: Frame, dst: str, function: Any, parts: list[Any], kwargs: dict[str, Any]
) -> None:
    """`f(a, *xs)`: each part a list of arguments, or a list or tuple of run-time length."""
    function, before, kwargs = machine.peel(function, (), kwargs)
    place = next(place for place, part in enumerate(parts) if isinstance(part, RuntimeList))
    first = [*before, *(value for part in parts[:place] for value in part)]
    rest = joined_items(machine, parts[place:], tuple)
    if function is print:
        machine.call(frame, dst, print, (), kwargs)
    elif function is zip and not first:
        strict = bool(kwargs.get("strict", False))
        machine.put(frame, dst, _zipped(machine, rest, strict))
    elif function is itertools.chain and not first:
        machine.call(frame, dst, itertools.chain.from_iterable, (rest,), kwargs)
    elif function in _GOES_THROUGH:
        _call_extremum(machine, frame, dst, function, joined_items(machine, [first, rest], tuple), kwargs)
    else:
        _call(machine, frame, dst, function, first, rest, kwargs)


def _is_longer(machine: Machine, items: RuntimeList, least: int) -> bool:
    return machine.truth(machine.host("gt", machine.list_length(items), least))


def _call_extremum(
    machine: Machine, frame: Frame, dst: str, function: Any, items: RuntimeList, kwargs: dict[str, Any]
) -> None:
    """`max(*xs)`: of one argument it is the extremum of what is in that."""
    if _is_longer(machine, items, 1):
        machine.call(frame, dst, function, (items,), kwargs)
        return
    if not _is_longer(machine, items, 0):
        raise TypeError(f"{function.__name__} expected at least 1 argument, got 0")
    (only,) = _taken(machine, items, 1)
    if isinstance(only, Scalar):
        raise TypeError(f"'{class_of(only).__name__}' object is not iterable")
    machine.call(frame, dst, function, (only,), kwargs)


def _call(
    machine: Machine, frame: Frame, dst: str, function: Any, first: list[Any], rest: RuntimeList, kwargs: dict[str, Any]
) -> None:
    parameters = _parameters(machine, function)
    if parameters is None:
        machine.keep_static(rest)
        name = getattr(function, "__name__", type(function).__name__)
        raise UnsupportedError("DY204", machine.loc(), f"{name} is handed a run-time number of arguments")
    places = len(parameters.positional_only) + len(parameters.positional)
    if parameters.var_positional is not None:
        if len(first) >= places:
            rest = joined_items(machine, [first[places:], rest], tuple)
            machine.call(frame, dst, function, (*first[:places], Rest(rest)), kwargs)
            return
        if _is_longer(machine, rest, places - len(first) - 1):
            taken = _taken(machine, rest, places - len(first))
            rest = machine.list_slice(rest, slice(len(taken), None))
            machine.call(frame, dst, function, (*first, *taken, Rest(rest)), kwargs)
            return
    else:
        machine.keep_static(rest)
    length = machine.list_length(rest)
    for count in range(places - len(first) + (parameters.var_positional is None)):
        if machine.truth(machine.host("eq", length, count)):
            machine.call(frame, dst, function, (*first, *_taken(machine, rest, count)), kwargs)
            return
    raise _too_many(machine, function, parameters, machine.host("add", length, len(first)))


def _taken(machine: Machine, items: RuntimeList, count: int) -> list[Any]:
    return [machine.list_element_at(items, place) for place in range(count)]


def _parameters(machine: Machine, function: Any) -> Parameters | None:
    """The parameters of a function that is stepped into; None: of native code."""
    if isinstance(function, Closure):
        return function.code.parameters
    return lower_function(function).parameters if machine.is_steppable(function) else None


def _too_many(machine: Machine, function: Any, parameters: Parameters, given: Any) -> TypeError:
    places = len(parameters.positional_only) + len(parameters.positional)
    defaults = function.defaults if isinstance(function, Closure) else function.__defaults__ or ()
    some = f"from {places - len(defaults)} to {places}" if defaults else str(places)
    plural = "" if some == "1" else "s"
    head = f"{function.__qualname__}() takes {some} positional argument{plural} but "
    return TypeError(Text.of(head, TextPart(given, "", ""), " were given"))


# ---------------------------------------------------------------- zip


def _zipped(machine: Machine, rows: RuntimeList, strict: bool) -> SequenceIterator:
    """`zip(*rows)`: of rows of one static length, a tuple of run-time length for each column."""
    if isinstance(rows.element, ListOf) and not strict:
        element = ListOf(rows.element.element, tuple)
        return SequenceIterator(machine.new_list("list_zip", element, Ref(rows.vid)), is_private=True)
    columns = _columns(machine, rows.element)
    if columns is None:
        raise UnsupportedError("DY203", machine.loc(), "zip() of a run-time number of things that are no lists")
    if not _is_longer(machine, rows, 0):
        return SequenceIterator(())
    return SequenceIterator(tuple(_column(machine, rows, place, of) for place, of in enumerate(columns)))


def _columns(machine: Machine, row: Template) -> tuple[Template, ...] | None:
    """What is at each place of the rows; None where rows have no static length, or one place holds several things."""
    if isinstance(row, Items):
        return row.items
    schema = machine.schemas[row.schema] if isinstance(row, Object) else None
    if schema is None or schema.kind is not SchemaKind.TUPLE or any(len(field.members) > 1 for field in schema.fields):
        return None
    found = [template_of_type(field.members[0]) for field in schema.fields]
    return None if any(of is None for of in found) else tuple(of for of in found if of is not None)


def _column(machine: Machine, rows: RuntimeList, place: int, element: Template) -> RuntimeList:
    """The items at one place of each row."""
    made = machine.new_list("list_column", element, Ref(rows.vid), Lit(place), origin=rows.origin, kind=tuple)
    machine.know_length(made, machine.list_length(rows))
    return made
