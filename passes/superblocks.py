"""A way through a program as a chain of blocks of its own, with all tensor work in the first: a superblock.

The blocks of the way are copied, so that their joins are entered from elsewhere as before. Where the chain is left,
what was made in copied blocks has two makers from then on, and becomes a parameter of the blocks where both meet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from dycl.ir.dataflow import block_definitions, find_liveness, op_definitions
from dycl.ir.graph import dominators
from dycl.ir.nodes import Block, Edge, Op, TensorOp, Terminator, edges
from dycl.ir.program import Program
from dycl.ir.substitution import Substitution, map_edges, substitute_block, substitute_end
from dycl.ir.values import BlockId, Operand, Ref, ValueId
from dycl.passes.rewriting import ValueIds, copy_ops


@dataclass(frozen=True, slots=True)
class Step:
    """A block on a way: by which edge it is come to, its work that can move, and what share of the calls comes here."""

    side: int  # of the block before
    block: BlockId
    moved: tuple[TensorOp, ...]
    share: float


def copy_way(program: Program, head: BlockId, steps: Sequence[Step]) -> Program:
    """The program with a way of its own behind a block, whose tensor work is done in that block."""
    opening = _Opening(program, {step.block for step in steps})
    opening.open(_targets(program, steps))
    return _Copying(opening.program, head, steps).finish()


def _targets(program: Program, steps: Sequence[Step]) -> Iterator[BlockId]:
    """Where the copies lead to, besides to each other."""
    followed = [*(step.side for step in steps[1:]), None]
    for step, side in zip(steps, followed, strict=True):
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
                # A loop's header is looked at again once the other joins behind it are open: it may hand on to them.
                pending += sorted(self._joins_behind(target), key=lambda join: join != target)

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
        made = {
            value.id: value
            for block in program.blocks
            if block.id in self._copied
            for value in block_definitions(block)
        }
        wanted = sorted(made.keys() & find_liveness(program).live_in[target])
        if not wanted:
            return False
        first = 1 + max(value.id for block in program.blocks for value in block_definitions(block))
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
    """The blocks of a way under new names, their work in its first block."""

    def __init__(self, program: Program, head: BlockId, steps: Sequence[Step]) -> None:
        self._program = program
        self._head = head
        self._steps = steps
        self._values = ValueIds(program)
        self._names: Substitution = {}  # what values of the way are in its copies
        self._early: Substitution = {}  # and in the first block

    def finish(self) -> Program:
        """The whole program."""
        program, steps = self._program, self._steps
        head = program.block(self._head)
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
            params.append(self._values.fresh(param))
        self._early |= early
        self._names |= {old.id: Ref(new.id) for old, new in zip(block.params, params, strict=True)}
        moved: list[Op] = []
        kept: list[Op] = []
        for op in block.ops:
            if isinstance(op, TensorOp):
                moved += copy_ops([op], self._early, self._values)
                self._names |= {value.id: self._early[value.id] for value in op_definitions(op)}
            else:
                kept += copy_ops([op], self._names, self._values)
        assert len(moved) == movable
        return moved, replace(block, params=tuple(params), ops=tuple(kept), end=substitute_end(block.end, self._names))


def _led(end: Terminator, side: int, target: BlockId) -> Terminator:
    """The terminator with one of its edges to another block, which takes the same arguments."""
    return map_edges(end, lambda number, edge: Edge(target, edge.args) if number == side else edge)
