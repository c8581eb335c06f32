"""Let the callers of a recursive procedure do what does not recurse: a leaf's work is in a dispatch of its parent's.

Before (each node of a list is a dispatch, and so is what is done with what came back)::

    procedure p0 fold b1
    b0(%0 node: object[Node]):
      %1: float32[1, 4] = invoke p0(%0)
      return %1
    b1(%2 node: object[Node]):
      %3: bool = host attr(%2, 'is_leaf')
      branch %3 ? b2 : b3
    b2:
      %4: int = host attr(%2, 'word')
      %5: float32[1, 4] = call torch.full((1, 4), %4)
      reply (%5)
    b3:
      %6: object[Node] = host attr(%2, 'next')
      %7: float32[1, 4] = invoke p0(%6)
      %8: float32[1, 4] = call torch.tanh(%7)
      reply (%8)

After, the last node and its `tanh` are one dispatch; only what recurses is called::

    procedure p0 fold b4 rest
    b0(%0 node: object[Node]):
      %1: bool = host attr(%0, 'is_leaf')
      branch %1 ? b1 : b2
    b1:
      ...
    b2:
      %4: float32[1, 4] = invoke p0(%0)
      return %4
    b4(%5 node: object[Node]):
      %6: object[Node] = host attr(%5, 'next')
      %7: bool = host attr(%6, 'is_leaf')
      branch %7 ? b5 : b6
    b5:
      %8: int = host attr(%6, 'word')
      %9: float32[1, 4] = call torch.full((1, 4), %8)
      %10: float32[1, 4] = call torch.tanh(%9)
      reply (%10)
    b6:
      %11: float32[1, 4] = invoke p0(%6)
      %12: float32[1, 4] = call torch.tanh(%11)
      reply (%12)

The procedure is parted (`split.py`), and its first part, which does not call itself, takes the place of each call. What
comes behind a call in its block is done behind each way that the first part ends, so that it can be one dispatch with
that way's work, decisions and all. Each function is parted once; what is copied is bounded. It pays where a way that
does not recurse has tensor work, and so has a caller that recurses. Nothing is done to what writes memory in place.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from dycl.ir.dataflow import op_definitions
from dycl.ir.environment import Environment
from dycl.ir.graph import find_owners, reachable
from dycl.ir.nodes import Invoke, Op, Procedure
from dycl.ir.notes import Note
from dycl.ir.numbering import renumber
from dycl.ir.program import Program
from dycl.ir.values import ProcedureId
from dycl.passes import dead_code, simplify_cfg
from dycl.passes.analysis.cost import MOST_OPERATIONS, count_weight_bytes
from dycl.passes.analysis.naming import name_operations
from dycl.passes.sizes import type_names
from dycl.passes.split import Split, apply_split, find_recursive, find_split
from dycl.passes.unfold import MOST_COPIED_BYTES, Budget, Call, Place, is_call, tensor_work


def run(program: Program, environment: Environment) -> Program:
    """The program with what does not recurse done by the callers."""
    if not program.procedures:
        return program
    return _Inliner(renumber(program), environment).finish()


def explain(program: Program, environment: Environment) -> tuple[Note, ...]:
    """What `run` does to this program, and what it leaves alone, with the reasons."""
    if not program.procedures:
        return ()
    inliner = _Inliner(renumber(program), environment)
    inliner.finish()
    return tuple(inliner.notes)


class _Inliner:
    """Takes the procedures one by one; what is done to one may make another fit."""

    def __init__(self, program: Program, environment: Environment) -> None:
        self.notes: list[Note] = []
        self._program = program
        self._environment = environment

    def finish(self) -> Program:
        """The program, once nothing more can be done."""
        done: set[ProcedureId] = set()
        told: dict[ProcedureId, Note] = {}
        while True:
            for procedure in self._program.procedures:
                if procedure.id in done or procedure.is_rest:
                    continue
                found = self._judge(procedure)
                if isinstance(found, Split):
                    done.add(procedure.id)
                    told[procedure.id] = self._take(found)
                    break
                if found is not None:
                    told[procedure.id] = found
            else:
                break
        self.notes += told.values()
        if not any(note.done for note in self.notes):
            return self._program
        program = simplify_cfg.run(_without_unused(self._program), self._environment)
        return simplify_cfg.run(dead_code.run(program, self._environment), self._environment)

    # ------------------------------------------------------------ whether

    def _judge(self, procedure: Procedure) -> Split | Note | None:
        """Where to part a procedure, or why not; None for one that is not recursive."""
        group = find_recursive(self._program).get(procedure.id)
        if group is None:
            return None
        split = find_split(self._program, procedure, group)
        reason = "every way through it does" if split is None else self._refuse(split, group)
        if split is None or reason:
            text = f"{procedure.name}: what does not recurse stays in it: {reason}"
            return Note("inline", False, procedure.loc, text)
        return split

    def _refuse(self, split: Split, group: Iterable[ProcedureId]) -> str:
        """Why nothing is won, or may not be done."""
        blocks = {block.id: block for block in self._program.blocks}
        inside = [blocks[block] for block in reachable(blocks, split.procedure.block)]
        first = tensor_work(blocks[block] for block in split.first)
        if any(op.mutates for op in tensor_work(inside)):
            return "it writes memory in place"
        given = {dimension.name for dimension in self._program.dimensions}
        calls = [op for block in blocks.values() for op in block.ops if is_call(op, split.procedure.id)]
        if {name for op in calls for value in op_definitions(op) for name in type_names(value.type)} - given:
            return "it hands back tensors of sizes that only the run knows"
        owners = find_owners(self._program)
        if not first or not tensor_work(block for block in blocks.values() if owners[block.id] & set(group)):
            return "it has no tensor work"
        size = count_weight_bytes(first, self._environment)
        if len(first) > MOST_OPERATIONS or size > MOST_COPIED_BYTES:
            return f"{len(first)} operations, {size / 1024:.0f} KiB of weights would be copied to each call"
        return ""

    # ------------------------------------------------------------ doing it

    def _take(self, split: Split) -> Note:
        """Part a procedure, and put its first part in the place of calls; or leave it, if one that recurses stays."""
        procedure, before = split.procedure, self._program
        work = tensor_work(before.block(block) for block in split.first)
        budget = Budget(self._environment)
        self._program = renumber(apply_split(before, split))
        count = 0
        while (call := self._next_call(procedure.id, budget)) is not None:
            made = Place(self._program, call).fill(budget)
            if made is not None:
                self._program, count = renumber(made), count + 1
                budget.skipped.clear()
                continue
            budget.skipped.add((call.block, call.index))
            if None not in find_owners(self._program)[call.block]:
                self._program = before  # the recursion would be twice as deep
                text = f"{procedure.name}: what does not recurse stays in it: a call cannot be replaced"
                return Note("inline", False, procedure.loc, text)
        size = f"{budget.operations} operations, {budget.weights / 1024:.0f} KiB of weights copied"
        left = f", {len(budget.skipped)} stay" if budget.skipped else ""
        text = f"{name_operations(work)}: done by the callers of {procedure.name} where it does not recurse"
        return Note("inline", True, procedure.loc, f"{text} ({count} calls replaced{left}, {size})")

    def _next_call(self, procedure: ProcedureId, budget: Budget) -> Call | None:
        """A call of the procedure that is not decided on, one in a procedure before one in a method."""
        owners = find_owners(self._program)
        found = [
            Call(block.id, index, op)
            for block in self._program.blocks
            for index, op in enumerate(block.ops)
            if isinstance(op, Invoke) and op.procedure == procedure
        ]
        found = [call for call in found if (call.block, call.index) not in budget.skipped]
        return min(found, key=lambda call: (None in owners[call.block], call.block, call.index), default=None)


def _without_unused(program: Program) -> Program:
    """The program without procedures that nobody calls any more."""
    used: set[ProcedureId] = set()
    blocks = {block.id: block for block in program.blocks}
    pending = [entry.block for entry in program.entries]
    while pending:
        for block in reachable(blocks, pending.pop()):
            for op in blocks[block].ops:
                if isinstance(op, Invoke) and op.procedure not in used:
                    used.add(op.procedure)
                    pending.append(program.procedures[op.procedure].block)
    numbers = {old: ProcedureId(new) for new, old in enumerate(sorted(used))}
    program = renumber(replace(program, procedures=tuple(program.procedures[old] for old in numbers)))

    def renamed(op: Op) -> Op:
        return replace(op, procedure=numbers[op.procedure]) if isinstance(op, Invoke) else op

    return replace(
        program,
        procedures=tuple(replace(part, id=numbers[part.id]) for part in program.procedures),
        blocks=tuple(replace(block, ops=tuple(map(renamed, block.ops))) for block in program.blocks),
    )
