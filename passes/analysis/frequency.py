"""How often each block runs in a call: from a profile, and where there is none from the shape of the program.

A branch is taken to go to each side equally often, but to stay in a loop nine times of ten and hardly ever to go to an
error. What the calls of the profile did at it (`Environment.calls`) outweighs that guess, which counts like one call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import networkx as nx  # type: ignore[import-untyped]
import numpy as np

from dycl.ir.dataflow import value_types
from dycl.ir.environment import Environment
from dycl.ir.graph import block_graph, entry_blocks
from dycl.ir.nodes import Branch, Edge, Raise, TensorOp, edges
from dycl.ir.program import Program
from dycl.ir.values import BlockId
from dycl.passes.analysis.cost import DISPATCH, count_dispatches, estimate_operations
from dycl.passes.analysis.ways import find_ways

STAYS = 0.9  # in a loop
RARE = 0.01  # how often an error is raised
_PROFILED = 16  # calls of the profile that are looked at: this is asked for by several passes, several times

Taken = Mapping[BlockId, Counter[int]]  # how often each edge of a block was taken


def estimate_frequencies(program: Program, environment: Environment) -> Mapping[BlockId, float]:
    """For each block how often it runs, 1 for each entry."""
    loops: dict[BlockId, int] = {}
    graph = block_graph(program)
    for number, members in enumerate(nx.strongly_connected_components(graph)):
        if len(members) > 1 or any(graph.has_edge(block, block) for block in members):
            loops.update(dict.fromkeys(members, number))
    taken = _count_taken(program, environment)
    size = len(program.blocks)
    goes = np.zeros((size, size))  # [to, from]
    for index, block in enumerate(program.blocks):
        for edge, share in zip(edges(block.end), _shares(program, BlockId(index), loops, taken), strict=True):
            goes[edge.target, index] += share
    starts = np.zeros(size)
    starts[sorted(entry_blocks(program))] = 1.0
    # Slightly less than all goes on, so that a loop without an exit has a solution too.
    found = np.linalg.solve(np.eye(size) - 0.999 * goes, starts)
    return {BlockId(index): float(value) for index, value in enumerate(found)}


def estimate_call(program: Program, environment: Environment) -> float:
    """How long the dispatches of a call take, in microseconds."""
    types, often = value_types(program), estimate_frequencies(program, environment)
    spent = 0.0
    for block in program.blocks:
        work = [op for op in block.ops if isinstance(op, TensorOp)]
        cost = estimate_operations(work, types, environment) + DISPATCH * count_dispatches(block, types, environment)
        spent += often[block.id] * cost
    return spent


def _count_taken(program: Program, environment: Environment) -> Taken:
    """What the calls of the profile did at each branch."""
    taken: dict[BlockId, Counter[int]] = {}
    for way in find_ways(program, environment, _PROFILED):
        for block, side in way[:-1]:
            taken.setdefault(block, Counter())[side] += 1
    return taken


def _shares(program: Program, block: BlockId, loops: Mapping[BlockId, int], taken: Taken) -> tuple[float, ...]:
    """How often each edge of a block is taken."""
    end = program.block(block).end
    if not isinstance(end, Branch):
        return (1.0,) * len(edges(end))
    yes, no = (_weight(program, block, edge, loops) for edge in (end.if_true, end.if_false))
    guessed = (yes / (yes + no), no / (yes + no))
    seen = taken.get(block, Counter())
    return tuple((seen[side] + share) / (seen.total() + 1) for side, share in enumerate(guessed))


def _weight(program: Program, block: BlockId, edge: Edge, loops: Mapping[BlockId, int]) -> float:
    if isinstance(program.block(edge.target).end, Raise):
        return RARE
    is_inside = block in loops and loops.get(edge.target) == loops[block]
    return STAYS if is_inside else 1 - STAYS
