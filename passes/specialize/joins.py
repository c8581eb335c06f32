"""Join points: a state seen before is a jump to its block; states that differ in numbers alone are generalised."""

from __future__ import annotations

import collections
from dataclasses import dataclass
from typing import Any

import sympy
import torch
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily
from torch.utils._sympy.numbers import int_oo

from dycl.diagnostics import UnsupportedError
from dycl.ir.nodes import (
    Edge,
    Jump,
    ListType,
    Lit,
    Operand,
    Ref,
    ScalarKind,
    ScalarType,
    Seq,
    SeqKind,
    TensorType,
    ValueId,
)
from dycl.passes.specialize.failures import note_carried
from dycl.passes.specialize.hints import Position, Skeleton
from dycl.passes.specialize.residual import RawBlock
from dycl.passes.specialize.scalars import kind_of
from dycl.passes.specialize.signals import Restart
from dycl.passes.specialize.state import TRUTH, State
from dycl.passes.specialize.symbols import Symbols
from dycl.passes.specialize.values import RuntimeList, Scalar
from dycl.passes.specialize.walker import Slot, Walker, is_dense, strides

MAX_VARIANTS = 8  # states of one skeleton that may differ in numbers before these are generalised
MAX_FORGETFUL = 48  # variants of one skeleton before facts and known tensor values are forgotten there
MAX_FUTILE = 48  # blocks at a point that was generalised before that is given up: what grows there is no number
MAX_INTERVALS = 3  # states that differ in intervals alone before these are forgotten at their point
MAX_AT_POINT = 1_000  # blocks at one point of one call stack
MAX_BLOCKS = 20_000


@dataclass(slots=True)
class Canonical:
    """A state in canonical form: what identifies it, its arguments, and the state as a new block starts with it."""

    key: tuple[Any, ...]
    args: tuple[Operand, ...]
    params: tuple[ValueId, ...]
    state: State
    skeleton: Skeleton
    row: tuple[Any, ...]
    list_skeleton: Skeleton
    list_row: tuple[Any, ...]
    places: tuple[Any, ...]
    known: tuple[tuple[Any, str | None], ...]
    list_places: tuple[Any, ...]


