"""Values replaced by others: nodes with something else where they define or use values, and the program with it.

Nodes never change; these functions return new ones. Definitions stay where uses are replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Mapping as Table
from dataclasses import replace
from typing import assert_never

from dycl.diagnostics import InternalError
from dycl.ir.dataflow import op_uses
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
    TensorOp,
    Terminator,
    Write,
)
from dycl.ir.program import Program
from dycl.ir.values import (
    InputLeaf,
    Lit,
    Mapping,
    Operand,
    Record,
    Ref,
    Seq,
    SliceOf,
    TorchLit,
    Value,
    ValueId,
    Weight,
)

Substitution = dict[ValueId, Operand]
_ReadOnly = Table[ValueId, Operand]  # one that is only looked into

# ---------------------------------------------------------------- by what a function makes of them


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


# ---------------------------------------------------------------- by what a mapping says


def substitute_operand(operand: Operand, mapping: _ReadOnly) -> Operand:
    """The operand with values replaced as the mapping says."""
    return map_operand(operand, lambda ref: mapping.get(ref.id, ref))


def substitute_operands(operands: Iterable[Operand], mapping: _ReadOnly) -> tuple[Operand, ...]:
    """The operands with values replaced as the mapping says."""
    return tuple(substitute_operand(operand, mapping) for operand in operands)


def substitute_op(op: Op, mapping: _ReadOnly) -> Op:
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


def substitute_edge(edge: Edge, mapping: _ReadOnly) -> Edge:
    """The edge with its arguments replaced."""
    return Edge(edge.target, substitute_operands(edge.args, mapping))


def substitute_end(end: Terminator, mapping: _ReadOnly) -> Terminator:
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


def _substitute_id(value: ValueId, mapping: _ReadOnly) -> ValueId:
    new = mapping.get(value, Ref(value))
    if not isinstance(new, Ref):
        raise InternalError(f"%{value} stands where only a value can stand, and is to be replaced by {new}")
    return new.id


def _substitute_writes(writes: tuple[Write, ...], mapping: _ReadOnly) -> tuple[Write, ...]:
    return tuple(replace(write, value=substitute_operand(write.value, mapping)) for write in writes)


def substitute_block(block: Block, mapping: _ReadOnly) -> Block:
    """The block with the values it uses replaced; definitions stay."""
    ops = tuple(substitute_op(op, mapping) for op in block.ops)
    return replace(block, ops=ops, end=substitute_end(block.end, mapping))


def substitute(program: Program, mapping: _ReadOnly) -> Program:
    """The program with values replaced wherever a block uses them; definitions stay."""
    return replace(program, blocks=tuple(substitute_block(block, mapping) for block in program.blocks))
