"""Do tensor work that a decision does not wait for behind it, on each of its edges: what `fuse` can then go on from.

Before (a loop; `%4` is what it hands on, and nothing of it is asked for)::

    b1(%1 total: float32[1, 4], %2 index: int):
      %3: int = host add(%2, 1)
      %4: float32[1, 4] = module step(%1)
      %5: bool = host lt(%3, %0)
      branch %5 ? b1(%4, %3) : b2(%4)
    b2(%6: float32[1, 4]):
      %7: float32[1, 2] = module head(%6)
      return %7

After, and with `fuse`, the last round of the loop and the head are one dispatch::

    b1(%1 total: float32[1, 4], %2 index: int):
      %3: int = host add(%2, 1)
      %4: bool = host lt(%3, %0)
      branch %4 ? b2 : b3
    b2:
      %5: float32[1, 4] = module step(%1)
      jump b1(%5, %3)
    b3:
      %6: float32[1, 4] = module step(%1)
      %7: float32[1, 2] = module head(%6)
      return %7

`copy-down` does so where the blocks behind the decision are its own and have dispatches; here they may be joins, which
take what was done as arguments. By itself it wins nothing, so `fuse` tries it and keeps it where calls then take less
time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from dycl.ir.environment import Environment
from dycl.ir.graph import (
    Dominators,
    dominators,
    end_uses,
    entry_blocks,
    op_uses,
    predecessors,
    renumber,
    substitute_block,
    substitute_edge,
)
from dycl.ir.nodes import Block, BlockId, Branch, Edge, Jump, Program, TensorOp, ValueId, edges
from dycl.passes import simplify_cfg
from dycl.passes.copy_down import ValueIds, copy_operations, find_tail
from dycl.passes.cost import MOST_BYTES, MOST_OPERATIONS, count_dispatches, count_weight_bytes
from dycl.passes.rewriting import Substitution, mutated_values, value_types
from dycl.passes.sizes import type_names


@dataclass(frozen=True, slots=True)
class Postponed:
    """Work that could be done behind a decision, and the program in which it is."""

    work: tuple[TensorOp, ...]
    program: Program
    copied_bytes: int


def find_postponed(program: Program, environment: Environment) -> Iterator[Postponed]:
    """What could be done behind decisions, for each by itself, as far as its copies are few; ids are canonical."""
    types, written = value_types(program), mutated_values(program)
    named = {dimension.name for dimension in program.dimensions}
    splitter = _Splitter(program)
    for block in program.blocks:
        if not isinstance(block.end, Branch):
            continue
        work = find_tail(block, {block.end.cond}, types, written)
        made = {value.id for op in work for value in op.results}
        sizes = {name for op in work for value in op.results for name in type_names(value.type)}
        rest = replace(block, ops=tuple(op for op in block.ops if op not in work))
        fewer = count_dispatches(block, types, environment) - count_dispatches(rest, types, environment)
        copied = count_weight_bytes(work, environment)
        fits = len(work) <= MOST_OPERATIONS and copied <= MOST_BYTES
        if fewer > 0 and fits and sizes <= named and splitter.reaches_all(block, made):
            moved = renumber(simplify_cfg.run(splitter.split(block, work), environment))
            yield Postponed(work, moved, copied)


class _Splitter:
    """Puts blocks on the edges of a branch."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._order: Dominators = dominators(program)
        self._before = predecessors(program)
        self._begins = entry_blocks(program)

    def reaches_all(self, block: Block, made: set[ValueId]) -> bool:
        """Whether all that use these values behind a block are behind one of its edges alone."""
        own = [edge.target for edge in edges(block.end) if self._is_own(block, edge)]
        users = {
            other.id
            for other in self._program.blocks
            if other.id != block.id
            and made.intersection(value for found in (*map(op_uses, other.ops), end_uses(other.end)) for value in found)
        }
        return all(any(self._order.dominates(target, user) for target in own) for user in users)

    def _is_own(self, block: Block, edge: Edge) -> bool:
        """Whether nobody else leads to where an edge leads."""
        return self._before[edge.target] == (block.id,) and edge.target not in self._begins

    def split(self, block: Block, work: tuple[TensorOp, ...]) -> Program:
        """The program with the work of the block on each of its edges."""
        assert isinstance(block.end, Branch)
        fresh = ValueIds(self._program)
        blocks = {each.id: each for each in self._program.blocks}
        onward = []
        for edge in edges(block.end):
            copied, mapping = copy_operations(work, fresh)
            new = BlockId(len(blocks))
            blocks[new] = Block(
                id=new,
                ops=copied,
                end=Jump(edge=substitute_edge(edge, mapping), loc=block.end.loc),
                loc=block.loc,
            )
            onward.append(Edge(new))
            if self._is_own(block, edge):
                self._substitute_behind(blocks, edge.target, mapping)
        end = replace(block.end, if_true=onward[0], if_false=onward[1])
        kept = tuple(op for op in block.ops if op not in work)
        blocks[block.id] = replace(blocks[block.id], ops=kept, end=end)
        return replace(self._program, blocks=tuple(blocks.values()))

    def _substitute_behind(self, blocks: dict[BlockId, Block], target: BlockId, mapping: Substitution) -> None:
        for other in self._program.blocks:
            if self._order.dominates(target, other.id):
                blocks[other.id] = substitute_block(blocks[other.id], mapping)
