"""Put the blocks of a procedure in the place of one call of it.

What comes behind the call in its block is done behind each way that the procedure replies: in copies, if these are few,
which know in which way it replied; otherwise in one block that all ways lead to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dycl.ir.dataflow import end_uses, find_liveness, mutated_values, op_definitions, op_uses
from dycl.ir.environment import Environment
from dycl.ir.graph import reachable
from dycl.ir.nodes import Block, Branch, Edge, HostOp, Invoke, Jump, Op, Reply, TensorOp, Terminator
from dycl.ir.program import Program
from dycl.ir.substitution import Substitution, substitute_end, substitute_operands
from dycl.ir.values import BlockId, Lit, Operand, ProcedureId, Ref, Seq, UnionType, Value, ValueId, Weight
from dycl.passes.analysis.cost import MOST_BYTES, MOST_OPERATIONS, count_weight_bytes
from dycl.passes.cloning import Blocks
from dycl.passes.rewriting import copy_ops

MOST_COPIED = 4 * MOST_OPERATIONS  # of one function, in all the places that call it
MOST_COPIED_BYTES = 4 * MOST_BYTES


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a procedure."""

    block: BlockId
    index: int
    op: Invoke


@dataclass(slots=True)
class Budget:
    """What may still be copied of one procedure."""

    environment: Environment
    operations: int = 0
    weights: int = 0
    skipped: set[tuple[BlockId, int]] = field(default_factory=set)

    def admits(self, copied: Sequence[TensorOp], times: int) -> bool:
        """Whether so many copies are few; then they count."""
        operations = self.operations + times * len(copied)
        weights = self.weights + times * count_weight_bytes(copied, self.environment)
        if operations > MOST_COPIED or weights > MOST_COPIED_BYTES:
            return False
        self.operations, self.weights = operations, weights
        return True


