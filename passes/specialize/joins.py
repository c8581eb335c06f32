"""Join points: a state seen before is a jump to its block; states that differ in numbers alone are generalised."""

from __future__ import annotations

import collections
from typing import Any

import sympy
import torch
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily
from torch.utils._sympy.numbers import int_oo

from dycl.diagnostics import UnsupportedError
from dycl.ir.nodes import Edge, Jump
from dycl.ir.values import Operand, Ref, ScalarKind, ScalarType, ValueId
from dycl.passes.specialize import parting
from dycl.passes.specialize.facts import EVERYTHING
from dycl.passes.specialize.failures import note_carried
from dycl.passes.specialize.generalise import Plan, widened
from dycl.passes.specialize.hints import Position, Skeleton
from dycl.passes.specialize.intervals import Interval
from dycl.passes.specialize.outline import mask_repeated
from dycl.passes.specialize.positions import Label, Respelling, Slot
from dycl.passes.specialize.readings import carried_readings, find_readings, find_relations
from dycl.passes.specialize.received import Carried
from dycl.passes.specialize.residual import RawBlock
from dycl.passes.specialize.rounds import find_point
from dycl.passes.specialize.state import TRUTH, State
from dycl.passes.specialize.values import Scalar
from dycl.passes.specialize.variants import Canonical, Variants
from dycl.passes.specialize.walker import Walker

MAX_BLOCKS = 20_000


