"""Dicts and sets whose keys only the run knows: where a static one becomes one of these, and what they are made of.

A dict or set that the run makes is an ordinary one. Where a number without bounds, or one that a loop carries, is put
in as a key, the next attempt makes a `pytables.RunDict` or `RunSet` at that place. Who needs it as an ordinary one
after all takes that back.
"""

from __future__ import annotations

import collections
import math
from typing import TYPE_CHECKING, Any

import torch

from dycl.diagnostics import SourceRange, UnsupportedError
from dycl.ir.values import DictType, Mapping, Operand, Ref, ScalarKind, Seq, SeqKind
from dycl.passes.specialize import pyorders, pytables
from dycl.passes.specialize.builtins import Interpret, class_of, model
from dycl.passes.specialize.lists import wrap
from dycl.passes.specialize.pytables import RunDict, RunSet, RunView
from dycl.passes.specialize.scalars import kind_of
from dycl.passes.specialize.signals import Restart
from dycl.passes.specialize.templates import Items, ListOf, Number, Template, has_python_text, ir_type, is_mirrored
from dycl.passes.specialize.values import Generator, RuntimeList, Scalar, Text, TextPart

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine

TABLES = (dict, set, collections.defaultdict, collections.OrderedDict, collections.Counter)
STAND_INS = (RunDict, RunSet, RunView)
MAX_KNOWN = 8  # as many values of a key are one path each
MAX_TAKEN = 48  # keys that are such paths, put into what one place makes, before rounds of a loop multiply them


def is_open(machine: Machine, key: Any) -> bool:
    """Whether a key is a number or text that may be too many things to go through them one by one."""
    if type(key) is tuple:
        return any(is_open(machine, part) for part in key) or _count_values(machine, key) > MAX_KNOWN
    if isinstance(key, RuntimeList):
        return key.kind is tuple
    if isinstance(key, Text):
        return any(is_open(machine, part.value) for part in key.parts if isinstance(part, TextPart))
    if not isinstance(key, Scalar) or key.kind is ScalarKind.BOOL:
        return False
    if key.kind is not ScalarKind.INT or key.expr is None:
        return True
    if machine.decide_expr(key.expr) is not None:
        return False
    low, high = machine.bounds_of(key.expr)
    return bool(key.origin) or bool(high - low > MAX_KNOWN)


def _count_values(machine: Machine, key: Any) -> int:
    """How many things a key may be of which every part may be few."""
    if type(key) is tuple:
        return math.prod(_count_values(machine, part) for part in key)
    if not isinstance(key, Scalar):
        return 1
    if key.kind is not ScalarKind.INT:  # others than truths are open by themselves
        return 2
    if machine.decide_expr(key.expr) is not None:
        return 1
    low, high = machine.bounds_of(key.expr)
    return int(high - low + 1)


def site_here(machine: Machine) -> Any:
    """The instruction at work, as the place where a dict or set is made."""
    frame = machine.state.frames[-1]
    return (id(frame.code), frame.current)


def is_tabled(machine: Machine, site: Any) -> bool:
    """Whether what is made there has keys that only the run knows."""
    return site in machine.hints.tabled and site not in machine.hints.untabled


def note_table(machine: Machine, value: Any, site: Any) -> Any:
    """A dict or set that was made there: remembered, or as one of the run's."""
    if type(value) not in TABLES or id(value) in machine.known_objects:
        return value
    if is_tabled(machine, site):
        table = new_table(machine, site, type(value), getattr(value, "default_factory", None))
        if isinstance(value, set):
            table._items += sorted(value, key=repr)
            table._is_filled_one_by_one = not value
        else:
            table._keys += value
            table._values += value.values()
        return table
    machine.table_sites[id(value)] = site
    machine.keep_alive(value)
    return value


def makes_own_default(table: Any) -> bool:
    """Whether what a `defaultdict` puts in for a missing key is made by Python of the model's."""
    factory = getattr(table, "default_factory", None)
    return factory is not None and not (isinstance(factory, type) and factory.__module__ in ("builtins", "collections"))


def lift(machine: Machine, target: Any, *keys: Any) -> None:
    """Begin again with a table of the run's in the place of a dict or set that such a key is put into."""
    site = machine.table_sites.get(id(target))
    if site is not None and id(target) not in machine.known_objects and type(target) in TABLES:
        lift_site(machine, site, keys)


def lift_site(machine: Machine, site: Any, keys: Any) -> None:
    """The same for the place where it is made."""
    if site in machine.hints.tabled | machine.hints.untabled:
        return
    is_new = any(is_open(machine, key) for key in keys)
    if not is_new:
        machine.keys_taken[site] += sum(_count_values(machine, key) > 1 for key in keys)
    if is_new or machine.keys_taken[site] > MAX_TAKEN:
        machine.hints.tabled.add(site)
        raise Restart("a dict or set has keys that only the run knows")


