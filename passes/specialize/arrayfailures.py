"""Errors of numpy at run time: where the model would notice one, whether the call raises is a decision of the host.

Before: `a[i]` inside of the model's `try`. After: the host asks `np.error_of("np.getitem", a, i) == 0`; on the one side
the call is made, on the other the model's own handler runs, or the call ends with the state the source would leave.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import sympy
import torch

from dycl.ir.numerics import ERRORS
from dycl.ir.trees import leaves, map_leaves
from dycl.ir.values import Lit, ScalarKind
from dycl.passes.specialize import objectarrays
from dycl.passes.specialize.arrayvalue import Array, array_dtype
from dycl.passes.specialize.failures import integer_bits
from dycl.passes.specialize.values import Scalar, Text, TextPart

if TYPE_CHECKING:
    from dycl.passes.specialize.arraynumbers import ArrayNumbers
    from dycl.passes.specialize.arrays import Arrays

_INT64_BITS = 64  # an integer of a tensor has at most so many
# These succeed for whatever sizes and content their arrays have.
_TOTAL_TEXT = """
    sum mean std var any all cumsum cumprod prod argsort sort copy astype ravel flatten transpose swapaxes expand_dims
    moveaxis flip fliplr flipud nonzero flatnonzero argwhere count_nonzero unique ascontiguousarray atleast_1d
    atleast_2d atleast_3d zeros_like ones_like empty_like median nansum nanmean nanstd nanvar nan_to_num size shape
    ndim diff ediff1d trace bool_ float64 float32 float16
"""
_TOTAL = frozenset(_TOTAL_TEXT.split())
_NEED_ELEMENTS = frozenset(["max", "min", "amax", "amin", "argmax", "argmin", "ptp", "nanmax", "nanmin"])
# These may fail for some content of arrays whose sizes are all known.
_CONTENT_TEXT = """
    take delete insert bincount repeat unravel_index searchsorted digitize put_along_axis take_along_axis histogram
    compress percentile quantile nanargmax nanargmin partition argpartition average power float_power operator.pow
    operator.ipow interp arange linspace logspace pad resize cross lexsort select item_at getitem setitem to_tensor
    linalg.norm
"""
_CONTENT = frozenset(_CONTENT_TEXT.split())
_SIZES_TEXT = """
    zeros ones empty full arange linspace eye identity tri broadcast_to reshape tile repeat resize pad roll split hsplit
    vsplit array_split transpose unravel_index
"""
_SIZES = frozenset(_SIZES_TEXT.split())
_NUMBERS = frozenset(
    ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64", "bool_"]
)
_MAKE_NEW = frozenset(["zeros", "ones", "empty", "full"])
_LIKE_ELEMENTWISE = frozenset(["where", "clip", "isclose", "round", "around"])
_LINE_UP = frozenset(["concatenate", "hstack", "append"])


def check_array_failure(machine: ArrayNumbers, host: str, whole: tuple[Any, ...]) -> None:
    """Raise what the call raises on this path, if the model could notice; both sides are explored."""
    if not machine.may_catch() or not _can_fail(machine, host.removeprefix("np."), whole):
        return
    error = _probe(machine, "np.error_of", host, whole, ScalarKind.INT)
    if machine.truth(machine.host("eq", error, 0)):
        return
    for number, kind in enumerate(ERRORS, 1):
        if number == len(ERRORS) or machine.truth(machine.host("eq", error, number)):
            raise kind(Text.of(TextPart(_probe(machine, "np.error_text", host, whole, ScalarKind.STR), "", "")))


def as_int64(machine: Arrays, name: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The operands; of integers that numpy makes an array of, those that might not fit are `np.int64` of them.

    Numpy would make an array of uint64 or of objects; here it raises for an integer that does not fit.
    """
    if name in _SIZES or name.startswith("ndarray.") or name in _NUMBERS:
        return args
    has_arrays = any(isinstance(arg, Array) for arg in args)

    def leaf(found: Any) -> Any:
        return machine.emit_unasked("int64", (found,)) if _is_large(machine, found) else found

    return tuple(arg if has_arrays and not isinstance(arg, (list, tuple)) else map_leaves(leaf, arg) for arg in args)


