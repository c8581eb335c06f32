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
take what was done as arguments. Nor does work wait here for a call of a procedure, where nothing in the program writes
memory or reads a clock. By itself it wins nothing, so `fuse` tries it and keeps it where calls then take less time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from dycl.ir.dataflow import find_liveness, mutated_values, value_types
from dycl.ir.environment import Environment
from dycl.ir.nodes import Block, Branch, Edge, Invoke, Jump, TensorOp
from dycl.ir.numbering import renumber
from dycl.ir.program import Program
from dycl.ir.substitution import Substitution, map_edges, substitute_edge
from dycl.ir.values import BlockId, ValueId
from dycl.passes import simplify_cfg
from dycl.passes.analysis.cost import MOST_BYTES, MOST_OPERATIONS, count_dispatches, count_weight_bytes
from dycl.passes.cloning import Blocks
from dycl.passes.copy_down import find_tail
from dycl.passes.rewriting import copy_ops
from dycl.passes.sink_work import may_be_passed
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
    live = find_liveness(program).live_in
    ops = (op for block in program.blocks for op in block.ops if not isinstance(op, Invoke))
    passes_calls = not written and all(may_be_passed(op, types) for op in ops)
    for block in program.blocks:
        if not isinstance(block.end, Branch):
            continue
        work = find_tail(block, {block.end.cond}, types, written, passes_calls=passes_calls)
        sizes = {name for op in work for value in op.results for name in type_names(value.type)}
        rest = replace(block, ops=tuple(op for op in block.ops if op not in work))
        fewer = count_dispatches(block, types, environment) - count_dispatches(rest, types, environment)
        copied = count_weight_bytes(work, environment)
        fits = len(work) <= MOST_OPERATIONS and copied <= MOST_BYTES
        if fewer > 0 and fits and sizes <= named and (moved := _split(program, block, work, live)) is not None:
            yield Postponed(work, renumber(simplify_cfg.run(moved, environment)), copied)


def _split(
    program: Program, block: Block, work: tuple[TensorOp, ...], live: Mapping[BlockId, Collection[ValueId]]
) -> Program | None:
    """The program with the work of the block on each of its edges; what it makes is handed on to all that need it."""
    blocks = Blocks(program)
    versions: dict[BlockId, Substitution] = {}

    def copy(_: int, edge: Edge) -> Edge:
        mapping: Substitution = {}
        copied = copy_ops(work, mapping, blocks.values)
        new = blocks.reserve()
        end = Jump(edge=substitute_edge(edge, mapping), loc=block.end.loc)
        blocks.found[new] = Block(id=new, ops=copied, end=end, loc=block.loc)
        versions[new] = mapping
        return Edge(new)

    kept = tuple(op for op in block.ops if op not in work)
    blocks.found[block.id] = replace(block, ops=kept, end=map_edges(block.end, copy))
    return blocks.finish() if blocks.join(versions, live) else None