def keep_table(machine: Machine, table: Any) -> UnsupportedError:
    """Take back that a dict or set is one of the run's, or say why there is none."""
    table = table._table if type(table) is RunView else table
    site = next((site for site, mark in machine.hints.marks.items() if mark is table._site), None)
    if site is not None and site not in machine.hints.untabled:
        machine.hints.untabled.add(site)
        raise Restart("a dict with keys of the run is needed as an ordinary one")
    return UnsupportedError(
        "DY204",
        machine.loc(),
        "this use of a dict or set whose keys only the run knows",
        hint="go through its items in Python, or keep its keys in a list",
    )


def new_table(machine: Machine, site: Any, kind: type, factory: Any = None) -> Any:
    """An empty table of the run's."""
    mark = machine.hints.marks.setdefault(site, object())
    made: Any = object.__new__(RunSet if kind is set else RunDict)
    made.__init__(*((mark,) if kind is set else (mark, kind, factory)))
    return made


def run_dict(machine: Machine, table: Any, what: str, loc: SourceRange) -> Operand:
    """The dict of the host that leaves the program."""
    if type(table) is not RunDict or table._kind is not dict:
        keep_table(machine, table)  # which begins again, if it can be an ordinary one
        raise UnsupportedError(
            "DY213",
            loc,
            f"{what} holds a set, a view or another dict than `dict` of run-time keys",
            hint="return a dict or a sorted list",
        )
    try:
        return dict_of_lists(machine, table._keys, table._values, what, loc)
    except UnsupportedError:
        keep_table(machine, table)
        raise


def dict_of_lists(machine: Machine, keys: Any, values: Any, what: str, loc: SourceRange) -> Operand:
    """The dict of the host with these keys and values."""
    if len_of(keys) == 0:
        return Mapping(())
    first, second = machine.list_of(keys), machine.list_of(values)
    if first is None or second is None or not (is_mirrored(first.element) and is_mirrored(second.element)):
        raise UnsupportedError(
            "DY213",
            loc,
            f"{what} holds a dict of run-time keys or tuples whose keys or values have nothing in common",
            hint="return two lists",
        )
    of = DictType(ir_type(first.element), ir_type(second.element))
    return Ref(machine.emit_host("dict_of", (Ref(first.vid), Ref(second.vid)), of))


def len_of(items: Any) -> int | None:
    """How many there are; None: the run knows."""
    return None if isinstance(items, RuntimeList) else len(items)


# ---------------------------------------------------------------- lists of keys and values


def _is_static(value: Any) -> bool:
    if type(value) is tuple:
        return all(_is_static(part) for part in value)
    return not isinstance(value, (Scalar, Text, torch.Tensor, RuntimeList, *STAND_INS))


@model(pytables.place_of)
def _place_of(machine: Machine, items: Any, key: Any, *, native: Any) -> Any:
    is_list = isinstance(key, RuntimeList) and key.kind is list
    if is_list or isinstance(key, (list, dict, set, RunDict, RunSet)):
        raise TypeError(f"unhashable type: {class_of(key).__name__!r}")
    is_run = isinstance(items, RuntimeList)
    if not is_run and _is_static(key) and all(_is_static(item) for item in items):
        return next((place for place, item in enumerate(items) if item is key or item == key), -1)
    if not _is_plain(key) or (not is_run and not all(_is_plain(item) for item in items)):
        raise UnsupportedError(
            "DY204", machine.loc(), "keys of a dict or set that only the run knows, beside others than numbers and text"
        )
    if not is_run and not items:
        return -1
    where = Ref(items.vid) if is_run else Seq(SeqKind.LIST, tuple(machine.operand(item) for item in items))
    place = machine.list_number("numerics.place_of", ScalarKind.INT, where, machine.operand(key))
    machine.bound_symbol(place.expr, -1, None if is_run else len(items) - 1)
    return place


def _is_plain(key: Any) -> bool:
    if type(key) is tuple:
        return all(_is_plain(part) for part in key)
    if isinstance(key, RuntimeList):
        return key.kind is tuple and has_python_text(key.element)
    return key is None or isinstance(key, (Scalar, Text)) or type(key) in (bool, int, float, str)


def _known_place(machine: Machine, items: list[Any], place: Any) -> int:
    for candidate in range(len(items) - 1):
        if machine.truth(machine.host("eq", place, candidate)):
            return candidate
    return len(items) - 1


@model(pytables.element_of)
def _element_of(machine: Machine, items: Any, place: Any, *, native: Any) -> Any:
    if isinstance(items, RuntimeList):
        return machine.list_element_at(items, place)
    return items[_known_place(machine, items, place)]


@model(pytables.replace_element)
def _replace_element(machine: Machine, items: Any, place: Any, value: Any, *, native: Any) -> None:
    if isinstance(items, RuntimeList):
        template = machine.template_of(items, value)
        machine.list_update(items, "list_set", machine.operand(place), machine.encoded(value, template))
        return
    items[_known_place(machine, items, place)] = value


