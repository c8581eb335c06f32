"""Let tensor work that one side of a branch alone needs be done there, in the dispatch that this side has anyway.

Before (`%2` decides nothing)::

    b0(%0 x: float32[1, 4], %1: bool):
      %2: float32[1, 4] = call torch.exp(%0)
      branch %1 ? b1 : b2
    b1:
      %3: float32[1, 4] = module head(%2)
      return %3
    b2:
      return %0

After::

    b0(%0 x: float32[1, 4], %1: bool):
      branch %1 ? b1 : b2
    b1:
      %2: float32[1, 4] = call torch.exp(%0)
      %3: float32[1, 4] = module head(%2)
      return %3
    b2:
      return %0

It pays where dispatches become fewer, or where the side that does not need the work is spared more than the other side
and the values that now have to pass between two dispatches cost. How often a side is taken is
estimated (`frequency.py`). Work never passes a write of memory, a call, or the reading of a clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from dycl.ir.dataflow import end_uses, mutated_values, op_definitions, op_uses, value_types
from dycl.ir.environment import Environment
from dycl.ir.graph import Dominators, dominators, entry_blocks, predecessors
from dycl.ir.nodes import Block, Branch, HostOp, Op, TensorOp
from dycl.ir.notes import Note
from dycl.ir.numbering import renumber
from dycl.ir.program import Program
from dycl.ir.values import ArrayType, BlockId, ValueId, ValueType
from dycl.passes.analysis.cost import DISPATCH, count_dispatches, estimate_bytes, estimate_operations, estimate_transfer
from dycl.passes.analysis.frequency import estimate_frequencies
from dycl.passes.analysis.naming import name_operations


def run(program: Program, environment: Environment) -> Program:
    """The program with work on the sides that need it."""
    return _Sinking(program, environment).finish()


def explain(program: Program, environment: Environment) -> tuple[Note, ...]:
    """What `run` does to this program, and what it leaves where it is, with the reasons."""
    sinking = _Sinking(program, environment)
    sinking.finish()
    return tuple(sinking.notes)


@dataclass(frozen=True, slots=True)
class _Move:
    """Work that could go to a side, and what is won and lost, in microseconds."""

    work: tuple[TensorOp, ...]
    spared: float  # on the other side
    dispatches: float  # fewer dispatches; negative where there are more
    passed: float  # values that have to leave the dispatch that makes them

    @property
    def pays(self) -> bool:
        """Whether more is won than lost."""
        return self.spared + self.dispatches - self.passed > 0

    @property
    def note(self) -> Note:
        """The decision in words."""
        parts = {"spared": self.spared, "dispatches": self.dispatches, "values passed": -self.passed}
        sums = ", ".join(f"{what} {microseconds + 0:+.1f} µs" for what, microseconds in parts.items())
        where = "done only on the side that needs it" if self.pays else "done before the decision all the same"
        return Note("sink-work", self.pays, self.work[0].loc, f"{name_operations(self.work)}: {where} ({sums})")


class _Sinking:
    """Where every operation is, while work moves down the dominator tree."""

    def __init__(self, program: Program, environment: Environment) -> None:
        self.notes: list[Note] = []
        self._program = program
        self._environment = environment
        self._order: Dominators = dominators(program)
        self._types = value_types(program)
        self._written = mutated_values(program)
        self._before = predecessors(program)
        self._often = estimate_frequencies(program, environment)
        self._begins = entry_blocks(program)
        self._blocks: dict[BlockId, Block] = {block.id: block for block in program.blocks}
        self._users: dict[ValueId, list[BlockId]] = {}
        for block in program.blocks:
            for used in (*map(op_uses, block.ops), end_uses(block.end)):
                for value in used:
                    self._users.setdefault(value, []).append(block.id)

    def finish(self) -> Program:
        """The program, once every block has been looked at, those above first."""
        moved = False
        for block in sorted(self._blocks, key=lambda block: self._order.first.get(block, 0)):
            for side in self._sides(self._blocks[block]):
                move = self._find(self._blocks[block], side)
                if move is not None:
                    self.notes.append(move.note)
                    moved |= move.pays
                    if move.pays:
                        self._apply(move, block, side)
        if not moved:
            return self._program
        return renumber(replace(self._program, blocks=tuple(self._blocks[block.id] for block in self._program.blocks)))

    def _sides(self, block: Block) -> tuple[BlockId, ...]:
        """The sides of a block's branch that are reached from there alone."""
        if not isinstance(block.end, Branch):
            return ()
        targets = (block.end.if_true.target, block.end.if_false.target)
        return tuple(t for t in targets if self._before[t] == (block.id,) and t not in self._begins)

    def _find(self, block: Block, side: BlockId) -> _Move | None:
        """All that this side alone needs and that may go there."""
        work: list[TensorOp] = []
        wanted = set(end_uses(block.end))  # by what stays
        for op in reversed(block.ops):
            if isinstance(op, TensorOp) and self._may_go(op, wanted, block.id, side):
                work.insert(0, op)
            elif not may_be_passed(op, self._types):
                break
            else:
                wanted.update(op_uses(op))
        return self._weigh(tuple(work), block, self._blocks[side]) if work else None

    def _may_go(self, op: TensorOp, wanted: set[ValueId], block: BlockId, side: BlockId) -> bool:
        results = {value.id for value in op_definitions(op)}
        if op.mutates or results & wanted or results & self._written:
            return False
        users = {user for value in results for user in self._users.get(value, [])} - {block}
        return all(self._order.dominates(side, user) for user in users)

    def _weigh(self, work: tuple[TensorOp, ...], block: Block, side: Block) -> _Move:
        rest, more = _without(block, work), replace(side, ops=(*work, *side.ops))
        fewer_here = self._dispatches(block) - self._dispatches(rest)
        fewer_there = self._dispatches(side) - self._dispatches(more)
        share = self._often[side.id] / max(self._often[block.id], 1e-9)  # how often this side is taken
        return _Move(
            work=work,
            spared=estimate_operations(work, self._types, self._environment) * (1 - share),
            dispatches=DISPATCH * (fewer_here + fewer_there * share),
            passed=estimate_transfer(self._passed_bytes(rest) - self._passed_bytes(block)),
        )

    def _dispatches(self, block: Block) -> int:
        return count_dispatches(block, self._types, self._environment)

    def _passed_bytes(self, block: Block) -> int:
        """The size of all that a block makes and later blocks use, as things stand with this block as it is given."""
        kept = {id(op) for op in block.ops}
        gone = [op for op in self._blocks[block.id].ops if id(op) not in kept]
        wanted = {value for op in gone for value in op_uses(op)}
        made = [value for op in block.ops if isinstance(op, TensorOp) for value in op_definitions(op)]
        leaving = [v for v in made if v.id in wanted or any(user != block.id for user in self._users.get(v.id, []))]
        return sum(estimate_bytes(value.type) for value in leaving)

    def _apply(self, move: _Move, source: BlockId, target: BlockId) -> None:
        side = self._blocks[target]
        self._blocks[source] = _without(self._blocks[source], move.work)
        self._blocks[target] = replace(side, ops=(*move.work, *side.ops))
        for op in move.work:
            for value in op_uses(op):
                users = self._users[value]
                users.remove(source)
                users.append(target)


def _without(block: Block, work: Sequence[TensorOp]) -> Block:
    gone: Iterable[int] = {id(op) for op in work}
    return replace(block, ops=tuple(op for op in block.ops if id(op) not in gone))


def may_be_passed(op: Op, types: Mapping[ValueId, ValueType]) -> bool:
    """Whether tensor work that came before an operation may be done after it."""
    if isinstance(op, TensorOp):
        return not op.mutates
    if not isinstance(op, HostOp) or op.function == "clock":
        return False
    values = (op.result.id, *op_uses(op))
    return not any(isinstance(types.get(value), ArrayType) for value in values)  # numpy writes in place
