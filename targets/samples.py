"""Example inputs of a subgraph, from the types of its parameters: one set to export with, several to check with."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from typing import assert_never

import torch

from dycl.diagnostics import InternalError
from dycl.ir.nodes import CallFunction, Subgraph
from dycl.ir.program import Dimension
from dycl.ir.sizes import evaluate_size, size_names
from dycl.ir.values import (
    ArrayType,
    DictType,
    ListType,
    Lit,
    ObjectType,
    ScalarKind,
    ScalarType,
    StructType,
    TensorType,
    UnionType,
    Value,
)

SCALAR_DTYPES = {ScalarKind.INT: "int64", ScalarKind.FLOAT: "float64", ScalarKind.BOOL: "bool"}

# Sizes to export with: distinct, so that no two symbols look equal, and far from 0, 1 and the usual channel counts.
_EXPORT_SIZES = (11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71)
# Sizes to check with, all symbols alike or each its own: a graph that holds an exported size fails on one of them.
_CHECK_SIZES = ((5, 7, 6, 9, 8, 10), (3,), (1,), (0,), (150,))

_LARGEST_NUMBER = 3  # of those that are drawn for numbers of the run
_SEARCHES, _LARGEST_SEARCHED = 2000, 12  # of sizes for dimensions such as `4 - n`


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


def has_run_time_sizes(subgraph: Subgraph) -> bool:
    """Whether some size, of what it is given or of what it makes, is known at run time only."""
    made = (value.type for op in subgraph.ops for value in op.results)
    is_made = any(isinstance(size, str) for of in made if isinstance(of, TensorType) for size in of.shape)
    return bool(symbols(subgraph)) or is_made


def export_inputs(subgraph: Subgraph) -> tuple[torch.Tensor, ...]:
    """Inputs whose shapes the exporter sees."""
    names = symbols(subgraph)
    least = _longest_cut(subgraph)
    sizes = {
        name: least + _EXPORT_SIZES[i % len(_EXPORT_SIZES)] + 60 * (i // len(_EXPORT_SIZES))
        for i, name in enumerate(names)
    }
    fitting = _fitting(subgraph, sizes)
    if not _are_sizes(subgraph, fitting):
        fitting = _searched(subgraph, names) or fitting
    return random_inputs(subgraph, fitting, torch.Generator().manual_seed(0))


def _longest_cut(subgraph: Subgraph) -> int:
    """How far cuts of known length reach: the path knows that there is so much, an exporter tries.

    Numbers that only the run knows are small in what is tried.
    """
    cuts = [op.args[2:4] for op in subgraph.ops if op.target == CallFunction("torch.narrow")]
    known = [
        [arg.value if isinstance(arg, Lit) and type(arg.value) is int else None for arg in cut]
        for cut in cuts
        if len(cut) == 2
    ]
    return max(
        (length + (_LARGEST_NUMBER if start is None else start) for start, length in known if length is not None),
        default=0,
    )


def conditions(subgraph: Subgraph) -> tuple[tuple[str, int | str], ...]:
    """What the operations know of the run-time sizes that their names do not say."""
    return tuple(pair for op in subgraph.ops for pair in op.sizes)


def _fitting(subgraph: Subgraph, sizes: Mapping[str, int]) -> Mapping[str, int]:
    """The sizes, all multiplied by what it takes to meet the conditions on them; as they are if nothing does."""
    for factor in range(1, 61):
        tried = {name: size * factor for name, size in sizes.items()}
        if _meets_conditions(subgraph, tried):
            return tried
    return sizes


def _meets_conditions(subgraph: Subgraph, sizes: Mapping[str, int]) -> bool:
    asked = (pair for pair in conditions(subgraph) if all(sizes.keys() >= set(size_names(part)) for part in pair))
    return all(evaluate_size(size, sizes) == evaluate_size(equal, sizes) for size, equal in asked)


def _searched(subgraph: Subgraph, names: tuple[str, ...]) -> Mapping[str, int] | None:
    """Small sizes that leave every dimension some elements (`4 - n`): as many and as different ones as there are."""
    source = random.Random(0)
    tried = [{name: source.randint(2, _LARGEST_SEARCHED) for name in names} for _ in range(_SEARCHES)]
    found = [sizes for sizes in tried if _are_sizes(subgraph, sizes) and _meets_conditions(subgraph, sizes)]
    return max(found, key=lambda sizes: _difference(subgraph, sizes), default=None)


def _difference(subgraph: Subgraph, sizes: Mapping[str, int]) -> tuple[int, int, int]:
    """How well sizes serve to export with: an exporter takes 0 and 1 for sizes that they always have."""
    given, made = ({evaluate_size(dim, sizes) for dim in dims} for dims in _dimensions(subgraph, sizes.keys()))
    return min(given, default=2) >= 2, min(*made, 2, 2), len(given | made)


def _dimensions(subgraph: Subgraph, names: Collection[str]) -> tuple[list[str], list[str]]:
    """The run-time dimensions of what the subgraph is given, and of what it makes, if they are told by these names."""
    results = [result for op in subgraph.ops for result in op.results]
    given, made = (
        [dim for value in values if isinstance(value.type, TensorType) for dim in value.type.shape]
        for values in (subgraph.params, results)
    )
    told = [
        [dim for dim in dims if isinstance(dim, str) and set(size_names(dim)) <= set(names)] for dims in (given, made)
    ]
    return told[0], told[1]


def check_sizes(subgraph: Subgraph, dimensions: tuple[Dimension, ...] = ()) -> tuple[Mapping[str, int], ...]:
    """Assignments of the run-time sizes to check with; a single empty one where there are none."""
    known = {dimension.name: dimension for dimension in dimensions}
    names = symbols(subgraph)
    if not names:
        return ({},)
    least = _longest_cut(subgraph)
    found = [*_CHECK_SIZES, *([tuple(size + least for size in _CHECK_SIZES[0])] if least else [])]
    rows = ({name: _admitted(known.get(name), row[i % len(row)]) for i, name in enumerate(names)} for row in found)
    fitting = [sizes for row in rows if _are_sizes(subgraph, sizes := _fitting(subgraph, row))]
    searched = _searched(subgraph, names) if not fitting else None
    return tuple(fitting) if searched is None else (searched,)


def _are_sizes(subgraph: Subgraph, sizes: Mapping[str, int]) -> bool:
    """Whether no dimension becomes negative, of what the subgraph is given and of what it makes."""
    return all(evaluate_size(dim, sizes) >= 0 for dims in _dimensions(subgraph, sizes.keys()) for dim in dims)


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
            return torch.randint(0, _LARGEST_NUMBER + 1, (), generator=generator)
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