def _is_large(machine: ArrayNumbers, value: Any) -> bool:
    if not isinstance(value, Scalar) or value.kind is not ScalarKind.INT or value.expr is None:
        return False
    return integer_bits(machine, value.expr) > _INT64_BITS  # type: ignore[arg-type]


def _probe(machine: ArrayNumbers, probe: str, host: str, whole: tuple[Any, ...], kind: ScalarKind) -> Scalar:
    """What the host finds out about the call before it makes it."""
    call = ("np", probe, host, machine.array_identity(whole))
    found, out = machine.replayed(call)
    if found:
        return out  # type: ignore[no-any-return]
    operands = (Lit(host), *[machine.array_operand(arg) for arg in whole])
    out = machine.plain_result(probe, operands, kind)
    if kind is ScalarKind.INT:
        machine.bound_symbol(out.expr, 0, len(ERRORS))
    machine.log(call, out)
    return out


# ---------------------------------------------------------------- which calls can fail


def _can_fail(machine: ArrayNumbers, name: str, whole: tuple[Any, ...]) -> bool:
    base = name.removeprefix("ndarray.").partition("[")[0]
    if base == "getitem":
        return not _is_inside(machine, whole[0], whole[1])
    if base == "setitem":
        return not _is_inside(machine, whole[0], whole[1]) or not _takes(machine, whole[0], whole[1], whole[2])
    if base in ("to_tensor", "copy_to_tensor"):
        return machine.has_reversed
    if base == "item_at":
        return not _are_known(whole[:1]) or not 0 <= whole[1] < whole[0].fake.numel()
    if _has_misfit(machine, whole) or objectarrays.can_fail(base, whole):
        return True
    if base in _TOTAL:
        return not isinstance(whole[0], Array)
    if base in _NEED_ELEMENTS:
        return not isinstance(whole[0], Array) or not all(_is_above(machine, size, 0) for size in whole[0].fake.shape)
    if base in _MAKE_NEW:
        return any(not _is_above(machine, leaf, -1) for leaf in leaves(whole[0]))
    if _is_elementwise(base) and base not in _CONTENT:
        is_in_place = base.startswith("operator.i") and base != "operator.invert"
        return (is_in_place and not _are_known(whole)) or not _fit(whole)
    if base in _LINE_UP and _are_lines(whole):
        return False
    has_numbers = any(isinstance(leaf, Scalar) for leaf in leaves(whole))
    return has_numbers or base in _CONTENT or not _are_known(whole)


def _is_elementwise(name: str) -> bool:
    if name == "operator.matmul":
        return False
    return name.startswith("operator.") or name in _LIKE_ELEMENTWISE or type(getattr(np, name, None)) is np.ufunc


def _are_known(values: Any) -> bool:
    """Whether all sizes of the arrays are known."""
    arrays = [leaf for leaf in leaves(values) if isinstance(leaf, Array)]
    return all(isinstance(size, int) for array in arrays for size in array.fake.shape)


def _are_lines(whole: tuple[Any, ...]) -> bool:
    arrays = [leaf for leaf in leaves(whole) if isinstance(leaf, (Array, np.ndarray))]
    return all(isinstance(leaf, Array) and leaf.fake.dim() == 1 for leaf in arrays) and not isinstance(whole[-1], dict)


def _fit(whole: tuple[Any, ...]) -> bool:
    """Whether the operands certainly broadcast."""
    shapes = [tuple(leaf.fake.shape) for leaf in whole if isinstance(leaf, Array)]
    if any(isinstance(arg, (list, tuple)) and not _are_known(whole) for arg in whole):
        return False
    rank = max((len(shape) for shape in shapes), default=0)
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return all(len({_size_key(size) for size in column} - {1}) <= 1 for column in zip(*padded, strict=True))


