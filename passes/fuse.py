"""Let the work at the beginning of a join be part of the dispatches before it: one dispatch does the work of two.

Before (`skip` is the other side of a gate)::

    b0(%0 x: float32[1, 4], %1: bool):
      branch %1 ? b1 : b2(%0)
    b1:
      %2: float32[1, 4] = module block(%0)
      jump b2(%2)
    b2(%3: float32[1, 4]):
      %4: float32[] = call torch.sum(%3)
      %5: float = host item(%4)
      ...

After, block and sum are in one subgraph; where the block is skipped, the sum is a dispatch as before::

    b0(%0 x: float32[1, 4], %1: bool):
      branch %1 ? b1 : b2
    b1:
      %2: float32[1, 4] = module block(%0)
      %3: float32[] = call torch.sum(%2)
      jump b3(%3)
    b2:
      %4: float32[] = call torch.sum(%0)
      jump b3(%4)
    b3(%5: float32[]):
      %6: float = host item(%5)
      ...

The decision stays where it is, once; so a host reads as before. In front of a loop and at its end the same happens to
the loop's test, which is then in one dispatch with the loop's body.

What moves is all that the first dispatch of the join would do, with the host operations that it needs; if one of them
may raise, reads a clock or is on memory that is written, nothing moves. It pays where some way into the join saves a
dispatch and none gets one more; what is copied for that is bounded (`MOST_OPERATIONS`, `MOST_BYTES`): each session of a
target keeps its weights packed in a form of its own. Where a way has no dispatch to join because a decision stands
between, the work before that may be done behind it (`postpone.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dycl.ir.dataflow import end_uses, mutated_values, op_definitions, op_uses, value_types
from dycl.ir.environment import Environment
from dycl.ir.graph import block_order, entry_blocks, predecessors
from dycl.ir.nodes import Block, Branch, Edge, HostOp, Jump, Op, TensorOp, edges
from dycl.ir.notes import Note
from dycl.ir.numbering import renumber
from dycl.ir.program import Program
from dycl.ir.substitution import Substitution, substitute_op
from dycl.ir.values import BlockId, Lit, Operand, Ref, ScalarType, Value, ValueId, ValueType
from dycl.passes.analysis.cost import MOST_BYTES, MOST_OPERATIONS, count_dispatches, count_weight_bytes
from dycl.passes.analysis.effects import may_raise
from dycl.passes.analysis.frequency import estimate_call
from dycl.passes.analysis.naming import name_operations
from dycl.passes.analysis.schedule import schedule_block
from dycl.passes.postpone import find_postponed
from dycl.passes.rewriting import ValueIds, copy_ops
from dycl.passes.sizes import Sizes, bind_sizes, rename_op_sizes, retyped, type_names

_LEAST_GAIN = 0.5  # microseconds of a call: less is chance


def run(program: Program, environment: Environment) -> Program:
    """The program with the work at joins in the dispatches before them."""
    program = _fuse(renumber(program), environment)
    while (better := _find_better(program, environment)) is not None:
        program = better.program
    return program


def explain(program: Program, environment: Environment) -> tuple[Note, ...]:
    """What `run` does to this program, and what it leaves alone, with the reasons."""
    notes: list[Note] = []
    program = renumber(program)
    while chosen := _choose(program, found := _find(program, environment)):
        notes += [fusion.note for fusion in chosen]
        program = _apply(program, chosen)
    notes += [fusion.note for fusion in found]
    while (better := _find_better(program, environment)) is not None:
        notes.append(better.note)
        program = better.program
    return tuple(notes)


def _fuse(program: Program, environment: Environment) -> Program:
    """The program with all fusions that pay; its ids are canonical, and so are those of the result."""
    while chosen := _choose(program, _find(program, environment)):
        program = _apply(program, chosen)
    return program


def _apply(program: Program, chosen: Sequence[_Fusion]) -> Program:
    for fusion in chosen:
        program = _Mover(program, fusion).move()
    return renumber(program)


@dataclass(frozen=True, slots=True)
class _Better:
    """The program with work behind a decision, and fused with what comes there."""

    program: Program
    note: Note


def _find_better(program: Program, environment: Environment) -> _Better | None:
    """The first decision that work can be postponed behind so that a call takes less time."""
    before = 0.0
    for found in find_postponed(program, environment):
        fused = _fuse(found.program, environment)
        before = before or estimate_call(program, environment)
        gain = before - estimate_call(fused, environment)
        if gain > _LEAST_GAIN:
            size = f"{len(found.work)} operations, {found.copied_bytes / 1024:.0f} KiB of weights copied"
            text = f"{name_operations(found.work)}: done with what is behind the decision ({gain:+.1f} µs, {size})"
            return _Better(fused, Note("fuse", True, found.work[0].loc, text))
    return None


# ---------------------------------------------------------------- what could be done


@dataclass(frozen=True, slots=True)
class _Fusion:
    """What could move out of a join, and what that would save on each way into it."""

    join: Block
    moved: tuple[Op, ...]
    saved: tuple[int, ...]  # dispatches, for each edge
    copied_bytes: int

    @property
    def pays(self) -> bool:
        """Whether it is worth its copies."""
        copies = len(self.saved) - 1
        fits = copies * len(self.moved) <= MOST_OPERATIONS and copies * self.copied_bytes <= MOST_BYTES
        return max(self.saved) > 0 and min(self.saved) >= 0 and fits

    @property
    def note(self) -> Note:
        """The decision in words."""
        work = next((op for op in self.moved if isinstance(op, TensorOp)), self.moved[0])
        gains = sum(saving > 0 for saving in self.saved)
        size = f"{len(self.moved)} operations, {self.copied_bytes / 1024:.0f} KiB of weights"
        if self.pays:
            text = f"runs in the dispatch before it on {gains} of {len(self.saved)} ways ({size} copied)"
        elif max(self.saved) <= 0 or min(self.saved) < 0:
            text = "stays a dispatch of its own: no way into it has one that it could join"
        else:
            text = f"stays a dispatch of its own: {size} would be copied {len(self.saved) - 1} times"
        return Note("fuse", self.pays, work.loc, text)


def _find(program: Program, environment: Environment) -> list[_Fusion]:
    """The joins whose first work could move, the last in the program first."""
    finder = _Finder(program, environment)
    found = (finder.find(program.block(block)) for block in reversed(block_order(program)))
    return [fusion for fusion in found if fusion is not None]


def _choose(program: Program, found: list[_Fusion]) -> list[_Fusion]:
    """Those that pay and can be done together: what a block hands on to a join is not itself about to change."""
    chosen: list[_Fusion] = []
    changing: set[BlockId] = set()  # joins, and blocks that work is appended to
    for fusion in found:
        appended = {block.id for block in program.blocks if _jumps_to(block, fusion.join.id)}
        if fusion.pays and not changing & {fusion.join.id, *appended}:
            chosen.append(fusion)
            changing |= {fusion.join.id, *appended}
    return chosen


def _jumps_to(block: Block, target: BlockId) -> bool:
    return isinstance(block.end, Jump) and block.end.edge.target == target


class _Finder:
    """Looks at the joins of one program."""

    def __init__(self, program: Program, environment: Environment) -> None:
        self._program = program
        self._environment = environment
        self._types: dict[ValueId, ValueType] = value_types(program)
        self._written = mutated_values(program)
        self._before = predecessors(program)
        self._begins = entry_blocks(program)

    def find(self, join: Block) -> _Fusion | None:
        """What could move out of a block, if it is a join."""
        sources = self._before[join.id]
        if len(sources) < 2 or join.id in self._begins:
            return None
        moved = self._movable(join)
        if not moved:
            return None
        ways = [(block, edge) for block in dict.fromkeys(sources) for edge in edges(self._program.block(block).end)]
        ways = [(block, edge) for block, edge in ways if edge.target == join.id]
        if not all(self._fits(join, moved, edge) for _, edge in ways):
            return None
        kept = replace(join, ops=tuple(op for op in join.ops if op not in moved))
        less = self._dispatches(join) - self._dispatches(kept)
        saved = tuple(less - self._added(self._program.block(block), edge, join, moved) for block, edge in ways)
        tensors = [op for op in moved if isinstance(op, TensorOp)]
        return _Fusion(join, moved, saved, count_weight_bytes(tensors, self._environment))

    def _movable(self, join: Block) -> tuple[Op, ...]:
        """All that the first dispatch of a block does, with the host operations it needs; nothing, if that may not."""
        levels = schedule_block(join, self._types, self._environment)
        first = [op for op, level in zip(join.ops, levels, strict=True) if isinstance(op, TensorOp) and level == 0]
        if not first:
            return ()
        made = {value.id: op for op in join.ops for value in op_definitions(op)}
        wanted = {id(op) for op in first}
        pending: list[Op] = list(first)
        while pending:
            needs = [made[value] for value in op_uses(pending.pop()) if value in made]
            pending += [op for op in needs if id(op) not in wanted]
            wanted.update(map(id, needs))
        last = max(index for index, op in enumerate(join.ops) if id(op) in wanted)
        if not all(self._may_pass(op) for op in join.ops[: last + 1]):
            return ()
        moved = tuple(op for op in join.ops if id(op) in wanted)
        results = {value.id for op in moved for value in op_definitions(op)}
        return () if results & self._written else moved

    def _may_pass(self, op: Op) -> bool:
        """Whether an operation may run earlier, or others before it."""
        if isinstance(op, HostOp):
            return op.function != "clock" and not may_raise(op, self._types)
        return isinstance(op, TensorOp) and not op.mutates

    def _fits(self, join: Block, moved: tuple[Op, ...], edge: Edge) -> bool:
        """Whether what an edge passes can stand in the moved operations as it is."""
        used = {value for op in moved for value in op_uses(op)}
        given = list(zip(join.params, edge.args, strict=True))
        sizes = bind_sizes(given, self._types)
        return all(self._is_alike(retyped(param, sizes), arg) for param, arg in given if param.id in used)

    def _is_alike(self, param: Value, arg: Operand) -> bool:
        if isinstance(arg, Ref):
            return self._types[arg.id] == param.type and arg.id not in self._written
        return isinstance(arg, Lit) and isinstance(param.type, ScalarType)

    def _dispatches(self, block: Block) -> int:
        return count_dispatches(block, self._types, self._environment)

    def _added(self, block: Block, edge: Edge, join: Block, moved: tuple[Op, ...]) -> int:
        """How many dispatches more a block has that does the moved work before it leaves by this edge."""
        if isinstance(block.end, Branch):
            return 1  # only this side does it
        mapping = dict(zip((param.id for param in join.params), edge.args, strict=True))
        copied = tuple(substitute_op(op, mapping) for op in moved)
        return self._dispatches(replace(block, ops=block.ops + copied)) - self._dispatches(block)


# ---------------------------------------------------------------- doing it


class _Mover:
    """Copies the moved operations to each edge into the join; what they made is passed to it."""

    def __init__(self, program: Program, fusion: _Fusion) -> None:
        self._program = program
        self._join = fusion.join
        self._moved = fusion.moved
        self._values = ValueIds(program)
        self._kept = tuple(op for op in fusion.join.ops if op not in fusion.moved)
        self._types = value_types(program)
        self._named = {dimension.name for dimension in program.dimensions}
        self._passed = self._find_passed()
        self._new: list[Block] = []

    def _find_passed(self) -> tuple[Value, ...]:
        """What the moved operations make that others use."""
        others = [(op_uses(op) for op in block.ops) for block in self._program.blocks if block.id != self._join.id]
        used = {value for uses in others for found in uses for value in found}
        used.update(value for op in self._kept for value in op_uses(op))
        used.update(value for block in self._program.blocks for value in end_uses(block.end))
        return tuple(value for op in self._moved for value in op_definitions(op) if value.id in used)

    def move(self) -> Program:
        """The whole program anew."""
        blocks = []
        for block in self._program.blocks:
            ops = block.ops
            if block.id == self._join.id:
                block, ops = replace(block, params=block.params + self._passed), self._kept
            match block.end:
                case Jump(edge=edge) if edge.target == self._join.id:
                    copied, edge = self._copy(edge)
                    block = replace(block, ops=ops + copied, end=replace(block.end, edge=edge))
                case Branch(if_true=yes, if_false=no):
                    end = replace(block.end, if_true=self._split(yes, block), if_false=self._split(no, block))
                    block = replace(block, ops=ops, end=end)
                case _:
                    block = replace(block, ops=ops)
            blocks.append(block)
        return replace(self._program, blocks=(*blocks, *self._new))

    def _split(self, edge: Edge, source: Block) -> Edge:
        """An edge to the join leads to a block of its own that does the work."""
        if edge.target != self._join.id:
            return edge
        copied, onward = self._copy(edge)
        block_id = BlockId(len(self._program.blocks) + len(self._new))
        self._new.append(Block(id=block_id, ops=copied, end=Jump(edge=onward, loc=source.end.loc), loc=self._join.loc))
        return Edge(block_id)

    def _copy(self, edge: Edge) -> tuple[tuple[Op, ...], Edge]:
        """The moved operations for an edge, and the edge that passes what they made."""
        mapping: Substitution = dict(zip((param.id for param in self._join.params), edge.args, strict=True))
        sizes = self._sizes(edge)
        copied = tuple(rename_op_sizes(op, sizes) for op in copy_ops(self._moved, mapping, self._values))
        made = tuple(mapping[value.id] for value in self._passed)
        return copied, Edge(edge.target, edge.args + made)

    def _sizes(self, edge: Edge) -> Sizes:
        """What the names of sizes in the moved operations are on this edge: the join's as passed, the rest new ones."""
        sizes = bind_sizes(zip(self._join.params, edge.args, strict=True), self._types)
        for op in self._moved:
            for name in (name for value in op_definitions(op) for name in type_names(value.type)):
                if name not in self._named:
                    sizes.setdefault(name, f"{name}_{self._values.next}")
        return sizes
