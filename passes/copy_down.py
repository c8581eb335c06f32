"""Copy tensor work that no decision waits for to the dispatches behind the decision: one dispatch less on each way.

Before (the decision is about `%2` alone)::

    b0(%0 x: float32[1, 4], %1 which: int):
      %2: float32[1, 4] = call torch.exp(%0)
      %3: bool = host eq(%1, 0)
      branch %3 ? b1 : b2
    b1:
      %4: float32[1, 4] = module blocks.0(%2)
      return %4
    b2:
      %5: float32[1, 4] = module blocks.1(%2)
      return %5

After::

    b0(%0 x: float32[1, 4], %1 which: int):
      %2: bool = host eq(%1, 0)
      branch %2 ? b1 : b2
    b1:
      %3: float32[1, 4] = call torch.exp(%0)
      %4: float32[1, 4] = module blocks.0(%3)
      return %4
    b2:
      %5: float32[1, 4] = call torch.exp(%0)
      %6: float32[1, 4] = module blocks.1(%5)
      return %6

`sink-work` moves what one side alone needs; this pass is for what several need. A chain of decisions counts as one: the
work goes to the first blocks behind it that have tensor work. It pays where fewer dispatches are left; what is
copied for that is bounded as in `fuse`. Work never passes a write of memory, a call, or the reading of a clock; where
some way needs it before a join, nothing moves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from dycl.ir.dataflow import end_uses, mutated_values, op_definitions, op_uses, value_types
from dycl.ir.environment import Environment
from dycl.ir.graph import Dominators, dominators, entry_blocks, predecessors
from dycl.ir.nodes import Block, Branch, Invoke, TensorOp, edges
from dycl.ir.notes import Note
from dycl.ir.numbering import renumber
from dycl.ir.program import Program
from dycl.ir.substitution import Substitution, substitute_block
from dycl.ir.values import BlockId, ValueId, ValueType
from dycl.passes.analysis.cost import (
    DISPATCH,
    MOST_BYTES,
    MOST_OPERATIONS,
    count_dispatches,
    count_weight_bytes,
    estimate_bytes,
    estimate_operations,
    estimate_transfer,
)
from dycl.passes.analysis.frequency import estimate_frequencies
from dycl.passes.analysis.naming import name_operations
from dycl.passes.rewriting import ValueIds, copy_ops
from dycl.passes.sink_work import may_be_passed

_NEARLY = 0.5  # dispatches in a call: less is not worth a note


def run(program: Program, environment: Environment) -> Program:
    """The program with shared work in the dispatches behind decisions."""
    flow = _Flow.of(program, environment)
    while (move := next((m for m in _find(program, environment, flow) if m.pays), None)) is not None:
        program = _apply(program, move, flow)
    return renumber(program)


def explain(program: Program, environment: Environment) -> tuple[Note, ...]:
    """What `run` does to this program, and what it leaves where it is, with the reasons."""
    notes: list[Note] = []
    flow = _Flow.of(program, environment)
    while (move := next((m for m in _find(program, environment, flow) if m.pays), None)) is not None:
        notes.append(move.note)
        program = _apply(program, move, flow)
    return (*notes, *(move.note for move in _find(program, environment, flow) if move.fewer > _NEARLY))


@dataclass(frozen=True, slots=True)
class _Flow:
    """How control flows, which no move changes."""

    order: Dominators
    before: Mapping[BlockId, tuple[BlockId, ...]]
    often: Mapping[BlockId, float]
    begins: Collection[BlockId]

    @classmethod
    def of(cls, program: Program, environment: Environment) -> _Flow:
        """The flow of a program with canonical ids."""
        return cls(
            dominators(program),
            predecessors(program),
            estimate_frequencies(program, environment),
            entry_blocks(program),
        )


@dataclass(frozen=True, slots=True)
class _Move:
    """Work that could be copied from a block to others, and what that would win, in microseconds."""

    source: BlockId
    work: tuple[TensorOp, ...]
    copies: tuple[tuple[BlockId, tuple[TensorOp, ...]], ...]
    fewer: float  # dispatches in a call
    gain: float
    copied_bytes: int

    @property
    def fits(self) -> bool:
        """Whether the copies are few."""
        more = len(self.copies) - 1
        return more * len(self.work) <= MOST_OPERATIONS and more * self.copied_bytes <= MOST_BYTES

    @property
    def pays(self) -> bool:
        """Whether it is worth its copies."""
        return self.fewer > 0 and self.gain > 0 and self.fits

    @property
    def note(self) -> Note:
        """The decision in words."""
        size = f"{len(self.work)} operations, {self.copied_bytes / 1024:.0f} KiB of weights"
        where = f"done in {len(self.copies)} dispatches behind the decision" if self.pays else "done before it"
        text = f"{name_operations(self.work)}: {where} ({self.gain:+.1f} µs, {size} copied)"
        return Note("copy-down", self.pays, self.work[0].loc, text)


def _find(program: Program, environment: Environment, flow: _Flow) -> Iterator[_Move]:
    """What could be copied, block by block."""
    finder = _Finder(program, environment, flow)
    moves = (finder.find(block) for block in program.blocks)
    return (move for move in moves if move is not None)


class _Finder:
    """Looks at the branches of one program."""

    def __init__(self, program: Program, environment: Environment, flow: _Flow) -> None:
        self._program = program
        self._environment = environment
        self._order = flow.order
        self._types = value_types(program)
        self._written = mutated_values(program)
        self._before = flow.before
        self._often = flow.often
        self._begins = flow.begins
        self._users: dict[ValueId, set[BlockId]] = {}
        for block in program.blocks:
            for used in (*map(op_uses, block.ops), end_uses(block.end)):
                for value in used:
                    self._users.setdefault(value, set()).add(block.id)

    def find(self, block: Block) -> _Move | None:
        """The work of a block that could be copied, if it ends in a decision."""
        if not isinstance(block.end, Branch):
            return None
        kept: set[int] = set()  # operations that some way needs too early
        while work := find_tail(block, set(end_uses(block.end)), self._types, self._written, kept):
            made = {value.id for op in work for value in op.results}
            targets = tuple(self._targets(block, made))
            late = [op for op in work if not self._is_covered(op, block.id, targets)]
            if not late:
                return self._weigh(block, work, targets) if targets else None
            kept.update(map(id, late))
        return None

    def _targets(self, block: Block, made: set[ValueId]) -> Iterator[BlockId]:
        """The first blocks behind a block that need what is made and could make it."""
        for edge in edges(block.end):
            side = self._program.block(edge.target)
            if self._before[side.id] != (block.id,) or side.id in self._begins:
                continue
            users = {user for value in made for user in self._users.get(value, ())}
            has_work = any(isinstance(op, TensorOp) or not may_be_passed(op, self._types) for op in side.ops)
            if side.id in users or (has_work and any(self._order.dominates(side.id, user) for user in users)):
                yield side.id
            else:
                yield from self._targets(side, made)

    def _is_covered(self, op: TensorOp, source: BlockId, targets: tuple[BlockId, ...]) -> bool:
        """Whether all that use an operation are behind a target."""
        users = {user for value in op.results for user in self._users.get(value.id, ())} - {source}
        return all(any(self._order.dominates(target, user) for target in targets) for user in users)

    def _weigh(self, block: Block, work: tuple[TensorOp, ...], targets: tuple[BlockId, ...]) -> _Move:
        gone = {id(op) for op in work}
        rest = replace(block, ops=tuple(op for op in block.ops if id(op) not in gone))
        often = self._often
        fewer = often[block.id] * (self._dispatches(block) - self._dispatches(rest))
        less = often[block.id] * self._compute(work)
        copies = tuple((target, self._needed(target, work)) for target in targets)
        for target, ops in copies:
            behind = self._program.block(target)
            more = self._dispatches(replace(behind, ops=(*ops, *behind.ops))) - self._dispatches(behind)
            fewer -= often[target] * more
            less -= often[target] * self._compute(ops)
        less -= often[block.id] * estimate_transfer(self._passed(rest, work) - self._leaving(block.id, work))
        gain = fewer * DISPATCH + less
        return _Move(block.id, work, copies, fewer, gain, count_weight_bytes(work, self._environment))

    def _passed(self, rest: Block, work: tuple[TensorOp, ...]) -> int:
        """The size of what the rest makes for the work and for nobody else behind the block."""
        made = {value.id: value for op in rest.ops if isinstance(op, TensorOp) for value in op.results}
        used = {value for op in work for value in op_uses(op) if value in made}
        return sum(estimate_bytes(made[value].type) for value in used if self._users[value] == {rest.id})

    def _leaving(self, source: BlockId, work: tuple[TensorOp, ...]) -> int:
        """The size of what the work makes for others."""
        made = [value for op in work for value in op.results]
        return sum(estimate_bytes(value.type) for value in made if self._users.get(value.id, set()) - {source})

    def _compute(self, ops: tuple[TensorOp, ...]) -> float:
        return estimate_operations(ops, self._types, self._environment)

    def _dispatches(self, block: Block) -> int:
        return count_dispatches(block, self._types, self._environment)

    def _needed(self, target: BlockId, work: tuple[TensorOp, ...]) -> tuple[TensorOp, ...]:
        """The part of the work whose results are used in a block or behind it."""
        wanted: set[ValueId] = set()
        needed: list[TensorOp] = []
        for op in reversed(work):
            users = {user for value in op.results for user in self._users.get(value.id, ())}
            below = any(self._order.dominates(target, user) for user in users)
            if below or wanted & {value.id for value in op.results}:
                needed.insert(0, op)
                wanted.update(op_uses(op))
        return tuple(needed)


def _apply(program: Program, move: _Move, flow: _Flow) -> Program:
    """The program with the work copied; each copy has names of its own, for all that is behind it."""
    values = ValueIds(program)
    gone = {id(op) for op in move.work}
    blocks = {block.id: block for block in program.blocks}
    source = blocks[move.source]
    blocks[move.source] = replace(source, ops=tuple(op for op in source.ops if id(op) not in gone))
    for target, ops in move.copies:
        mapping: Substitution = {}
        copied = copy_ops(ops, mapping, values)
        for block in blocks:
            if flow.order.dominates(target, block):
                blocks[block] = substitute_block(blocks[block], mapping)
        blocks[target] = replace(blocks[target], ops=(*copied, *blocks[target].ops))
    return replace(program, blocks=tuple(blocks[block.id] for block in program.blocks))


def find_tail(
    block: Block,
    wanted: Collection[ValueId],
    types: Mapping[ValueId, ValueType],
    written: Collection[ValueId],
    kept: Collection[int] = (),
    *,
    passes_calls: bool = False,
) -> tuple[TensorOp, ...]:
    """The tensor work of a block that could be done after all the rest of it, if the rest makes what is wanted.

    `kept`: operations that shall stay, by `id`. `passes_calls`: no procedure does what work must not pass.
    """
    work: list[TensorOp] = []
    needed = set(wanted)
    for op in reversed(block.ops):
        results = {value.id for value in op_definitions(op)}
        may_go = isinstance(op, TensorOp) and not op.mutates and not results & (needed | set(written))
        if isinstance(op, TensorOp) and may_go and id(op) not in kept:
            work.insert(0, op)
        elif not may_be_passed(op, types) and not (passes_calls and isinstance(op, Invoke)):
            break
        else:
            needed.update(op_uses(op))
    return tuple(work)
