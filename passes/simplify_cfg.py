"""Simplify the control flow: fewer blocks, edges, parameters and decisions; no work is ever duplicated.

Before::

    b0(%0 x: float32[1, 4]):
      jump b1(%0, True)
    b1(%1: float32[1, 4], %2: bool):
      branch %2 ? b2 : b3
    b2:
      %3: float32[1, 4] = call torch.relu(%1)
      return %3
    b3:
      return %1

After::

    b0(%0 x: float32[1, 4]):
      %1: float32[1, 4] = call torch.relu(%0)
      return %1

What happens, to a fixpoint: an edge to a block that does nothing but go on goes on itself; a branch whose condition is
known (a literal, or decided on the only way here) is a jump, and so is a branch whose two edges are equal, while host
operations that made its condition stay; a parameter that always receives the same operand, around loops too, is that
operand; a block with one predecessor that always goes there is appended to it; unreachable blocks are dropped.
"""

from __future__ import annotations

from dataclasses import replace

from dycl.ir.dataflow import mutated_values, uses, value_types
from dycl.ir.environment import Environment
from dycl.ir.graph import Dominators, block_order, dominators, edges_into, entry_blocks, predecessors
from dycl.ir.nodes import Block, Branch, Edge, Jump, Terminator
from dycl.ir.numbering import renumber
from dycl.ir.program import Program
from dycl.ir.substitution import Substitution, substitute_edge
from dycl.ir.values import BlockId, Lit, Operand, Ref, Seq, ValueId
from dycl.passes.rewriting import drop_params, operand_key, replace_values
from dycl.passes.sizes import bind_sizes, rename_sizes, settle_sizes

Facts = dict[ValueId, bool]


def run(program: Program, environment: Environment) -> Program:
    """The program with its control flow in the simplest equal form."""
    program = renumber(program)
    while True:
        before = program
        for step in (thread_edges, drop_same_params, drop_params_around_loops, merge_chains):
            program = renumber(step(program))
        if program == before:
            return program


# ---------------------------------------------------------------- edges and branches


def thread_edges(program: Program) -> Program:
    """The program with each edge led to where it really goes, and branches with one way to go as jumps."""
    passable = _find_passable(program)
    asked_twice = _find_asked_twice(program)
    order = dominators(program)
    sources = predecessors(program)
    blocks = []
    for block in program.blocks:
        facts = _known_facts(program, block.id, order, sources) if asked_twice else {}
        blocks.append(replace(block, end=_thread_end(program, block.end, facts, passable)))
    return replace(program, blocks=tuple(blocks))


def _find_passable(program: Program) -> frozenset[BlockId]:
    """The blocks without work whose parameters nobody else reads: an edge to one may go on past it."""
    readers = uses(program)
    return frozenset(
        block.id
        for block in program.blocks
        if not block.ops
        and isinstance(block.end, Jump | Branch)
        and all(use.block == block.id for param in block.params for use in readers.get(param.id, ()))
    )


def _find_asked_twice(program: Program) -> bool:
    """Whether some condition is used in more than one place, so that knowing it may help."""
    readers = uses(program)
    return any(len(readers[block.end.cond]) > 1 for block in program.blocks if isinstance(block.end, Branch))


def _known_facts(
    program: Program, block_id: BlockId, order: Dominators, sources: dict[BlockId, tuple[BlockId, ...]]
) -> Facts:
    """The conditions that are decided on every way to the block."""
    facts: Facts = {}
    starts = entry_blocks(program)
    while block_id >= 0:
        before = sources[block_id]
        if len(before) == 1 and block_id not in starts:
            end = program.block(before[0]).end
            if isinstance(end, Branch):
                facts.setdefault(end.cond, end.if_true.target == block_id)
        block_id = order.parent.get(block_id, BlockId(-1))
    return facts


def _thread_end(program: Program, end: Terminator, facts: Facts, passable: frozenset[BlockId]) -> Terminator:
    if isinstance(end, Branch) and end.cond in facts:
        end = Jump(edge=end.if_true if facts[end.cond] else end.if_false, loc=end.loc)
    match end:
        case Jump(edge=edge):
            return replace(end, edge=_thread_edge(program, edge, facts, passable))
        case Branch(cond=cond, if_true=yes, if_false=no):
            yes = _thread_edge(program, yes, {**facts, cond: True}, passable)
            no = _thread_edge(program, no, {**facts, cond: False}, passable)
            if _edge_key(yes) == _edge_key(no):
                return Jump(edge=yes, loc=end.loc)
            return replace(end, if_true=yes, if_false=no)
        case _:
            return end


def _edge_key(edge: Edge) -> tuple[object, ...]:
    """What is equal for edges that do exactly the same."""
    return (edge.target, *(operand_key(arg) for arg in edge.args))


def _thread_edge(program: Program, edge: Edge, facts: Facts, passable: frozenset[BlockId]) -> Edge:
    """The edge led on through blocks that do nothing; it stops in front of a loop of such blocks."""
    passed: set[BlockId] = set()
    while edge.target in passable and edge.target not in passed:
        passed.add(edge.target)
        block = program.block(edge.target)
        mapping: Substitution = {param.id: arg for param, arg in zip(block.params, edge.args, strict=True)}
        chosen = _choose_edge(block, mapping, facts)
        if chosen is None:
            break
        edge = substitute_edge(chosen, mapping)
    return edge


