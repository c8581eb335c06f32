"""Short ends of the method, written at every place that leads to them.

Before: three places jump to one `return words`, which must then stand where all three can reach it: behind loops that
run once, or a variable that says where to go. After: each place has its own `return words`.

Only blocks without a dispatch are copied, of few operations and to few places, so the host stays linear in the program.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import count

from dycl.hostgen.structure import build_structure, count_detours
from dycl.ir.dataflow import definitions, end_uses, op_uses
from dycl.ir.graph import entry_blocks
from dycl.ir.nodes import Block, Edge, HostOp, Op, Raise, Return, edges
from dycl.ir.program import Program
from dycl.ir.substitution import map_edges, substitute_end, substitute_op
from dycl.ir.values import BlockId, Operand, Ref, Seq, Value, ValueId

MAX_OPERATIONS = 4
MAX_COPIES = 16


def copy_leaves(program: Program) -> Program:
    """The program with every short end once for each edge that leads to it, if it reads plainer so.

    Decisions keep their blocks. Where every place reaches the end by falling through, nothing is copied.
    """
    before = _detours(program)
    copied = _copy_all(program) if before else program
    return copied if _detours(copied) < before else program


def _detours(program: Program) -> int:
    return count_detours(build_structure(program, frozenset()))


def _copy_all(program: Program) -> Program:
    ways_in = Counter(edge.target for block in program.blocks for edge in edges(block.end))
    leaves = {block.id for block in program.blocks if _is_short(block) and 1 < ways_in[block.id] <= MAX_COPIES}
    leaves -= entry_blocks(program)
    if not leaves:
        return program
    return _Copier(program, leaves).copy()


def _is_short(block: Block) -> bool:
    return (
        isinstance(block.end, Return | Raise)
        and len(block.ops) <= MAX_OPERATIONS
        and all(isinstance(op, HostOp) for op in block.ops)
    )


class _Copier:
    def __init__(self, program: Program, leaves: set[BlockId]) -> None:
        self._program = program
        self._leaves = leaves
        self._values: Iterator[int] = count(1 + max((int(value) for value in definitions(program)), default=0))
        self._first: dict[BlockId, Block] = {}
        self._new: list[Block] = []

    def copy(self) -> Program:
        """The first edge keeps the leaf's place, each further one gets a new block."""
        blocks = [
            replace(block, end=map_edges(block.end, lambda _, edge: self._edge(edge))) for block in self._program.blocks
        ]
        kept = [self._first.get(block.id, block) for block in blocks]
        return replace(self._program, blocks=(*kept, *self._new))

    def _edge(self, edge: Edge) -> Edge:
        if edge.target not in self._leaves:
            return edge
        leaf = self._program.block(edge.target)
        is_first = leaf.id not in self._first
        new = leaf.id if is_first else BlockId(len(self._program.blocks) + len(self._new))
        mapping: dict[ValueId, Operand] = {}
        params, args = [], []
        for param, arg in zip(leaf.params, edge.args, strict=True):
            if isinstance(arg, Seq) and _uses(leaf, param.id) > 1:  # two displays would be two objects
                params.append(self._define(param, mapping))
                args.append(arg)
            else:
                mapping[param.id] = arg
        ops = tuple(self._op(op, mapping) for op in leaf.ops)
        made = Block(id=new, params=tuple(params), ops=ops, end=substitute_end(leaf.end, mapping), loc=leaf.loc)
        if is_first:
            self._first[new] = made
        else:
            self._new.append(made)
        return Edge(new, tuple(args))

    def _op(self, op: Op, mapping: dict[ValueId, Operand]) -> Op:
        assert isinstance(op, HostOp)
        changed = substitute_op(op, mapping)
        assert isinstance(changed, HostOp)
        return replace(changed, result=self._define(op.result, mapping))

    def _define(self, value: Value, mapping: dict[ValueId, Operand]) -> Value:
        new = replace(value, id=ValueId(next(self._values)))
        mapping[value.id] = Ref(new.id)
        return new


def _uses(block: Block, value: ValueId) -> int:
    return sum(op_uses(op).count(value) for op in block.ops) + end_uses(block.end).count(value)
