"""A state with everything masked that may differ from round to round of a loop: numbers, sizes, lists.

States of one outline are variants of one another. Where too many arrive, what differs between them is generalised: a
list whose length differs becomes a run-time list, a size or a number becomes a run-time number. Integers that differ
by the same amount in all variants (the length of a cache, the step, the size of a mask) become one number and offsets,
so that what the loop relies on survives its closing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sympy

from dycl.ir.values import ScalarKind
from dycl.passes.specialize.facts import EVERYTHING
from dycl.passes.specialize.intervals import Interval
from dycl.passes.specialize.templates import Template, describe, has_leaf, is_none, unify
from dycl.passes.specialize.values import RuntimeList, Scalar

if TYPE_CHECKING:
    from dycl.passes.specialize.hints import Hints
    from dycl.passes.specialize.relations import Relation
    from dycl.passes.specialize.walker import Walker

MIN_SIZES = 5  # distinct sizes of one dimension before it is taken to grow
Address = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class ListCell:
    """A list or tuple: the template of its elements (None: empty), how many there are; of run-time length: no items."""

    template: Template | None
    length: int | None
    place: Any
    kind: type  # list or tuple


@dataclass(frozen=True, slots=True)
class IntCell:
    """An integer: a size or a number; an expression where it is known at run time only."""

    value: Any  # int or sympy expression
    place: Any
    is_size: bool
    order: tuple[int, int]  # in which it is met
    limit: Interval = EVERYTHING  # where it lies, if it is what a loop over a range counts


@dataclass(slots=True)
class Outline:
    """The masked state, and what was masked, by its address."""

    skeleton: tuple[Any, ...]
    lists: dict[Address, ListCell] = field(default_factory=dict)
    ints: dict[Address, IntCell] = field(default_factory=dict)
    listed: dict[Address, bool] = field(default_factory=dict)  # of each tensor: whether it lies in a run-time list


@dataclass(slots=True)
class Generality:
    """What is generalised in the states of one outline. It only grows more general."""

    lists: dict[Address, tuple[Template, ...]] = field(default_factory=dict)
    classes: list[dict[Address, int]] = field(default_factory=list)  # integers that differ by these amounts
    bounds: dict[Any, tuple[Any, Any]] = field(default_factory=dict)  # of the first integer of a class
    relations: list[Relation] = field(default_factory=list)  # of integers that are not of one class
    refuted: set[Address] = field(default_factory=set)  # what was in a relation that does not hold


def build_outline(walker: Walker, point: Any, hints: Hints, is_old: Any) -> Outline:
    """The outline of the state that was walked."""
    tokens: list[Any] = list(walker.key)
    outline = Outline((), listed=walker.listed)
    for slot in walker.slots:
        if slot.place not in hints.pinned:
            tokens[slot.token] = ("#", slot.kind)
        if slot.kind is ScalarKind.INT and slot.place not in hints.pinned:
            value = slot.value.expr if isinstance(slot.value, Scalar) else slot.value
            if value is not None:
                outline.ints[slot.address] = IntCell(
                    value, slot.place, False, (slot.token, -1), walker.limits.get(slot.address, EVERYTHING)
                )
    for size in walker.sizes:
        place = ("size", size.place)
        if place in hints.pinned:
            continue
        outline.ints[size.address] = IntCell(size.value, place, True, (size.token, size.dim))
    for index, token in enumerate(tokens):
        tokens[index] = _masked(token, walker.key[index])
    _mask_sizes(walker, tokens, hints)
    mask_repeated(tokens)
    end = 0
    cut: list[Any] = []
    for found in sorted(walker.list_slots, key=lambda slot: (slot.start, -slot.end)):
        cell = _list_cell(found, is_old)
        if cell is None or found.place in hints.pinned:
            continue
        outline.lists[found.address] = cell
        if found.start >= end:
            cut += [*tokens[end : found.start], ("#list", cell.kind)]
            end = found.end
    cut += tokens[end:]
    outline.skeleton = (point, "outline", tuple(cut))
    return outline


def _masked(token: Any, original: Any) -> Any:
    """A token without what depends on how many values were met before it."""
    if not isinstance(token, tuple) or not token:
        return token
    match token[0]:
        case "index":
            return ("#", ScalarKind.INT)
        case "ref":
            return ("#ref",)
        case "s":
            return ("#s", token[1])
        case "T":
            return ("#T", token[1], token[2])
        case "text":
            return ("#text", *(part if isinstance(part, str) else part[:2] for part in token[1:]))
        case "O":
            return ("#O", token[1])
    return token


def mask_repeated(tokens: list[Any]) -> None:
    """A tensor that was met before looks as where it was met: which tensors are one tells no states apart."""
    first: list[Any] = []
    for place, token in enumerate(tokens):
        if isinstance(token, tuple) and token:
            if token[0] == "#T":
                first.append(token)
            elif token[0] == "t":
                tokens[place] = first[token[1]]


def _mask_sizes(walker: Walker, tokens: list[Any], hints: Hints) -> None:
    dims: dict[int, list[int]] = {}
    for size in walker.sizes:
        if ("size", size.place) not in hints.pinned:
            dims.setdefault(size.token, []).append(size.dim)
    for place, masked in dims.items():
        token = tokens[place]
        is_tensor = token[0] == "#T"
        shape = list(token[2] if is_tensor else token)
        for dim in masked:
            shape[dim] = "#"
        tokens[place] = ("#T", token[1], tuple(shape)) if is_tensor else tuple(shape)


def _list_cell(slot: Any, is_old: Any) -> ListCell | None:
    if isinstance(slot.items, RuntimeList):
        return ListCell(slot.items.element, None, slot.place, slot.items.kind)
    total: Template | None = None
    for item in slot.items:
        template = describe(item, is_old)
        if template is None or not (has_leaf(template) or is_none(template)):
            return None
        total = template if total is None else unify(total, template)
        if total is None:
            return None
    return ListCell(total, len(slot.items), slot.place, type(slot.items))


def is_below(address: Address, roots: Any) -> bool:
    """Whether an address lies inside one of the others."""
    return any(len(root) < len(address) and address[: len(root)] == root for root in roots)


def find_lists(outlines: list[Outline], least: int) -> dict[Address, tuple[Template, ...]]:
    """The outermost lists that have `least` lengths, with the templates of their elements."""
    found: dict[Address, tuple[Template, ...]] = {}
    for address in sorted(outlines[-1].lists, key=len):
        cells = [outline.lists[address] for outline in outlines if address in outline.lists]
        if len(cells) < len(outlines) or is_below(address, found):
            continue
        clusters = _clusters(cells, least)
        if clusters:
            found[address] = clusters
    return found


def _clusters(cells: list[ListCell], least: int) -> tuple[Template, ...]:
    """Templates that hold lists of that many lengths; an empty list may be any of them."""
    has_empty = any(cell.template is None for cell in cells)
    templates: list[Template] = []
    lengths: list[set[Any]] = []
    for cell in cells:
        if cell.template is None or cell.length is None:
            continue
        for index, template in enumerate(templates):
            merged = unify(template, cell.template)
            if merged is not None:
                templates[index] = merged
                lengths[index].add(cell.length)
                break
        else:
            templates.append(cell.template)
            lengths.append({cell.length})
    found = zip(templates, lengths, strict=True)
    return tuple(template for template, sizes in found if len(sizes) + has_empty >= least and has_leaf(template))


def find_classes(outlines: list[Outline], lists: Any, least: int) -> list[dict[Address, int]]:
    """The integers that have taken `least` values, grouped by the distances that never change."""
    classes: dict[Any, dict[Address, int]] = {}
    for address in outlines[-1].ints:
        cells = [outline.ints[address] for outline in outlines if address in outline.ints]
        values = [int(cell.value) for cell in cells if _is_known(cell.value)]
        enough = MIN_SIZES if cells[-1].is_size else least
        if len(cells) < len(outlines) or len(set(values)) < enough or is_below(address, lists):
            continue
        steps = tuple(int(cell.value) - values[0] if _is_known(cell.value) else None for cell in cells)
        classes.setdefault(steps, {})[address] = values[0]
    return [_relative(members) for members in classes.values()]


def _relative(members: dict[Address, int]) -> dict[Address, int]:
    first = next(iter(members.values()))
    return {address: value - first for address, value in members.items()}


def _is_known(value: Any) -> bool:
    return not isinstance(value, sympy.Basic) or bool(value.is_Integer)
