"""The rewriting that several passes share: put operands in the place of values, everywhere at once; copy operations.

A value that an operation mutates is a name of memory, so only another name (`Ref`) may stand for it; when two names of
one memory become one, their new contents become one as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import replace

from dycl.ir.dataflow import block_definitions
from dycl.ir.nodes import Block, Branch, Edge, Jump, Op, TensorOp
from dycl.ir.program import Program
from dycl.ir.substitution import Substitution, map_definitions, map_edges, map_operand, substitute, substitute_op
from dycl.ir.values import BlockId, Lit, Operand, Ref, Value, ValueId


def operand_key(operand: Operand) -> str:
    """Text that is equal for operands that mean exactly the same: `1`, `1.0` and `True` differ, `nan` equals itself."""
    return repr(operand)


def replace_values(program: Program, mapping: Substitution) -> Program:
    """The program with every use of a value in the mapping replaced, through chains; definitions stay.

    A branch whose condition becomes a literal becomes a jump. The mapping has no cycle and never leads from a mutated
    value to anything but another value.
    """
    while mapping:
        flat = {value: _resolve(Ref(value), mapping) for value in mapping}
        blocks = tuple(_decide(block, flat) for block in program.blocks)
        program, mapping = _join_mutations(substitute(replace(program, blocks=blocks), flat))
    return program


def _resolve(operand: Operand, mapping: Substitution) -> Operand:
    """What an operand stands for at the end of a chain of replacements."""
    while isinstance(operand, Ref) and operand.id in mapping:
        operand = mapping[operand.id]
    return operand if isinstance(operand, Ref) else map_operand(operand, lambda ref: _resolve(ref, mapping))


def _decide(block: Block, mapping: Substitution) -> Block:
    """The block with its branch replaced by a jump, if the condition becomes a literal."""
    if not isinstance(block.end, Branch):
        return block
    found = mapping.get(block.end.cond)
    if not isinstance(found, Lit):
        return block
    edge = block.end.if_true if found.value else block.end.if_false
    return replace(block, end=Jump(edge=edge, loc=block.end.loc))


def _join_mutations(program: Program) -> tuple[Program, Substitution]:
    """The program with each mutated value named once by an operation, and what the dropped new names stand for."""
    dropped: Substitution = {}
    blocks = []
    for block in program.blocks:
        ops = tuple(_join_mutation(op, dropped) for op in block.ops)
        blocks.append(replace(block, ops=ops))
    return (replace(program, blocks=tuple(blocks)), dropped) if dropped else (program, {})


def _join_mutation(op: Op, dropped: Substitution) -> Op:
    if not isinstance(op, TensorOp) or len(op.mutates) < 2:
        return op
    first: dict[ValueId, Value] = {}
    for old, new in op.mutates:
        if first.setdefault(old, new) is not new:
            dropped[new.id] = Ref(first[old].id)
    return replace(op, mutates=tuple(first.items()))


def drop_params(program: Program, dropped: Set[ValueId]) -> Program:
    """The program without these block parameters, which nothing reads any more but arguments for such parameters."""
    kept = {
        block.id: tuple(index for index, param in enumerate(block.params) if param.id not in dropped)
        for block in program.blocks
    }
    blocks = tuple(
        replace(
            block,
            params=tuple(block.params[index] for index in kept[block.id]),
            end=map_edges(block.end, lambda _, edge: _keep_args(edge, kept)),
        )
        for block in program.blocks
    )
    return replace(program, blocks=blocks)


def _keep_args(edge: Edge, kept: dict[BlockId, tuple[int, ...]]) -> Edge:
    return Edge(edge.target, tuple(edge.args[index] for index in kept[edge.target]))


class ValueIds:
    """New numbers for values of a program; `next`: the first that no value has."""

    def __init__(self, program: Program) -> None:
        made = (value.id for block in program.blocks for value in block_definitions(block))
        self.next = ValueId(1 + max(made, default=-1))

    def new(self) -> ValueId:
        """One that no value has."""
        self.next = ValueId(self.next + 1)
        return ValueId(self.next - 1)

    def fresh(self, value: Value) -> Value:
        """The same under a number of its own."""
        return replace(value, id=self.new())


def rename_results(op: Op, mapping: Substitution, values: ValueIds) -> Op:
    """The operation with results of its own, which `mapping` has for the old ones then; what it uses stays."""

    def renamed(value: Value) -> Value:
        fresh = values.fresh(value)
        mapping[value.id] = Ref(fresh.id)
        return fresh

    return map_definitions(op, renamed)


def copy_ops(ops: Iterable[Op], mapping: Substitution, values: ValueIds) -> tuple[Op, ...]:
    """Operations in a row with results of their own; `mapping` says what they use instead, and knows these then."""
    return tuple(rename_results(substitute_op(op, mapping), mapping, values) for op in ops)
