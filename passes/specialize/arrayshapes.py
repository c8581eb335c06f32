"""What a call of numpy returns, found by making it on dummies: dtype, rank, and the sizes as far as they follow.

A size that only the run knows is a different prime number in each of two trials. A size of the result that is the same
number in both is that number, one that is the same operand's prime in both is that operand's size; any other is known
at run time only. So this is for functions whose result's sizes follow from sizes alone, and never saturate as a slice's
do; of the others every size is known at run time only (`FRESH`).
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dycl.ir.trees import leaves, map_leaves
from dycl.ir.values import ArrayForm, ScalarKind
from dycl.passes.specialize.arrayvalue import Array, number_dtype
from dycl.passes.specialize.values import Scalar

# The sizes of what these return depend on the content of their operands, or on numbers in a way of their own.
_FRESH_TEXT = """
    append arange argwhere array_split bincount compress delete diag diagonal extract flatnonzero histogram insert
    intersect1d linspace logspace nonzero pad repeat resize setdiff1d setxor1d split hsplit vsplit tri trim_zeros
    union1d unique vander eye identity convolve diff ediff1d squeeze reshape ravel flatten
"""
FRESH = frozenset(_FRESH_TEXT.split())
# Of these the sizes are known when those of the operands are.
_PLAIN_TEXT = """
    diag diagonal pad tri eye identity convolve diff ediff1d squeeze reshape ravel flatten append
