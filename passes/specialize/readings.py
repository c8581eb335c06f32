"""Integers read from tensors: how they are related to what was read before.

Across a join, a tensor and a number read from it live on and stay related: a size that is read twice from one tensor
would else be two sizes. Arithmetic on tensors of one integer is arithmetic on the integers: `n - k` as a size has to do
with `n` as a size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily

from dycl.ir.substitution import map_operand
from dycl.ir.values import Ref, ScalarKind, ValueId, operand_parts
from dycl.passes.specialize.ranges import ARITHMETIC
from dycl.passes.specialize.values import Scalar

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine
    from dycl.passes.specialize.masks import Origin
    from dycl.passes.specialize.walker import Walker

# A number and what it was read from, by their places in the walk: ("item", tensor, element or None for its only one,
# class of integers, distance), ("is", tensor, element, the number), ("length", list, class, distance),
# ("as long as", list, other list, distance). Relations: ("truth", tensor, bool), ("made", mask, what by), ("mask like",
# mask, what by), ("count", mask or what it is made by, class, distance), ("extreme", name, three pairs of class and
# distance: of two numbers and of what is made of them).
Reading = tuple[Any, ...]


def find_readings(walker: Walker) -> tuple[Reading, ...]:
    """The integers that were read from a tensor or list met, and were met themselves; canonical, like the walk."""
    indices = {label: i for i, label in enumerate(walker.labels) if not isinstance(label, tuple)}  # parted: unrelated
    classes = _classes(walker)
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


def _find_counts(walker: Walker, classes: dict[Any, tuple[int, int]]) -> Iterator[Reading]:
    """How many elements are true in masks that were met, or that the same operation would make again of tensors met."""
    indices = {label: i for i, label in enumerate(walker.labels) if not isinstance(label, tuple)}
    results = walker.source.facts.results
    origins = [value for call, value in results.items() if call[0] == "a mask made by"]
    known = {vid: origin for vid, origin in origins if set() < _operands(origin) <= indices.keys()}
    for vid, origin in known.items():
        if vid in indices:
            yield ("made", indices[vid], _renamed(origin, indices))
        elif (number := _related(results.get(("count of a mask", vid)), classes)) is not None:
            yield ("count", _renamed(origin, indices), *number)
    for call, value in results.items():
        if call[0] == "count of a mask" and call[1] in indices:
            if (number := _related(value, classes)) is not None:
                yield ("count", indices[call[1]], *number)
        elif call[0] == "the mask like" and call[1] in indices and value in known:
            yield ("mask like", indices[call[1]], _renamed(known[value], indices))


def _operands(origin: Origin) -> set[ValueId]:
    parts = [part for _, operand in origin.operands for part in operand_parts(operand)]
    return {part.id for part in parts if isinstance(part, Ref)}


def _renamed(origin: Origin, names: Any) -> Origin:
    renamed = ((name, map_operand(operand, lambda ref: Ref(names[ref.id]))) for name, operand in origin.operands)
    return replace(origin, operands=tuple(renamed))


def _find_extremes(walker: Walker, classes: dict[Any, tuple[int, int]]) -> Iterator[Reading]:
    """Integers met of which one is the least or greatest of others."""
    for call, value in walker.source.facts.results.items():
        if call[0] == "extreme":
            numbers = [_related(expr, classes) for expr in (*value, call[2])]
            if None not in numbers:
                yield ("extreme", call[1], *numbers)


def _related(expr: Any, classes: dict[Any, tuple[int, int]]) -> tuple[int, int] | None:
    """The class of an integer that was met, and how far it is from its first one."""
    if expr is None:
        return None
    constant, rest = expr.as_coeff_Add()
    if rest not in classes:
        return None
    index, first = classes[rest]
    return index, int(constant) - first


def find_relations(walker: Walker) -> tuple[Reading, ...]:
    """What else the path knows of what it still holds: how it decided of tensors of one bool, which masks have as many
    true elements, which integers are extremes of others."""
    classes = _classes(walker)
    found = {*_find_truths(walker), *_find_counts(walker, classes), *_find_extremes(walker, classes)}
    return tuple(sorted(found, key=repr))


def _classes(walker: Walker) -> dict[Any, tuple[int, int]]:
    classes: dict[Any, tuple[int, int]] = {}
    for (rest, _), found in walker.classes.items():
        classes.setdefault(rest, found)
    return classes


def _find_truths(walker: Walker) -> Iterator[Reading]:
    indices = {label: i for i, label in enumerate(walker.labels) if not isinstance(label, tuple)}
    facts = walker.source.facts
    for call, number in facts.results.items():
        if call[0] == "item" and call[1] in indices and call[2] is None:
            known = facts.bools.get(number.vid) if isinstance(number, Scalar) else number
            if type(known) is bool:
                yield ("truth", indices[call[1]], known)


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

    vids = [machine.current_vid(tensor, walker.source) for tensor in walker.tensors]
    own = {place: names.get(vid, vid) for place, vid in enumerate(vids)}
    results: dict[Any, Any] = {}
    for reading in readings:
        match reading:
            case ("item", tensor, element, index, distance):
                results["item", own[tensor], element] = number(index, distance)
            case ("is", tensor, element, value):
                results["item", own[tensor], element] = value
            case ("made", mask, origin):
                origin = _renamed(origin, own)
                results["a mask made by", repr(origin)] = (own[mask], origin)
            case ("count", mask, index, distance):
                count = number(index, distance).expr
                if isinstance(mask, int):
                    results["count of a mask", own[mask]] = count
                else:
                    origin = _renamed(mask, own)
                    stand_in = ValueId(-1 - len(results))
                    results["a mask made by", repr(origin)] = (stand_in, origin)
                    results["count of a mask", stand_in] = count
            case ("mask like", mask, origin):
                made = results.get(("a mask made by", repr(_renamed(origin, own))))
                if made is not None:
                    results["the mask like", own[mask]] = made[0]
            case ("extreme", name, *parts):
                a, b, made = (number(*part) for part in parts)
                results["extreme", name, made.expr] = (a.expr, b.expr)
                results[name, tuple(("s", part.vid, str(part.expr)) for part in (a, b))] = made
            case ("truth", tensor, value):
                results["item", own[tensor], None] = value
            case ("length", place, index, distance):
                results["list_len", walker.lists[place].vid] = number(index, distance)
            case ("as long as", place, other, distance):
                results["as long as", walker.lists[place].vid] = (walker.lists[other], distance)
    return results


def _is_whole(number: Any) -> bool:
    return isinstance(number, Scalar) and number.kind is ScalarKind.INT and number.expr is not None


# ---------------------------------------------------------------- arithmetic on tensors of one integer

_COMPARISONS = {name: name for name in ("eq", "ne", "lt", "le", "gt", "ge")}
_KEEPS = "any all amax amin max min reshape view flatten squeeze unsqueeze clone contiguous detach"
_KEEPING = dict.fromkeys(_KEEPS.split(), "same") | dict.fromkeys(("invert", "logical_not", "bitwise_not"), "not_")
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
    if name in _KEEPING and len(results) == 1 and _is_same(args[0], results[0]):
        source = (args[0], machine.current_vid(args[0]))
        machine.state.facts.results["formula", machine.current_vid(results[0])] = (_KEEPING[name], (source,))
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


def computed(machine: Machine, vid: Any, function: str) -> Any:
    """The number that a tensor holds, computed from numbers that were read before; None if it has to be read.

    One bool in other words is read where it was first, by the same `function`.
    """
    found = machine.state.facts.results.get(("formula", vid))
    if found is None:
        return None
    name, parts = found
    if any(held is not None and machine.current_vid(part) != held for part, held in parts):
        return None
    if name == "getitem":
        return machine.state.facts.results.get(("item", parts[0][1], parts[1][0]))
    if name == "not_" and not _was_read(machine, *parts[0]):
        return None  # the source reads the opposite
    if name in _KEEPING.values():
        number = machine.element(parts[0][0], None, function=function)
        return number if name == "same" else machine.host(name, number)
    if not all(held is None or _is_read(machine, part, held) for part, held in parts):
        return None
    return machine.host(name, *[part if held is None else machine.element(part, None) for part, held in parts])


def known_bools(machine: Machine, tensor: Any) -> torch.Tensor | None:
    """The content of a small tensor: a constant, or one bool that the path has decided."""
    known = machine.known_value(tensor)
    if known is not None or not isinstance(tensor, FakeTensor) or tensor.dtype != torch.bool or not _is_single(tensor):
        return known
    facts = machine.state.facts
    number = facts.results.get(("item", machine.current_vid(tensor), None))
    decided = facts.bools.get(number.vid) if isinstance(number, Scalar) else number
    if type(decided) is not bool:
        return None
    with unset_fake_temporarily(), torch._C.DisableTorchFunction():
        return torch.full([1] * tensor.dim(), decided)


def _is_same(tensor: Any, result: Any) -> bool:
    """Whether both hold one bool, so that what keeps or reduces elements keeps it."""
    return all(_is_single(one) and one.dtype == torch.bool for one in (tensor, result))


def _is_element(tensor: Any, index: Any) -> bool:
    """Whether a subscript is one integer of a row of them, counted from the front."""
    return isinstance(tensor, FakeTensor) and tensor.dim() == 1 and tensor.dtype in _INTEGERS and _is_place(index)


def _is_place(index: Any) -> bool:
    return type(index) is int and index >= 0


def _is_read(machine: Machine, tensor: Any, vid: Any) -> bool:
    results = machine.state.facts.results
    return ("item", vid, None) in results or ("formula", vid) in results or machine.known_value(tensor) is not None


def _was_read(machine: Machine, tensor: Any, vid: Any) -> bool:
    """Whether one bool was read, under this name or in other words."""
    results = machine.state.facts.results
    if ("item", vid, None) in results or machine.known_value(tensor) is not None:
        return True
    name, parts = results.get(("formula", vid), ("", ()))
    return name in _KEEPING.values() and _was_read(machine, *parts[0])


def _is_integer(value: Any) -> bool:
    if isinstance(value, FakeTensor):
        return value.dtype in _INTEGERS and _is_single(value)
    if isinstance(value, (Scalar, torch.SymInt)):
        return isinstance(value, torch.SymInt) or _is_whole(value)
    return type(value) is int and abs(value) < 2**31


def _is_single(tensor: Any) -> bool:
    return isinstance(tensor, FakeTensor) and all(type(size) is int and size == 1 for size in tensor.shape)
