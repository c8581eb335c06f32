"""What instructions build: lists, tuples, sets, dicts, slices, texts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch

from dycl.frontend import code as ir
from dycl.passes.specialize import pyiterators, pylists, pytables, tables
from dycl.passes.specialize.protocols import text_method
from dycl.passes.specialize.starred import joined_items
from dycl.passes.specialize.state import Frame, read
from dycl.passes.specialize.values import Generator, RuntimeList, RuntimeRange, Text

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine


def goes_through(machine: Machine, frame: Frame, items: Iterable[ir.Item]) -> bool:
    """Whether a generator that is spread is gone through first: the instruction runs again with a list in its place.

    A generator that a variable holds stays there, used up.
    """
    for item in items:
        source = read(frame, item.src)
        if item.star == "*" and isinstance(source, Generator) and item.src.startswith("%"):
            frame.ip = frame.current
            machine.enter(pylists.list_copy, (source,), {}, item.src)
            return True
    return False


def item_parts(machine: Machine, frame: Frame, items: Iterable[ir.Item]) -> list[Any]:
    """What is put one after the other: lists of single values, and lists of run-time length."""
    parts: list[Any] = []
    for item in items:
        value = read(frame, item.src)
        if item.star and isinstance(value, RuntimeList):
            parts.append(value)
            continue
        if not parts or isinstance(parts[-1], RuntimeList):
            parts.append([])
        parts[-1].extend(items_of(machine, value) if item.star else (value,))
    return parts


def build(machine: Machine, frame: Frame, ins: ir.Build) -> None:
    if ins.kind is not ir.Collection.SET and len(ins.items) == 1 and ins.items[0].star:  # [*range(n)]
        source = read(frame, ins.items[0].src)
        if isinstance(source, (RuntimeRange, Generator)):
            model = pylists.list_copy if ins.kind is ir.Collection.LIST else pyiterators.tuple_copy
            machine.enter(model, (source,), {}, ins.dst)
            return
    if goes_through(machine, frame, ins.items):
        return
    parts = item_parts(machine, frame, ins.items)
    if any(isinstance(part, RuntimeList) for part in parts):
        made = joined_items(machine, parts, tuple if ins.kind is ir.Collection.TUPLE else list)
        if ins.kind is ir.Collection.SET:
            machine.call(frame, ins.dst, set, (made,), {})
        else:
            frame.regs[ins.dst] = made.copy()
        return
    values = parts[0] if parts else []
    if ins.kind is ir.Collection.TUPLE:
        frame.regs[ins.dst] = tuple(values)
    elif ins.kind is ir.Collection.LIST:
        frame.regs[ins.dst] = values
    else:
        site = tables.site_here(machine)
        tables.lift_site(machine, site, values)
        if tables.is_tabled(machine, site):
            machine.enter(pytables.filled_set, (tables.new_table(machine, site, set), values), {}, ins.dst)
            return
        with machine.recorder:
            frame.regs[ins.dst] = tables.note_table(machine, {machine.hashable(value) for value in values}, site)


def build_dict(machine: Machine, frame: Frame, ins: ir.BuildDict) -> None:
    site = tables.site_here(machine)
    tables.lift_site(machine, site, [read(frame, key) for key, _ in ins.items if key is not None])
    if tables.is_tabled(machine, site) and all(key is not None for key, _ in ins.items):
        pairs = [(read(frame, key), read(frame, value)) for key, value in ins.items if key is not None]
        machine.enter(pytables.filled, (tables.new_table(machine, site, dict), pairs), {}, ins.dst)
        return
    result: dict[Any, Any] = {}
    for key, value in ins.items:
        if key is None:
            given = read(frame, value)
            made = given if type(given) is dict else machine.native(dict, (given,), {})
            if isinstance(made, tables.STAND_INS):
                raise tables.keep_table(machine, made)
            result.update(made)
        else:
            result[machine.hashable(read(frame, key))] = read(frame, value)
    frame.regs[ins.dst] = tables.note_table(machine, result, site)


def build_slice(machine: Machine, frame: Frame, ins: ir.BuildSlice) -> None:
    parts = [read(frame, register) for register in (ins.start, ins.stop, ins.step)]
    with machine.recorder:
        parts = [machine.recorder.item(part) if isinstance(part, torch.Tensor) else part for part in parts]
    frame.regs[ins.dst] = slice(*parts)


def format_(machine: Machine, frame: Frame, ins: ir.Format) -> None:
    spec = machine.plain(read(frame, ins.spec)) if ins.spec is not None else ""
    value = read(frame, ins.src)
    if (own := text_method(machine, value, ins.conversion, spec)) is not None:
        machine.enter(own.function, own.args, {}, ins.dst)
        return
    with machine.recorder:
        frame.regs[ins.dst] = machine.formatted(value, ins.conversion, spec)


def join_text(machine: Machine, frame: Frame, ins: ir.JoinText) -> None:
    parts = [read(frame, part) for part in ins.parts]
    is_runtime = any(isinstance(part, Text) for part in parts)
    frame.regs[ins.dst] = Text.of(*parts) if is_runtime else "".join(parts)


def append(machine: Machine, frame: Frame, ins: ir.Append) -> None:
    target, value = read(frame, ins.target), read(frame, ins.src)
    if isinstance(target, pytables.RunDict) and ins.key is not None:
        machine.enter(type(target).__setitem__, (target, read(frame, ins.key), value), {}, "%discarded")
        return
    if isinstance(target, pytables.RunSet):
        machine.enter(type(target).add, (target, value), {}, "%discarded")
        return
    if isinstance(target, (dict, set)):
        tables.lift(machine, target, value if ins.key is None else read(frame, ins.key))
    if ins.key is not None:
        target[machine.hashable(read(frame, ins.key))] = value
    elif isinstance(target, RuntimeList):
        machine.list_append(target, value)
    elif isinstance(target, set):
        with machine.recorder:
            target.add(machine.hashable(value))
    else:
        target.append(value)


def items_of(machine: Machine, source: Any) -> list[Any]:
    """The items of something that is unpacked; what they are themselves does not matter."""
    return list(source) if type(source) in (list, tuple) else machine.native(list, (source,), {})
