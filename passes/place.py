"""Say where values lie, for a target whose device is not the host's own processor.

Before::

    b0(%0 x: float32[1, 4]):
      %1: float32[1, 4], %2: float32[] = dispatch s0(%0)
      %3: float = host item(%2)
      ...
      return %1

After::

    b0(%0 x: float32[1, 4]):
      %4 x: float32[1, 4] = host place(%0)
      %1: float32[1, 4], %2: float32[] = dispatch s0(%4)
      %5: float32[] = host fetch(%2)
      %3: float = host item(%5)
      ...
      %6: float32[1, 4] = host fetch(%1)
      return %6

What a dispatch makes stays on the device. The host fetches what it looks into itself, where it does, and what it hands
to the caller; an input of the call goes to the device once. Values that are only moved (through lists, from block to
block, into the state of the next call) are not fetched. Both operations hand on what is there already: fetching an
array of the host's is nothing, and so is placing one of the device's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import assert_never

from dycl.ir.dataflow import definitions, end_uses, op_uses, value_types
from dycl.ir.environment import Environment
from dycl.ir.nodes import Block, Dispatch, HostOp, Invoke, Op, Raise, Return, Terminator, edges
from dycl.ir.numbering import renumber
from dycl.ir.program import Program
from dycl.ir.substitution import map_operand, substitute
from dycl.ir.values import (
    ArrayType,
    DictType,
    InputLeaf,
    ListType,
    NothingType,
    ObjectType,
    Operand,
    Ref,
    ScalarType,
    StructType,
    TensorType,
    UnionType,
    Value,
    ValueId,
    ValueType,
    all_refs,
    operand_parts,
    refs,
)

# These move values, or ask what is known of them without looking inside.
_MOVES = frozenset(
    (
        *("size", "size_of", "part", "dict_of", "tuple_of", "same", "is_none", "is_a", "narrow"),
        *("list_append", "list_get", "list_len", "list_copy", "list_concat", "list_repeat", "list_set", "list_insert"),
        *("list_delete", "list_slice", "list_slice_by", "list_reversed", "list_take", "list_zip", "list_column"),
    )
)
_OF_CONTAINERS = frozenset({"list_get", "part"})  # of a tensor itself they would read it


def run(program: Program, environment: Environment) -> Program:
    """The program in which inputs are placed and what the host looks into is fetched."""
    placed = _place_inputs(program)
    fetcher = _Fetcher(placed)
    return renumber(replace(placed, blocks=tuple(fetcher.rewrite(block) for block in placed.blocks)))


def _place_inputs(program: Program) -> Program:
    """Inputs that a subgraph may take are handed to the device where the call begins."""
    ids = _new_ids(program)
    used = _passed_values(program)
    first = {entry.block: entry.state_params for entry in program.entries}
    mapping: dict[ValueId, Operand] = {}
    added: dict[int, list[HostOp]] = {}
    for block in program.blocks:
        if block.id not in first:
            continue
        for param in block.params[: len(block.params) - first[block.id]]:
            if isinstance(param.type, TensorType) and param.id in used:
                result = Value(next(ids), param.type, param.name)
                mapping[param.id] = Ref(result.id)
                added.setdefault(block.id, []).append(
                    HostOp(function="place", args=(Ref(param.id),), result=result, loc=block.loc)
                )
    blocks = substitute(program, mapping).blocks
    return replace(
        program, blocks=tuple(replace(block, ops=(*added.get(block.id, ()), *block.ops)) for block in blocks)
    )


def _passed_values(program: Program) -> set[ValueId]:
    """Values that subgraphs or procedures take, or that go on to other blocks."""
    found: set[ValueId] = set()
    for block in program.blocks:
        for op in block.ops:
            if isinstance(op, Dispatch | Invoke):
                found.update(op_uses(op))
        for edge in edges(block.end):
            found.update(all_refs(edge.args))
    return found


class _Fetcher:
    """Fetches a value once in each block that looks into it."""

    def __init__(self, program: Program) -> None:
        self._types = value_types(program)
        self._ids = _new_ids(program)
        host_ops = (op for block in program.blocks for op in block.ops if isinstance(op, HostOp))
        self._here = {op.result.id for op in host_ops if _makes_here(op)}

    def rewrite(self, block: Block) -> Block:
        """The block with its fetches."""
        fetched: dict[ValueId, Ref] = {}
        ops: list[Op] = []
        for op in block.ops:
            if isinstance(op, HostOp) and self._looks(op):
                ops += self._fetch(op_uses(op), fetched, op)
                op = replace(op, args=tuple(_with(arg, fetched) for arg in op.args))
            ops.append(op)
        end = block.end
        if isinstance(end, Return | Raise):
            ops += self._fetch(end_uses(replace(end, state=())), fetched, end)
            end = _end_with(end, fetched)
        return replace(block, ops=tuple(ops), end=end)

    def _looks(self, op: HostOp) -> bool:
        if op.function in ("place", "fetch"):
            return False
        if op.function in _OF_CONTAINERS:
            return any(isinstance(self._types[value], TensorType) for value in refs(op.args[0]))
        return op.function not in _MOVES

    def _fetch(
        self, values: tuple[ValueId, ...], fetched: dict[ValueId, Ref], user: HostOp | Return | Raise
    ) -> Iterator[HostOp]:
        for value in values:
            if value in fetched or value in self._here or not _may_hold_tensors(self._types[value]):
                continue
            result = Value(next(self._ids), self._types[value])
            fetched[value] = Ref(result.id)
            yield HostOp(function="fetch", args=(Ref(value),), result=result, loc=user.loc)


def _makes_here(op: HostOp) -> bool:
    """Whether the result of an operation is in the host's memory whatever it was made of."""
    return op.function != "place" and op.function not in _MOVES


def _with(operand: Operand, fetched: dict[ValueId, Ref]) -> Operand:
    return map_operand(operand, lambda ref: fetched.get(ref.id, ref))


def _end_with(end: Return | Raise, fetched: dict[ValueId, Ref]) -> Terminator:
    """The end with what the caller sees fetched; the state stays where it is."""
    writes = tuple(replace(write, value=_with(write.value, fetched)) for write in end.writes)
    if isinstance(end, Return):
        return replace(end, value=_with(end.value, fetched), writes=writes)
    return replace(end, args=tuple(_with(arg, fetched) for arg in end.args), writes=writes)


def _may_hold_tensors(kind: ValueType | NothingType) -> bool:
    match kind:
        case TensorType():
            return True
        case ListType(element=element):
            return _may_hold_tensors(element)
        case DictType(key=key, value=value):
            return _may_hold_tensors(key) or _may_hold_tensors(value)
        case StructType(template=template):
            leaves = (part for part in operand_parts(template) if isinstance(part, InputLeaf))
            return any(_may_hold_tensors(leaf.type) for leaf in leaves)
        case UnionType(members=members):
            return any(_may_hold_tensors(member) for member in members)
        case ScalarType() | ArrayType() | ObjectType() | NothingType():
            return False
        case _:
            assert_never(kind)


def _new_ids(program: Program) -> Iterator[ValueId]:
    return map(ValueId, count(1 + max((int(value) for value in definitions(program)), default=0)))
