"""Texts that only one side of a branch needs are put together there: a message costs nothing unless it is raised.

Before: `b0: %2 = host printing.tensor_text(%1); branch %3 ? b1 : b2`, and only `b2` raises with `%2`.
After: `%2` is made in `b2`. What may raise, what is asked of objects, and all that is not text stays where it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from dycl.ir.dataflow import end_uses, op_uses, value_types
from dycl.ir.environment import Environment
from dycl.ir.graph import Dominators, dominators, entry_blocks, predecessors
from dycl.ir.nodes import Block, Branch, HostOp, Op
from dycl.ir.numbering import renumber
from dycl.ir.program import Program
from dycl.ir.values import BlockId, Lit, ScalarKind, ScalarType, ValueId, ValueType
from dycl.passes.analysis.effects import may_raise, scalar_kind

_MAKES_TEXT = frozenset({"add", "str", "repr", "format", "printing.tensor_text"})
_EXAMPLES = {ScalarKind.INT: 1, ScalarKind.FLOAT: 1.0, ScalarKind.BOOL: True, ScalarKind.STR: ""}


def run(program: Program, environment: Environment) -> Program:
    """The program with each text made as late as its first use, on the sides of branches that use it."""
    sinking = _Sinking(program)
    for block in sorted(program.blocks, key=lambda block: sinking.order.first.get(block.id, 0)):
        sinking.sink_from(block)
    if not sinking.moved:
        return program
    blocks = tuple(replace(block, ops=tuple(sinking.ops[block.id])) for block in program.blocks)
    return renumber(replace(program, blocks=blocks))


class _Sinking:
    """Where every operation is, while texts move down the dominator tree."""

    def __init__(self, program: Program) -> None:
        self.order: Dominators = dominators(program)
        self.moved = False
        self.ops: dict[BlockId, list[Op]] = {block.id: list(block.ops) for block in program.blocks}
        self._types: dict[ValueId, ValueType] = value_types(program)
        self._before = predecessors(program)
        self._begins = entry_blocks(program)
        self._users: dict[ValueId, list[BlockId]] = {}
        for block in program.blocks:
            for used in (*map(op_uses, block.ops), end_uses(block.end)):
                self._note(used, block.id)

    def _note(self, values: Iterable[ValueId], user: BlockId) -> None:
        for value in values:
            self._users.setdefault(value, []).append(user)

    def sink_from(self, block: Block) -> None:
        """Move the texts of a block that one side of its branch needs; later ones first, for they use the earlier."""
        if not isinstance(block.end, Branch):
            return
        sides = [
            edge.target
            for edge in (block.end.if_true, block.end.if_false)
            if self._before[edge.target] == (block.id,) and edge.target not in self._begins
        ]
        for op in self.ops[block.id][::-1]:
            users = self._users.get(op.result.id, []) if isinstance(op, HostOp) and self._is_text(op) else []
            side = next((side for side in sides if all(self.order.dominates(side, user) for user in users)), None)
            if users and side is not None:
                self._move(op, block.id, side)

    def _move(self, op: Op, source: BlockId, target: BlockId) -> None:
        self.moved = True
        self.ops[source].remove(op)
        self.ops[target].insert(0, op)
        for value in op_uses(op):
            self._users[value].remove(source)
        self._note(op_uses(op), target)

    def _is_text(self, op: HostOp) -> bool:
        if op.function not in _MAKES_TEXT or op.result.type != ScalarType(ScalarKind.STR):
            return False
        if op.function == "format":
            return self._formats(op)
        return not may_raise(op, self._types)

    def _formats(self, op: HostOp) -> bool:
        """Whether the format is known, and fits numbers of this kind."""
        value, spec = op.args
        kind = scalar_kind(value, self._types)
        if kind not in _EXAMPLES or not isinstance(spec, Lit) or "c" in str(spec.value):
            return False
        try:
            format(_EXAMPLES[kind], str(spec.value))
        except ValueError:
            return False
        return True
