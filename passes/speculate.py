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
microseconds that are estimates. Without such calls nothing happens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from dycl.ir.dataflow import block_definitions, edge_bindings, mutated_values, op_definitions, op_uses, value_types
from dycl.ir.environment import Environment
from dycl.ir.nodes import Block, Edge, HostOp, Invoke, TensorOp, edges
from dycl.ir.notes import Note
from dycl.ir.program import Program
from dycl.ir.values import BlockId, Operand, Ref, ScalarType, Value, ValueId, ValueType, refs
from dycl.passes import simplify_cfg
from dycl.passes.analysis.aliasing import MemoryGroups
from dycl.passes.analysis.cost import MOST_BYTES, count_dispatches, count_weight_bytes, estimate_operations
from dycl.passes.analysis.harmless import is_harmless
from dycl.passes.analysis.naming import name_operations
from dycl.passes.analysis.ways import find_ways
from dycl.passes.sizes import type_names
from dycl.passes.superblocks import Step, copy_way

DISPATCH = 12.0  # one less in a row: 5 where its code and data are in the caches, 20 where other work ran in between
MOST_ROUNDS = 8
MOST_OPERATIONS = 256  # in one dispatch
_LEAST_SHARE = 0.5  # of the calls that a way must keep
_SELDOM = 0.05  # how often a block must run in a call for anything to begin there
_LONGEST = 32  # blocks of a way
_MARGIN = 2.0  # how much more must be won than lost: of the estimates half are off by more than a third
_NEARLY = 0.5  # of what it would have to win: less is not worth a note

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


def _apply(program: Program, traces: Sequence[_Trace], environment: Environment) -> Program:
    """The program with the blocks of each trace copied and their work in its first block."""
    for trace in traces:
        program = copy_way(program, trace.head.id, trace.steps)
    return simplify_cfg.run(program, environment)


# ---------------------------------------------------------------- what could be done


@dataclass(frozen=True, slots=True)
class _Trace:
    """A usual way: its first block, the blocks to copy, and what their work in the first dispatch would win."""

    head: Block
    steps: tuple[Step, ...]
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
        """Whether clearly more is won than lost."""
        return self.surplus > 0 and self.weight_bytes <= MOST_BYTES

    @property
    def surplus(self) -> float:
        """What is won for sure, in microseconds."""
        return self.won - _MARGIN * self.lost

    @property
    def note(self) -> Note:
        """The decision in words."""
        sums = f"{self.won:.1f} µs won, {self.lost:.1f} µs lost on other ways"
        if self.surplus > 0 and not self.pays:
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
        self._memory = _group_memory(program, self._types, environment)
        self._written = {self._memory.group(value) for value in mutated_values(program)}
        self._named = {dimension.name for dimension in program.dimensions}
        self._ways = find_ways(program, environment)
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
        steps: list[Step] = []
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
            if best is None or (trace.surplus > best.surplus and trace.weight_bytes <= MOST_BYTES):
                best = trace
        return best

    def _weigh(self, head: Block, steps: tuple[Step, ...], often: float, won: float, lost: float) -> _Trace:
        moved = tuple(op for step in steps for op in step.moved)
        more = self._dispatches(replace(head, ops=head.ops + moved)) - self._dispatches(head)
        return _Trace(head, steps, often, won, lost + DISPATCH * more, count_weight_bytes(moved, self._environment))

    def _dispatches(self, block: Block) -> int:
        return count_dispatches(block, self._types, self._environment)

    def _dispatches_fewer(self, step: Step) -> int:
        block = self._program.block(step.block)
        gone = {id(op) for op in step.moved}
        rest = replace(block, ops=tuple(op for op in block.ops if id(op) not in gone))
        return self._dispatches(block) - self._dispatches(rest)

    def _follow(self, head: Block, places: list[Place]) -> Iterator[Step]:
        """The blocks behind a block, each by the edge that most calls take which came this way so far."""
        here, passed = head, places
        late: set[ValueId] = set()
        for _ in range(_LONGEST):
            taken = Counter(going for place in passed if (going := self._next(place)) is not None)
            if not taken:
                return
            (side, block), count = taken.most_common(1)[0]
            share = (count + 0.5) / (len(places) + 1)  # of few calls that all went one way, some other one would not
            edge = edges(here.end)[side] if side < len(edges(here.end)) else None
            if share <= _LEAST_SHARE or edge is None or edge.target != block:
                return
            passed = [(number, at + 1) for number, at in passed if self._next((number, at)) == (side, block)]
            here = self._program.block(block)
            moved = self._movable(here, edge, late)
            if moved is None:
                return
            yield Step(side, block, moved, share)

    def _next(self, place: Place) -> tuple[int, BlockId] | None:
        number, position = place
        way = self._ways[number]
        return (way[position][1], way[position + 1][0]) if position + 1 < len(way) else None

    def _movable(self, block: Block, edge: Edge, late: set[ValueId]) -> tuple[TensorOp, ...] | None:
        """The tensor work of a block, if all of it can be done in the first one; None where a way must end.

        `late`: the values on the way that the first block cannot have; those of this block are added.
        """
        if any(set(type_names(value.type)) - self._named for value in block_definitions(block)):
            return None
        late -= {value.id for value in block_definitions(block)}
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
        values = (*op_uses(op), *(result.id for result in op.results))
        if self._written & {self._memory.group(value) for value in values}:
            return False  # what has to do with memory that somebody writes stays where it is
        return is_harmless(op, self._types, frozenset(), self._environment)


def _group_memory(program: Program, types: Mapping[ValueId, ValueType], environment: Environment) -> MemoryGroups:
    """Which values may share memory, anywhere in the program; numbers have none."""
    groups = MemoryGroups(environment, types)

    def join(values: Iterable[ValueId]) -> None:
        groups.join(value for value in values if not isinstance(types[value], ScalarType))

    for block in program.blocks:
        for op in block.ops:
            if isinstance(op, TensorOp):
                groups.add(op)
            else:  # what a list or a procedure holds is not followed: all that goes in and comes out is one
                join((*op_uses(op), *(value.id for value in op_definitions(op))))
        for param, arg in edge_bindings(program, block):
            join((param.id, *refs(arg)))
    return groups
