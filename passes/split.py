"""Part a recursive procedure where it is settled that it calls itself: the rest becomes a procedure of its own.

Before::

    procedure p0 fold b1
    b1(%1 node: object[Node]):
      %2: bool = host attr(%1, 'is_leaf')
      branch %2 ? b2 : b3
    b2:
      %3: int = host attr(%1, 'word')
      %4: float32[1, 4] = call torch.full((1, 4), %3)
      reply (%4)
    b3:
      %5: object[Node] = host attr(%1, 'next')
      %6: float32[1, 4] = invoke p0(%5)
      %7: float32[1, 4] = call torch.tanh(%6)
      reply (%7)

After, `p0` is not recursive itself, and `inline` can put it in the place of its calls::

    procedure p0 fold b1
    procedure p1 fold b4 rest
    b1(%1 node: object[Node]):
      ...
      branch %2 ? b2 : b3
    b3:
      %5: float32[1, 4] = invoke p1(%1)
      reply (%5)
    b4(%6 node: object[Node]):
      %7: object[Node] = host attr(%6, 'next')
      %8: float32[1, 4] = invoke p0(%7)
      ...

Tensor work that was done before, and that no decision waits for, is done in the rest once more, next to what needs it;
where nothing else needs it, dead code and `sink-work` drop it in the first part.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import networkx as nx  # type: ignore[import-untyped]

from dycl.ir.dataflow import block_definitions, edge_bindings, find_liveness, op_uses, value_types
from dycl.ir.graph import find_owners, reachable
from dycl.ir.nodes import Block, Branch, Edge, HostOp, Invoke, Jump, Procedure, Reply, TensorOp, Terminator, edges
from dycl.ir.program import Program
from dycl.ir.substitution import Substitution, map_edges, substitute_operands
from dycl.ir.values import BlockId, Operand, ProcedureId, Ref, ValueId, refs
from dycl.passes.cloning import Blocks
from dycl.passes.rewriting import copy_ops, operand_key
from dycl.passes.sink_work import may_be_passed


@dataclass(frozen=True, slots=True)
class Split:
    """Where a procedure can be parted."""

    procedure: Procedure
    first: tuple[BlockId, ...]  # what is done before, and on the ways that do not recurse
    rest: tuple[BlockId, ...]  # where those begin that do


def find_recursive(program: Program) -> dict[ProcedureId, frozenset[ProcedureId]]:
    """The procedures that may come to be called again before they are left, each with those that this goes through."""
    graph = nx.DiGraph()
    owners = find_owners(program)
    for block in program.blocks:
        for op in block.ops:
            if isinstance(op, Invoke):
                graph.add_edges_from((owner, op.procedure) for owner in owners.get(block.id, ()) if owner is not None)
    groups = [frozenset(group) for group in nx.strongly_connected_components(graph)]
    return {one: group for group in groups for one in group if len(group) > 1 or graph.has_edge(one, one)}


def find_split(program: Program, procedure: Procedure, group: Collection[ProcedureId]) -> Split | None:
    """How a recursive procedure can be parted; None if every way through it recurses."""
    blocks = {block.id: block for block in program.blocks}
    inside = reachable(blocks, procedure.block)
    calling = {block for block in inside if _invokes(blocks[block], group)}
    replying = _lead_to(blocks, inside, {b for b in inside if isinstance(blocks[b].end, Reply)}, calling)
    recursing = _lead_to(blocks, inside, calling, ())
    if procedure.block not in replying:
        return None
    first, rest, pending = {procedure.block}, set(), [procedure.block]
    while pending:
        for edge in edges(blocks[pending.pop()].end):
            if edge.target not in replying and edge.target in recursing:
                rest.add(edge.target)
            elif edge.target not in first:
                first.add(edge.target)
                pending.append(edge.target)
    return Split(procedure, tuple(sorted(first)), tuple(sorted(rest)))


def _invokes(block: Block, group: Collection[ProcedureId]) -> bool:
    return any(isinstance(op, Invoke) and op.procedure in group for op in block.ops)


def _lead_to(
    blocks: Mapping[BlockId, Block], inside: Collection[BlockId], goals: set[BlockId], closed: Collection[BlockId]
) -> set[BlockId]:
    """The blocks from which a goal can be reached without entering a closed block."""
    found = goals - set(closed)
    grows = True
    while grows:
        more = {b for b in inside if b not in closed and any(e.target in found for e in edges(blocks[b].end))} - found
        found |= more
        grows = bool(more)
    return found


def apply_split(program: Program, split: Split) -> Program:
    """The program with the procedure parted."""
    return _Splitter(program, split).split()


class _Splitter:
    """Makes a procedure of each rest."""

    def __init__(self, program: Program, split: Split) -> None:
        self._program = program
        self._split = split
        self._blocks = Blocks(program)
        self._live = find_liveness(program).live_in
        self._values = {value.id: value for block in program.blocks for value in block_definitions(block)}
        self._makers = self._find_movable()
        calls = (op for block in program.blocks for op in block.ops if isinstance(op, Invoke))
        self._results = next(op.results for op in calls if op.procedure == split.procedure.id)

    def _find_movable(self) -> dict[ValueId, TensorOp]:
        """The tensor work of the first part that may be done in the rest as well: no decision waits for it."""
        types = value_types(self._program)
        first = [self._program.block(block) for block in self._split.first]
        ops = [op for block in first for op in block.ops]
        if not all(may_be_passed(op, types) for op in ops):
            return {}
        made = {value.id: op for op in ops if isinstance(op, TensorOp) for value in op.results}
        given: dict[ValueId, list[Operand]] = {}
        for block in first:
            for param, arg in edge_bindings(self._program, block):
                given.setdefault(param.id, []).append(arg)
        needed: set[ValueId] = set()
        pending = [value for op in ops if isinstance(op, HostOp) for value in op_uses(op)]
        pending += [block.end.cond for block in first if isinstance(block.end, Branch)]
        while pending:
            value = pending.pop()
            if value not in needed:
                needed.add(value)
                pending += op_uses(made[value]) if value in made else ()
                pending += [used for arg in given.get(value, ()) for used in refs(arg)]
        return {value: op for value, op in made.items() if value not in needed}

    def split(self) -> Program:
        """The whole program anew."""
        instead = {target: self._leave(target) for target in self._split.rest}
        for block in self._split.first:
            found = self._blocks.found[block]
            self._blocks.found[block] = replace(found, end=_redirect(found, instead))
        return self._blocks.finish()

    def _leave(self, target: BlockId) -> Edge | BlockId:
        """The edge, or the block with the same parameters, that leads to the rest instead of its first block."""
        ways = [edge for block in self._split.first for edge in edges(self._program.block(block).end)]
        ways = [edge for edge in ways if edge.target == target]
        is_one = len({tuple(map(operand_key, edge.args)) for edge in ways}) == 1
        block = self._program.block(target)
        params = tuple(map(self._blocks.values.fresh, block.params))
        args = ways[0].args if is_one else tuple(Ref(param.id) for param in params)
        wanted = set(self._live[target]).union(*(refs(arg) for arg in args if is_one))
        passed, work = self._trace(wanted)
        handed = tuple(Ref(value) for value in passed)
        start = self._make_rest(block, args if is_one else None, passed, work)
        number = ProcedureId(len(self._blocks.program.procedures))
        rest = replace(self._split.procedure, id=number, block=start, is_rest=True)
        self._blocks.program = replace(self._blocks.program, procedures=(*self._blocks.program.procedures, rest))
        results = tuple(map(self._blocks.values.fresh, self._results))
        call = Invoke(
            procedure=number,
            args=handed if is_one else (*args, *handed),
            results=results,
            loc=self._split.procedure.loc,
        )
        end = Reply(values=tuple(Ref(value.id) for value in results), loc=self._split.procedure.loc)
        new = self._blocks.reserve()
        self._blocks.found[new] = Block(id=new, params=() if is_one else params, ops=(call,), end=end, loc=block.loc)
        return Edge(new) if is_one else new

    def _trace(self, wanted: set[ValueId]) -> tuple[list[ValueId], list[TensorOp]]:
        """What the rest is handed, and the work that it does once more to have all that is wanted."""
        passed: set[ValueId] = set()
        work: set[int] = set()
        pending = list(wanted)
        while pending:
            value = pending.pop()
            op = self._makers.get(value)
            if op is None:
                passed.add(value)
            elif id(op) not in work:
                work.add(id(op))
                pending += op_uses(op)
        ops = (op for block in self._split.first for op in self._program.block(block).ops)
        return sorted(passed), [op for op in ops if isinstance(op, TensorOp) and id(op) in work]

    def _make_rest(
        self, block: Block, args: tuple[Operand, ...] | None, passed: list[ValueId], work: list[TensorOp]
    ) -> BlockId:
        """The first block of the rest: its parameters are what it is handed."""
        blocks = self._blocks
        fresh = [blocks.values.fresh(self._values[value]) for value in passed]
        mapping: Substitution = {old: Ref(new.id) for old, new in zip(passed, fresh, strict=True)}
        ops = copy_ops(work, mapping, blocks.values)
        own = () if args is not None else tuple(map(blocks.values.fresh, block.params))
        entering = tuple(Ref(param.id) for param in own) if args is None else substitute_operands(args, mapping)
        at_first = dict(mapping)
        region = [self._program.block(found) for found in reachable(blocks.found, block.id)]
        ids = blocks.copy(region, mapping, {})
        start = blocks.reserve()
        blocks.found[start] = Block(
            id=start,
            params=(*own, *fresh),
            ops=ops,
            end=Jump(edge=Edge(ids[block.id], entering), loc=block.loc),
            loc=block.loc,
        )
        # What the first part made, and the rest makes anew when it comes back to the same blocks.
        versions: dict[BlockId, dict[ValueId, Operand]] = {}
        renamed: dict[ValueId, ValueId] = {}
        for found in region:
            for value in block_definitions(found):
                now = mapping[value.id]
                if value.id in at_first and isinstance(now, Ref):
                    renamed[value.id] = now.id
                    versions.setdefault(ids[found.id], {})[now.id] = now
                    versions.setdefault(start, {})[now.id] = at_first[value.id]
        live = {ids[b.id]: {renamed[v] for v in self._live[b.id] if v in renamed} for b in region}
        joined = not versions or blocks.join(versions, live)
        assert joined, "what is live at the first block is passed to it"
        return start


def _redirect(block: Block, instead: Mapping[BlockId, Edge | BlockId]) -> Terminator:
    """The end of a block of the first part, its edges to a rest leading to the call of it."""

    def lead(_: int, edge: Edge) -> Edge:
        found = instead.get(edge.target, edge)
        return found if isinstance(found, Edge) else Edge(found, edge.args)

    return map_edges(block.end, lead)
