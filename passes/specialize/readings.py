"""Integers read from tensors: how they are related to what was read before.

Across a join, a tensor and a number read from it live on and stay related: a size that is read twice from one tensor
would else be two sizes. Arithmetic on tensors of one integer is arithmetic on the integers: `n - k` as a size has to do
with `n` as a size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from dycl.ir.nodes import ScalarKind
from dycl.passes.specialize.ranges import ARITHMETIC
from dycl.passes.specialize.values import Scalar

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine
    from dycl.passes.specialize.walker import Walker

# A number and what it was read from, by their places in the walk: ("item", tensor, element or None for its only one,
# class of integers, distance), ("is", tensor, element, the number), ("length", list, class, distance),
# ("as long as", list, other list, distance).
Reading = tuple[Any, ...]


def find_readings(walker: Walker) -> tuple[Reading, ...]:
    """The integers that were read from a tensor or list met, and were met themselves; canonical, like the walk."""
    indices = {label: i for i, label in enumerate(walker.labels) if not isinstance(label, tuple)}  # parted: unrelated
    classes: dict[Any, tuple[int, int]] = {}
    for (rest, _), found in walker.classes.items():
        classes.setdefault(rest, found)
    readings: set[Reading] = set()
    for call, number in walker.source.facts.results.items():
        if call[0] != "item" or call[1] not in indices:
            continue
        if type(number) is int:
            readings.add(("is", indices[call[1]], call[2], number))
        if not _is_whole(number):
            continue
        constant, rest = number.expr.as_coeff_Add()
        if rest in classes:
            index, first = classes[rest]
            readings.add(("item", indices[call[1]], call[2], index, int(constant) - first))
    return tuple(sorted(readings | set(_find_lengths(walker, classes)), key=repr))


def _find_lengths(walker: Walker, classes: dict[Any, tuple[int, int]]) -> Iterator[Reading]:
    """Lengths of lists that are integers met, or those of other lists met."""
    owners: dict[Any, tuple[int, int]] = {}
    for place, items in enumerate(walker.lists):
        number = walker.source.facts.results.get(("list_len", items.vid))
        if number is None or not _is_whole(number):
            continue
        constant, rest = number.expr.as_coeff_Add()
        if rest in classes:
            index, first = classes[rest]
            yield ("length", place, index, int(constant) - first)
        elif rest in owners:
            other, first = owners[rest]
            yield ("as long as", place, other, int(constant) - first)
        else:
            owners[rest] = (place, int(constant))


def carried_readings(
    machine: Machine, walker: Walker, readings: tuple[Reading, ...], names: dict[Any, Any]
) -> dict[Any, Any]:
    """The readings as the new block's results; `names` has the tensors that are known by another name there."""
    symbols = {index: (name, constant) for name, (index, constant) in walker.classes.items()}

    def number(index: int, distance: int) -> Scalar:
        name, constant = symbols[index]
        respelled = walker.respell.get(name)
        expr: Any = name[0] + constant if respelled is None else respelled[0].expr + (constant - respelled[1])  # type: ignore[operator]
        return machine.scalar_of_expr(expr + distance)

    results: dict[Any, Any] = {}
    for reading in readings:
        match reading:
            case ("item", tensor, element, index, distance):
                vid = machine.current_vid(walker.tensors[tensor], walker.source)
                results["item", names.get(vid, vid), element] = number(index, distance)
            case ("is", tensor, element, value):
                vid = machine.current_vid(walker.tensors[tensor], walker.source)
                results["item", names.get(vid, vid), element] = value
            case ("length", place, index, distance):
                results["list_len", walker.lists[place].vid] = number(index, distance)
            case ("as long as", place, other, distance):
                results["as long as", walker.lists[place].vid] = (walker.lists[other], distance)
    return results


def _is_whole(number: Any) -> bool:
    return isinstance(number, Scalar) and number.kind is ScalarKind.INT and number.expr is not None


# ---------------------------------------------------------------- arithmetic on tensors of one integer

_COMPARISONS = {name: name for name in ("eq", "ne", "lt", "le", "gt", "ge")}
_INTEGERS = (torch.int64, torch.int32)


def note_formula(
    machine: Machine, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], results: list[Any]
) -> None:
    """Remember how the one integer or bool in a result comes about from others, until the next join."""
    name = getattr(func, "__name__", "").strip("_")
    if name == "getitem" and _is_element(*args):
        part = (args[0], machine.current_vid(args[0]))
        machine.state.facts.results["formula", machine.current_vid(results[0])] = (name, (part, (args[1], None)))
        return
    if kwargs or len(args) != 2 or len(results) != 1 or not (name in ARITHMETIC or name in _COMPARISONS):
        return
    if not all(_is_integer(arg) for arg in args) or not _is_single(results[0]):
        return
    vid = machine.current_vid(results[0])
    if name in ARITHMETIC:
        if vid not in machine.state.facts.ranges:
            return  # the tensor's type might wrap, which an integer of Python does not
        name, is_swapped = ARITHMETIC[name]
        args = args[::-1] if is_swapped else args
    parts = tuple((arg, machine.current_vid(arg)) if isinstance(arg, FakeTensor) else (arg, None) for arg in args)
    machine.state.facts.results["formula", vid] = (name, parts)


def computed(machine: Machine, vid: Any) -> Any:
    """The number that a tensor holds, computed from numbers that were read before; None if it has to be read."""
    found = machine.state.facts.results.get(("formula", vid))
    if found is None:
        return None
    name, parts = found
    if any(held is not None and machine.current_vid(part) != held for part, held in parts):
        return None
    if name == "getitem":
        return machine.state.facts.results.get(("item", parts[0][1], parts[1][0]))
    if not all(held is None or _is_read(machine, part, held) for part, held in parts):
        return None
    return machine.host(name, *[part if held is None else machine.element(part, None) for part, held in parts])


def _is_element(tensor: Any, index: Any) -> bool:
    """Whether a subscript is one integer of a row of them, counted from the front."""
    return isinstance(tensor, FakeTensor) and tensor.dim() == 1 and tensor.dtype in _INTEGERS and _is_place(index)


def _is_place(index: Any) -> bool:
    return type(index) is int and index >= 0


def _is_read(machine: Machine, tensor: Any, vid: Any) -> bool:
    results = machine.state.facts.results
    return ("item", vid, None) in results or ("formula", vid) in results or machine.known_value(tensor) is not None


def _is_integer(value: Any) -> bool:
    if isinstance(value, FakeTensor):
        return value.dtype in _INTEGERS and _is_single(value)
    if isinstance(value, (Scalar, torch.SymInt)):
        return isinstance(value, torch.SymInt) or _is_whole(value)
    return type(value) is int and abs(value) < 2**31


def _is_single(tensor: Any) -> bool:
    return isinstance(tensor, FakeTensor) and all(type(size) is int and size == 1 for size in tensor.shape)
