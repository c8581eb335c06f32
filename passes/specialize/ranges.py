"""Between which bounds the elements of integer tensors lie, as their operations promise: `argmax` gives an index.

Known for a path and for one content of a tensor; a write gives the content another name. A number read from such a
tensor has the bounds as its interval, so that a dispatch on it has no arm for what cannot be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sympy
import torch
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily
from torch.utils._sympy.numbers import int_oo

from dycl.passes.specialize.intervals import Interval
from dycl.passes.specialize.values import Scalar

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine

_TYPES = {torch.uint8: (0, 255), torch.int8: (-128, 127), torch.bool: (0, 1)}

# Arithmetic on integers: the operation, and whether the operands are swapped.
ARITHMETIC = {"add": ("add", False), "sub": ("sub", False), "mul": ("mul", False)} | {
    "radd": ("add", True),
    "rsub": ("sub", True),
    "rmul": ("mul", True),
}

# The results hold elements of the first argument (or of the tensors in it), and nothing else.
_MOVING_TEXT = """
    __getitem__ select index_select gather take take_along_dim reshape view view_as reshape_as squeeze unsqueeze flatten
    ravel expand expand_as clone contiguous detach cpu long int permute transpose t repeat flip roll
    chunk split unbind narrow masked_select cat concat stack hstack vstack unique unique_consecutive amax amin sort
    msort to type movedim swapaxes tile diagonal broadcast_to median mode kthvalue topk max min
"""
_MOVING = frozenset(_MOVING_TEXT.split())
# The last result holds indices into a dimension: given by position or name, or the last one, or all elements at once.
_INDEXING = {"argmax": (1, None), "argmin": (1, None), "topk": (2, -1), "sort": (1, -1), "argsort": (1, -1)} | {
    "max": (1, None),
    "min": (1, None),
    "median": (1, None),
    "kthvalue": (2, -1),
    "mode": (1, -1),
}


def note_ranges(machine: Machine, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], results: list[Any]) -> None:
    """Remember the bounds of what an operation has made."""
    whole = [index for index, leaf in enumerate(results) if _is_whole(leaf)]
    if not whole or not args:
        return
    name = getattr(func, "__name__", "")
    facts = machine.state.facts
    for index in whole:
        found = _range(machine, name, args, kwargs, index, len(results))
        if found is not None and (results[index].dtype is torch.int64 or _is_small(found)):
            facts.ranges[machine.current_vid(results[index])] = found


def range_of(machine: Machine, tensor: Any) -> Interval | None:
    """The bounds of a tensor's elements, if any are known."""
    if not isinstance(tensor, torch.Tensor):
        return None
    if isinstance(tensor, FakeTensor):
        found = machine.state.facts.ranges.get(machine.current_vid(tensor))
        if found is not None:
            return found
    known = machine.known_value(tensor)
    if known is not None and known.numel() and not known.dtype.is_floating_point and not known.dtype.is_complex:
        with unset_fake_temporarily(), torch._C.DisableTorchFunction():
            return _interval(int(known.min()), int(known.max()))
    return _interval(*_TYPES[tensor.dtype]) if tensor.dtype in _TYPES else None


def _interval(low: Any, high: Any) -> Interval:
    return sympy.sympify(low), sympy.sympify(high)


def _is_whole(leaf: Any) -> bool:
    return isinstance(leaf, FakeTensor) and leaf.dtype in (torch.int64, torch.int32)


def _range(
    machine: Machine, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], index: int, count: int
) -> Interval | None:
    source = args[0]
    if name in _INDEXING and index == count - 1 and (count == 2 or name.startswith("arg")):
        return _index_range(machine, name, source, args, kwargs)
    if name == "view" and any(isinstance(part, torch.dtype) for part in (*args, *kwargs.values())):
        return None  # the same bits, read as other numbers
    if name in ("max", "min") and len(args) > 1 and isinstance(args[1], torch.Tensor):
        return _union([range_of(machine, source), range_of(machine, args[1])])
    if name in ("sum", "count_nonzero", "cumsum") and isinstance(source, torch.Tensor):
        return _sum_range(machine, name, source, args, kwargs)
    if name in _MOVING and index == 0:
        return _union([range_of(machine, part) for part in (source if isinstance(source, (list, tuple)) else [source])])
    if name in ("unbind", "split", "chunk"):
        return range_of(machine, source)
    if name in ("nonzero", "argwhere") or (name == "where" and len(args) == 1):
        ranges = [_indices(machine, size) for size in source.shape] or [_interval(0, 0)]
        is_apart = name == "where" or kwargs.get("as_tuple", False)
        return ranges[index] if is_apart else _union(list(ranges))
    if name == "multinomial":
        return _indices(machine, source.shape[-1])
    if name in ("remainder", "__mod__") and len(args) > 1 and type(args[1]) is int and args[1] > 0:
        return _interval(0, args[1] - 1)
    if name in ("clamp", "clip") and isinstance(source, torch.Tensor):
        return _clamped(range_of(machine, source), *_limits(args, kwargs))
    if name.strip("_") in ARITHMETIC and len(args) == 2 and not kwargs:
        operation, is_swapped = ARITHMETIC[name.strip("_")]
        return _arithmetic(machine, operation, *(args[::-1] if is_swapped else args))
    if name == "where" and len(args) == 3:
        return _union([range_of(machine, part) for part in args[1:]])
    return None


