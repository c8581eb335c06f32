"""When each operation of a block runs: in which subgraph, or after how many of them.

The dispatches of a block are numbered from 0. The level of a tensor operation is the number of its dispatch; the level
of a host operation is the number of dispatches before it. Every operation has the least level that respects

- data: what a tensor operation reads from the host was computed after fewer dispatches than its own number, and the
  host reads a tensor after the dispatch that makes it;
- memory: a write goes into a later dispatch than the one that hands out the memory's earlier content, to the host or
  to another dispatch;
- order: host operations that may raise keep theirs, and what stands between two looks at a clock runs between them.
"""

from __future__ import annotations

from collections.abc import Mapping

from dycl.diagnostics import InternalError
from dycl.ir.dataflow import op_definitions, op_reads
from dycl.ir.environment import Environment
from dycl.ir.nodes import Block, Dispatch, HostOp, Invoke, TensorOp
from dycl.ir.values import ValueId, ValueType
from dycl.passes.analysis.aliasing import MemoryGroups
from dycl.passes.analysis.effects import may_raise

_HOST = 1 << 30  # as a reader: later than every dispatch


def schedule_block(block: Block, types: Mapping[ValueId, ValueType], environment: Environment) -> tuple[int, ...]:
    """The level of each operation of the block, in their order."""
    scheduler = _Scheduler(types, environment)
    levels = []
    for op in block.ops:
        match op:
            case TensorOp():
                levels.append(scheduler.add_tensor_op(op))
            case HostOp():
                levels.append(scheduler.add_host_op(op))
            case Invoke():
                levels.append(scheduler.add_invoke(op))
            case Dispatch():
                raise InternalError("a block to be partitioned holds a dispatch")
    return tuple(levels)


class _Scheduler:
    """What is known of the operations so far; values from outside the block are there from the start."""

    def __init__(self, types: Mapping[ValueId, ValueType], environment: Environment) -> None:
        self._types = types
        self._memory = MemoryGroups(environment, types)
        self._made_by: dict[ValueId, int] = {}  # tensors: the dispatch that makes them
        self._ready: dict[ValueId, int] = {}  # host values: how many dispatches come before them
        self._last_reader: dict[ValueId, int] = {}  # the highest dispatch that reads a tensor, or the host
        self._last_raise = 0
        self._last_clock = 0  # how many dispatches came before the clock was read: the rest comes after

    def add_tensor_op(self, op: TensorOp) -> int:
        """The dispatch of a tensor operation."""
        reads = (*op_reads(op), *(old for old, _ in op.mutates))
        level = max((max(self._made_by.get(v, 0), self._ready.get(v, 0)) for v in reads), default=0)
        level = max(level, self._last_clock)
        if op.mutates:
            level = self._after_readers(op, level)
        for value in reads:
            self._last_reader[value] = max(level, self._last_reader.get(value, 0))
        self._made_by.update((value.id, level) for value in op_definitions(op))
        self._memory.add(op)
        return level

    def _after_readers(self, op: TensorOp, level: int) -> int:
        """The first dispatch from `level` on that makes nothing of the written memory that is handed out unwritten."""
        written = {self._memory.group(old) for old, _ in op.mutates}
        handed_out = {
            made
            for value, made in self._made_by.items()
            if self._last_reader.get(value, 0) > made and self._memory.group(value) in written
        }
        while level in handed_out:
            level += 1
        return level

    def add_host_op(self, op: HostOp) -> int:
        """How many dispatches come before a host operation."""
        reads = op_reads(op)
        level = max((max(self._made_by.get(v, -1) + 1, self._ready.get(v, 0)) for v in reads), default=0)
        if op.function == "clock":
            level = self._last_clock = max(level, 1 + max(self._made_by.values(), default=-1))
        if may_raise(op, self._types):
            level = self._last_raise = max(level, self._last_raise)
        self._last_reader.update(dict.fromkeys(reads, _HOST))
        self._ready[op.result.id] = level
        return level

    def add_invoke(self, op: Invoke) -> int:
        """How many dispatches come before a call of a procedure, which may do anything that the host may."""
        reads = op_reads(op)
        level = max((max(self._made_by.get(v, -1) + 1, self._ready.get(v, 0)) for v in reads), default=0)
        level = self._last_raise = max(level, self._last_raise)
        self._last_reader.update(dict.fromkeys(reads, _HOST))
        self._ready.update((value.id, level) for value in op.results)
        return level