class Joins(Symbols):
    """The part of the machine that recognises states."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.blocks: list[RawBlock] = []
        self.table: dict[tuple[Any, ...], RawBlock] = {}
        self.rows: dict[Skeleton, list[tuple[Any, ...]]] = collections.defaultdict(list)
        self.same_tokens: dict[Any, int] = collections.defaultdict(int)
        self.at_point: dict[Any, int] = collections.defaultdict(int)
        self.known_rows: dict[Skeleton, list[tuple[tuple[Any, str | None], ...]]] = collections.defaultdict(list)
        self.list_rows: dict[Skeleton, list[tuple[Any, ...]]] = collections.defaultdict(list)

    def new_block(self) -> RawBlock:
        """A new, empty block."""
        if len(self.blocks) >= MAX_BLOCKS:
            raise self.unbounded(f"more than {MAX_BLOCKS} blocks")
        block = RawBlock(len(self.blocks), loc=self.loc())
        self.blocks.append(block)
        return block

    # ------------------------------------------------------------ canonical form

    def canonical(self, state: State, point: Any, *, is_entry: bool = False) -> Canonical:
        """The canonical form of a state, generalised as the hints say; may restart the compile with better hints.

        `is_entry`: the state outlives the call, so its tensors are new ones, apart from the next call's inputs.
        """
        walker = Walker(self, state)
        copy = walker.state()
        list_skeleton, list_row = self._list_skeleton(walker, point)
        list_places = tuple(slot.place for slot in walker.list_slots)
        lists = self._general_lists(walker, list_skeleton)
        list_args: dict[int, Operand] = {}
        if lists:
            list_args = {made.vid: self._list_operand(state, walker, index) for index, made in lists.items()}
            walker = Walker(self, state, lists=lists)
            copy = walker.state()
        skeleton, row = self._skeleton(walker, point)
        chosen = self._general_slots(walker, skeleton)
        static_args: dict[ValueId, Operand] = {scalar.vid: Lit(walker.slots[i].value) for i, scalar in chosen.items()}
        respell = self._respell(walker)
        retensor = self._retensor(walker, respell, is_entry)
        if chosen or respell or retensor:
            walker = Walker(self, state, substitute=chosen, lists=lists, respell=respell, retensor=retensor)
            copy = walker.state()
        forgets = point in self.hints.forget_facts
        operands, params = self._bindings(walker, respell, retensor, static_args, list_args)
        self._settle(copy, walker, state, respell, forgets, skeleton, point)
        tokens = self._forgetful(walker.key) if forgets else walker.key
        keeps_ranges = not (is_entry or forgets or point in self.hints.forget_ranges)
        copy.facts.ranges = self._ranges(walker, state, retensor) if keeps_ranges else {}
        ranges = walker.ranges(state.facts) if keeps_ranges else ()
        key = (point, tuple(tokens), walker.intervals(copy.facts), ranges)
        places = tuple(slot.place for slot in walker.slots)
        return Canonical(
            key,
            operands,
            params,
            copy,
            skeleton,
            row,
            list_skeleton,
            list_row,
            places,
            tuple(walker.known_slots),
            list_places,
        )

    def _forgetful(self, key: list[Any]) -> list[Any]:
        return [
            (*token[:4], None) if isinstance(token, tuple) and token and token[0] == "T" else token for token in key
        ]

    def _skeleton(self, walker: Walker, point: Any) -> tuple[Skeleton, tuple[Any, ...]]:
        tokens = list(walker.key)
        for slot in walker.slots:
            if slot.place not in self.hints.pinned:  # what has to stay static tells skeletons apart
                tokens[slot.token] = ("#", slot.kind)
        row = tuple(None if isinstance(slot.value, Scalar) else slot.value for slot in walker.slots)
        return (point, tuple(self._forgetful(tokens))), row

    def _list_skeleton(self, walker: Walker, point: Any) -> tuple[Skeleton, tuple[Any, ...]]:
        tokens: list[Any] = list(walker.key)
        for slot in walker.slots:
            if slot.place not in self.hints.pinned:
                tokens[slot.token] = ("#", slot.kind)
        row: list[Any] = []
        for slot in reversed(walker.list_slots):
            if isinstance(slot.value, RuntimeList):
                tokens[slot.token] = ("#list",)
                row.append(None)
            else:
                element, length, start, end = slot.value
                tokens[start:end] = [("#list",)]
                row.append((element, length))
        return (point, "lists", tuple(self._forgetful(tokens))), tuple(reversed(row))

    # ------------------------------------------------------------ generalisation

    def _general_slots(self, walker: Walker, skeleton: Skeleton) -> dict[int, Scalar]:
        chosen = {}
        for index in sorted(self.hints.general.get(skeleton, set())):
            slot = walker.slots[index]
            if slot.place in self.hints.pinned:
                continue
            self._check_bounds(slot)
            if not isinstance(slot.value, Scalar):
                chosen[index] = self.new_scalar(slot.kind, frozenset({Position(slot.place)}))
                self.values.names[chosen[index].vid] = _variable(slot.place)
        return chosen

    def _check_bounds(self, slot: Slot) -> None:
        """The bounds assumed of a generalised int must hold for every state that arrives."""
        low, high = self.hints.bounds.get(slot.place, (-int_oo, int_oo))
        if isinstance(slot.value, Scalar):
            if slot.kind is not ScalarKind.INT:
                return
            found = self.bounds_of(slot.value.expr)
        else:
            found = (
                (sympy.Integer(int(slot.value)), sympy.Integer(int(slot.value)))
                if slot.kind is ScalarKind.INT
                else (low, high)
            )
        if found[0] < low or found[1] > high:
            self.hints.bounds[slot.place] = (-int_oo if found[0] < low else low, int_oo if found[1] > high else high)
            raise Restart("the bounds of a generalised number are wider")

    def bounds_of(self, expr: sympy.Basic | None) -> tuple[Any, Any]:
        """The interval of an integer expression on this path."""
        if expr is None:
            return (-int_oo, int_oo)
        if expr.is_Symbol:
            return self.state.facts.interval(expr)
        return self.state.facts.bounds(expr)

    def _general_lists(self, walker: Walker, skeleton: Skeleton) -> dict[int, RuntimeList]:
        wanted = self.hints.general_lists.get(skeleton, {})
        chosen = {}
        for index, element in sorted(wanted.items()):
            slot = walker.list_slots[index]
            if not isinstance(slot.value, RuntimeList) and slot.place not in self.hints.pinned:
                vid = self.values.new(ListType(element), _variable(slot.place))
                chosen[index] = RuntimeList(element, vid, frozenset({Position(slot.place)}))
        return chosen

    def _list_operand(self, state: State, walker: Walker, index: int) -> Operand:
        items = walker.list_slots[index].items
        return Seq(SeqKind.LIST, tuple(self.operand(item) for item in items))

    def list_element(self, items: list[Any]) -> Any:
        """The element type of a list that could be of run-time length: numbers of one kind. `...` for an empty list."""
        if not items:
            return ...
        kinds = {kind_of(item) if isinstance(item, (Scalar, bool, int, float)) else None for item in items}
        if len(kinds) != 1 or None in kinds:
            return None
        return ScalarType(next(kind for kind in kinds if kind is not None))

    # ------------------------------------------------------------ new names

    def _respell(self, walker: Walker) -> dict[sympy.Basic, Scalar]:
        """A fresh symbol for each compound integer expression, so that `i + 1` closes a loop over `i`."""
        fresh: dict[sympy.Basic, Scalar] = {}
        for scalar in walker.scalars:
            note_carried(self, scalar.expr)  # type: ignore[arg-type]
            if scalar.kind is ScalarKind.INT and scalar.expr is not None and not scalar.expr.is_Symbol:
                fresh[scalar.expr] = self.new_int(scalar.origin)
                self._bound_fresh(fresh[scalar.expr].expr, scalar.expr, walker)
        return fresh

    def _bound_fresh(self, symbol: sympy.Basic, expr: sympy.Basic, walker: Walker) -> None:
        """The interval of a fresh symbol: what tensors it is a size of are made with torch asking about it."""
        low, high = self.bounds_of(expr)
        is_size = expr in walker.sizes
        self.state.facts.intervals[symbol] = (max(low, sympy.Integer(0)) if is_size else low, high)

    def _retensor(
        self, walker: Walker, respell: dict[sympy.Basic, Scalar], is_entry: bool
    ) -> dict[ValueId, FakeTensor]:
        """Fake tensors for those whose sizes are respelled; at an entry for all but the stateful weights'."""
        fresh: dict[ValueId, Any] = {}
        if not respell and not is_entry:
            return fresh
        weights = {id(tensor) for tensor in self.stateful_fakes.values()}
        storages: set[int] = set()
        for tensor in walker.tensors:
            storage = self.memory_of(tensor)
            group = self.memory_group(storage)
            if is_entry and group in storages:
                raise UnsupportedError(
                    "DY301",
                    self.loc(),
                    "two tensors kept on the model share their memory",
                    hint="keep a clone() of one of them",
                )
            storages.add(group)
            is_kept = is_entry and id(tensor) not in weights
            numbers = (*tensor.shape, *strides(tensor))
            if is_kept or any(isinstance(size, torch.SymInt) and size.node.expr in respell for size in numbers):
                new = fresh[self.current_vid(tensor)] = self._made_anew(tensor, respell)
                if not is_entry:
                    self.moved_storages[new.untyped_storage()._cdata] = storage
                self.renew_memory(new, tensor)
                self.adopt(new, self.values.names.get(self.current_vid(tensor), ""))
        return fresh

    def _made_anew(self, tensor: FakeTensor, respell: dict[sympy.Basic, Scalar]) -> Any:
        """A tensor like another in new symbols."""
        shape = [self.respelled(size, respell) for size in tensor.shape]
        steps = [self.respelled(stride, respell) for stride in strides(tensor)]
        with unset_fake_temporarily(), self.fake, torch._C.DisableTorchFunction():
            if is_dense(tensor):
                return torch.empty(shape, dtype=tensor.dtype, device=tensor.device)
            return torch.empty_strided(shape, steps, dtype=tensor.dtype, device=tensor.device)

    def _bindings(
        self,
        walker: Walker,
        respell: dict[sympy.Basic, Scalar],
        retensor: dict[ValueId, FakeTensor],
        static_args: dict[ValueId, Operand],
        list_args: dict[int, Operand],
    ) -> tuple[tuple[Operand, ...], tuple[ValueId, ...]]:
        """What is passed, and the names under which the block receives it."""
        args: list[Operand] = []
        params: list[ValueId] = []
        for tensor in walker.tensors:
            vid = self.current_vid(tensor)
            args.append(Ref(vid))
            params.append(retensor[vid]._dycl_root if vid in retensor else vid)  # type: ignore[attr-defined]
        for scalar in walker.scalars:
            if scalar.expr is not None and scalar.expr in respell:
                args.append(self.operand(self.compute(scalar.expr)))
                params.append(respell[scalar.expr].vid)
            else:
                args.append(static_args.get(scalar.vid) or Ref(self.vid_of(scalar)))
                params.append(scalar.vid)
        for made in walker.lists:
            args.append(list_args.get(made.vid) or Ref(made.vid))
            params.append(made.vid)
        return tuple(args), tuple(params)

    def _ranges(
        self, walker: Walker, source: State, retensor: dict[ValueId, FakeTensor]
    ) -> dict[ValueId, tuple[sympy.Basic, sympy.Basic]]:
        """The bounds of the tensors' elements, under the names that they have from here on."""
        bounds = source.facts.ranges
        vids = [vid for tensor in walker.tensors if (vid := self.current_vid(tensor, source)) in bounds]
        names = {vid: made._dycl_root for vid, made in retensor.items()}  # type: ignore[attr-defined]
        return {names.get(vid, vid): bounds[vid] for vid in vids if vid not in self.known}

    def _settle(
        self,
        copy: State,
        walker: Walker,
        source: State,
        respell: dict[sympy.Basic, Scalar],
        forgets: bool,
        skeleton: Skeleton,
        point: Any,
    ) -> None:
        """What the state of a new block knows: intervals of live symbols, aliases of live tensors, nothing else."""
        facts = copy.facts
        facts.bools, facts.relations, facts.results = {}, {}, {}
        live = {scalar.expr for scalar in walker.scalars if scalar.expr is not None and scalar.expr.is_Symbol}
        drops = forgets or point in self.hints.forget_intervals
        intervals = {} if drops else {s: i for s, i in source.facts.intervals.items() if s in live}
        if not drops:
            intervals |= {made.expr: self.bounds_of(expr) for expr, made in respell.items()}
        for symbol in live:
            if symbol in self.symbol_bounds and symbol not in intervals:
                low, high = self.symbol_bounds[symbol]
                intervals[symbol] = (sympy.sympify(low), sympy.sympify(high))
        wanted = self.hints.general.get(skeleton, set())
        for index in wanted:
            bounds = self.hints.bounds.get(walker.slots[index].place)
            value = walker.slots[index].value
            if bounds is not None and index in walker.substitute:
                self.symbol_bounds[walker.substitute[index].expr] = intervals[walker.substitute[index].expr] = bounds
            elif bounds is not None and isinstance(value, Scalar) and value.expr is not None:
                expr = respell[value.expr].expr if value.expr in respell else value.expr
                intervals[expr] = bounds
                if value.expr in respell:  # a symbol of this block alone: it holds wherever that goes
                    self.symbol_bounds[expr] = bounds
        for expr in walker.sizes:
            symbol = respell[expr].expr if expr in respell else expr
            if symbol is not None and symbol.is_Symbol:
                low, high = intervals.get(symbol, (-int_oo, int_oo))
                intervals[symbol] = (max(low, sympy.Integer(0)), high)
        facts.intervals = intervals
        vids = {self.current_vid(tensor): tensor for tensor in walker.tensors}
        roots = {t._dycl_root for vid, t in vids.items() if vid not in walker.retensor}  # type: ignore[attr-defined]
        copy.aliases = {
            s: live_roots for s, rs in source.aliases.items() if (live_roots := tuple(r for r in rs if r in roots))
        }
        for tensor in walker.retensor.values():
            memory = self.memory_of(tensor)
            copy.aliases[memory] = (*copy.aliases.get(memory, ()), tensor._dycl_root)  # type: ignore[attr-defined]
        for vid, tensor in vids.items():
            if vid in walker.forgotten or (forgets and vid in self.known):
                root = tensor._dycl_root  # type: ignore[attr-defined]
                copy.current[root] = self.values.new(self.values.types[vid], self.values.names.get(vid, ""))

    # ------------------------------------------------------------ joining

    def join(self, state: State) -> bool:
        """At a join point: True if the path ends here by a jump to a block made before."""
        for frame in state.frames:
            live = frame.live(is_waiting=frame is not state.frames[-1])
            frame.regs = {name: value for name, value in frame.regs.items() if name in live or name == TRUTH}
        point = _point(state)
        if not state.forks and point not in self.hints.points:
            return False
        form = self.canonical(state, point)
        known = self.table.get(form.key)
        if known is not None:
            state.block.end = Jump(edge=Edge(_block_id(known), form.args), loc=self.loc())
            return True
        self.note_variant(form, point)
        block = self.new_block()
        block.params = self.param_names(form, point)
        self.table[form.key] = block
        state.block.end = Jump(edge=Edge(_block_id(block), form.args), loc=self.loc())
        self.resume(state, form.state)
        state.block, state.is_dirty = block, False
        return False

    def is_general_point(self, state: State) -> bool:
        """Whether states are generalised here: then even a path that has done nothing since its last join is one."""
        return bool(self.hints.points) and _point(state) in self.hints.points

    def param_names(self, form: Canonical, point: Any) -> tuple[ValueId, ...]:
        """The block's parameters; where known values are forgotten, under names of which nothing is known."""
        renamed = {old: new for root, new in form.state.current.items() for old in [self.state.current.get(root, root)]}
        return tuple(renamed.get(vid, vid) for vid in form.params)

    def resume(self, state: State, copy: State) -> None:
        """Go on in `state` with what the copy holds."""
        state.frames, state.journal, state.facts = copy.frames, copy.journal, copy.facts
        state.current, state.aliases, state.fuzz = copy.current, copy.aliases, copy.fuzz
        self.switch(state.journal)

    def note_variant(self, form: Canonical, point: Any, variants: int = MAX_VARIANTS) -> None:
        """Count a new state of its skeleton; too many, and what differs between them is generalised from the start."""
        self._check_growth(form, point)
        self._check_intervals(form, point)
        self._check_ranges(form, point)
        self.known_rows[form.list_skeleton].append(form.known)
        if point in self.hints.points and self._forget_differing(form):
            raise Restart("known values of tensors are forgotten in a loop")
        rows = self.rows[form.skeleton]
        rows.append(form.row)
        if len(rows) > variants:
            pinned = {i for i, place in enumerate(form.places) if place in self.hints.pinned}
            general = self.hints.general.setdefault(form.skeleton, set())
            differing = (
                {i for i in range(len(form.row)) if len({(type(r[i]), r[i]) for r in rows}) > 1} - pinned - general
            )
            if differing:
                for index in differing:
                    self.hints.bounds.setdefault(form.places[index], _trend([row[index] for row in rows]))
                general |= differing
                self.hints.places_at.setdefault(point, set()).update(form.places[index] for index in differing)
                self._forget_differing(form)
                self.hints.points.add(point)
                raise Restart("numbers are generalised")
        if len(rows) > MAX_FORGETFUL and point not in self.hints.forget_facts:
            self.hints.forget_facts.add(point)
            raise Restart("facts are forgotten")
        self._note_lists(form, point, variants)

    def _check_growth(self, form: Canonical, point: Any) -> None:
        """A loop that does not close though its numbers are generalised is unrolled; if it still grows, refused."""
        self.at_point[point] += 1
        if self.at_point[point] > MAX_AT_POINT:
            raise self.unbounded(f"more than {MAX_AT_POINT} states at one place")
        if point in self.hints.points and self.at_point[point] > MAX_FUTILE:
            places = self.hints.places_at.get(point, set()) - self.hints.pinned
            if places:
                self.hints.pinned |= places
                raise Restart("a loop over generalised numbers does not close")

    def _check_intervals(self, form: Canonical, point: Any) -> None:
        """States that differ in intervals alone: an interval may grow for ever, so it is dropped."""
        self.same_tokens[form.key[:2]] += 1
        if self.same_tokens[form.key[:2]] > MAX_INTERVALS and point not in self.hints.forget_intervals:
            self.hints.forget_intervals.add(point)
            raise Restart("intervals are forgotten")

    def _check_ranges(self, form: Canonical, point: Any) -> None:
        """States that differ in the bounds of tensors alone are one state: no round of a loop stands before it."""
        self.same_tokens[form.key[:3]] += 1
        if self.same_tokens[form.key[:3]] > 1 and point not in self.hints.forget_ranges:
            self.hints.forget_ranges.add(point)
            raise Restart("bounds of tensors are forgotten")

    def unbounded(self, what: str) -> UnsupportedError:
        """The refusal of a program that has no end."""
        return UnsupportedError(
            "DY207",
            self.loc(),
            f"the program does not close: {what}",
            hint="some Python value that decides what runs, or a list of tensors, differs in every round of a loop",
        )

    def _note_lists(self, form: Canonical, point: Any, variants: int) -> None:
        rows = self.list_rows[form.list_skeleton]
        rows.append(form.list_row)
        if len(rows) <= variants:
            return
        general = self.hints.general_lists.setdefault(form.list_skeleton, {})
        found = {}
        for index in range(len(form.list_row)):
            cells = [row[index] for row in rows if row[index] is not None]
            elements = {cell[0] for cell in cells} - {...}
            is_new = index not in general and form.list_places[index] not in self.hints.pinned
            if len({cell[1] for cell in cells}) > 1 and len(elements) == 1 and is_new:
                found[index] = next(iter(elements))
        if found:
            general.update(found)
            self._forget_differing(form)
            self.hints.points.add(point)
            raise Restart("lists are generalised")
        if self._forget_differing(form):
            raise Restart("known values of tensors are forgotten")

    def _forget_differing(self, form: Canonical) -> bool:
        """Forget the known values of tensors that differ between the variants; True if that is new."""
        rows = self.known_rows[form.list_skeleton]
        places = {
            form.known[index][0] for index in range(len(form.known)) if len({row[index][1] for row in rows}) > 1
        } - self.hints.forget_known
        self.hints.forget_known |= places
        return bool(places)


def _trend(values: list[Any]) -> tuple[Any, Any]:
    """Bounds for a position that took these values in order: open on the side to which it moves."""
    numbers = [value for value in values if type(value) is int]
    if not numbers:
        return (-int_oo, int_oo)
    first = numbers[0]
    if first == min(numbers):
        return (sympy.Integer(first), int_oo)
    if first == max(numbers):
        return (-int_oo, sympy.Integer(first))
    return (-int_oo, int_oo)


def _point(state: State) -> tuple[tuple[int, int], ...]:
    """The program points of the whole call stack."""
    return tuple((id(frame.code), frame.ip) for frame in state.frames)


def _variable(place: Any) -> str:
    """The source variable at a place, if it has one."""
    return str(place[1]).partition("%")[0] if isinstance(place, tuple) and len(place) == 2 else ""


def _block_id(block: RawBlock) -> Any:
    return block.id


__all__ = ["MAX_BLOCKS", "Canonical", "Joins", "TensorType"]
