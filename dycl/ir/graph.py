"""The program as a graph: edges, dominators, liveness, definitions and uses, and rewriting of values.

Analyses return results keyed by id; rewrites return new nodes. A point in a block is an index: -1 its parameters, `i`
its i-th operation, `len(ops)` its terminator. A subgraph's values are a scope of their own and take no part here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from collections.abc import Mapping as Table
from dataclasses import dataclass, replace
from typing import assert_never

import networkx as nx  # type: ignore[import-untyped]

from dycl.diagnostics import InternalError
from dycl.ir.nodes import (
    Block,
    Branch,
    Dispatch,
    Edge,
    HostOp,
    Invoke,
    Jump,
    Op,
    Raise,
    Reply,
    Return,
    Subgraph,
    TensorOp,
    Terminator,
    Write,
    edges,
)
from dycl.ir.program import Entry, Program, StateSlot
from dycl.ir.values import (
    BlockId,
    InputLeaf,
    Lit,
    Mapping,
    Operand,
    ProcedureId,
    Record,
    Ref,
    Seq,
    SliceOf,
    TorchLit,
    Value,
    ValueId,
    Weight,
    refs,
)

ROOT = BlockId(-1)  # the virtual block before every entry


# ---------------------------------------------------------------- one node


def op_definitions(op: Op) -> tuple[Value, ...]:
    """The values an operation defines: its results, then the new names of what it mutates."""
    match op:
        case TensorOp(results=results, mutates=mutates):
            return results + tuple(new for _, new in mutates)
        case HostOp(result=result):
            return (result,)
        case Dispatch(results=results) | Invoke(results=results):
            return results
        case _:
            assert_never(op)


def op_operands(op: Op) -> tuple[Operand, ...]:
    """The operands of an operation, keyword arguments last."""
    return op.args + tuple(value for _, value in op.kwargs) if isinstance(op, TensorOp) else op.args


def block_definitions(block: Block) -> Iterator[Value]:
    """The values a block defines: its parameters, and what its operations make, in order."""
    yield from block.params
    for op in block.ops:
        yield from op_definitions(op)


def op_uses(op: Op) -> tuple[ValueId, ...]:
    """The values an operation uses, in order; what it mutates counts as used."""
    used = _all_refs(op_operands(op))
    return used + tuple(old for old, _ in op.mutates) if isinstance(op, TensorOp) else used


def end_operands(end: Terminator) -> tuple[Operand, ...]:
    """The operands of a terminator, in order; the condition of a branch is one, and so are the arguments of edges."""
    match end:
        case Jump(edge=edge):
            return edge.args
        case Branch(cond=cond, if_true=yes, if_false=no):
            return (Ref(cond), *yes.args, *no.args)
        case Return() | Raise() | Reply():
            return leave_operands(end)
        case _:
            assert_never(end)


def leave_operands(end: Return | Raise | Reply) -> tuple[Operand, ...]:
    """What leaves the program, or a procedure, at its end: the result, what the caller sees written, the state."""
    match end:
        case Return(value=value, state=state, writes=writes):
            return (value, *(write.value for write in writes), *state)
        case Raise(args=args, state=state, writes=writes):
            return (*args, *(write.value for write in writes), *state)
        case Reply(values=values):
            return values
        case _:
            assert_never(end)


def end_uses(end: Terminator) -> tuple[ValueId, ...]:
    """The values a terminator uses, in order."""
    return _all_refs(end_operands(end))


def _all_refs(operands: Iterable[Operand]) -> tuple[ValueId, ...]:
    return tuple(value for operand in operands for value in refs(operand))


def operand_parts(operand: Operand) -> Iterator[Operand]:
    """The operand and everything inside it, outermost first."""
    yield operand
    match operand:
        case Seq(items=items):
            inner: Iterable[Operand] = items
        case SliceOf(start=start, stop=stop, step=step):
            inner = (start, stop, step)
        case Mapping(items=pairs):
            inner = tuple(part for pair in pairs for part in pair)
        case Record(fields=fields):
            inner = tuple(item for _, item in fields)
        case Ref() | Lit() | TorchLit() | Weight() | InputLeaf():
            inner = ()
        case _:
            assert_never(operand)
    for item in inner:
        yield from operand_parts(item)


# ---------------------------------------------------------------- edges and dominance


def block_graph(program: Program) -> nx.DiGraph:
    """Blocks and edges; an edge's `sides` say how it is taken: "jump", "true", "false", and from `ROOT` "entry" and
    "procedure".

    Edges to blocks that do not exist are left out.
    """
    graph = nx.DiGraph()
    graph.add_nodes_from([ROOT, *range(len(program.blocks))])
    for entry in program.entries:
        _add_edge(graph, ROOT, entry.block, "entry")
    for procedure in program.procedures:
        _add_edge(graph, ROOT, procedure.block, "procedure")
    for index, block in enumerate(program.blocks):
        names = ("true", "false") if isinstance(block.end, Branch) else ("jump",)
        for side, edge in zip(names, edges(block.end), strict=False):
            _add_edge(graph, BlockId(index), edge.target, side)
    return graph


def _add_edge(graph: nx.DiGraph, source: BlockId, target: BlockId, side: str) -> None:
    if target == ROOT or target not in graph:
        return
    sides = graph.edges[source, target]["sides"] if graph.has_edge(source, target) else ()
    graph.add_edge(source, target, sides=(*sides, side))


def entry_blocks(program: Program) -> frozenset[BlockId]:
    """The blocks where a call of the program, or of a procedure, may start."""
    return frozenset([entry.block for entry in program.entries] + [start.block for start in program.procedures])


def reachable(blocks: dict[BlockId, Block], start: BlockId) -> tuple[BlockId, ...]:
    """The blocks that a block leads to, and itself, in the order of their numbers."""
    seen: set[BlockId] = set()
    pending = [start]
    while pending:
        block = pending.pop()
        if block not in seen:
            seen.add(block)
            pending += [edge.target for edge in edges(blocks[block].end)]
    return tuple(sorted(seen))


def predecessors(program: Program) -> dict[BlockId, tuple[BlockId, ...]]:
    """For each block the blocks before it, one for each edge: a branch with both sides to it counts twice."""
    found: dict[BlockId, list[BlockId]] = {block.id: [] for block in program.blocks}
    for block in program.blocks:
        for edge in edges(block.end):
            found[edge.target].append(block.id)
    return {block: tuple(sources) for block, sources in found.items()}


def find_owners(program: Program) -> dict[BlockId, frozenset[ProcedureId | None]]:
    """The procedures that each block is reached from; None stands for the program's own entries."""
    starts: list[tuple[BlockId, ProcedureId | None]] = [(entry.block, None) for entry in program.entries]
    starts += [(procedure.block, procedure.id) for procedure in program.procedures]
    found: dict[BlockId, frozenset[ProcedureId | None]] = {}
    for start, owner in starts:
        pending = [start]
        while pending:
            block = pending.pop()
            if owner not in found.get(block, frozenset()):
                found[block] = found.get(block, frozenset()) | {owner}
                pending += [edge.target for edge in edges(program.block(block).end)]
    return found


