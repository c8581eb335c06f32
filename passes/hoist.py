"""Let tensor work whose operands were made before a decision, or before a loop, be done there.

Before (`%1` holds all that is asked later)::

    b0(%0 x: float32[1, 4]):
      %1: float32[1, 4] = module gates(%0)
      ...
      branch %5 ? b1 : b2
    b2:
      %6: float32[1] = call torch.Tensor.__getitem__(%1, (slice(None), 3))
      %7: float = host item(%6)
      ...

After, the second gate is no dispatch of its own::

    b0(%0 x: float32[1, 4]):
      %1: float32[1, 4] = module gates(%0)
      %2: float32[1] = call torch.Tensor.__getitem__(%1, (slice(None), 3))
      ...
      branch %6 ? b1 : b2
    b2:
      %7: float = host item(%2)
      ...

In front of a loop the same holds for what does not change from round to round. It pays where it spares more dispatches
and rounds than it costs where the work would not have been needed; how often a block runs is estimated from the shape
of the program. Layers move out of loops alone. What is done too early must not be able to fail: operations that take no
index or divisor from a tensor, but for places that are there whatever comes (`places.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from dycl.ir.dataflow import block_definitions, end_uses, mutated_values, op_uses, value_types
from dycl.ir.environment import Environment
from dycl.ir.graph import Dominators, dominators
from dycl.ir.nodes import Block, CallModule, HostOp, TensorOp
from dycl.ir.notes import Note
from dycl.ir.numbering import renumber
from dycl.ir.program import Program
from dycl.ir.values import BlockId, ValueId
from dycl.passes import fuse
from dycl.passes.analysis.cost import DISPATCH, count_dispatches, estimate_bytes, estimate_operations, estimate_transfer
from dycl.passes.analysis.frequency import estimate_call, estimate_frequencies
from dycl.passes.analysis.harmless import is_harmless
from dycl.passes.analysis.naming import name_operations
from dycl.passes.analysis.places import find_places

_NEARLY = 0.5  # of what it would have to spare: less is not worth a note


def run(program: Program, environment: Environment) -> Program:
    """The program with work out of the loops that it does not change in."""
    return _Hoisting(program, environment, out_of_loops=True).finish()


def explain(program: Program, environment: Environment) -> tuple[Note, ...]:
    """What `run` does to this program, and what it leaves where it is, with the reasons."""
    hoisting = _Hoisting(program, environment, out_of_loops=True)
    hoisting.finish()
    return tuple(hoisting.notes)


def run_early(program: Program, environment: Environment) -> Program:
    """The program with light work before the decisions that it is only needed after, if that is better in all.

    Much of it `fuse` would put into another dispatch anyway: what counts is the program after that.
    """
    changed = _Hoisting(program, environment, out_of_loops=False).finish()
    return changed if _gains(program, changed, environment) else program


def explain_early(program: Program, environment: Environment) -> tuple[Note, ...]:
    """What `run_early` does to this program, and what it leaves where it is, with the reasons."""
    hoisting = _Hoisting(program, environment, out_of_loops=False)
    gains = _gains(program, hoisting.finish(), environment)
    return tuple(note if gains or not note.done else _taken_back(note) for note in hoisting.notes)


def _gains(program: Program, changed: Program, environment: Environment) -> bool:
    """Whether a changed program is faster, once work at joins is in the dispatches before them."""
    if changed is program:
        return False
    now, then = (estimate_call(fuse.run(each, environment), environment) for each in (program, changed))
    return then < now


def _taken_back(note: Note) -> Note:
    return replace(note, done=False, text=f"{note.text}; not done: in another dispatch anyway, all in all")


@dataclass(frozen=True, slots=True)
class _Move:
    """Work that could be done earlier, and what that spares and costs in a call, in microseconds."""

    work: tuple[TensorOp, ...]
    to: BlockId
    spared: float
    spent: float

    @property
    def pays(self) -> bool:
        """Whether more is spared than spent."""
        return self.spared > self.spent

    @property
    def note(self) -> Note:
        """The decision in words."""
        where = "done where its operands are made" if self.pays else "done where it is needed"
        text = (
            f"{name_operations(self.work)}: {where} (earlier: {self.spent:.1f} µs spent, {self.spared:.1f} µs spared)"
        )
        return Note("hoist", self.pays, self.work[0].loc, text)


class _Hoisting:
    """Where every operation is, while work moves up the dominator tree."""

    def __init__(self, program: Program, environment: Environment, *, out_of_loops: bool) -> None:
        self._out_of_loops = out_of_loops
        self.notes: list[Note] = []
        self._program = program
        self._environment = environment
        self._order: Dominators = dominators(program)
        self._types = value_types(program)
        self._written = mutated_values(program)
        self._places = find_places(program)
        self._often = estimate_frequencies(program, environment)
        self._blocks: dict[BlockId, Block] = {block.id: block for block in program.blocks}
        self._home = {value.id: block.id for block in program.blocks for value in block_definitions(block)}

    def finish(self) -> Program:
        """The program, once every block has been looked at, those above first."""
        ops = [op for block in self._program.blocks for op in block.ops]
        if any(isinstance(op, HostOp) and op.function == "clock" for op in ops):
            return self._program  # what stands between two looks at a clock stays there
        moved = False
        for block in sorted(self._blocks, key=lambda block: self._order.first.get(block, 0)):
            for home, work in self._find(self._blocks[block]):
                move = self._weigh(work, self._blocks[block], self._blocks[home])
                if move.spared > move.spent * _NEARLY:
                    self.notes.append(move.note)
                if move.pays:
                    moved = True
                    self._apply(move, block)
        if not moved:
            return self._program
        return renumber(replace(self._program, blocks=tuple(self._blocks[block.id] for block in self._program.blocks)))

    def _find(self, block: Block) -> Iterator[tuple[BlockId, tuple[TensorOp, ...]]]:
        """Each block where work of this one could be done, the earliest first, with all that could be done there."""
        homes: dict[ValueId, BlockId] = {}  # of results: where they could be made
        heavy: set[ValueId] = set()  # results that take layers
        anywhere: dict[ValueId, TensorOp] = {}  # results that take weights alone: they are made where they are needed
        able: list[tuple[TensorOp, BlockId]] = []
        for op in block.ops:
            if not isinstance(op, TensorOp) or not self._is_safe(op):
                continue
            used = [value for value in op_uses(op) if value not in anywhere]
            if not used:
                anywhere.update((value.id, op) for value in op.results)
            else:
                home = max((homes.get(v, self._home[v]) for v in used), key=self._order.first.__getitem__)
                if home != block.id:
                    able.append((op, home))
                    homes.update((value.id, home) for value in op.results)
                    if isinstance(op.target, CallModule) or heavy & set(used):
                        heavy.update(value.id for value in op.results)
        for home in sorted({home for _, home in able}, key=self._order.first.__getitem__):
            left = {id(op) for op in self._blocks[block.id].ops}
            reach = self._order.first[home]
            work = tuple(op for op, least in able if self._order.first[least] <= reach and id(op) in left)
            if self._out_of_loops != (self._often[block.id] > self._often[home]):
                continue
            if not self._out_of_loops:
                # Layers are not run before it is known that they will be needed.
                work = tuple(op for op in work if not heavy & {value.id for value in op.results})
            if work:
                yield home, _with_constants(work, self._blocks[block.id], anywhere)

    def _is_safe(self, op: TensorOp) -> bool:
        """Whether an operation may be done although it is not needed."""
        return is_harmless(op, self._types, self._written, self._environment, self._places)

    def _weigh(self, work: tuple[TensorOp, ...], block: Block, to: Block) -> _Move:
        gone = {id(op) for op in work}
        rest = replace(block, ops=tuple(op for op in block.ops if id(op) not in gone))
        more = replace(to, ops=(*to.ops, *work))
        cost = estimate_operations(work, self._types, self._environment)
        fewer = count_dispatches(block, self._types, self._environment)
        fewer -= count_dispatches(rest, self._types, self._environment)
        added = count_dispatches(more, self._types, self._environment)
        added -= count_dispatches(to, self._types, self._environment)
        used = {value for op in rest.ops for value in op_uses(op)} | set(end_uses(rest.end))
        passed = sum(estimate_bytes(result.type) for op in work for result in op.results if result.id in used)
        return _Move(
            work=work,
            to=to.id,
            spared=self._often[block.id] * (cost + DISPATCH * fewer),
            spent=self._often[to.id] * (cost + DISPATCH * added + estimate_transfer(passed)),
        )

    def _apply(self, move: _Move, source: BlockId) -> None:
        gone = {id(op) for op in move.work}
        block, to = self._blocks[source], self._blocks[move.to]
        self._blocks[source] = replace(block, ops=tuple(op for op in block.ops if id(op) not in gone))
        self._blocks[move.to] = replace(to, ops=(*to.ops, *move.work))
        self._home.update({result.id: move.to for op in move.work for result in op.results})


def _with_constants(
    work: Sequence[TensorOp], block: Block, constants: Mapping[ValueId, TensorOp]
) -> tuple[TensorOp, ...]:
    """The work and what it needs that is made of weights alone, in order."""
    needed = {id(op) for op in work}
    for op in reversed(block.ops):
        if id(op) in needed:
            needed.update(id(constants[value]) for value in op_uses(op) if value in constants)
    return tuple(op for op in block.ops if id(op) in needed and isinstance(op, TensorOp))
