"""Let one dispatch do the work of several along the way that calls usually take; the host checks each step as before.

Before (19 of 20 calls take b1; b2 runs the gate without the block)::

    b0(%0 x: float32[1, 4]):
      %1: float32[] = module gates.0(%0)
      %2: bool = host item(%1)
      branch %2 ? b1 : b2
    b1:
      %3: float32[1, 4] = module blocks.0(%0)
      %4: float32[] = module gates.1(%3)
      jump b3(%3, %4)
    b2:
      %5: float32[] = module gates.1(%0)
      jump b3(%0, %5)
    b3(%6: float32[1, 4], %7: float32[]):
      %8: bool = host item(%7)
      ...

After, gate, block and next gate are one dispatch; where the first gate is closed, the block was done for nothing::

    b0(%0 x: float32[1, 4]):
      %1: float32[] = module gates.0(%0)
      %2: float32[1, 4] = module blocks.0(%0)
      %3: float32[] = module gates.1(%2)
      %4: bool = host item(%1)
      branch %4 ? b1 : b2
    b1:
      jump b3(%2, %3)
    ...

The way begins at a block with a dispatch and follows what the calls in `Environment.calls` did. Its blocks are copied,
so that the joins on it are entered from elsewhere as before (a trace, as in compilers of superscalar machines), and the
tensor work of the copies moves to the first block. Only what cannot fail and writes nothing moves; decisions and all
other work of the host stay where they are, each once. It ends where more would be done in vain than is won, in
microseconds. Without such calls nothing happens.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from dycl.ir.environment import Environment
from dycl.ir.executor import Executor, Values
from dycl.ir.graph import (
    dominators,
    find_liveness,
    map_edges,
    op_definitions,
    op_uses,
    substitute_block,
    substitute_end,
    substitute_op,
)
from dycl.ir.nodes import (
    Block,
    BlockId,
    Branch,
    Edge,
    HostOp,
    Invoke,
    Op,
    Operand,
    Program,
    Ref,
    TensorOp,
    Terminator,
    Value,
    ValueId,
    edges,
    refs,
)
from dycl.ir.notes import Note
from dycl.passes import simplify_cfg
from dycl.passes.aliasing import may_alias
from dycl.passes.cost import DISPATCH, count_dispatches, count_weight_bytes, estimate_operations
from dycl.passes.fuse import MOST_BYTES
from dycl.passes.harmless import is_harmless
from dycl.passes.naming import name_operations
from dycl.passes.rewriting import Substitution, mutated_values, value_types
from dycl.passes.sizes import type_names

MOST_ROUNDS = 8
MOST_OPERATIONS = 256  # in one dispatch
_LEAST_SHARE = 0.5  # of the calls that a way must keep
_SELDOM = 0.05  # how often a block must run in a call for anything to begin there
_LONGEST = 32  # blocks of a way
_NEARLY = 0.5  # of what it would have to win: less is not worth a note

Way = list[tuple[BlockId, int]]  # the blocks of a call, and by which of its edges each is left
Place = tuple[int, int]  # a call, and a position on its way


def run(program: Program, environment: Environment) -> Program:
    """The program with the work of usual ways in fewer dispatches."""
    for _ in range(MOST_ROUNDS):
        chosen = _choose(_find(program, environment))
        if not chosen:
            break
        program = _apply(program, chosen, environment)
    return program


def explain(program: Program, environment: Environment) -> tuple[Note, ...]:
    """What `run` does to this program, and where it does not begin a way although one is usual, with the reasons."""
    notes: list[Note] = []
    for _ in range(MOST_ROUNDS):
        found = list(_find(program, environment))
        chosen = _choose(found)
        if not chosen:
            return (*notes, *(trace.note for trace in found if trace.won > _NEARLY * trace.lost))
        notes += [trace.note for trace in chosen]
        program = _apply(program, chosen, environment)
    return tuple(notes)


# ---------------------------------------------------------------- what calls do


class _Tracer(Executor):
    """The reference executor, which notes the blocks that a call goes through, and by which edge it leaves each."""

    def trace(self, args: Sequence[object], kwargs: dict[str, object]) -> Way:
        """The way of a call; one that raises has a way as far as that."""
        self._way: Way = []
        self._open: list[int] = []  # of the blocks that a branch will end: their positions
        try:
            self.call(*args, **kwargs)
        except Exception:  # whatever the model raises
            self.reset()
        return self._way

    def _enter(self, block: Block, args: Sequence[object], before: Values) -> Values:
        if isinstance(block.end, Branch):
            self._open.append(len(self._way))
        self._way.append((block.id, 0))
        return super()._enter(block, args, before)

    def _choose(self, block: Block, end: Branch, values: Values) -> Edge:
        edge = super()._choose(block, end, values)
        self._way[self._open.pop()] = (block.id, 0 if edge is end.if_true else 1)
        return edge


def _find_ways(program: Program, environment: Environment) -> list[Way]:
    tracer = _Tracer(program, environment)
    ways = []
    for seed, call in enumerate(environment.calls):
        tracer.reset()
        tracer.random.seed(seed)
        args, kwargs = copy.deepcopy(call)  # the model may write into what it is given
        ways.append(tracer.trace(args, kwargs))
    return ways


# ---------------------------------------------------------------- what could be done


@dataclass(frozen=True, slots=True)
class _Step:
    """A block on a way: by which edge it is come to, its work that can move, and what share of the calls comes here."""

    side: int  # of the block before
    block: BlockId
    moved: tuple[TensorOp, ...]
    share: float


@dataclass(frozen=True, slots=True)
class _Trace:
    """A usual way: its first block, the blocks to copy, and what their work in the first dispatch would win."""

    head: Block
    steps: tuple[_Step, ...]
    often: float  # how often the way begins in a call
    won: float  # microseconds, each time
    lost: float
    weight_bytes: int

    @property
    def moved(self) -> tuple[TensorOp, ...]:
        """All work that moves, in order."""
        return tuple(op for step in self.steps for op in step.moved)

    @property
    def pays(self) -> bool:
        """Whether more is won than lost."""
        return self.won > self.lost and self.weight_bytes <= MOST_BYTES

    @property
    def note(self) -> Note:
        """The decision in words."""
        sums = f"{self.won:.1f} µs won, {self.lost:.1f} µs lost on other ways"
        if self.won > self.lost and not self.pays:
            sums += f"; {self.weight_bytes / 1024:.0f} KiB of weights would be copied"
        where = "done with the dispatch before it" if self.pays else "done where it is needed"
        usual = f"{100 * self.steps[-1].share:.0f} % of the calls that come by go on to it"
        text = f"{name_operations(self.moved)}: {where}: {usual} ({sums})"
        return Note("speculate", self.pays, self.moved[0].loc, text)


def _find(program: Program, environment: Environment) -> Iterator[_Trace]:
    """The best trace from each block where one may begin."""
    ops = [op for block in program.blocks for op in block.ops]
    if not environment.calls or any(isinstance(op, HostOp) and op.function == "clock" for op in ops):
        return  # what stands between two looks at a clock stays there
    finder = _Finder(program, environment)
    for block in program.blocks:
        trace = finder.find(block)
        if trace is not None:
            yield trace


def _choose(found: Iterable[_Trace]) -> list[_Trace]:
    """Those that pay, and that calls go on to come by as they do now when the ones chosen before are done."""
    chosen: list[_Trace] = []
    for trace in found:
        blocks = {step.block for step in trace.steps}
        apart = all(
            trace.head.id not in {other.head.id, *(step.block for step in other.steps)} and other.head.id not in blocks
            for other in chosen
        )
        if trace.pays and apart:
            chosen.append(trace)
    return chosen


class _Finder:
    """Looks at the blocks of one program."""

    def __init__(self, program: Program, environment: Environment) -> None:
        self._program = program
        self._environment = environment
        self._types = value_types(program)
        self._written = mutated_values(program)
        self._named = {dimension.name for dimension in program.dimensions}
        self._ways = _find_ways(program, environment)
        self._places: dict[BlockId, list[Place]] = {}
        for number, way in enumerate(self._ways):
            for position, (block, _) in enumerate(way):
                self._places.setdefault(block, []).append((number, position))

    def find(self, head: Block) -> _Trace | None:
        """The way from a block that wins most; None where no work could move to it."""
        places = self._places.get(head.id, [])
        often = len(places) / len(self._ways)
        has_work = any(isinstance(op, TensorOp) for op in head.ops)
        if not has_work or any(isinstance(op, Invoke) for op in head.ops) or often < _SELDOM:
            return None
        best: _Trace | None = None
        steps: list[_Step] = []
        won = lost = 0.0
        for step in self._follow(head, places):
            steps.append(step)
            if not step.moved:
                continue
            won += step.share * DISPATCH * self._dispatches_fewer(step)
            lost += (1 - step.share) * estimate_operations(step.moved, self._types, self._environment)
            trace = self._weigh(head, tuple(steps), often, won, lost)
            if len(trace.moved) > MOST_OPERATIONS:
                break
            if best is None or (trace.won - trace.lost > best.won - best.lost and trace.weight_bytes <= MOST_BYTES):
                best = trace
        return best

    def _weigh(self, head: Block, steps: tuple[_Step, ...], often: float, won: float, lost: float) -> _Trace:
        moved = tuple(op for step in steps for op in step.moved)
        more = self._dispatches(replace(head, ops=head.ops + moved)) - self._dispatches(head)
        return _Trace(head, steps, often, won, lost + DISPATCH * more, count_weight_bytes(moved, self._environment))

    def _dispatches(self, block: Block) -> int:
        return count_dispatches(block, self._types, self._environment)

    def _dispatches_fewer(self, step: _Step) -> int:
        block = self._program.block(step.block)
        gone = {id(op) for op in step.moved}
        rest = replace(block, ops=tuple(op for op in block.ops if id(op) not in gone))
        return self._dispatches(block) - self._dispatches(rest)

    def _follow(self, head: Block, places: list[Place]) -> Iterator[_Step]:
        """The blocks behind a block, each by the edge that most calls take which came this way so far."""
        here, passed = head, places
        late: set[ValueId] = set()
        for _ in range(_LONGEST):
            taken = Counter(going for place in passed if (going := self._next(place)) is not None)
            if not taken:
                return
            (side, block), count = taken.most_common(1)[0]
            share = count / len(places)
            edge = edges(here.end)[side] if side < len(edges(here.end)) else None
            if share <= _LEAST_SHARE or edge is None or edge.target != block:
                return
            passed = [(number, at + 1) for number, at in passed if self._next((number, at)) == (side, block)]
            here = self._program.block(block)
            moved = self._movable(here, edge, late)
            if moved is None:
                return
            yield _Step(side, block, moved, share)

    def _next(self, place: Place) -> tuple[int, BlockId] | None:
        number, position = place
        way = self._ways[number]
        return (way[position][1], way[position + 1][0]) if position + 1 < len(way) else None

    def _movable(self, block: Block, edge: Edge, late: set[ValueId]) -> tuple[TensorOp, ...] | None:
        """The tensor work of a block, if all of it can be done in the first one; None where a way must end.

        `late`: the values on the way that the first block cannot have; those of this block are added.
        """
        if any(set(type_names(value.type)) - self._named for value in _defined(block)):
            return None
        late -= {value.id for value in _defined(block)}
        for param, arg in zip(block.params, edge.args, strict=True):
            if not self._stands_for(param, arg) or set(refs(arg)) & late:
                late.add(param.id)
        moved = []
        for op in block.ops:
            if isinstance(op, TensorOp):
                if set(op_uses(op)) & late or not self._may_move(op):
                    return None
                moved.append(op)
            elif isinstance(op, Invoke):
                return None
            else:
                late.update(value.id for value in op_definitions(op))
        return tuple(moved)

    def _stands_for(self, param: Value, arg: Operand) -> bool:
        return isinstance(arg, Ref) and self._types[arg.id] == param.type

    def _may_move(self, op: TensorOp) -> bool:
        if self._written and may_alias(op, self._environment):
            return False  # a name for memory that somebody writes stays with the others
        return is_harmless(op, self._types, self._written, self._environment)


def _defined(block: Block) -> Iterator[Value]:
    yield from block.params
    for op in block.ops:
        yield from op_definitions(op)


# ---------------------------------------------------------------- doing it


def _apply(program: Program, traces: Sequence[_Trace], environment: Environment) -> Program:
    """The program with the blocks of each trace copied and their work in its first block."""
    for trace in traces:
        opening = _Opening(program, {step.block for step in trace.steps})
        opening.open(_targets(program, trace))
        program = _Copying(opening.program, trace).finish()
    return simplify_cfg.run(program, environment)


def _targets(program: Program, trace: _Trace) -> Iterator[BlockId]:
    """Where the copies lead to, besides to each other."""
    followed = [*(step.side for step in trace.steps[1:]), None]
    for step, side in zip(trace.steps, followed, strict=True):
        ways = edges(program.block(step.block).end)
        yield from (edge.target for number, edge in enumerate(ways) if number != side)


class _Opening:
    """Makes blocks ready to be entered from copies: what they use of the copied blocks becomes their parameters."""

    def __init__(self, program: Program, copied: set[BlockId]) -> None:
        self.program = program
        self._copied = copied
        self._order = dominators(program)
        self._renamed: dict[ValueId, list[tuple[BlockId, ValueId]]] = {}  # behind which block a value has another name

    def open(self, targets: Iterable[BlockId]) -> None:
        """Let blocks be handed what is made in copied blocks and used behind them; the joins further on, too."""
        pending = list(targets)
        while pending:
            target = pending.pop()
            if self._open(target):
                pending += self._joins_behind(target)

    def _joins_behind(self, target: BlockId) -> Iterator[BlockId]:
        """Where ways through a block meet others."""
        for block in self.program.blocks:
            if self._order.dominates(target, block.id):
                for edge in edges(block.end):
                    if edge.target == target or not self._order.dominates(target, edge.target):
                        yield edge.target

    def _open(self, target: BlockId) -> bool:
        """Open one block, if there is anything that it must be handed."""
        program = self.program
        made = {value.id: value for block in program.blocks if block.id in self._copied for value in _defined(block)}
        wanted = sorted(made.keys() & find_liveness(program).live_in[target])
        if not wanted:
            return False
        first = 1 + max(value.id for block in program.blocks for value in _defined(block))
        params = tuple(replace(made[old], id=ValueId(first + number)) for number, old in enumerate(wanted))
        inside: Substitution = {old: Ref(new.id) for old, new in zip(wanted, params, strict=True)}
        blocks = []
        for block in program.blocks:
            args = tuple(Ref(self._name_in(block.id, old)) for old in wanted)
            block = replace(block, end=_with_args(block.end, target, args))
            if self._order.dominates(target, block.id):
                block = substitute_block(block, inside)
            blocks.append(replace(block, params=block.params + params) if block.id == target else block)
        self.program = replace(program, blocks=tuple(blocks))
        for old, new in zip(wanted, params, strict=True):
            self._renamed.setdefault(old, []).append((target, new.id))
        return True

    def _name_in(self, block: BlockId, value: ValueId) -> ValueId:
        """What a value is called in a block: as the innermost block around it that was opened for it calls it."""
        while True:
            around = [pair for pair in self._renamed.get(value, ()) if self._order.dominates(pair[0], block)]
            if not around:
                return value
            value = max(around, key=lambda pair: self._order.first[pair[0]])[1]


def _with_args(end: Terminator, target: BlockId, args: tuple[Operand, ...]) -> Terminator:
    """The terminator with more arguments on its edges to a block."""
    return map_edges(end, lambda _, edge: Edge(target, edge.args + args) if edge.target == target else edge)


class _Copying:
    """The blocks of a trace under new names, their work in its first block."""

    def __init__(self, program: Program, trace: _Trace) -> None:
        self._program = program
        self._trace = trace
        self._next = 1 + max(value.id for block in program.blocks for value in _defined(block))
        self._names: Substitution = {}  # what values of the way are in its copies
        self._early: Substitution = {}  # and in the first block

    def finish(self) -> Program:
        """The whole program."""
        program, steps = self._program, self._trace.steps
        head = program.block(self._trace.head.id)
        numbers = [BlockId(len(program.blocks) + index) for index in range(len(steps))]
        moved: list[Op] = []
        copies = []
        edge = edges(head.end)[steps[0].side]
        for index, step in enumerate(steps):
            block = program.block(step.block)
            work, rest = self._copy(block, edge, len(step.moved))
            moved += work
            if index + 1 < len(steps):
                edge = edges(block.end)[steps[index + 1].side]
                rest = replace(rest, end=_led(rest.end, steps[index + 1].side, numbers[index + 1]))
            copies.append(replace(rest, id=numbers[index]))
        head = replace(head, ops=(*head.ops, *moved), end=_led(head.end, steps[0].side, numbers[0]))
        blocks = tuple(head if block.id == head.id else block for block in program.blocks)
        return replace(program, blocks=(*blocks, *copies))

    def _copy(self, block: Block, edge: Edge, movable: int) -> tuple[list[Op], Block]:
        """The tensor work of a block as the first block does it, and what is left of the block."""
        early: Substitution = {}
        params = []
        for param, arg in zip(block.params, edge.args, strict=True):
            if isinstance(arg, Ref):
                early[param.id] = self._early.get(arg.id, arg)
            params.append(self._fresh(param))
        self._early |= early
        self._names |= {old.id: Ref(new.id) for old, new in zip(block.params, params, strict=True)}
        moved: list[Op] = []
        kept: list[Op] = []
        for op in block.ops:
            is_moved = isinstance(op, TensorOp)
            made = self._renamed(substitute_op(op, self._early if is_moved else self._names), is_moved)
            (moved if is_moved else kept).append(made)
        assert len(moved) == movable
        return moved, replace(block, params=tuple(params), ops=tuple(kept), end=substitute_end(block.end, self._names))

    def _renamed(self, op: Op, is_moved: bool) -> Op:
        """The operation with new names for what it makes."""
        if isinstance(op, TensorOp):
            results = tuple(self._fresh(value) for value in op.results)
            pairs = zip(op.results, results, strict=True)
            op, made = replace(op, results=results), {old.id: Ref(new.id) for old, new in pairs}
        else:
            assert isinstance(op, HostOp)
            fresh = self._fresh(op.result)
            made = {op.result.id: Ref(fresh.id)}
            op = replace(op, result=fresh)
        self._names |= made
        if is_moved:
            self._early |= made
        return op

    def _fresh(self, value: Value) -> Value:
        self._next += 1
        return replace(value, id=ValueId(self._next - 1))


def _led(end: Terminator, side: int, target: BlockId) -> Terminator:
    """The terminator with one of its edges to another block, which takes the same arguments."""
    return map_edges(end, lambda number, edge: Edge(target, edge.args) if number == side else edge)