@dataclass(frozen=True, slots=True)
class Dominators:
    """The dominator tree of the reachable blocks, under `ROOT`."""

    parent: dict[BlockId, BlockId]
    first: dict[BlockId, int]  # number when the walk of the tree comes to the block
    last: dict[BlockId, int]  # and the highest number below it

    def dominates(self, above: BlockId, below: BlockId) -> bool:
        """Does every way to `below` pass `above`? A block dominates itself; nothing is known of unreachable ones."""
        if above not in self.first or below not in self.first:
            return False
        return self.first[above] <= self.first[below] <= self.last[above]


def dominators(program: Program) -> Dominators:
    """Which blocks dominate which."""
    parent = {b: p for b, p in nx.immediate_dominators(block_graph(program), ROOT).items() if b != ROOT}
    tree = nx.DiGraph()
    tree.add_node(ROOT)
    tree.add_edges_from((above, below) for below, above in sorted(parent.items()))
    order = list(nx.dfs_preorder_nodes(tree, ROOT))
    first = {block: number for number, block in enumerate(order)}
    last = dict(first)
    for block in reversed(order[1:]):
        last[parent[block]] = max(last[parent[block]], last[block])
    return Dominators(parent, first, last)


# ---------------------------------------------------------------- values


@dataclass(frozen=True, slots=True)
class Definition:
    """Where a value is defined."""

    block: BlockId
    index: int
    value: Value


