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

from dataclasses import replace

from dycl.ir.nodes import ScalarKind, ScalarType, TensorOp, TensorType, Value, ValueType
from dycl.ir.sizes import replace_names, size_names

Sizes = dict[str, int | str]


def unify_sizes(
    params: tuple[Value, ...], body: tuple[TensorOp, ...]
) -> tuple[tuple[Value, ...], tuple[TensorOp, ...]]:
    """The parameters and operations with one name for each size."""
    sizes: Sizes = {}
    for op in body:
        for left, right in op.sizes:
            _learn(sizes, left, right)
    if not any(op.sizes for op in body):
        return params, body
    return tuple(_retyped(param, sizes) for param in params), tuple(_rewritten(op, sizes) for op in body)


def _learn(sizes: Sizes, left: str, right: int | str) -> None:
    one, other = replace_names(left, sizes), right if isinstance(right, int) else replace_names(right, sizes)
    if one == other:
        return
    for name, size in ((one, other), (other, one)):
        if isinstance(name, str) and name.isidentifier() and name not in size_names(size):
            for known, spelled in sizes.items():
                if isinstance(spelled, str):
                    sizes[known] = replace_names(spelled, {name: size})
            sizes[name] = size
            return


def _rewritten(op: TensorOp, sizes: Sizes) -> TensorOp:
    left = ((replace_names(size, sizes), equal) for size, equal in op.sizes if not size.isidentifier())
    return replace(
        op,
        results=tuple(_retyped(value, sizes) for value in op.results),
        mutates=tuple((old, _retyped(new, sizes)) for old, new in op.mutates),
        sizes=tuple((size, equal) for size, equal in left if isinstance(size, str)),
    )


def _retyped(value: Value, sizes: Sizes) -> Value:
    return replace(value, type=_type(value.type, sizes))


def _type(of: ValueType, sizes: Sizes) -> ValueType:
    match of:
        case TensorType(dtype=dtype, shape=shape):
            return TensorType(dtype, tuple(replace_names(d, sizes) if isinstance(d, str) else d for d in shape))
        case ScalarType(kind=ScalarKind.INT, size=size) if size:
            return ScalarType(ScalarKind.INT, str(replace_names(size, sizes)))
        case _:
            return of
