"""Group the tensor operations of each block into the fewest subgraphs, and dispatch to them.

Before::

    b0(%0 x: float32[1, 4]):
      %1: float32[1, 4] = module stem(%0)
      %2: float32[] = call torch.sum(%1)
      %3: float = host item(%2)
      %4: float32[1, 4] = module head(%1)
      %5: float32[1, 4] = call torch.mul(%4, %3)
      return %5

After::

    subgraph s0 00_stem_head (%0 x: float32[1, 4]):
      %1: float32[1, 4] = module stem(%0)
      %2: float32[] = call torch.sum(%1)
      %3: float32[1, 4] = module head(%1)
      results (%2, %3)
    subgraph s1 01_mul (%0: float32[1, 4], %1: float):
      %2: float32[1, 4] = call torch.mul(%0, %1)
      results (%2)
    b0(%0 x: float32[1, 4]):
      %1: float32[], %2: float32[1, 4] = dispatch s0(%0)
      %3: float = host item(%1)
      %4: float32[1, 4] = dispatch s1(%2, %3)
      return %4

Only a dependency from a tensor through the host to a tensor cuts, so each operation runs in the earliest subgraph that
has what it needs, and the number of subgraphs is the length of the longest chain of cuts. One more cut is needed where
memory is written whose earlier content is handed out. Host operations that may raise keep their order.

A subgraph is a function: it never writes to what it is given, a written argument comes back as a new value. That is
sound while all names of the written memory have one origin in the subgraph, which takes views of it once more where it
has to; otherwise DY301.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from dycl.diagnostics import UNKNOWN, InternalError, SourceRange
from dycl.ir.dataflow import definitions, end_uses, find_liveness, op_definitions, op_uses, value_types
from dycl.ir.environment import Environment
from dycl.ir.nodes import Block, Dispatch, HostOp, Invoke, Op, Subgraph, TensorOp
from dycl.ir.numbering import renumber
from dycl.ir.program import Program
from dycl.ir.values import Ref, SubgraphId, TensorType, ValueId
from dycl.passes.analysis.mutation import check_origins, find_read_values, forget_unseen_names
from dycl.passes.analysis.naming import SubgraphNames
from dycl.passes.analysis.schedule import schedule_block
from dycl.passes.sizes import unify_sizes
from dycl.passes.views import Views


def run(program: Program, environment: Environment) -> Program:
    """The program with every tensor operation inside a subgraph."""
    if program.subgraphs:
        raise InternalError("the program is partitioned already")
    partitioner = _Partitioner(program, environment)
    levels = [partitioner.divide(block) for block in program.blocks]
    # A view that is taken once more may be of what no later block had a use for.
    divided = tuple(replace(b, ops=_in_order(of)) for b, of in zip(program.blocks, levels, strict=True))
    before, after = (find_liveness(p).live_out for p in (program, replace(program, blocks=divided)))
    pairs = zip(program.blocks, levels, strict=True)
    blocks = tuple(partitioner.partition(block, of, before[block.id] | after[block.id]) for block, of in pairs)
    return renumber(replace(program, blocks=blocks, subgraphs=tuple(partitioner.subgraphs)))


@dataclass(slots=True)
class _Level:
    """What of a block runs together: operations of the host, then those of one subgraph."""

    host: list[HostOp | Invoke] = field(default_factory=list)
    body: tuple[TensorOp, ...] = ()


def _in_order(levels: list[_Level]) -> tuple[Op, ...]:
    return tuple(op for level in levels for op in (*level.host, *level.body))


class _Partitioner:
    """Partitions block after block; the subgraphs are numbered as they come."""

    def __init__(self, program: Program, environment: Environment) -> None:
        self._environment = environment
        self._types = value_types(program)
        self._tensors = {value for value, of in self._types.items() if isinstance(of, TensorType)}
        self._read = find_read_values(program)
        self._names = SubgraphNames(program)
        self._values = {value: definition.value for value, definition in definitions(program).items()}
        self._views = Views(program, self._tensors)
        self.subgraphs: list[Subgraph] = []

    def divide(self, block: Block) -> list[_Level]:
        """The operations of a block, level by level: host operations, then those of one subgraph."""
        found = schedule_block(block, self._types, self._environment)
        levels = [_Level() for _ in range(max(found, default=-1) + 1)]
        for op, number in zip(block.ops, found, strict=True):
            if isinstance(op, HostOp | Invoke):
                levels[number].host.append(op)
            elif isinstance(op, TensorOp):
                levels[number].body += (op,)
        for level in levels:
            seen = forget_unseen_names(list(level.body), self._read)
            level.body = self._views.retake(block, seen, self._values)
        return levels

    def partition(self, block: Block, levels: list[_Level], live_out: frozenset[ValueId]) -> Block:
        """The block with its tensor operations in subgraphs."""
        ops: list[Op] = []
        for level in levels:
            ops += level.host
            if level.body:
                ops.append(self._build(level.body, live_out | self._find_wanted(block, levels, level)))
        return replace(block, ops=tuple(ops))

    def _find_wanted(self, block: Block, levels: list[_Level], level: _Level) -> frozenset[ValueId]:
        """What others of the block than the dispatch of this level use: host, terminator, other dispatches."""
        wanted = {value for other in levels for op in other.host for value in op_uses(op)}
        wanted.update(value for other in levels if other is not level for op in other.body for value in op_uses(op))
        return frozenset(wanted | set(end_uses(block.end)))

    def _build(self, body: tuple[TensorOp, ...], wanted: frozenset[ValueId]) -> Dispatch:
        """The dispatch to a new subgraph of these operations."""
        check_origins(body, self._read, self._tensors, self._environment)
        made = [value for op in body for value in op_definitions(op)]
        inside = {value.id for value in made}
        given = [value for value in dict.fromkeys(v for op in body for v in op_uses(op)) if value not in inside]
        results = tuple(value for value in made if value.id in wanted)
        loc = _join_locations(body)
        index = len(self.subgraphs)
        params, ops = unify_sizes(tuple(self._values[value] for value in given), body)
        subgraph = Subgraph(
            id=SubgraphId(index),
            name=self._names.name(index, body),
            params=params,
            ops=ops,
            results=tuple(value.id for value in results),
            loc=loc,
        )
        self.subgraphs.append(subgraph)
        return Dispatch(subgraph=subgraph.id, args=tuple(Ref(value) for value in given), results=results, loc=loc)


def _join_locations(ops: tuple[TensorOp, ...]) -> SourceRange:
    """The stretch of source that the operations come from, as far as they share the function of the first."""
    first = next((op.loc for op in ops if op.loc.line), UNKNOWN)
    same = [op.loc for op in ops if op.loc.line and (op.loc.file, op.loc.function) == (first.file, first.function)]
    if not same:
        return UNKNOWN
    line, column = min((loc.line, loc.column) for loc in same)
    end_line, end_column = max((loc.end_line, loc.end_column) for loc in same)
    return SourceRange(first.file, line, column, end_line, end_column, first.function)
