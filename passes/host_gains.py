"""What the host does sooner than a dispatch, for `pin_to_host`: it has the arrays, and what it makes of them is small.

Asked once it is settled what is a dispatch. The host is quicker where that was all that the dispatch did, and seldom
where arrays would have to be handed out for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from dycl.ir.dataflow import op_uses, value_types
from dycl.ir.environment import Environment
from dycl.ir.nodes import Block, HostOp, Op, TensorOp
from dycl.ir.program import Program
from dycl.ir.values import Lit, Ref, Seq, SeqKind, ValueId
from dycl.passes.analysis.cost import DISPATCH, count_dispatches, estimate_operations
from dycl.passes.host_arrays import Arrays
from dycl.passes.host_joins import Join, find_join
from dycl.passes.host_rows import Between, Take, find_rows

_HANDED_OUT = 1.0  # microseconds that a result of a dispatch takes, or an operand

Late = Join | Take | Between


class Gains:
    """What of a program the host could do late, and what a call gains by that."""

    def __init__(self, program: Program, environment: Environment, arrays: Arrays) -> None:
        self._environment = environment
        self._arrays = arrays
        self._types = value_types(program)
        self._blocks: dict[ValueId, Block] = {}
        self._found: dict[ValueId, tuple[TensorOp, Late]] = {}
        if arrays.written or not arrays.are_kept:  # under whatever name: the host may look when it is too late
            return
        for block in program.blocks:
            for op in block.ops:
                form = self._find(op) if isinstance(op, TensorOp) else None
                if isinstance(op, TensorOp) and form is not None:
                    self._blocks[op.results[0].id] = block
                    self._found[op.results[0].id] = (op, form)

    def _find(self, op: TensorOp) -> Late | None:
        form = find_join(op, self._types) or find_rows(op, self._types)
        # A view must not be one of what is the caller's.
        return form if not isinstance(form, Between) or self._arrays.is_of_the_call(form.source.id) else None

    def form(self, first: ValueId) -> Late | None:
        """What the host would do to make a value."""
        return self._found[first][1] if first in self._found else None

    def gain(self, first: ValueId, chosen: Mapping[ValueId, object]) -> float:
        """How much quicker a value is if the host makes it, by itself or with all that is chosen in its dispatch."""
        place = self._arrays.dispatch_of(first)
        beside = [value for value in chosen if value in self._found and self._arrays.dispatch_of(value) == place]
        alone = self._gain([first], chosen)
        return max(alone, self._gain(beside, chosen) / len(beside)) if beside else alone

    def _gain(self, firsts: Iterable[ValueId], chosen: Mapping[ValueId, object]) -> float:
        """In microseconds; all are of one block."""
        made = {first: self._found[first] for first in firsts}
        block = self._blocks[next(iter(made))]
        others = {value for value in chosen if value not in self._found}
        before, after = (self._count(block, gone) for gone in (others, others | made.keys()))
        parts = {part.id for _, form in made.values() for part in form.parts} - made.keys() - others
        # What is looked at is handed out in place of the results; with these the dispatch may have to go on.
        more = sum(not self._arrays.is_handed_out(part) for part in parts)
        more += sum(self._arrays.is_taken_inside(value, made.keys()) for value in made)
        more -= sum(map(self._arrays.is_handed_out, made))
        spared = estimate_operations([op for op, _ in made.values()], self._types, self._environment)
        spent = sum(form.cost for _, form in made.values()) + _HANDED_OUT * more
        return DISPATCH * (before - after) + spared - spent

    def _count(self, block: Block, gone: set[ValueId]) -> int:
        """The dispatches of a block without those operations that the host does."""
        ops = tuple(self._on_host(op) if _makes(op, gone) else op for op in block.ops)
        return count_dispatches(replace(block, ops=ops), self._types, self._environment)

    def _on_host(self, op: Op) -> HostOp:
        assert isinstance(op, TensorOp)
        form = self.form(op.results[0].id)
        if form is not None:
            return form.operation(op.results[0], op.loc)
        args = (Seq(SeqKind.LIST, tuple(map(Ref, op_uses(op)))), Lit(0))
        return HostOp(function="part", args=args, result=op.results[0], loc=op.loc)


def _makes(op: Op, values: set[ValueId]) -> bool:
    """Whether an operation makes one of these values, and nothing else."""
    return isinstance(op, TensorOp) and len(op.results) == 1 and op.results[0].id in values
