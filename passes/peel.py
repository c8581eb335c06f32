"""Take the first round of a loop out of it, where a recursive procedure begins with work and goes on with the loop.

Before (what a node does itself stands before the loop over its children)::

    b1(%1 node: object[Node]):
      %2: float32[1, 4] = module embed(%1)
      jump b2(0, %2)
    b2(%3 index: int, %4 total: float32[1, 4]):
      %5: bool = host gt(...)
      branch %5 ? b3 : b4
    ...
    b5(%6 index: int, %7 total: float32[1, 4]):
      %8: bool = host lt(%6, ...)
      branch %8 ? b2(%6, %7) : b6

After, the node's own work and what is done for the first child can be one dispatch; the loop does the others::

    b1(%1 node: object[Node]):
      %2: float32[1, 4] = module embed(%1)
      %3: bool = host gt(...)
      branch %3 ? b2 : b3
    ...
    b4(%4 index: int, %5 total: float32[1, 4]):
      %6: bool = host lt(%4, ...)
      branch %6 ? b5(%4, %5) : b6

Elsewhere a loop begins once in a call, and that is not worth a copy; here it does so for each node. What is copied is
bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from dycl.ir.dataflow import block_definitions, find_liveness, mutated_values, value_types
from dycl.ir.environment import Environment
from dycl.ir.graph import dominators, predecessors
from dycl.ir.nodes import Block, Edge, Invoke, Jump, TensorOp
from dycl.ir.notes import Note
from dycl.ir.numbering import renumber
from dycl.ir.program import Program
from dycl.ir.substitution import Substitution, map_edges
from dycl.ir.values import BlockId, Operand, Ref, ValueId
from dycl.passes import fold_host, simplify_cfg
from dycl.passes.analysis.cost import MOST_BYTES, MOST_OPERATIONS, count_weight_bytes
from dycl.passes.analysis.naming import name_operations
from dycl.passes.cloning import Blocks
from dycl.passes.copy_down import find_tail
from dycl.passes.split import find_recursive
from dycl.passes.unfold import tensor_work


def run(program: Program, environment: Environment) -> Program:
    """The program with first rounds out of loops."""
    if not program.procedures:
        return program
    program = renumber(program)
    while (loop := next((loop for loop in _find(program, environment) if loop.pays), None)) is not None:
        program = _peel(program, loop, environment)
    return program


def explain(program: Program, environment: Environment) -> tuple[Note, ...]:
    """What `run` does to this program, and what it leaves alone, with the reasons."""
    if not program.procedures:
        return ()
    notes: list[Note] = []
    program = renumber(program)
    while (loop := next((loop for loop in _find(program, environment) if loop.pays), None)) is not None:
        notes.append(loop.note)
        program = _peel(program, loop, environment)
    return (*notes, *(loop.note for loop in _find(program, environment)))


@dataclass(frozen=True, slots=True)
class _Loop:
    """A loop that a procedure begins with, after some work."""

    header: BlockId
    blocks: tuple[Block, ...]
    work: tuple[TensorOp, ...]
    copied_bytes: int

    @property
    def pays(self) -> bool:
        """Whether a round is small enough to be copied."""
        return len(tensor_work(self.blocks)) <= MOST_OPERATIONS and self.copied_bytes <= MOST_BYTES

    @property
    def note(self) -> Note:
        """The decision in words."""
        size = f"{len(tensor_work(self.blocks))} operations, {self.copied_bytes / 1024:.0f} KiB of weights"
        what = f"the first round of the loop behind it is taken out of it ({size} copied)"
        if not self.pays:
            what = f"not done with the first round of the loop behind it: {size} would be copied"
        return Note("peel", self.pays, self.work[0].loc, f"{name_operations(self.work)}: {what}")


def _find(program: Program, environment: Environment) -> Iterator[_Loop]:
    """The loops whose first round could do the work before them."""
    recursive = find_recursive(program)
    before, order = predecessors(program), dominators(program)
    types, written = value_types(program), mutated_values(program)
    for number, group in recursive.items():
        start = program.block(program.procedures[number].block)
        work = find_tail(start, (), types, written)
        if not isinstance(start.end, Jump) or not work:
            continue
        header = start.end.edge.target
        back = [block for block in before[header] if order.dominates(header, block)]
        if not back or len(back) + 1 != len(before[header]):
            continue
        inside = {header}
        while back:
            block = back.pop()
            if block not in inside:
                inside.add(block)
                back += before[block]
        blocks = tuple(program.block(block) for block in sorted(inside))
        ops = [op for block in blocks for op in block.ops]
        if any(isinstance(op, TensorOp) and op.mutates for op in ops) or not tensor_work(blocks):
            continue
        if any(isinstance(op, Invoke) and op.procedure in group for op in ops):
            yield _Loop(header, blocks, work, count_weight_bytes(tensor_work(blocks), environment))


def _peel(program: Program, loop: _Loop, environment: Environment) -> Program:
    """The program with a copy of the loop's blocks before it."""
    blocks, live = Blocks(program), find_liveness(program).live_in
    mapping: Substitution = {}
    ids = blocks.copy(loop.blocks, mapping, {})
    inside = {block.id for block in loop.blocks}

    def lead(source: BlockId, edge: Edge) -> Edge:
        if edge.target == ids[loop.header]:
            return Edge(loop.header, edge.args)  # the next round is the loop's
        is_entry = edge.target == loop.header and source not in inside and source not in ids.values()
        return Edge(ids[loop.header], edge.args) if is_entry else edge

    for block in tuple(blocks.found.values()):
        end = map_edges(block.end, lambda _, edge, source=block.id: lead(source, edge))  # type: ignore[misc]
        blocks.found[block.id] = replace(block, end=end)
    outside = {value for block in program.blocks if block.id not in inside for value in live[block.id]}
    versions: dict[BlockId, dict[ValueId, Operand]] = {}
    for block in loop.blocks:
        versions[block.id] = {value.id: Ref(value.id) for value in block_definitions(block) if value.id in outside}
        versions[ids[block.id]] = {
            v.id: mapping[v.id] for b in loop.blocks for v in block_definitions(b) if v.id in outside
        }
    joined = blocks.join(versions, live)
    assert joined, "what is used behind the loop is made in every round"
    # In the first round the index is known.
    return simplify_cfg.run(fold_host.run(simplify_cfg.run(blocks.finish(), environment), environment), environment)
