"""Example inputs of a subgraph, from the types of its parameters: one set to export with, several to check with."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import assert_never

import torch

from dycl.diagnostics import InternalError
from dycl.ir.nodes import (
    ArrayType,
    Dimension,
    ListType,
    ObjectType,
    ScalarKind,
    ScalarType,
    StructType,
    Subgraph,
    TensorType,
    UnionType,
    Value,
)

SCALAR_DTYPES = {ScalarKind.INT: "int64", ScalarKind.FLOAT: "float64", ScalarKind.BOOL: "bool"}

# Sizes to export with: distinct, so that no two symbols look equal, and far from 0, 1 and the usual channel counts.
_EXPORT_SIZES = (11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71)
# Sizes to check with, all symbols alike or each its own: a graph that holds an exported size fails on one of them.
_CHECK_SIZES = ((5, 7, 6, 9, 8, 10), (3,), (1,), (0,), (150,))


def symbols(subgraph: Subgraph) -> tuple[str, ...]:
    """The names of the sizes that are known at run time only, in order of appearance."""
    seen: dict[str, None] = {}
    for param in subgraph.params:
        if isinstance(param.type, TensorType):
            for dim in param.type.shape:
                if isinstance(dim, str):
                    seen.update(dict.fromkeys(_free_names(dim)))
    return tuple(seen)


def export_inputs(subgraph: Subgraph) -> tuple[torch.Tensor, ...]:
    """Inputs whose shapes the exporter sees."""
    names = symbols(subgraph)
    sizes = {
        name: _EXPORT_SIZES[i % len(_EXPORT_SIZES)] + 60 * (i // len(_EXPORT_SIZES)) for i, name in enumerate(names)
    }
    return random_inputs(subgraph, sizes, torch.Generator().manual_seed(0))


def check_sizes(subgraph: Subgraph, dimensions: tuple[Dimension, ...] = ()) -> tuple[Mapping[str, int], ...]:
    """Assignments of the run-time sizes to check with; a single empty one where there are none."""
    known = {dimension.name: dimension for dimension in dimensions}
    names = symbols(subgraph)
    if not names:
        return ({},)
    return tuple(
        {name: _admitted(known.get(name), row[i % len(row)]) for i, name in enumerate(names)} for row in _CHECK_SIZES
    )


def _admitted(dimension: Dimension | None, size: int) -> int:
    """The size, or the nearest that a call may choose."""
    if dimension is None:
        return size
    size = max(size, dimension.low)
    return size if dimension.high is None else min(size, dimension.high)


def random_inputs(subgraph: Subgraph, sizes: Mapping[str, int], generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """One tensor a parameter; scalars as 0-d tensors. Integers are 0 or 1, which nearly every index admits."""
    return tuple(_random(param, sizes, generator) for param in subgraph.params)


def _random(param: Value, sizes: Mapping[str, int], generator: torch.Generator) -> torch.Tensor:
    match param.type:
        case TensorType(dtype=dtype, shape=shape):
            concrete = [dim if isinstance(dim, int) else evaluate_dim(dim, sizes) for dim in shape]
            return _random_tensor(getattr(torch, dtype), concrete, generator)
        case ScalarType(kind=ScalarKind.INT):
            return torch.randint(0, 4, (), generator=generator)
        case ScalarType(kind=kind):
            return _random_tensor(getattr(torch, SCALAR_DTYPES[kind]), [], generator)
        case ListType() | ArrayType() | StructType() | ObjectType() | UnionType():
            raise InternalError(f"no example of the list, array or object {param.name!r} can be made")
        case _:
            assert_never(param.type)


def _random_tensor(dtype: torch.dtype, shape: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    if dtype.is_floating_point:
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        return torch.randn(shape, generator=generator, dtype=wide).to(dtype)
    return torch.randint(0, 2, tuple(shape), generator=generator).to(dtype)


def evaluate_dim(dim: str, sizes: Mapping[str, int]) -> int:
    """A run-time size: a name, or an arithmetic expression over names."""
    return int(_evaluate(ast.parse(dim, mode="eval").body, sizes)) if not dim.isidentifier() else sizes[dim]


def _evaluate(node: ast.expr, sizes: Mapping[str, int]) -> int:
    match node:
        case ast.Name(id=name):
            return sizes[name]
        case ast.Constant(value=int(value)):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluate(operand, sizes)
        case ast.BinOp(left=left, op=op, right=right):
            a, b = _evaluate(left, sizes), _evaluate(right, sizes)
            match op:
                case ast.Add():
                    return a + b
                case ast.Sub():
                    return a - b
                case ast.Mult():
                    return a * b
                case ast.FloorDiv():
                    return a // b
                case ast.Mod():
                    return a % b
    raise InternalError(f"the size {ast.unparse(node)} is not understood")


def _free_names(dim: str) -> tuple[str, ...]:
    if dim.isidentifier():
        return (dim,)
    return tuple(node.id for node in ast.walk(ast.parse(dim, mode="eval")) if isinstance(node, ast.Name))