@dataclass(frozen=True, slots=True)
class Use:
    """Where a value is used."""

    block: BlockId
    index: int


def definitions(program: Program) -> dict[ValueId, Definition]:
    """The definition of each value."""
    found: dict[ValueId, Definition] = {}
    for block in program.blocks:
        found.update((value.id, Definition(block.id, -1, value)) for value in block.params)
        for index, op in enumerate(block.ops):
            found.update((value.id, Definition(block.id, index, value)) for value in op_definitions(op))
    return found


def uses(program: Program) -> dict[ValueId, tuple[Use, ...]]:
    """The uses of each value that has any, in program order; state templates are no uses."""
    found: dict[ValueId, list[Use]] = {}
    for block in program.blocks:
        points = [*(op_uses(op) for op in block.ops), end_uses(block.end)]
        for index, used in enumerate(points):
            for value in used:
                found.setdefault(value, []).append(Use(block.id, index))
    return {value: tuple(places) for value, places in found.items()}


@dataclass(frozen=True, slots=True)
class Liveness:
    """The values that may still be used where a block begins (its own parameters not counted) and where it ends.

    What the terminator itself uses is not in `live_out`, unless a later block uses it too.
    """

    live_in: dict[BlockId, frozenset[ValueId]]
    live_out: dict[BlockId, frozenset[ValueId]]


def find_liveness(program: Program) -> Liveness:
    """Which values are live at the borders of each block."""
    needs, makes = {}, {}
    for block in program.blocks:
        needs[block.id], makes[block.id] = _upward_uses(block)
    live_in = dict(needs)
    live_out: dict[BlockId, frozenset[ValueId]] = {block.id: frozenset() for block in program.blocks}
    before = predecessors(program)
    pending = [block.id for block in program.blocks]
    while pending:
        block_id = pending.pop()
        after = [live_in[edge.target] for edge in edges(program.block(block_id).end)]
        live_out[block_id] = frozenset().union(*after)
        grown = needs[block_id] | (live_out[block_id] - makes[block_id])
        if grown != live_in[block_id]:
            live_in[block_id] = grown
            pending.extend(before[block_id])
    return Liveness(live_in, live_out)


def _upward_uses(block: Block) -> tuple[frozenset[ValueId], frozenset[ValueId]]:
    """What the block uses before it defines it, and what it defines."""
    made = {value.id for value in block.params}
    needed: set[ValueId] = set()
    for op in block.ops:
        needed.update(value for value in op_uses(op) if value not in made)
        made.update(value.id for value in op_definitions(op))
    needed.update(value for value in end_uses(block.end) if value not in made)
    return frozenset(needed), frozenset(made)


# ---------------------------------------------------------------- rewriting


def map_operand(operand: Operand, fn: Callable[[Ref], Operand]) -> Operand:
    """The operand with every use replaced by what `fn` makes of it."""
    match operand:
        case Ref():
            return fn(operand)
        case Seq(kind=kind, items=items):
            return Seq(kind, tuple(map_operand(item, fn) for item in items))
        case SliceOf(start=start, stop=stop, step=step):
            return SliceOf(map_operand(start, fn), map_operand(stop, fn), map_operand(step, fn))
        case Mapping(items=pairs):
            return Mapping(tuple((key, map_operand(item, fn)) for key, item in pairs))
        case Record(kind=kind, class_name=name, fields=fields):
            return Record(kind, name, tuple((field, map_operand(item, fn)) for field, item in fields))
        case Lit() | TorchLit() | Weight() | InputLeaf():
            return operand
        case _:
            assert_never(operand)


Substitution = Table[ValueId, Operand]


def substitute_operand(operand: Operand, mapping: Substitution) -> Operand:
    """The operand with values replaced as the mapping says."""
    return map_operand(operand, lambda ref: mapping.get(ref.id, ref))