def _choose_edge(block: Block, mapping: Substitution, facts: Facts) -> Edge | None:
    """The edge by which a block is left that is entered with these arguments, if that is known."""
    match block.end:
        case Jump(edge=edge):
            return edge
        case Branch(cond=cond, if_true=yes, if_false=no):
            match mapping.get(cond, Ref(cond)):
                case Lit(value=known):
                    return yes if known else no
                case Ref(id=value) if value in facts:
                    return yes if facts[value] else no
    return None


# ---------------------------------------------------------------- parameters


def drop_same_params(program: Program) -> Program:
    """The program without parameters that receive one operand by every edge (or, around a loop, themselves)."""
    mutated = mutated_values(program)
    starts = entry_blocks(program)
    mapping: Substitution = {}
    for block_id, incoming in edges_into(program).items():
        if block_id in starts:
            continue
        for index, param in enumerate(program.block(block_id).params):
            given = {operand_key(edge.args[index]): edge.args[index] for edge in incoming}
            given.pop(operand_key(Ref(param.id)), None)
            if len(given) == 1:
                operand = next(iter(given.values()))
                if _may_replace(param.id, operand, mutated, single=len(incoming) == 1):
                    mapping[param.id] = operand
    return _replace_params(program, mapping)


def _may_replace(param: ValueId, operand: Operand, mutated: frozenset[ValueId], *, single: bool) -> bool:
    """Whether the operand may stand wherever the parameter is used.

    A list is built where it is used, so it takes the place of a parameter only where one edge passes it.
    """
    if isinstance(operand, Ref):
        return True
    return param not in mutated and (single or not isinstance(operand, Seq))


def _replace_params(program: Program, mapping: Substitution) -> Program:
    """The program with parameters replaced as the mapping says, and gone."""
    copies: Substitution = {param: operand for param, operand in mapping.items() if isinstance(operand, Ref)}
    mapping = copies or mapping  # names first: what stands for a mutated name must be seen to be one
    if not mapping:
        return program
    params = (param for block in program.blocks for param in block.params if param.id in mapping)
    sizes = settle_sizes(bind_sizes(((param, mapping[param.id]) for param in params), value_types(program)))
    return rename_sizes(drop_params(replace_values(program, mapping), set(mapping)), sizes)


def drop_params_around_loops(program: Program) -> Program:
    """The program without groups of parameters that pass one operand around among themselves.

    Optimistic: a parameter is taken for what it first receives until an edge says otherwise, so that parameters of
    several loop headers that only feed each other are found together.
    """
    mutated = mutated_values(program)
    found: dict[ValueId, Operand] = {
        param.id: Ref(param.id) for block in entry_blocks(program) for param in program.block(block).params
    }
    incoming = edges_into(program)
    order = [program.block(block) for block in block_order(program)]
    params = {param.id for block in order for param in block.params}
    changed = True
    while changed:
        changed = False
        for block in order:
            for index, param in enumerate(block.params):
                if found.get(param.id) == Ref(param.id):
                    continue
                args = [edge.args[index] for edge in incoming[block.id]]
                now = _meet(param.id, args, found, params)
                if now is not None and param.id not in found:
                    found[param.id], changed = now, True
                elif now is not None and operand_key(now) != operand_key(found[param.id]):
                    found[param.id], changed = Ref(param.id), True
    mapping: Substitution = {
        param: operand
        for param, operand in found.items()
        if operand != Ref(param) and _may_replace(param, operand, mutated, single=False)
    }
    return _replace_params(program, mapping)


def _meet(param: ValueId, args: list[Operand], found: dict[ValueId, Operand], params: set[ValueId]) -> Operand | None:
    """The one operand that the arguments stand for; the parameter itself if there are several; None if unknown yet."""
    known: dict[str, Operand] = {}
    for arg in args:
        if isinstance(arg, Ref) and arg.id in params:
            if arg.id not in found:
                continue
            arg = found[arg.id]
        known[operand_key(arg)] = arg
    if not known:
        return None
    return next(iter(known.values())) if len(known) == 1 else Ref(param)


# ---------------------------------------------------------------- blocks


def merge_chains(program: Program) -> Program:
    """The program with each block appended to its only predecessor, if that always goes there."""
    sources = predecessors(program)
    starts = entry_blocks(program)
    follower = {
        block.id: block.end.edge.target
        for block in program.blocks
        if isinstance(block.end, Jump)
        and len(sources[block.end.edge.target]) == 1
        and block.end.edge.target not in starts
        and not program.block(block.end.edge.target).params
    }
    followers = set(follower.values())
    blocks = []
    for block in program.blocks:
        chain = [block]
        while block.id not in followers and chain[-1].id in follower:
            chain.append(program.block(follower[chain[-1].id]))
        if len(chain) > 1:
            block = replace(block, ops=tuple(op for part in chain for op in part.ops), end=chain[-1].end)
        blocks.append(block)
    return replace(program, blocks=tuple(blocks))
