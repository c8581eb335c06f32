"""The shape of a program's graph that structuring needs: order, dominator tree, loops, and whether it is reducible."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from dycl.ir.graph import ROOT, block_order
from dycl.ir.nodes import edges
from dycl.ir.program import Program
from dycl.ir.values import BlockId


@dataclass(frozen=True, slots=True)
class Flow:
    """Reachable blocks under `ROOT`, which leads to every entry."""

    order: tuple[BlockId, ...]  # reverse post order, `ROOT` first
    place: dict[BlockId, int]
    successors: dict[BlockId, tuple[BlockId, ...]]
    parent: dict[BlockId, BlockId]  # immediate dominators
    ways_in: dict[BlockId, int]  # edges that are not back edges
    loops: dict[BlockId, frozenset[BlockId]]  # header: body with header
    loop_of: dict[BlockId, BlockId | None]  # the header of the innermost loop a block is in
    outer: dict[BlockId, BlockId | None]  # the header of the loop around a loop
    reducible: bool
    size: dict[BlockId, int] = field(default_factory=dict)  # blocks in the dominator subtree


def find_flow(program: Program) -> Flow:
    """Analyse the graph."""
    order = (ROOT, *block_order(replace(program, procedures=())))
    place = {block: index for index, block in enumerate(order)}
    successors = {ROOT: tuple(entry.block for entry in program.entries)}
    successors.update({b: tuple(edge.target for edge in edges(program.block(b).end)) for b in order[1:]})
    before: dict[BlockId, list[BlockId]] = {block: [] for block in order}
    for block in order:
        for target in successors[block]:
            before[target].append(block)
    parent = _dominators(order, place, before)
    first, last, size = _intervals(order, parent)
    tails: dict[BlockId, list[BlockId]] = {}
    ways_in = dict.fromkeys(order, 0)
    reducible = True
    for block in order:
        for target in successors[block]:
            if place[target] > place[block]:
                ways_in[target] += 1
            elif first[target] <= first[block] <= last[target]:
                tails.setdefault(target, []).append(block)
            else:
                reducible = False
    loops = _loops(order, before, tails) if reducible else {}
    loop_of, outer = _nesting(order, loops)
    return Flow(order, place, successors, parent, ways_in, loops, loop_of, outer, reducible, size)


def _dominators(
    order: tuple[BlockId, ...], place: dict[BlockId, int], before: dict[BlockId, list[BlockId]]
) -> dict[BlockId, BlockId]:
    """Immediate dominators, by the iteration of Cooper, Harvey and Kennedy."""
    parent: dict[BlockId, BlockId] = {ROOT: ROOT}
    changed = True
    while changed:
        changed = False
        for block in order[1:]:
            found: BlockId | None = None
            for source in before[block]:
                if source in parent:
                    found = source if found is None else _meet(found, source, parent, place)
            assert found is not None
            if parent.get(block) != found:
                parent[block] = found
                changed = True
    return parent


def _meet(a: BlockId, b: BlockId, parent: dict[BlockId, BlockId], place: dict[BlockId, int]) -> BlockId:
    while a != b:
        while place[a] > place[b]:
            a = parent[a]
        while place[b] > place[a]:
            b = parent[b]
    return a


def _intervals(
    order: tuple[BlockId, ...], parent: dict[BlockId, BlockId]
) -> tuple[dict[BlockId, int], dict[BlockId, int], dict[BlockId, int]]:
    """Numbers such that a block dominates exactly those whose first lies in its interval; and subtree sizes."""
    size = dict.fromkeys(order, 1)
    for block in reversed(order[1:]):
        size[parent[block]] += size[block]
    first = {ROOT: 0}
    free = {ROOT: 1}  # the next number below a block
    for block in order[1:]:
        above = parent[block]
        first[block] = free[above]
        free[above] += size[block]
        free[block] = first[block] + 1
    last = {block: first[block] + size[block] - 1 for block in order}
    return first, last, size


def _loops(
    order: tuple[BlockId, ...], before: dict[BlockId, list[BlockId]], tails: dict[BlockId, list[BlockId]]
) -> dict[BlockId, frozenset[BlockId]]:
    """The natural loops, outer ones first."""
    found: dict[BlockId, frozenset[BlockId]] = {}
    for header in order:
        if header in tails:
            body = {header}
            stack = list(tails[header])
            while stack:
                block = stack.pop()
                if block not in body:
                    body.add(block)
                    stack.extend(before[block])
            found[header] = frozenset(body)
    return found


def _nesting(
    order: tuple[BlockId, ...], loops: dict[BlockId, frozenset[BlockId]]
) -> tuple[dict[BlockId, BlockId | None], dict[BlockId, BlockId | None]]:
    innermost: dict[BlockId, BlockId | None] = dict.fromkeys(order)
    outer: dict[BlockId, BlockId | None] = {}
    for header, body in loops.items():
        outer[header] = innermost[header]
        for block in body:
            innermost[block] = header
    return innermost, outer