def substitute_operands(operands: Iterable[Operand], mapping: Substitution) -> tuple[Operand, ...]:
    """The operands with values replaced as the mapping says."""
    return tuple(substitute_operand(operand, mapping) for operand in operands)


def _substitute_id(value: ValueId, mapping: Substitution) -> ValueId:
    new = mapping.get(value, Ref(value))
    if not isinstance(new, Ref):
        raise InternalError(f"%{value} stands where only a value can stand, and is to be replaced by {new}")
    return new.id


def substitute_op(op: Op, mapping: Substitution) -> Op:
    """The operation with the values it uses replaced; itself if it uses none of them."""
    if not any(value in mapping for value in op_uses(op)):
        return op
    args = substitute_operands(op.args, mapping)
    match op:
        case TensorOp():
            kwargs = tuple((name, substitute_operand(value, mapping)) for name, value in op.kwargs)
            mutates = tuple((_substitute_id(old, mapping), new) for old, new in op.mutates)
            return replace(op, args=args, kwargs=kwargs, mutates=mutates)
        case HostOp() | Dispatch() | Invoke():
            return replace(op, args=args)
        case _:
            assert_never(op)


def map_definitions(op: Op, fn: Callable[[Value], Value]) -> Op:
    """The operation with each value that it defines replaced by what `fn` makes of it, in their order."""
    match op:
        case TensorOp(results=results, mutates=mutates):
            results = tuple(fn(value) for value in results)
            return replace(op, results=results, mutates=tuple((old, fn(new)) for old, new in mutates))
        case HostOp(result=result):
            return replace(op, result=fn(result))
        case Dispatch(results=results) | Invoke(results=results):
            return replace(op, results=tuple(fn(value) for value in results))
        case _:
            assert_never(op)


def substitute_edge(edge: Edge, mapping: Substitution) -> Edge:
    """The edge with its arguments replaced."""
    return Edge(edge.target, substitute_operands(edge.args, mapping))


def substitute_end(end: Terminator, mapping: Substitution) -> Terminator:
    """The terminator with the values it uses replaced; fold a branch before its condition becomes a literal."""
    match end:
        case Jump():
            return replace(end, edge=substitute_edge(end.edge, mapping))
        case Branch():
            yes, no = substitute_edge(end.if_true, mapping), substitute_edge(end.if_false, mapping)
            return replace(end, cond=_substitute_id(end.cond, mapping), if_true=yes, if_false=no)
        case Return(state=state):
            value, writes = substitute_operand(end.value, mapping), _substitute_writes(end.writes, mapping)
            return replace(end, value=value, state=substitute_operands(state, mapping), writes=writes)
        case Raise(state=state):
            args, writes = substitute_operands(end.args, mapping), _substitute_writes(end.writes, mapping)
            return replace(end, args=args, state=substitute_operands(state, mapping), writes=writes)
        case Reply(values=values):
            return replace(end, values=substitute_operands(values, mapping))
        case _:
            assert_never(end)


def _substitute_writes(writes: tuple[Write, ...], mapping: Substitution) -> tuple[Write, ...]:
    return tuple(replace(write, value=substitute_operand(write.value, mapping)) for write in writes)


def map_edges(end: Terminator, fn: Callable[[int, Edge], Edge]) -> Terminator:
    """The terminator with each of its edges replaced by what `fn` makes of its number and of it."""
    match end:
        case Jump(edge=edge):
            return replace(end, edge=fn(0, edge))
        case Branch(if_true=yes, if_false=no):
            return replace(end, if_true=fn(0, yes), if_false=fn(1, no))
        case Return() | Raise() | Reply():
            return end
        case _:
            assert_never(end)


def substitute_block(block: Block, mapping: Substitution) -> Block:
    """The block with the values it uses replaced; definitions stay."""
    ops = tuple(substitute_op(op, mapping) for op in block.ops)
    return replace(block, ops=ops, end=substitute_end(block.end, mapping))


def substitute(program: Program, mapping: Substitution) -> Program:
    """The program with values replaced wherever a block uses them; definitions stay."""
    return replace(program, blocks=tuple(substitute_block(block, mapping) for block in program.blocks))


