"""Which host operations are written inside the statement that uses them, instead of as a statement of their own.

Before: `conf = confidence.item()`, `sure = conf > self.threshold`, `if sure:`. After: `if confidence.item() >
self.threshold:`. What may raise is never moved over anything else that may raise, over a dispatch or a decision.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import assert_never

from dycl.ir.dataflow import end_uses, op_uses, uses, value_types
from dycl.ir.hostops import HOST_FUNCTIONS
from dycl.ir.nodes import Block, Branch, HostOp, Jump, Op, Raise, Reply, Return, Terminator
from dycl.ir.program import Program
from dycl.ir.values import TensorType, ValueId, ValueType, all_refs, refs

# An expression of more operations than this is hard to read; the part that would exceed it gets a name.
MAX_OPERATIONS = 6

# These convert one element: more, or none, is an error.
ONE_ELEMENT = frozenset({"item", "peek", "bool", "int", "float"})


def may_raise(op: HostOp, types: Types) -> bool:
    """Whether the operation can raise, or take so long or so much that it must stay where it is."""
    if op.function in ONE_ELEMENT:
        for value in refs(op.args[0]):
            kind = types[value]
            if isinstance(kind, TensorType):
                return any(size != 1 for size in kind.shape)
    return HOST_FUNCTIONS[op.function].may_raise


Types = dict[ValueId, ValueType]


@dataclass(slots=True)
class Inlining:
    """The operations that are written in place of their result."""

    operations: dict[ValueId, HostOp] = field(default_factory=dict)

    def leaves(self, values: Iterable[ValueId]) -> tuple[ValueId, ...]:
        """The named values that stand in a text in which these values are used, in order of evaluation."""
        found: list[ValueId] = []
        stack = list(values)[::-1]
        while stack:
            value = stack.pop()
            if op := self.operations.get(value):
                stack.extend(reversed(op_uses(op)))
            else:
                found.append(value)
        return tuple(found)

    def statements(self, block: Block) -> Iterator[Op]:
        """The operations of a block that are statements."""
        return (op for op in block.ops if not (isinstance(op, HostOp) and op.result.id in self.operations))

    def evaluated(self, values: Iterable[ValueId]) -> list[ValueId]:
        """The inlined values below these, in order of evaluation."""
        found: list[ValueId] = []
        for value in values:
            if op := self.operations.get(value):
                found += [*self.evaluated(op_uses(op)), value]
        return found


def find_inlining(program: Program) -> Inlining:
    """Choose what is inlined: used once in its own block, not too long, and in an order that keeps all errors."""
    chosen = Inlining()
    places = uses(program)
    counts = {value: len(found) for value, found in places.items()}
    types = value_types(program)
    for block in program.blocks:
        for op in block.ops:
            if isinstance(op, HostOp) and op.function == "tunable":
                chosen.operations[op.result.id] = op
    for block in program.blocks:
        _inline_block(block, chosen, counts, types)
    return chosen


def _inline_block(block: Block, chosen: Inlining, counts: dict[ValueId, int], types: Types) -> None:
    """Decide from the last operation to the first, so that the statement a value ends up in is known."""
    end = len(block.ops)
    home: dict[ValueId, int] = dict.fromkeys(_end_candidates(block.end), end)  # the statement a value is used in
    position = {op.result.id: index for index, op in enumerate(block.ops) if isinstance(op, HostOp)}
    nearest = end  # the first statement after this point that may raise
    for index in range(end - 1, -1, -1):
        op = block.ops[index]
        if isinstance(op, HostOp) and op.result.id in chosen.operations:
            continue  # a tunable
        raises = not isinstance(op, HostOp) or may_raise(op, types)
        at = index
        if isinstance(op, HostOp) and counts.get(op.result.id) == 1 and op.function != "list_append":
            wanted = home.get(op.result.id, index)  # not used in this block: where it is
            tops = op_uses(block.ops[wanted]) if wanted < end else end_uses(block.end)
            if wanted > index and not (
                raises and (nearest < wanted or _is_late(block.end, op.result.id, wanted == end, chosen))
            ):
                at = wanted if _fits(op, tops, chosen, position, types) else index
        nearest = min(nearest, at) if raises else nearest
        home.update((value, at) for value in op_uses(op))


def _end_candidates(end: Terminator) -> tuple[ValueId, ...]:
    """What may be written inside a terminator. A jump copies values in an order of its own: nothing."""
    return () if isinstance(end, Jump) else end_uses(end)


def _is_late(end: Terminator, value: ValueId, in_end: bool, chosen: Inlining) -> bool:
    """Whether the terminator evaluates the value after a decision, or among writes of state or to the caller's."""
    match end:
        case Branch(cond=cond):
            return in_end and value not in chosen.leaves([cond])
        case Return() | Raise():
            return in_end and bool(end.resume or end.state or end.writes)
        case Jump() | Reply():
            return False
        case _:
            assert_never(end)


def _fits(op: HostOp, tops: tuple[ValueId, ...], chosen: Inlining, position: dict[ValueId, int], types: Types) -> bool:
    """Whether the operation is short and in order inside a statement that uses `tops`; if so it is put there."""
    value = op.result.id
    chosen.operations[value] = op
    long = False
    raisers: list[int] = []
    for top in tops:
        order = [v for v in chosen.evaluated([top]) if chosen.operations[v].function != "tunable"]
        long |= value in order and len(order) > MAX_OPERATIONS
        raisers += [position[v] for v in order if may_raise(chosen.operations[v], types)]
    if long or raisers != sorted(raisers):
        del chosen.operations[value]
        return False
    return True


def block_uses(block: Block, chosen: Inlining) -> tuple[tuple[ValueId, ...], tuple[ValueId, ...]]:
    """The named values that the terminator's own text uses, and those that its edges use."""
    match block.end:
        case Branch(cond=cond, if_true=yes, if_false=no):
            return chosen.leaves([cond]), chosen.leaves(all_refs((*yes.args, *no.args)))
        case Jump(edge=edge):
            return (), chosen.leaves(all_refs(edge.args))
        case Return() | Raise() | Reply():
            return chosen.leaves(end_uses(block.end)), ()
        case _:
            assert_never(block.end)
