"""When a write in place may stand inside a subgraph, which is a function of its parameters."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace

from dycl.diagnostics import UnsupportedError
from dycl.ir.dataflow import end_uses, op_reads
from dycl.ir.environment import Environment
from dycl.ir.nodes import CallFunction, TensorOp
from dycl.ir.program import Program
from dycl.ir.values import Ref, ValueId
from dycl.passes.analysis.aliasing import may_alias


def find_read_values(program: Program) -> frozenset[ValueId]:
    """The values whose content somebody reads, under this name or a later one."""
    ops = [op for block in program.blocks for op in block.ops]
    read = {value for op in ops for value in op_reads(op)}
    read.update(value for block in program.blocks for value in end_uses(block.end))
    earlier = {new.id: old for op in ops if isinstance(op, TensorOp) for old, new in op.mutates}
    for value in tuple(read):
        while value in earlier:
            value = earlier[value]
            read.add(value)
    return frozenset(read)


def forget_unseen_names(ops: Sequence[TensorOp], used: Set[ValueId]) -> tuple[TensorOp, ...]:
    """The operations of a subgraph without the names of written memory that neither they nor anyone later reads."""
    known: set[ValueId] = set()
    kept = []
    for op in ops:
        known.update(op_reads(op))
        known.update(value.id for value in op.results)
        mutates = tuple((old, new) for old, new in op.mutates if old in known or new.id in used)
        known.update(new.id for _, new in mutates)
        kept.append(replace(op, mutates=mutates))
    return tuple(kept)


def check_origins(ops: Sequence[TensorOp], used: Set[ValueId], tensors: Set[ValueId], environment: Environment) -> None:
    """Raise DY301 unless the names of each written memory that matter lead back to one value in the subgraph.

    Two parameters of a subgraph never share memory, whatever their values did outside. The names that matter are those
    the operation is given and those whose new content is used.
    """
    origin: dict[ValueId, ValueId] = {}  # what a value may be a view of, or is a new name of
    for op in ops:
        given = set(op_reads(op))
        names = [old for old, new in op.mutates if old in given or new.id in used]
        if len(names) > 1 and not set.intersection(*(_find_origins(name, origin) for name in names)):
            raise UnsupportedError(
                "DY301",
                op.loc,
                "this writes a tensor in place that is known under several names, made in different subgraphs",
                hint="compute a new tensor instead (x = x + y for x += y), or take the view next to the write",
            )
        origin.update((new.id, old) for old, new in op.mutates)
        source = _find_source(op, tensors, environment)
        if source is not None:
            origin.update((value.id, source) for value in op.results)


def _find_origins(value: ValueId, origin: dict[ValueId, ValueId]) -> set[ValueId]:
    found = {value}
    while value in origin:
        value = origin[value]
        found.add(value)
    return found


def _find_source(op: TensorOp, tensors: Set[ValueId], environment: Environment) -> ValueId | None:
    """The one value whose memory the results of an operation may share, if there is only one that it can be."""
    first = op.args[0].id if op.args and isinstance(op.args[0], Ref) else None
    if first is not None and first in {old for old, _ in op.mutates}:
        return first  # what writes into its first argument returns that, if it returns anything it was given
    given = [value for value in dict.fromkeys(op_reads(op)) if value in tensors]
    if not may_alias(op, environment):
        return None
    if isinstance(op.target, CallFunction) and op.target.name.endswith("_as"):
        return first
    return given[0] if len(given) == 1 else None
