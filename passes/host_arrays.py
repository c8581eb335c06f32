"""What the host has without a dispatch, for `pin_to_host`: rows of arrays that it has anyway, arrays of no elements.

A row is a view, as it is in torch. numpy's view refers to the array that it shows, so the memory of a dispatch's result
is not used again while somebody has the row. It may go to the caller where the array was made in the call: never where
it may be the caller's own.

What has no elements takes no computing, whatever it is made of.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

from dycl.ir.dataflow import Use, mutated_values, op_definitions, op_uses, uses, value_types
from dycl.ir.environment import Environment
from dycl.ir.graph import edges_into
from dycl.ir.nodes import CallFunction, HostOp, Op, TensorOp
from dycl.ir.program import Program
from dycl.ir.values import (
    BlockId,
    Lit,
    Operand,
    Ref,
    ScalarKind,
    ScalarType,
    Seq,
    SeqKind,
    TensorType,
    ValueId,
    ValueType,
)
from dycl.passes.analysis.cost import has_few_elements
from dycl.passes.analysis.schedule import schedule_block

# These draw no numbers, write nothing and, where nothing is taken by a number of the run, cannot fail.
_MAKING = frozenset({"empty", "zeros", "ones", "full", "new_empty", "new_zeros", "new_ones", "__getitem__", "narrow"})
DTYPES = frozenset({"bool", "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8"})
_NEW_ARRAYS = frozenset(
    {"empty", "stack", "cat", "tensor_of", "argmax", "argmin", "numerics.take_rows"}
)  # functions that make one


@dataclass(frozen=True, slots=True)
class Pick:
    """A row of `source`; an element, if it has one dimension."""

    source: Ref
    index: Operand


@dataclass(frozen=True, slots=True)
class Empty:
    """An array of no elements."""

    shape: tuple[int, ...]
    dtype: str


def find_empty(op: TensorOp, types: Mapping[ValueId, ValueType]) -> Empty | None:
    """The array of no elements that an operation makes, if that is all it does."""
    if not isinstance(op.target, CallFunction) or op.mutates or len(op.results) != 1:
        return None
    if not all(isinstance(types[value], TensorType) for value in op_uses(op)):
        return None  # a number of the run may be out of range, also where nothing is taken
    kind = op.results[0].type
    if op.target.name.rpartition(".")[2] not in _MAKING or not isinstance(kind, TensorType) or 0 not in kind.shape:
        return None
    sizes = tuple(size for size in kind.shape if isinstance(size, int))
    return Empty(sizes, kind.dtype) if len(sizes) == len(kind.shape) and kind.dtype in DTYPES else None


def find_pick(op: TensorOp, types: Mapping[ValueId, ValueType]) -> Pick | None:
    """The row of a tensor that an operation takes at a number of the host's."""
    if not isinstance(op.target, CallFunction) or op.kwargs or op.mutates or len(op.results) != 1 or len(op.args) < 2:
        return None
    source = op.args[0]
    kind = types.get(source.id) if isinstance(source, Ref) else None
    if not isinstance(source, Ref) or not isinstance(kind, TensorType) or not kind.shape:
        return None
    match op.target.name.rpartition(".")[2], op.args[1:]:
        case "select", (Lit(value=dim), index) if dim in (0, -len(kind.shape)):
            return Pick(source, index) if _is_number(index, types) else None
        case "__getitem__", (Seq(kind=SeqKind.TUPLE, items=(index,)),) | (index,):
            return Pick(source, index) if _is_number(index, types) else None
    return None


def _is_number(index: Operand, types: Mapping[ValueId, ValueType]) -> bool:
    if isinstance(index, Ref):
        kind = types[index.id]
        return isinstance(kind, ScalarType) and kind.kind is ScalarKind.INT
    return isinstance(index, Lit) and type(index.value) is int


class Arrays:
    """Which arrays the host has anyway, and which of them no caller has."""

    def __init__(self, program: Program, environment: Environment) -> None:
        self.written = mutated_values(program)
        self._program = program
        self._environment = environment
        self._types = value_types(program)
        self._uses = uses(program)
        self._made: dict[ValueId, tuple[BlockId, int, Op]] = {}
        self._given: dict[ValueId, list[Operand]] = {}
        self._levels: dict[BlockId, tuple[int, ...]] = {}
        incoming = edges_into(program)
        for block in program.blocks:
            for index, op in enumerate(block.ops):
                self._made.update((value.id, (block.id, index, op)) for value in op_definitions(op))
            for place, param in enumerate(block.params):
                self._given[param.id] = [edge.args[place] for edge in incoming[block.id]]
        for start in (*(entry.block for entry in program.entries), *(part.block for part in program.procedures)):
            self._given.update((param.id, [Lit(None)]) for param in program.block(start).params)
        # What writes through numpy writes into every view.
        self.are_kept = not any(
            isinstance(op, HostOp) and op.function.startswith("np.") for *_, op in self._made.values()
        )

    def is_of_the_call(self, value: ValueId, seen: frozenset[ValueId] = frozenset()) -> bool:
        """Whether a tensor was made in this call: not given by the caller, nor kept from an earlier call."""
        if value in seen:
            return True
        if value not in self._made:
            given = self._given.get(value, [Lit(None)])
            return all(isinstance(arg, Ref) and self.is_of_the_call(arg.id, seen | {value}) for arg in given)
        op = self._made[value][2]
        return isinstance(op, TensorOp) or (isinstance(op, HostOp) and op.function in _NEW_ARRAYS)

    def is_had(self, value: ValueId, result: ValueId) -> bool:
        """Whether the host has a tensor before the dispatch that would make the result, or with no more work."""
        block, index, op = self._made.get(value, (None, 0, None))
        there, place, _ = self._made[result]
        if block is None or not isinstance(op, TensorOp) or block != there or has_few_elements(self._types[value]):
            return True
        return self._level(block, index) < self._level(there, place) or self.is_handed_out(value)

    def is_handed_out(self, value: ValueId) -> bool:
        """Whether a tensor leaves the dispatch that makes it, if one does."""
        block, index, op = self._made.get(value, (None, 0, None))
        if block is None or not isinstance(op, TensorOp):
            return True
        level = self._level(block, index)
        return any(self._is_outside(use, block, level) for use in self._uses.get(value, ()))

    def is_taken_inside(self, value: ValueId, others: Set[ValueId]) -> bool:
        """Whether the dispatch that makes a tensor goes on with it, besides to make these others."""
        block, level = self.dispatch_of(value)
        inside = (use for use in self._uses.get(value, ()) if not self._is_outside(use, block, level))
        return any(not others & {made.id for made in self._maker(use).results} for use in inside)

    def _maker(self, use: Use) -> TensorOp:
        op = self._program.block(use.block).ops[use.index]
        assert isinstance(op, TensorOp)  # what is inside of a dispatch
        return op

    def dispatch_of(self, value: ValueId) -> tuple[BlockId, int]:
        """The dispatch that makes a tensor: the block, and which one of the block."""
        block, index, _ = self._made[value]
        return block, self._level(block, index)

    def _is_outside(self, use: Use, block: BlockId, level: int) -> bool:
        """Whether a use is not in this dispatch of the block."""
        ops = self._program.block(use.block).ops
        if use.block != block or use.index == len(ops) or not isinstance(ops[use.index], TensorOp):
            return True
        return self._level(block, use.index) != level

    def _level(self, block: BlockId, index: int) -> int:
        if block not in self._levels:
            self._levels[block] = schedule_block(self._program.block(block), self._types, self._environment)
        return self._levels[block][index]