class Place:
    """A call, and what comes behind it in its block."""

    def __init__(self, program: Program, call: Call) -> None:
        self._program = program
        self._call = call
        self._block = program.block(call.block)
        self._behind = self._block.ops[call.index + 1 :]
        start = program.procedures[call.op.procedure].block
        self._body = [program.block(found) for found in reachable({b.id: b for b in program.blocks}, start)]
        self._start = start
        self._blocks = Blocks(program)

    def fill(self, budget: Budget) -> Program | None:
        """The whole program anew."""
        if self._is_written() or not all(_may_be_passed_on(v) for reply in self._replies() for v in reply.values):
            return None
        if not budget.admits(tensor_work(self._body), 1):
            return None
        mapping: Substitution = {}
        ids = self._blocks.copy(self._body, mapping, self._blocks.new_sizes(self._body))
        ends = [ids[block.id] for block in self._body if isinstance(block.end, Reply)]
        entering = Edge(ids[self._start], self._call.op.args)
        above = replace(
            self._block, ops=self._block.ops[: self._call.index], end=Jump(edge=entering, loc=self._call.op.loc)
        )
        self._blocks.found[self._block.id] = above
        again = [op for op in self._behind if is_call(op, self._call.op.procedure)]
        more = (*work_of(self._behind), *tensor_work(self._body) * len(again))
        copies = len(ends) - 1
        is_small = copies * (len(self._behind) + len(more)) <= MOST_OPERATIONS and budget.admits(more, copies)
        done = self._behind_each(ends) if is_small else self._behind_all(ends)
        return self._blocks.finish() if done else None

    def _is_written(self) -> bool:
        """Whether memory is written that comes from here: it has names, which copies would part."""
        made = {value.id for op in (self._call.op, *self._behind) for value in op_definitions(op)}
        return bool(made & mutated_values(self._program)) or any(op.mutates for op in work_of(self._behind))

    def _replies(self) -> Iterator[Reply]:
        for block in self._body:
            if isinstance(block.end, Reply):
                yield block.end

    def _behind_all(self, ends: Sequence[BlockId]) -> bool:
        """What comes behind the call goes to one block; false where a way does not hand back all that it takes."""
        results = self._call.op.results
        new = self._blocks.reserve()
        behind = Block(id=new, params=results, ops=self._behind, end=self._block.end, loc=self._block.loc)
        self._blocks.found[new] = behind
        return all([self._go_on(end, new, results) for end in ends])

    def _behind_each(self, ends: Sequence[BlockId]) -> bool:
        """Each way that the procedure replies in goes on with a copy of its own."""
        versions: dict[BlockId, dict[ValueId, Operand]] = {}
        live = find_liveness(self._program).live_in
        for end in ends:
            reply = self._blocks.found[end].end
            assert isinstance(reply, Reply)
            pairs = tuple(zip(self._call.op.results, reply.values, strict=True))
            taken = tuple(value for value, operand in pairs if not _is_missing(value, operand))
            known = {value.id: operand for value, operand in pairs if isinstance(operand, Lit) and value in taken}
            mapping: Substitution = {}
            params = tuple(map(self._blocks.values.fresh, taken))
            mapping.update((old.id, Ref(param.id)) for old, param in zip(taken, params, strict=True))
            ops, leave = _decided(self._behind, self._block.end, known)
            missing = {value.id for value in self._call.op.results} - mapping.keys()
            if missing.intersection(value for used in (*map(op_uses, ops), end_uses(leave)) for value in used):
                return False
            new = self._blocks.reserve()
            copied = copy_ops(ops, mapping, self._blocks.values)
            leave = substitute_end(leave, mapping)
            self._blocks.found[new] = Block(id=new, params=params, ops=copied, end=leave, loc=self._block.loc)
            self._go_on(end, new, taken)
            versions[new] = dict(mapping)
        return self._blocks.join(versions, live)

    def _go_on(self, end: BlockId, target: BlockId, taken: Sequence[Value]) -> bool:
        """A reply becomes a jump; false where it does not hand back what is taken."""
        block = self._blocks.found[end]
        assert isinstance(block.end, Reply)
        pairs = [(v, operand) for v, operand in zip(self._call.op.results, block.end.values, strict=True) if v in taken]
        edge = Edge(target, tuple(operand for _, operand in pairs))
        self._blocks.found[end] = replace(block, end=Jump(edge=edge, loc=block.end.loc))
        return not any(_is_missing(value, operand) for value, operand in pairs)


def is_call(op: Op, procedure: ProcedureId) -> bool:
    return isinstance(op, Invoke) and op.procedure == procedure


def work_of(ops: Iterable[Op]) -> tuple[TensorOp, ...]:
    return tuple(op for op in ops if isinstance(op, TensorOp))


def tensor_work(blocks: Iterable[Block]) -> tuple[TensorOp, ...]:
    return tuple(op for block in blocks for op in work_of(block.ops))


def _may_be_passed_on(operand: Operand) -> bool:
    """Whether an edge may pass what a procedure hands back."""
    if isinstance(operand, Seq):
        return all(map(_may_be_passed_on, operand.items))
    return isinstance(operand, Ref | Lit | Weight)


def _is_missing(value: Value, operand: Operand) -> bool:
    """Whether None stands for what a way that was not taken would have handed back."""
    return operand == Lit(None) and not isinstance(value.type, UnionType)


def _decided(
    ops: tuple[Op, ...], end: Terminator, known: Mapping[ValueId, Operand]
) -> tuple[tuple[Op, ...], Terminator]:
    """What comes behind a call once it is known in which way the procedure replied, which the end may ask."""
    if not isinstance(end, Branch):
        return ops, end
    asked = next((op for op in ops if isinstance(op, HostOp) and op.result.id == end.cond), None)
    if asked is None or asked.function != "eq":
        return ops, end
    left, right = substitute_operands(asked.args, known)
    if not isinstance(left, Lit) or not isinstance(right, Lit):
        return ops, end
    edge = end.if_true if left.value == right.value else end.if_false
    return tuple(op for op in ops if op is not asked), Jump(edge=edge, loc=end.loc)