def _sum_range(
    machine: Machine, name: str, source: torch.Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Interval | None:
    """The bounds of a sum over one dimension or over all of them; a sum so far lies between those of all lengths."""
    of = _interval(0, 1) if name == "count_nonzero" else range_of(machine, source)
    dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
    if of is None or not (dim is None or type(dim) is int):
        return None
    count: Any = 1
    for size in source.shape if dim is None or not source.dim() else (source.shape[dim],):
        count = count * size
    most = sympy.Integer(count) if isinstance(count, int) else machine.bounds_of(count.node.expr)[1]
    if not (most.is_Integer and all(bound.is_Integer for bound in of)):
        return None
    corners = [bound * most for bound in of]
    if name == "cumsum" or not isinstance(count, int):
        corners += [sympy.Integer(0), *of]
    found = min(corners), max(corners)
    return found if _is_small(found) else None


def _index_range(
    machine: Machine, name: str, source: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Interval | None:
    place, default = _INDEXING[name]
    dim = kwargs.get("dim", args[place] if len(args) > place else default)
    if dim is not None and type(dim) is not int:
        return None
    if dim is None:
        size = 1
        for part in source.shape:
            size = size * part
        return _indices(machine, size)
    return _indices(machine, source.shape[dim]) if source.dim() else _interval(0, 0)


def _indices(machine: Machine, size: Any) -> Interval:
    """What an index into so many elements can be."""
    if isinstance(size, int):
        return _interval(0, max(size - 1, 0))
    high = machine.bounds_of(size.node.expr)[1]
    return _interval(0, high - 1 if high.is_Integer else int_oo)


def _union(parts: list[Interval | None]) -> Interval | None:
    found = [part for part in parts if part is not None]
    if not found or len(found) != len(parts):
        return None
    return min(low for low, _ in found), max(high for _, high in found)


def _limits(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    low = kwargs.get("min", args[1] if len(args) > 1 else None)
    return low, kwargs.get("max", args[2] if len(args) > 2 else None)


def _clamped(found: Interval | None, low: Any, high: Any) -> Interval | None:
    if not all(limit is None or type(limit) is int for limit in (low, high)):
        return None
    least, most = found if found is not None else (-int_oo, int_oo)
    if low is not None:
        least, most = max(least, low), max(most, low)
    if high is not None:
        least, most = min(least, high), min(most, high)
    return None if (least, most) == (-int_oo, int_oo) else _interval(least, most)


def _arithmetic(machine: Machine, name: str, left: Any, right: Any) -> Interval | None:
    a, b = _operand_range(machine, left), _operand_range(machine, right)
    if a is None or b is None or not all(bound.is_Integer for bound in (*a, *b)):
        return None
    if name == "add":
        corners = [a[0] + b[0], a[1] + b[1]]
    elif name == "sub":
        corners = [a[0] - b[1], a[1] - b[0]]
    else:
        corners = [x * y for x in a for y in b]
    low, high = min(corners), max(corners)
    return (low, high) if _is_small((low, high)) else None  # beyond, the tensor's type might wrap


def _is_small(bounds: Interval) -> bool:
    return bool(bounds[0] >= -(2**31) and bounds[1] < 2**31)


def _operand_range(machine: Machine, value: Any) -> Interval | None:
    if type(value) is int:
        return _interval(value, value)
    expr = value.node.expr if isinstance(value, torch.SymInt) else getattr(value, "expr", None)
    if isinstance(value, (Scalar, torch.SymInt)) and expr is not None:
        return machine.bounds_of(expr)
    return range_of(machine, value) if isinstance(value, torch.Tensor) and not value.dtype.is_floating_point else None