class Joins(Variants):
    """The part of the machine that recognises states."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.blocks: list[RawBlock] = []
        self.table: dict[tuple[Any, ...], RawBlock] = {}
        self.carried = Carried()

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
        apart = is_entry or point in self.hints.unrelated
        given: dict[str, Any] = {"groups": None if apart else {}, "is_join": True}
        walker = Walker(self, state, **given)
        copy = walker.state()
        outline = self.outline(walker, point)
        partition: parting.Partition | None = None
        if not is_entry:
            lists = self.general_lists(outline)
            partition = parting.find_partition(self, walker, state, lists)
            given["parts"] = parting.find_parts(self, walker, state, point, lists)
            if given["parts"]:
                walker = Walker(self, state, **given)
                copy = walker.state()
                outline = self.outline(walker, point)
        plan = self.plan(walker, outline, apart=apart)
        given |= {"lists": plan.lists, "sizes": plan.sizes, "groups": None if apart else plan.groups}
        if plan.lists or plan.sizes or plan.numbers or given["groups"]:
            walker = Walker(self, state, substitute=plan.numbers, **given)
            copy = walker.state()
        skeleton, row, spelled = self._skeleton(walker, point)
        positions = tuple((slot.place, slot.address) for slot in walker.slots)
        chosen = self._general_slots(walker, point)
        static_args: dict[ValueId, Operand] = {**plan.args}
        static_args |= {scalar.vid: self.operand(walker.slots[i].value) for i, scalar in chosen.items()}
        numbers = plan.numbers | {walker.slots[i].address: scalar for i, scalar in chosen.items()}
        if chosen:
            walker = Walker(self, state, substitute=numbers, **given)
            copy = walker.state()
        respell = self._respell(walker)
        retensor = self._retensor(walker, respell, is_entry)
        if respell or retensor:
            walker = Walker(self, state, substitute=numbers, **given, respell=respell, retensor=retensor)
            copy = walker.state()
        forgets = point in self.hints.forget_facts
        operands, params = self._bindings(walker, retensor, static_args)
        tokens = tuple(self._forgetful(walker.key) if forgets else walker.key)
        self._settle(copy, walker, state, plan, forgets, (point, tokens))
        keeps_ranges = not (is_entry or forgets or point in self.hints.forget_ranges)
        copy.facts.ranges = self._ranges(walker, state, retensor) if keeps_ranges else {}
        ranges = walker.ranges(state.facts) if keeps_ranges else ()
        readings = find_readings(walker) if keeps_ranges and point not in self.hints.forget_readings else ()
        relations = find_relations(walker) if keeps_ranges and point not in self.hints.forget_relations else ()
        copy.facts.results = carried_readings(self, walker, readings + relations, _new_names(retensor))  # type: ignore[arg-type]
        intervals = walker.intervals(copy.facts)
        spelled = tuple((index, str(low), str(high)) for index, (low, high) in intervals.items())
        key = (point, tokens, spelled, ranges, readings, relations)
        return Canonical(
            key,
            operands,
            params,
            copy,
            skeleton,
            row,
            plan.outline,
            positions,
            walker.known_slots,
            partition,
            intervals,
            self._which_are_given(walker),
            {spot: made_of for spot, (_, made_of) in walker.texts.items()},
            spelled,
            walker.tables,
        )

    def _which_are_given(self, walker: Walker) -> tuple[bool, ...]:
        """Which tensors and arrays of a state lie in memory of the caller's."""
        given = {self.memory_group(storage) for storage in self.input_storages}
        return tuple(self.memory_group(self.memory_of(tensor)) in given for tensor in walker.tensors)

    def _forgetful(self, key: list[Any]) -> list[Any]:
        return [
            (*token[:4], None, *token[5:]) if isinstance(token, tuple) and token and token[0] == "T" else token
            for token in key
        ]

    def _skeleton(self, walker: Walker, point: Any) -> tuple[Skeleton, tuple[Any, ...], Skeleton | None]:
        """The state without its numbers and without which of its tensors are one; the numbers; without texts, too."""
        tokens = [
            ("#T", token[1], token[2]) if isinstance(token, tuple) and token and token[0] == "T" else token
            for token in walker.key
        ]
        mask_repeated(tokens)
        for slot in walker.slots:
            if slot.place not in self.hints.pinned:  # what has to stay static tells skeletons apart
                tokens[slot.token] = ("#", slot.kind)
        row = tuple(None if isinstance(slot.value, Scalar) else slot.value for slot in walker.slots)
        skeleton: Skeleton = (point, tuple(tokens))
        spelled: Skeleton | None = None
        if walker.texts:
            for place, _ in walker.texts.values():
                tokens[place] = ("#text",)
            spelled = (point, tuple(tokens))
        return skeleton, row, spelled

    # ------------------------------------------------------------ generalisation

    def _general_slots(self, walker: Walker, point: Any) -> dict[int, Scalar]:
        chosen = {}
        general = self.hints.general.get(point, ())
        for index, slot in enumerate(walker.slots):
            if slot.place in self.hints.pinned or (slot.place, slot.address) not in general:
                continue
            self._check_bounds(walker, slot)
            if not isinstance(slot.value, Scalar):
                chosen[index] = self.new_scalar(slot.kind, frozenset({Position(slot.place)}))
                self.values.names[chosen[index].vid] = _variable(slot.place)
        return chosen

    def _check_bounds(self, walker: Walker, slot: Slot) -> None:
        """The bounds assumed of a generalised int must hold for every state that arrives."""
        if slot.kind is not ScalarKind.INT:
            return
        if isinstance(slot.value, Scalar):
            found = self.bounds_of(slot.value.expr)
        else:
            found = (sympy.Integer(slot.value), sympy.Integer(slot.value))
        low, high = self._slot_bounds(walker, slot)
        if found[0] >= low and found[1] <= high:
            return
        self.postpone("the bounds of a generalised number are wider")
        wide = self.hints.bounds.get(slot.place, EVERYTHING)
        if found[0] < wide[0] or found[1] > wide[1]:
            self.hints.bounds[slot.place] = widened(wide, found)
        else:
            self.hints.unlimited.add(slot.place)

    def _slot_bounds(self, walker: Walker, slot: Slot) -> Interval:
        """Where a generalised int lies, at all its joins; what a loop over a range counts is within the range."""
        low, high = self.hints.bounds.get(slot.place, EVERYTHING)
        first, last = EVERYTHING if slot.place in self.hints.unlimited else walker.limits.get(slot.address, EVERYTHING)
        return max(low, first), min(high, last)

    # ------------------------------------------------------------ new names

    def _respell(self, walker: Walker) -> Respelling:
        """A fresh symbol for each class of compound integer expressions, so that `i + 1` closes a loop over `i`."""
        fresh: Respelling = {}
        seen: set[sympy.Basic] = set()
        for name, (index, constant) in walker.classes.items():
            scalar = walker.scalars[index]
            assert scalar.expr is not None
            note_carried(self, scalar.expr)  # type: ignore[arg-type]
            if not scalar.expr.is_Symbol or scalar.expr in seen:
                fresh[name] = (self.new_int(scalar.origin), constant)
                self.origins[fresh[name][0].expr] = self.origin_of(scalar)
                self._bound_fresh(fresh[name][0].expr, scalar.expr, walker)
            seen.add(scalar.expr)
        return fresh

    def _bound_fresh(self, symbol: sympy.Basic, expr: sympy.Basic, walker: Walker) -> None:
        """The interval of a fresh symbol: what tensors it is a size of are made with torch asking about it."""
        low, high = self.bounds_of(expr)
        is_size = expr in walker.size_expressions()
        self.state.facts.intervals[symbol] = (max(low, sympy.Integer(0)) if is_size else low, high)

    def _retensor(self, walker: Walker, respell: Respelling, is_entry: bool) -> dict[Label, FakeTensor]:
        """Fake tensors for those that are respelled or apart; at an entry for all but the stateful weights'."""
        fresh: dict[Label, Any] = {}
        if not respell and not is_entry and not walker.size_substitute and not walker.parts:
            return fresh
        walker.respell = respell
        if is_entry:  # a later call must know which of them are one
            parting.check_whole(self, *walker.tensors, least=2)
        weights = {id(tensor) for tensor in self.stateful_fakes.values()}
        shared = self._shared_memory(walker, weights) if is_entry else frozenset()
        for tensor, label in zip(walker.tensors, walker.labels, strict=True):
            storage = self.memory_of(tensor)
            if is_entry:
                self.check_shared_at_times(storage)
            is_kept = is_entry and id(tensor) not in weights
            if is_kept or walker.is_remade(tensor, label):
                new = fresh[label] = self._made_anew(tensor, label, walker)
                if isinstance(label, tuple):
                    self.parted[new.untyped_storage()._cdata] = label[1]
                elif not is_entry:
                    self.moved_storages[new.untyped_storage()._cdata] = storage
                self.renew_memory(new, tensor)
                if storage in self.input_storages and not is_entry:
                    self.input_storages.add(new.untyped_storage()._cdata)
                vid = self.adopt(new, self.values.names.get(self.current_vid(tensor), ""))
                if tensor._dycl_root in self.input_roots and not is_entry:  # type: ignore[attr-defined]
                    self.input_roots.add(vid)
                if storage in self.state.listed or self.memory_group(storage) in shared:
                    self.state.listed |= {new.untyped_storage()._cdata}
        return fresh

    def _shared_memory(self, walker: Walker, weights: set[int]) -> frozenset[int]:
        """Memory of which the model keeps several tensors: from call to call each has its own, and none is written."""
        tensors = collections.defaultdict(list)
        for tensor in walker.tensors:
            tensors[self.memory_group(self.memory_of(tensor))].append(tensor)
        shared = {group: found for group, found in tensors.items() if len(found) > 1}
        if any(id(tensor) in weights for found in shared.values() for tensor in found):
            raise UnsupportedError(
                "DY301",
                self.loc(),
                "a tensor kept on the model shares its memory with one that is written",
                hint="keep a clone() of it",
            )
        return frozenset(shared)

    def _made_anew(self, tensor: FakeTensor, label: Label, walker: Walker) -> Any:
        """A tensor like another in new symbols."""
        layout = walker.layouts[label]
        shape = [self.sym_size(size) for size in walker.new_shape(walker.shapes[label])]
        with unset_fake_temporarily(), self.fake, torch._C.DisableTorchFunction(), self.env.remaking():
            if isinstance(layout, list):
                steps = [self.sym_size(step) for step in walker.new_shape(layout)]
                return torch.empty_strided(shape, steps, dtype=tensor.dtype, device=tensor.device)
            inverse = sorted(range(len(layout)), key=layout.__getitem__)
            dense = torch.empty([shape[dim] for dim in layout], dtype=tensor.dtype, device=tensor.device)
            return dense if layout == tuple(range(len(layout))) else dense.permute(inverse)

    def _bindings(
        self, walker: Walker, retensor: dict[Label, FakeTensor], static_args: dict[ValueId, Operand]
    ) -> tuple[tuple[Operand, ...], tuple[ValueId, ...]]:
        """What is passed, and the names under which the block receives it."""
        args: list[Operand] = []
        params: list[ValueId] = []
        for tensor, label in zip(walker.tensors, walker.labels, strict=True):
            vid = self.current_vid(tensor)
            args.append(Ref(vid))
            params.append(retensor[label]._dycl_root if label in retensor else vid)  # type: ignore[attr-defined]
        symbols = walker.symbols
        sizes, new_sizes = (walker.size_symbols(respelled=respelled) for respelled in (False, True))
        for index, scalar in enumerate(walker.scalars):
            args.append(static_args.get(scalar.vid) or self.operand(scalar))
            params.append(self.values.symbols[symbols[index]] if index in symbols else scalar.vid)
            self._note_size(args[-1], scalar.expr, sizes)
            self._note_size(Ref(params[-1]), symbols.get(index, scalar.expr), new_sizes)
        for made in walker.lists:
            args.append(static_args.get(made.vid) or Ref(made.vid))
            params.append(made.vid)
        for found in walker.objects:
            args.append(Ref(found.vid))
            params.append(found.vid)
        return tuple(args), tuple(params)

    def _note_size(self, number: Operand, expr: Any, sizes: set[sympy.Basic]) -> None:
        """An int that is a size of the state's tensors, or made of such, says so in its type: exporters rely on it."""
        if isinstance(number, Ref) and expr is not None and expr.free_symbols and expr.free_symbols <= sizes:
            of = self.values.types[number.id]
            if isinstance(of, ScalarType) and of.kind is ScalarKind.INT and not of.size:
                self.values.types[number.id] = ScalarType(ScalarKind.INT, str(expr))

    def _ranges(
        self, walker: Walker, source: State, retensor: dict[Label, FakeTensor]
    ) -> dict[ValueId, tuple[sympy.Basic, sympy.Basic]]:
        """The bounds of the tensors' elements, under the names that they have from here on."""
        bounds = source.facts.ranges
        pairs = [(self.current_vid(t, source), label) for t, label in zip(walker.tensors, walker.labels, strict=True)]
        names = _new_names(retensor)
        return {names.get(label, vid): bounds[vid] for vid, label in pairs if vid in bounds and vid not in self.known}

    def _settle(
        self,
        copy: State,
        walker: Walker,
        source: State,
        plan: Plan,
        forgets: bool,
        key: tuple[Any, Any],
    ) -> None:
        """What the state of a new block knows: intervals of live symbols, aliases of live tensors, nothing else."""
        facts = copy.facts
        facts.bools, facts.relations, facts.results = {}, {}, {}
        symbols, point = walker.symbols, key[0]
        intervals: dict[sympy.Basic, Any] = {}
        for name, (index, _) in walker.classes.items():
            symbol, expr = symbols[index], walker.scalars[index].expr
            low, high = self.bounds_of(expr)
            if not forgets:
                intervals[symbol] = self._joined_interval(key, index, (low, high))
            elif low >= 0:  # the sign is no interval that may grow
                intervals[symbol] = (sympy.Integer(0), int_oo)
            if symbol in self.symbol_bounds and symbol not in intervals:
                low, high = self.symbol_bounds[symbol]
                intervals[symbol] = (sympy.sympify(low), sympy.sympify(high))
            if name[1] in plan.bounds:
                intervals[symbol] = plan.bounds[name[1]]
        numbers = walker.substitute.items()
        static_vids = {scalar.vid for a, scalar in numbers if a not in plan.numbers or scalar.vid in plan.args}
        general = self.hints.general.get(point, ())
        for slot in walker.slots:
            if (slot.place, slot.address) not in general or slot.address in plan.related:
                continue
            bounds, value = self._slot_bounds(walker, slot), slot.value
            is_int = isinstance(value, Scalar) and value.kind is ScalarKind.INT  # bools are expressions, too
            if bounds != EVERYTHING and is_int and value.expr is not None:
                expr = walker.respelled(value.expr, slot.address)
                intervals[expr] = bounds
                if expr != value.expr or value.vid in static_vids:
                    self.symbol_bounds[expr] = bounds  # a symbol of this block alone: it holds wherever that goes
        for expr in walker.size_expressions(respelled=True):
            if expr.is_Symbol:
                low, high = intervals.get(expr, (-int_oo, int_oo))
                intervals[expr] = (max(low, sympy.Integer(0)), high)
        facts.intervals = intervals
        pairs = zip(walker.tensors, walker.labels, strict=True)
        vids = {self.current_vid(tensor): tensor for tensor, label in pairs if label not in walker.retensor}
        roots = {t._dycl_root for t in vids.values()}  # type: ignore[attr-defined]
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

    def _joined_interval(self, key: tuple[Any, Any], index: int, found: Interval) -> Interval:
        """The interval of a class of integers as its block knows it, where those of many states are joined."""
        hull = self.hints.hulls.get(key)
        if hull is None or index not in hull:
            return found if hull is None else EVERYTHING
        low, high = hull[index]
        if found[0] < low or found[1] > high:
            hull[index] = widened((low, high), found)
            self.postpone("an interval is wider")
        return hull[index]

    # ------------------------------------------------------------ joining

    def join(self, state: State) -> bool:
        """At a join point: True if the path ends here by a jump to a block made before."""
        for frame in state.frames:
            live = frame.live(is_waiting=frame is not state.frames[-1])
            frame.regs = {name: value for name, value in frame.regs.items() if name in live or name == TRUTH}
        point = find_point(self.hints, state)
        if not state.forks and point not in self.hints.points:
            return False
        if state.has_left:
            self.hints.meeting.add(point)
            state.has_left = False
        form = self.canonical(state, point)
        known = self.table.get(form.key)
        if known is not None:
            self.carried.meet(self, form)  # type: ignore[arg-type]
            state.block.end = Jump(edge=Edge(_block_id(known), form.args), loc=self.loc())
            return True
        self.note_variant(form, point)
        block = self.new_block()
        block.params = self.param_names(form, point)
        self.table[form.key] = block
        self.carried.begin(form, block.params)
        state.block.end = Jump(edge=Edge(_block_id(block), form.args), loc=self.loc())
        self.resume(state, form.state)
        state.block, state.is_dirty = block, False
        return False

    def is_general_point(self, state: State) -> bool:
        """Whether states are generalised here: then even a path that has done nothing since its last join is one."""
        return bool(self.hints.points) and find_point(self.hints, state) in self.hints.points

    def param_names(self, form: Canonical, point: Any) -> tuple[ValueId, ...]:
        """The block's parameters; where known values are forgotten, under names of which nothing is known."""
        renamed = {old: new for root, new in form.state.current.items() for old in [self.state.current.get(root, root)]}
        return tuple(renamed.get(vid, vid) for vid in form.params)

    def resume(self, state: State, copy: State) -> None:
        """Go on in `state` with what the copy holds."""
        state.frames, state.journal, state.facts = copy.frames, copy.journal, copy.facts
        state.current, state.aliases, state.fuzz = copy.current, copy.aliases, copy.fuzz
        state.given, state.expected, state.received = copy.given, copy.expected, copy.received
        state.contexts, state.waiting = copy.contexts, copy.waiting
        state.frozen = copy.frozen  # what lies in run-time lists are the copies from here on
        self.switch(state.journal)


def _new_names(retensor: dict[Label, FakeTensor]) -> dict[Label, ValueId]:
    return {label: made._dycl_root for label, made in retensor.items()}  # type: ignore[attr-defined]


def _variable(place: Any) -> str:
    """The source variable at a place, if it has one."""
    return str(place[1]).partition("%")[0] if isinstance(place, tuple) and len(place) == 2 else ""


def _block_id(block: RawBlock) -> Any:
    return block.id