# ---------------------------------------------------------------- canonical numbers


def block_order(program: Program) -> tuple[BlockId, ...]:
    """The reachable blocks in reverse post order: first entry first, and the true side before the false."""
    seen: set[BlockId] = set()
    done: list[BlockId] = []
    starts = [entry.block for entry in program.entries] + [start.block for start in program.procedures]
    pending = [(block, False) for block in starts]
    while pending:
        block, finished = pending.pop()
        if finished:
            done.append(block)
        elif block not in seen:
            seen.add(block)
            pending.append((block, True))
            pending.extend((edge.target, False) for edge in edges(program.block(block).end))
    return tuple(reversed(done))


def renumber(program: Program) -> Program:
    """The program with canonical ids: blocks in reverse post order, values in order of definition.

    Unreachable blocks are gone. A subgraph keeps its id; the values inside are numbered from 0. A program that has
    canonical ids is given back itself, so that whoever has looked at it need not look again.
    """
    order = block_order(program)
    block_ids = {old: BlockId(new) for new, old in enumerate(order)}
    kept = [program.block(block) for block in order]
    names = _number(value for block in kept for value in block_definitions(block))
    subgraphs = tuple(_renumber_subgraph(subgraph) for subgraph in program.subgraphs)
    if order == tuple(range(len(program.blocks))) and _is_numbered(names):
        return program if subgraphs == program.subgraphs else replace(program, subgraphs=subgraphs)
    return replace(
        program,
        entries=tuple(_renumber_entry(entry, block_ids, names) for entry in program.entries),
        blocks=tuple(_renumber_block(block, block_ids, names) for block in kept),
        subgraphs=subgraphs,
        procedures=tuple(replace(part, block=block_ids[part.block]) for part in program.procedures),
    )


Names = dict[ValueId, Ref]


def _number(values: Iterable[Value]) -> Names:
    return {value.id: Ref(ValueId(number)) for number, value in enumerate(values)}


def _is_numbered(names: Names) -> bool:
    return all(old == new.id for old, new in names.items())


def _known(used: Iterable[ValueId], names: Names) -> Names:
    """The names, in which all that is used is."""
    missing = [value for value in used if value not in names]
    if missing:
        raise InternalError(f"to be renumbered, but never defined: {missing}")
    return names


def _rename(value: Value, names: Names) -> Value:
    new = names[value.id].id
    return value if new == value.id else replace(value, id=new)


def _renumber_entry(entry: Entry, block_ids: dict[BlockId, BlockId], names: Names) -> Entry:
    _known(_all_refs(slot.template for slot in entry.slots), names)
    slots = tuple(StateSlot(slot.name, substitute_operand(slot.template, names)) for slot in entry.slots)
    return replace(entry, block=block_ids[entry.block], slots=slots)


def _renumber_op(op: Op, names: Names) -> Op:
    used = op_uses(op)
    _known(used, names)
    if all(names[value].id == value for value in (*used, *(value.id for value in op_definitions(op)))):
        return op
    return map_definitions(substitute_op(op, names), lambda value: _rename(value, names))


def _renumber_block(block: Block, block_ids: dict[BlockId, BlockId], names: Names) -> Block:
    end = substitute_end(block.end, _known(end_uses(block.end), names))
    end = map_edges(end, lambda _, edge: Edge(block_ids[edge.target], edge.args))
    params = tuple(_rename(value, names) for value in block.params)
    ops = tuple(_renumber_op(op, names) for op in block.ops)
    return replace(block, id=block_ids[block.id], params=params, ops=ops, end=end)


def _renumber_subgraph(subgraph: Subgraph) -> Subgraph:
    names = _number((*subgraph.params, *(value for op in subgraph.ops for value in op_definitions(op))))
    if _is_numbered(names):
        return subgraph
    ops = tuple(op for op in (_renumber_op(op, names) for op in subgraph.ops) if isinstance(op, TensorOp))
    params = tuple(_rename(value, names) for value in subgraph.params)
    _known(subgraph.results, names)
    results = tuple(names[value].id for value in subgraph.results)
    return replace(subgraph, params=params, ops=ops, results=results)
