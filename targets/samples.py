"""Example inputs of a subgraph, from the types of its parameters: one set to export with, several to check with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import assert_never

import torch

from dycl.diagnostics import InternalError
from dycl.ir.nodes import (
    ArrayType,
    CallFunction,
    DictType,
    Dimension,
    ListType,
    Lit,
    ObjectType,
    ScalarKind,
    ScalarType,
    StructType,
    Subgraph,
    TensorType,
    UnionType,
    Value,
)
from dycl.ir.sizes import evaluate_size, size_names

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
                seen.update(dict.fromkeys(size_names(dim)))
    for param in subgraph.params:
        if isinstance(param.type, ScalarType):
            seen.update(dict.fromkeys(size_names(param.type.size)))
    return tuple(seen)


def export_inputs(subgraph: Subgraph) -> tuple[torch.Tensor, ...]:
    """Inputs whose shapes the exporter sees."""
    names = symbols(subgraph)
    least = _longest_cut(subgraph)
    sizes = {
        name: least + _EXPORT_SIZES[i % len(_EXPORT_SIZES)] + 60 * (i // len(_EXPORT_SIZES))
        for i, name in enumerate(names)
    }
    return random_inputs(subgraph, _fitting(subgraph, sizes), torch.Generator().manual_seed(0))


def _longest_cut(subgraph: Subgraph) -> int:
    """How far cuts of known length reach: the path knows that there is so much, an exporter tries."""
    cuts = [op.args[2:4] for op in subgraph.ops if op.target == CallFunction("torch.narrow")]
    known = [[arg.value for arg in cut if isinstance(arg, Lit) and type(arg.value) is int] for cut in cuts]
    return max((sum(ends) for ends in known if len(ends) == 2), default=0)


def conditions(subgraph: Subgraph) -> tuple[tuple[str, int | str], ...]:
    """What the operations know of the run-time sizes that their names do not say."""
    return tuple(pair for op in subgraph.ops for pair in op.sizes)


def _fitting(subgraph: Subgraph, sizes: Mapping[str, int]) -> Mapping[str, int]:
    """The sizes, all multiplied by what it takes to meet the conditions on them; as they are if nothing does."""
    asked = [pair for pair in conditions(subgraph) if all(sizes.keys() >= set(size_names(part)) for part in pair)]
    for factor in range(1, 61):
        tried = {name: size * factor for name, size in sizes.items()}
        if all(evaluate_size(size, tried) == evaluate_size(equal, tried) for size, equal in asked):
            return tried
    return sizes


def check_sizes(subgraph: Subgraph, dimensions: tuple[Dimension, ...] = ()) -> tuple[Mapping[str, int], ...]:
    """Assignments of the run-time sizes to check with; a single empty one where there are none."""
    known = {dimension.name: dimension for dimension in dimensions}
    names = symbols(subgraph)
    if not names:
        return ({},)
    least = _longest_cut(subgraph)
    found = [*_CHECK_SIZES, *([tuple(size + least for size in _CHECK_SIZES[0])] if least else [])]
    rows = ({name: _admitted(known.get(name), row[i % len(row)]) for i, name in enumerate(names)} for row in found)
    return tuple(sizes for row in rows if _are_sizes(subgraph, sizes := _fitting(subgraph, row)))


def _are_sizes(subgraph: Subgraph, sizes: Mapping[str, int]) -> bool:
    """Whether no dimension becomes negative, and every condition on the sizes is met."""
    shapes = (param.type.shape for param in subgraph.params if isinstance(param.type, TensorType))
    return all(evaluate_size(dim, sizes) >= 0 for shape in shapes for dim in shape)


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
            concrete = [evaluate_size(dim, sizes) for dim in shape]
            return _random_tensor(getattr(torch, dtype), concrete, generator)
        case ScalarType(kind=ScalarKind.INT, size=size) if size:
            return torch.tensor(evaluate_size(size, sizes))
        case ScalarType(kind=ScalarKind.INT):
            return torch.randint(0, 4, (), generator=generator)
        case ScalarType(kind=kind):
            return _random_tensor(getattr(torch, SCALAR_DTYPES[kind]), [], generator)
        case ListType() | DictType() | ArrayType() | StructType() | ObjectType() | UnionType():
            raise InternalError(f"no example of the list, array or object {param.name!r} can be made")
        case _:
            assert_never(param.type)


def _random_tensor(dtype: torch.dtype, shape: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    if dtype.is_floating_point:
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        return torch.randn(shape, generator=generator, dtype=wide).to(dtype)
    return torch.randint(0, 2, tuple(shape), generator=generator).to(dtype)