"""
_PLAIN = frozenset(_PLAIN_TEXT.split())

_PRIMES = (
    (37, 43, 53, 67, 73, 83, 97, 107, 113, 131),
    (41, 47, 61, 71, 79, 89, 101, 109, 127, 137),
)
_SAMPLES: dict[ScalarKind, Any] = {
    ScalarKind.INT: 1,
    ScalarKind.FLOAT: 1.0,
    ScalarKind.BOOL: True,
    ScalarKind.STR: "",
}


class UnknownShapeError(Exception):
    """Dummies cannot tell what the call returns."""


@dataclass(frozen=True, slots=True)
class Found:
    """One array or number that a call returns: its sizes are ints, symbolic sizes of operands, or None for unknown.

    `dtype` is that of its numbers, also where an array holds them as objects.
    """

    dtype: np.dtype[Any]
    sizes: tuple[Any, ...]
    form: ArrayForm
    is_plain: bool = False  # a number of Python's own


def find_results(name: str, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """What the call returns for operands like these; exceptions are those of numpy where all sizes are known."""
    symbols = _symbolic_sizes(args)
    numbers = _size_numbers(name, args)
    base = name.removeprefix("ndarray.").partition("[")[0]
    if not symbols and not numbers:
        found = _described(_trial(call, args, {}), {})
        return _as_fresh(found) if _depends_on_content(base, args) else found
    trials = [_tagged_trial(call, args, symbols, numbers, primes) for primes in _PRIMES]
    if base in FRESH or _depends_on_content(base, args):
        return _as_fresh(_merged(*trials))
    return _merged(*trials)


def _depends_on_content(base: str, args: tuple[Any, ...]) -> bool:
    if base == "where":
        return len(args) == 1
    if base not in FRESH:
        return False
    return base not in _PLAIN or any(isinstance(leaf, Scalar) for leaf in leaves(args))


def _symbolic_sizes(args: tuple[Any, ...]) -> list[Any]:
    """The different symbolic sizes in the operands."""
    found: dict[Any, Any] = {}
    for leaf in leaves(args):
        if isinstance(leaf, Array):
            for size in leaf.fake.shape:
                if isinstance(size, torch.SymInt):
                    found.setdefault(size.node.expr, size)
    return list(found.values())


def _size_numbers(name: str, args: tuple[Any, ...]) -> list[Scalar]:
    """Run-time ints that are sizes."""
    if name not in ("zeros", "ones", "empty", "full", "broadcast_to", "reshape", "ndarray.reshape", "eye", "tile"):
        return []
    return [leaf for leaf in leaves(args) if isinstance(leaf, Scalar) and leaf.kind is ScalarKind.INT]


def _tagged_trial(
    call: Callable[..., Any], args: tuple[Any, ...], symbols: list[Any], numbers: list[Scalar], primes: tuple[int, ...]
) -> Any:
    if len(symbols) + len(numbers) > len(primes):
        raise UnknownShapeError
    keys = [*[size.node.expr for size in symbols], *[number.vid for number in numbers]]
    tags = dict(zip(keys, primes, strict=False))
    origins: dict[int, Any] = dict(zip(primes, [*symbols, *numbers], strict=False))
    try:
        return _described(_trial(call, args, tags), origins)
    except Exception as error:  # sizes that differ here may have to be equal, or to be 1
        for size in (primes[0], 1):
            try:
                return _as_fresh(_described(_trial(call, args, dict.fromkeys(tags, size)), {}))
            except Exception:  # whatever numpy raises for these sizes
                continue
        raise UnknownShapeError(f"{type(error).__name__}: {error}") from None


def _trial(call: Callable[..., Any], args: tuple[Any, ...], tags: dict[Any, int]) -> Any:
    def dummy(leaf: Any) -> Any:
        if isinstance(leaf, Array):
            dtype = number_dtype(leaf)
            if leaf.is_scalar:
                return dtype.type(1)
            shape = tuple(
                tags[size.node.expr] if isinstance(size, torch.SymInt) else int(size) for size in leaf.fake.shape
            )
            return np.ones(shape, dtype).astype(object) if leaf.form is ArrayForm.OBJECTS else np.zeros(shape, dtype)
        if isinstance(leaf, Scalar):
            return tags[leaf.vid] if leaf.vid in tags else _SAMPLES[leaf.kind]
        return leaf

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return call(*map_leaves(dummy, args))


def _described(result: Any, origins: dict[int, Any]) -> Any:
    if isinstance(result, (tuple, list)):
        return tuple(_described(part, origins) for part in result)
    if isinstance(result, np.ndarray | np.generic):
        sizes = tuple(origins.get(size, size) for size in result.shape)
        if isinstance(result, np.ndarray) and result.dtype.hasobject:
            return Found(_dtype_of_objects(result), sizes, ArrayForm.OBJECTS)
        return Found(result.dtype, sizes, ArrayForm.SCALAR if isinstance(result, np.generic) else ArrayForm.ARRAY)
    if type(result) in (bool, int, float):
        return Found(np.asarray(result).dtype, (), ArrayForm.SCALAR, is_plain=True)
    raise UnknownShapeError(f"it returns a {type(result).__name__}")


def _dtype_of_objects(array: np.ndarray) -> np.dtype[Any]:
    """What an array of these numbers would have; those of none may be taken for any."""
    kinds = {type(item) for item in array.flat} or {float}
    if len(kinds) > 1 or not kinds <= {bool, int, float}:
        raise UnknownShapeError("its objects are not Python numbers of one kind")
    (kind,) = kinds
    return np.dtype(kind)


def _merged(first: Any, second: Any) -> Any:
    """What two trials agree on."""
    if isinstance(first, tuple) != isinstance(second, tuple):
        raise UnknownShapeError
    if isinstance(first, tuple):
        if len(first) != len(second):
            raise UnknownShapeError("how many arrays it returns depends on sizes")
        return tuple(itertools.starmap(_merged, zip(first, second, strict=True)))
    if (first.dtype, len(first.sizes), first.form) != (second.dtype, len(second.sizes), second.form):
        raise UnknownShapeError("the rank of the result depends on sizes")
    sizes = tuple(a if _is_same(a, b) else None for a, b in zip(first.sizes, second.sizes, strict=True))
    return Found(first.dtype, sizes, first.form, first.is_plain)


def _is_same(left: Any, right: Any) -> bool:
    if isinstance(left, int) and isinstance(right, int):
        return left == right
    return left is right


def _as_fresh(found: Any) -> Any:
    if isinstance(found, tuple):
        return tuple(_as_fresh(part) for part in found)
    return Found(found.dtype, (None,) * len(found.sizes), found.form, found.is_plain)
