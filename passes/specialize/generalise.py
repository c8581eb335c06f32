"""Generalisation by outline: what arrives at a generalised point is put in the form that its block takes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sympy
from torch.utils._sympy.numbers import int_oo

from dycl.ir.values import ListType, Lit, Operand, Seq, ValueId
from dycl.passes.specialize.hints import Position
from dycl.passes.specialize.intervals import Interval
from dycl.passes.specialize.outline import (
    Address,
    Generality,
    Outline,
    build_outline,
    find_classes,
    find_lists,
    is_below,
)
from dycl.passes.specialize.relations import MAX_EXCEPTIONS, Relation, find_relations
from dycl.passes.specialize.rounds import peel
from dycl.passes.specialize.signals import Restart
from dycl.passes.specialize.symbols import Symbols
from dycl.passes.specialize.templates import Template, ir_type, seq_kind, unify
from dycl.passes.specialize.values import RuntimeList

if TYPE_CHECKING:
    from dycl.passes.specialize.walker import Walker


@dataclass(slots=True)
class Plan:
    """What a walk of the state puts in the place of what it finds, by address, and what is passed for it."""

    outline: Outline
    lists: dict[Address, RuntimeList] = field(default_factory=dict)
    numbers: dict[Address, Any] = field(default_factory=dict)
    sizes: dict[Address, sympy.Basic] = field(default_factory=dict)
    groups: dict[Address, Any] = field(default_factory=dict)
    args: dict[ValueId, Operand] = field(default_factory=dict)
    bounds: dict[Any, tuple[Any, Any]] = field(default_factory=dict)  # by class, and by its first address
    related: set[Address] = field(default_factory=set)  # what a relation says all about


class Generalise(Symbols):
    """The part of the machine that generalises states of one outline."""

    # filled in further up the chain of classes

    def is_old(self, target: Any) -> bool:
        """Whether an object existed before the run (`Journal`)."""
        raise NotImplementedError

    def encoded(self, value: Any, template: Template) -> Operand:
        """An element of a run-time list as an operand (`Iteration`)."""
        raise NotImplementedError

    def outline(self, walker: Walker, point: Any) -> Outline:
        """The outline of the state that was walked."""
        return build_outline(walker, point, self.hints, self.is_old)

    def general_lists(self, outline: Outline) -> Collection[Address]:
        """Where lists are generalised in the states of an outline."""
        generality = self.hints.outlines.get(outline.skeleton)
        return () if generality is None else generality.lists

    def plan(self, walker: Walker, outline: Outline, *, apart: bool) -> Plan:
        """What the hints generalise in the state that was walked; may restart the compile with better hints.

        `apart`: every integer gets a symbol of its own, whatever it moves together with.
        """
        plan = Plan(outline)
        generality = self.hints.outlines.get(outline.skeleton)
        if generality is None:
            return plan
        items = {slot.address: slot.items for slot in walker.list_slots}
        for address, templates in generality.lists.items():
            cell = outline.lists.get(address)
            if cell is not None and cell.length is not None and not is_below(address, plan.lists):
                self._plan_list(plan, generality, address, templates, items[address])
        classes = generality.classes
        if apart:
            classes = [{address: 0} for members in classes for address in members]
        else:
            for relation in generality.relations:
                if relation.is_wanted:
                    self._plan_relation(plan, generality, relation)
        for number, members in enumerate(classes):
            self._plan_class(plan, generality, number, members)
        return plan

    # ------------------------------------------------------------ lists

    def _plan_list(
        self, plan: Plan, generality: Generality, address: Address, templates: tuple[Template, ...], items: list[Any]
    ) -> None:
        cell = plan.outline.lists[address]
        for index, template in enumerate(templates):
            merged = template if cell.template is None else unify(template, cell.template)
            if merged is None:
                continue
            merged = self.hints.widened(cell.place, merged)
            if merged != template:
                generality.lists[address] = (*templates[:index], merged, *templates[index + 1 :])
                raise Restart("the elements of a run-time list are more general")
            vid = self.values.new(ListType(ir_type(template), cell.kind is tuple), _variable(cell.place))
            made = RuntimeList(template, vid, frozenset({Position(cell.place)}), cell.kind)
            plan.lists[address] = made
            plan.args[vid] = Seq(seq_kind(cell.kind), tuple(self.encoded(item, template) for item in items))
            return

    # ------------------------------------------------------------ integers

    def _plan_class(self, plan: Plan, generality: Generality, number: int, members: dict[Address, int]) -> None:
        """Integers that move together: one symbol, and offsets. What does not on this path makes another class."""
        present = self._present(plan, members)
        if not present:
            return
        base, apart = self._base(plan, present)
        if not apart:
            self._plan_numbers(plan, generality, number, present, base)
            return
        kept = {address: offset for address, offset in members.items() if address not in apart}
        generality.classes[number] = kept
        generality.classes.append({address: members[address] for address in apart})
        self.postpone("integers that seemed to move together do not")
        self._plan_class(plan, generality, number, kept)

    def _present(self, plan: Plan, members: dict[Address, int]) -> dict[Address, int]:
        """Those that the state has and nothing is planned for, with their distances from the first of them."""
        ints = plan.outline.ints
        found = [a for a in members if a in ints and a not in plan.related and not is_below(a, plan.lists)]
        found.sort(key=lambda address: ints[address].order)
        return {address: members[address] - members[found[0]] for address in found}

    def _base(self, plan: Plan, present: dict[Address, int]) -> tuple[sympy.Basic, set[Address]]:
        """What the first of them is, an expression if any of them is one; which do not keep their distances."""
        ints = plan.outline.ints
        bases = {address: sympy.sympify(ints[address].value) - offset for address, offset in present.items()}
        found = [base for base in bases.values() if not base.is_Integer]
        base = (found or list(bases.values()))[0]
        return base, {address for address, other in bases.items() if not self._is_equal(other, base)}

    def _plan_relation(self, plan: Plan, generality: Generality, relation: Relation) -> None:
        """Integers that move together from the second round of a loop on, if these are such: then they are a class."""
        ints = plan.outline.ints
        present = self._present(plan, relation.members)
        if len(present) < 2:
            return
        base, apart = self._base(plan, present)
        if not apart:
            self._plan_numbers(plan, generality, relation.number, present, base)
            plan.related.update(present)
            return
        values = tuple(ints[address].value for address in present)
        if all(isinstance(value, int) for value in values):
            if peel(self.hints, self.state):
                raise Restart("the first round of a loop is kept apart")
            relation.exceptions.add(values)
            if len(relation.exceptions) <= MAX_EXCEPTIONS:
                return
        if 2 * len(apart) > len(present):  # the first is the odd one
            apart = set(present) - apart
        generality.refuted |= apart
        relation.members = {a: distance for a, distance in relation.members.items() if a not in apart}
        self.postpone("integers that seemed to move together from the second round on do not")
        self._plan_relation(plan, generality, relation)

    def _plan_numbers(
        self, plan: Plan, generality: Generality, number: int, present: dict[Address, int], base: sympy.Basic
    ) -> None:
        """The integers of a class as a base, an expression or known on this path, and their distances from it."""
        ints, first = plan.outline.ints, next(iter(present))
        for address in present:
            plan.groups[address] = number
        least = max([-offset for address, offset in present.items() if ints[address].is_size], default=-int_oo)
        name = first
        if number < 0:  # a relation: where the loop begins it mostly rises, inside what the path knows mostly holds
            name = (number, first)
            if name not in generality.bounds:
                generality.bounds[name] = self._relation_bounds(plan, present, base)
        self._check_class_bounds(generality, name, base, least)
        plan.bounds[number] = plan.bounds[first] = generality.bounds[name]
        origin = frozenset(Position(ints[address].place) for address in present)
        if base.is_Integer:
            scalar = self.new_int(origin)
            self.values.names[scalar.vid] = _variable(ints[first].place)
            self.counters.add(scalar.expr)
            plan.args[scalar.vid] = Lit(int(base))
            self.state.facts.intervals[scalar.expr] = plan.bounds[number]
            base = scalar.expr
        for address, offset in present.items():
            expr = base + offset
            if ints[address].value == expr:
                continue
            if ints[address].is_size:
                plan.sizes[address] = expr
            else:
                plan.numbers[address] = made = self.scalar_of_expr(expr)
                made.origin = origin

    def _relation_bounds(self, plan: Plan, present: dict[Address, int], base: sympy.Basic) -> Interval:
        """Where the first integer of a relation lies: as the path knows, or from where it is on, within a range."""
        if not base.is_Integer:
            return self.bounds_of(base)
        limits = [(plan.outline.ints[address].limit[1], offset) for address, offset in present.items()]
        return base, min((end if end == int_oo else end - offset for end, offset in limits), default=int_oo)

    def _is_equal(self, one: sympy.Basic, other: sympy.Basic) -> bool:
        """Whether two integers are one on this path."""
        difference = sympy.expand(one - other)
        return bool(difference == 0 or self.state.facts.decide(sympy.Eq(difference, 0)) == sympy.true)

    def _check_class_bounds(self, generality: Generality, name: Any, base: sympy.Basic, least: Any) -> None:
        low, high = generality.bounds.get(name, (-int_oo, int_oo))
        generality.bounds[name] = low, high = max(low, sympy.sympify(least)), high
        found = (base, base) if base.is_Integer else self.bounds_of(base)
        if found[0] < low or found[1] > high:
            generality.bounds[name] = widened((low, high), found)
            self.postpone("the bounds of a generalised number are wider")

    def bounds_of(self, expr: sympy.Basic | None) -> tuple[Any, Any]:
        """The interval of an integer expression on this path."""
        if expr is None:
            return (-int_oo, int_oo)
        if expr.is_Symbol:
            return self.state.facts.interval(expr)
        return self.state.facts.bounds(expr)

    # ------------------------------------------------------------ variants

    def mark_listed(self, found: list[Outline], point: Any) -> bool:
        """Note tensors that lie in a run-time list in some of the states alone; True if that is new."""
        unlisted = {address for other in found for address, is_listed in other.listed.items() if not is_listed}
        news = {address for other in found for address, is_listed in other.listed.items() if is_listed} & unlisted
        if point not in self.hints.points or news <= self.hints.listed:
            return False
        self.hints.listed |= news
        return True

    def note_relations(self, found: list[Outline]) -> None:
        """Remember which integers keep their distances from the second state on: somebody may come to ask."""
        outline = found[-1]
        generality = self.hints.outlines.get(outline.skeleton) or Generality()
        for members in find_relations(found, generality.lists, generality.classes):
            known = any(set(members) <= set(relation.members) for relation in generality.relations)
            if known or not generality.refuted.isdisjoint(members):
                continue
            places = frozenset(outline.ints[address].place for address in members)
            relation = Relation(-1 - len(generality.relations), members, places)
            relation.is_wanted = not places.isdisjoint(self.hints.related)
            generality.relations.append(relation)
            self.hints.outlines[outline.skeleton] = generality

    def generalise_mixed(self, found: list[Outline], point: Any) -> bool:
        """Generalise the integers that some states of an outline know and others do not; True if that is new."""
        outline = found[-1]
        generality = self.hints.outlines.get(outline.skeleton) or Generality()
        planned = {address for members in generality.classes for address in members}
        members: dict[Address, int] = {}
        for address in sorted(outline.ints, key=lambda address: outline.ints[address].order):
            values = [cells.ints[address].value for cells in found if address in cells.ints]
            numbers = [value for value in values if type(value) is int]
            if numbers and len(numbers) < len(values) and address not in planned:
                members[address] = numbers[0]
                generality.bounds[address] = trend(numbers)
        if not members:
            return False
        first = next(iter(members.values()))
        generality.classes.append({address: number - first for address, number in members.items()})
        self.hints.outlines[outline.skeleton] = generality
        self.hints.points.add(point)
        return True

    def generalise_outlines(self, found: list[Outline], point: Any, least: int) -> bool:
        """Generalise lists, and sizes and what moves with them, that differ between the states of one outline.

        `least`: how many lengths a list must have had. True if the hints now generalise more.
        """
        outline = found[-1]
        generality = self.hints.outlines.get(outline.skeleton) or Generality()
        lists = {a: t for a, t in find_lists(found, least).items() if a not in generality.lists}
        general = {**generality.lists, **lists}
        known = {address for members in generality.classes for address in members}
        classes = [
            {address: offset for address, offset in members.items() if address not in known}
            for members in find_classes(found, general, least)
        ]
        classes = [members for members in classes if members]
        has_size = any(outline.ints[address].is_size for members in classes for address in members)
        if not lists and not has_size:
            return False
        self.hints.outlines[outline.skeleton] = generality
        generality.lists.update(lists)
        for members in classes:
            address = next(iter(members))
            generality.classes.append({a: offset - members[address] for a, offset in members.items()})
            values = [found_in.ints[address].value for found_in in found if address in found_in.ints]
            generality.bounds[address] = trend([value for value in values if not isinstance(value, sympy.Basic)])
        self.hints.points.add(point)
        return True


def trend(values: list[Any]) -> tuple[Any, Any]:
    """Bounds for a position that took these values in order: open on the side to which it moves."""
    numbers = [int(value) for value in values if type(value) is int]
    if not numbers:
        return (-int_oo, int_oo)
    first = numbers[0]
    if first == min(numbers):
        return (sympy.Integer(first), int_oo)
    if first == max(numbers):
        return (-int_oo, sympy.Integer(first))
    return (-int_oo, int_oo)


def widened(bounds: tuple[Any, Any], found: tuple[Any, Any]) -> tuple[Any, Any]:
    """Bounds that hold for what was found, too: a side that does not hold goes to 0 if that is enough, else it opens.

    The sign is kept where it can be: an index that may be negative is a decision in every round.
    """
    low, high = bounds
    if found[0] < low:
        low = sympy.Integer(0) if found[0] >= 0 else -int_oo
    if found[1] > high:
        high = sympy.Integer(0) if found[1] <= 0 else int_oo
    return low, high


def _variable(place: Any) -> str:
    """The source variable at a place, if it has one."""
    place = place[1] if isinstance(place, tuple) and place and place[0] == "size" else place
    return str(place[1]).partition("%")[0] if isinstance(place, tuple) and len(place) == 2 else ""
