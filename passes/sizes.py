"""The sizes in a subgraph, spelled so that sizes which its operations know to be equal look equal.

Before::

    (%0: float32[u0, 4], %1: float32[u1, 4]):
      %2: float32[u0, 4] = call torch.add(%0, %1) where u1 = u0

After::

    (%0: float32[u0, 4], %1: float32[u0, 4]):
      %2: float32[u0, 4] = call torch.add(%0, %1)

What cannot be said by a name, `Mod(u0, 2) = 0`, stays with the operation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import assert_never

from dycl.ir.nodes import Dispatch, HostOp, Invoke, Op, TensorOp
from dycl.ir.program import Program
from dycl.ir.sizes import replace_names, size_names, solve_name
from dycl.ir.values import Operand, Ref, ScalarKind, ScalarType, TensorType, Value, ValueId, ValueType

Sizes = dict[str, int | str]


def unify_sizes(
    params: tuple[Value, ...], body: tuple[TensorOp, ...]
) -> tuple[tuple[Value, ...], tuple[TensorOp, ...]]:
    """The parameters and operations with one name for each size."""
    sizes: Sizes = {}
    for op in body:
        for left, right in op.sizes:
            learn(sizes, left, right)
    if not any(op.sizes for op in body):
        return params, body
    return tuple(retyped(param, sizes) for param in params), tuple(_rewritten(op, sizes) for op in body)


def learn(sizes: Sizes, left: str, right: int | str) -> None:
    one, other = replace_names(left, sizes), right if isinstance(right, int) else replace_names(right, sizes)
    if one == other:
        return
    for name, size in ((one, other), (other, one)):
        if isinstance(name, str) and name.isidentifier() and name not in size_names(size):
            _substitute(sizes, name, size)
            return
    solved = solve_name(one, other)
    if solved is not None:
        _substitute(sizes, *solved)


def _substitute(sizes: Sizes, name: str, size: int | str) -> None:
    for known, spelled in sizes.items():
        if isinstance(spelled, str):
            sizes[known] = replace_names(spelled, {name: size})
    sizes[name] = size


def bind_sizes(params: Iterable[tuple[Value, Operand]], types: dict[ValueId, ValueType]) -> Sizes:
    """What the names in the types of parameters are where these operands are passed: a block's names are its own."""
    sizes: Sizes = {}
    numbers: list[tuple[int | str, int | str]] = []
    for param, operand in params:
        match param.type, _type_of(operand, types):
            case TensorType(shape=shape), TensorType(shape=passed) if len(shape) == len(passed):
                _bind(sizes, zip(shape, passed, strict=True))
            case ScalarType(kind=ScalarKind.INT, size=size), ScalarType(kind=ScalarKind.INT, size=known) if known:
                numbers.append((size, int(known) if known.isdigit() else known))
    _bind(sizes, numbers)  # a tensor has its sizes for sure
    return sizes


def _bind(sizes: Sizes, pairs: Iterable[tuple[int | str, int | str]]) -> None:
    for name, is_now in pairs:
        if isinstance(name, str) and name.isidentifier() and name not in size_names(is_now):
            sizes.setdefault(name, is_now)


def settle_sizes(sizes: Sizes) -> Sizes:
    """The same with no name in a size that itself stands for another; names that stand for one another stay."""
    settled: Sizes = {}
    for name, size in sizes.items():
        found = size if isinstance(size, int) else replace_names(size, settled)
        if name in size_names(found):
            continue
        for known, spelled in settled.items():
            if isinstance(spelled, str):
                settled[known] = replace_names(spelled, {name: found})
        settled[name] = found
    return settled


def type_names(of: ValueType) -> tuple[str, ...]:
    """The names of sizes in a type."""
    match of:
        case TensorType(shape=shape):
            return tuple(name for size in shape for name in size_names(size))
        case ScalarType(size=size):
            return size_names(size)
    return ()


def _type_of(operand: Operand, types: dict[ValueId, ValueType]) -> ValueType | None:
    """The type of what is passed. A number says nothing: an int may keep the name of a size that it is no longer."""
    return types[operand.id] if isinstance(operand, Ref) else None


def rename_sizes(program: Program, sizes: Sizes) -> Program:
    """The program with these sizes in the place of names."""
    if not sizes:
        return program
    blocks = (
        replace(
            block,
            params=tuple(retyped(param, sizes) for param in block.params),
            ops=tuple(rename_op_sizes(op, sizes) for op in block.ops),
        )
        for block in program.blocks
    )
    return replace(program, blocks=tuple(blocks))


def rename_op_sizes(op: Op, sizes: Sizes) -> Op:
    match op:
        case TensorOp():
            known = [(replace_names(left, sizes), right) for left, right in op.sizes]
            known = [(a, replace_names(b, sizes) if isinstance(b, str) else b) for a, b in known]
            pairs = [(a, b) if isinstance(a, str) else (b, a) for a, b in known if a != b]
            equal = tuple((a, b) for a, b in pairs if isinstance(a, str))
            return replace(_rewritten(op, sizes), sizes=equal)
        case HostOp():
            return replace(op, result=retyped(op.result, sizes))
        case Invoke() | Dispatch():
            return replace(op, results=tuple(retyped(value, sizes) for value in op.results))
        case _:
            assert_never(op)


def _rewritten(op: TensorOp, sizes: Sizes) -> TensorOp:
    named = ((replace_names(size, sizes), replace_names(str(equal), sizes)) for size, equal in op.sizes)
    left = [(size, equal) for size, equal in named if size != equal and not str(size).isidentifier()]
    return replace(
        op,
        results=tuple(retyped(value, sizes) for value in op.results),
        mutates=tuple((old, retyped(new, sizes)) for old, new in op.mutates),
        sizes=tuple((size, equal) for size, equal in left if isinstance(size, str)),
    )


def retyped(value: Value, sizes: Sizes) -> Value:
    return replace(value, type=_type(value.type, sizes))


def _type(of: ValueType, sizes: Sizes) -> ValueType:
    match of:
        case TensorType(dtype=dtype, shape=shape):
            return TensorType(dtype, tuple(replace_names(d, sizes) if isinstance(d, str) else d for d in shape))
        case ScalarType(kind=ScalarKind.INT, size=size) if size:
            return ScalarType(ScalarKind.INT, str(replace_names(size, sizes)))
        case _:
            return of