def _size_key(size: Any) -> Any:
    return size.node.expr if isinstance(size, torch.SymInt) else int(size)


def _has_misfit(machine: ArrayNumbers, whole: tuple[Any, ...]) -> bool:
    """Whether an integer of Python might not fit into the dtype of the array that it meets."""
    numbers = [leaf for leaf in leaves(whole) if isinstance(leaf, Scalar) and leaf.kind is ScalarKind.INT]
    if not numbers:
        return False
    dtypes = [array_dtype(leaf) for leaf in leaves(whole) if isinstance(leaf, Array)]
    limit = min((_bits_of(dtype) for dtype in dtypes), default=_INT64_BITS)
    return any(
        number.expr is None or integer_bits(machine, number.expr) > limit  # type: ignore[arg-type]
        for number in numbers
    )


def _bits_of(dtype: np.dtype[Any]) -> int:
    if dtype == np.int64:
        return _INT64_BITS
    if dtype.kind == "u":
        return 0  # none below zero
    return np.iinfo(dtype).bits - 1 if dtype.kind == "i" else _INT64_BITS


def _is_above(machine: ArrayNumbers, number: Any, limit: int) -> bool:
    """Whether the facts say that the number is above the limit."""
    if isinstance(number, torch.SymInt):
        expr = number.node.expr
    elif isinstance(number, Scalar):
        expr = number.expr
    else:
        return isinstance(number, int) and number > limit
    return expr is not None and machine.decide_expr(sympy.Gt(expr, limit)) == sympy.true


def _is_inside(machine: ArrayNumbers, target: Array, index: Any) -> bool:
    """Whether the index certainly selects from the array."""
    parts = index if isinstance(index, tuple) else (index,)
    consumed = sum(part is not None and part is not Ellipsis for part in parts)
    dim = 0
    for part in parts:
        if part is None:
            continue
        if part is Ellipsis:
            dim += target.fake.dim() - consumed
            continue
        if isinstance(part, slice):
            if isinstance(part.step, Scalar):
                return False
        elif isinstance(part, (int, Scalar)) and not isinstance(part, bool):
            if not _is_place(machine, part, target.fake.shape[dim]):
                return False
        else:
            is_mask = isinstance(part, Array) and part.fake.dtype is torch.bool and len(parts) == 1
            if not is_mask or part.fake.dim() > target.fake.dim():
                return False
            return all(_size_key(a) == _size_key(b) for a, b in zip(part.fake.shape, target.fake.shape, strict=False))
        dim += 1
    return True


def _is_place(machine: ArrayNumbers, number: Any, size: Any) -> bool:
    """Whether a number is an index of so many items."""
    if isinstance(number, int) and number < 0:
        return _is_above(machine, size, -number - 1)
    if isinstance(number, int):
        return _is_above(machine, size, number)
    if number.expr is None:
        return False
    end = _size_key(size)
    is_low = machine.decide_expr(sympy.Ge(number.expr, 0)) == sympy.true
    return is_low and bool(machine.decide_expr(sympy.Lt(number.expr, end)) == sympy.true)


def _takes(machine: ArrayNumbers, target: Array, index: Any, value: Any) -> bool:
    """Whether the value can certainly be stored there, wherever the index is inside."""
    kind = array_dtype(target).kind
    if isinstance(value, Array):
        return value.is_scalar or (_are_known((target, index, value)) and not _has_numbers(index))
    if isinstance(value, Scalar):
        return kind in "fb" or (value.kind is not ScalarKind.FLOAT and not _has_misfit(machine, (target, value)))
    return kind == "f" if isinstance(value, float) else isinstance(value, int) and kind in "fb"


def _has_numbers(index: Any) -> bool:
    """Whether the sizes of the selection depend on run-time numbers."""
    parts = index if isinstance(index, tuple) else (index,)
    is_mask = any(isinstance(part, Array) and part.fake.dtype is torch.bool for part in parts)
    return is_mask or any(
        isinstance(bound, Scalar) for part in parts if isinstance(part, slice) for bound in (part.start, part.stop)
    )