@model(pytables.remove_element)
def _remove_element(machine: Machine, items: Any, place: Any, *, native: Any) -> None:
    if isinstance(items, RuntimeList):
        machine.list_update(items, "list_delete", machine.operand(place))
        return
    del items[_known_place(machine, items, place)]


@model(pytables.in_hash_order)
def _in_hash_order(machine: Machine, items: Any, *, native: Any) -> Any:
    """The host makes the set and goes through it: integers have the same hash in every process, texts have not."""
    if not isinstance(items, RuntimeList) and not items:
        return items
    made = items if isinstance(items, RuntimeList) else machine.list_of(items)
    if made is None or not _hashes_are_known(made.element):
        return _unordered(machine, items, native=native)
    ordered = machine.new_list("numerics.hash_order", made.element, Ref(made.vid))
    machine.know_length(ordered, machine.list_length(made))
    return ordered


def _hashes_are_known(template: Template) -> bool:
    match template:
        case Number(kind=kind):
            return kind in (ScalarKind.INT, ScalarKind.BOOL)
        case ListOf(element=element, cls=cls):
            return cls is tuple and _hashes_are_known(element)
        case Items(cls=cls, items=items):
            return cls is tuple and all(map(_hashes_are_known, items))
    return False


@model(pytables.unordered)
def _unordered(machine: Machine, items: Any, *, native: Any) -> Any:
    raise UnsupportedError(
        "DY204", machine.loc(), "iteration over a set of run-time values, in the order of its hashes", hint="sort it"
    )


# ---------------------------------------------------------------- builtins


@wrap(set)
def _set(machine: Machine, *args: Any, native: Any) -> Any:
    site = site_here(machine)
    if len(args) == 1 and isinstance(args[0], Generator):
        return Interpret(pytables.set_of, args)
    if len(args) == 1 and type(args[0]) in (list, tuple, collections.deque):
        lift_site(machine, site, args[0])
    is_run = len(args) == 1 and isinstance(args[0], (RuntimeList, RunSet))
    if not (is_run or is_tabled(machine, site)) or len(args) > 1:
        return NotImplemented
    items = args[0] if args else ()
    return Interpret(pytables.filled_set, (new_table(machine, site, set), items))


@wrap(dict)
def _dict(machine: Machine, *args: Any, native: Any, **named: Any) -> Any:
    site = site_here(machine)
    if len(args) != 1:
        return NotImplemented
    if isinstance(args[0], Generator) and not named:
        return Interpret(pytables.dict_of, (args[0],))
    if type(args[0]) in (list, tuple):
        lift_site(machine, site, [pair[0] for pair in args[0] if type(pair) in (list, tuple) and pair])
    if not (isinstance(args[0], (RunDict, RuntimeList)) or is_tabled(machine, site)) or named:
        return NotImplemented
    return Interpret(pytables.updated, (new_table(machine, site, dict), args[0]))


@wrap(collections.Counter)
def _counter(machine: Machine, *args: Any, native: Any, **named: Any) -> Any:
    if len(args) > 1 or named:
        return NotImplemented
    site = site_here(machine)
    items = args[0] if args else ()
    if isinstance(items, Generator):
        return Interpret(pytables.counter_of, args)
    if type(items) in (list, tuple):
        lift_site(machine, site, items)
    if isinstance(items, (RunDict, RuntimeList)) or is_tabled(machine, site):
        return Interpret(pytables.count_in, (new_table(machine, site, collections.Counter), items))
    return NotImplemented if args else note_table(machine, collections.Counter(), site)


@model(collections._count_elements)  # type: ignore[attr-defined]
def _count_elements(machine: Machine, table: Any, elements: Any, *, native: Any) -> Any:
    return Interpret(pytables.count_in, (table, elements))


@wrap(sorted, min, max, sum, any, all)
def _of_set(machine: Machine, *args: Any, native: Any, **named: Any) -> Any:
    """What does not depend on the order of a set, of its elements as a list."""
    if len(args) != 1 or type(args[0]) is not RunSet:
        return NotImplemented
    items = args[0]._items
    is_exact = not named and ScalarKind.FLOAT not in _kinds(items)
    if "key" in named or (native not in (sorted, any, all) and not is_exact):
        raise UnsupportedError(
            "DY204", machine.loc(), f"{native.__name__}() of a set of run-time values depends on its order"
        )
    return Interpret(pytables.called, (native, items, named))


@wrap(min, max)
def _of_dict(machine: Machine, *args: Any, native: Any, key: Any = None, **named: Any) -> Any:
    if len(args) != 1 or type(args[0]) not in (RunDict, RunView):
        return NotImplemented
    default = (named["default"],) if "default" in named else ()
    return Interpret(pytables.extremum, (args[0], key or pyorders.identity, default, native is max))


def _kinds(items: Any) -> set[Any]:
    if isinstance(items, RuntimeList):
        return {getattr(items.element, "kind", None)}
    return {kind_of(item) if isinstance(item, (Scalar, bool, int, float, str)) else None for item in items}
