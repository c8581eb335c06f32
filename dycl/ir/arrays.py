"""The host functions on numpy arrays: the very calls of numpy that the source makes, made again by the host.

Names: `np.exp` is that function, `np.nonzero[0]` the first part of what it returns, `np.ndarray.sum` a method, and
`np.operator.add` an operator. A `Mapping` as the last operand holds the keyword arguments. An array is a reference, as
in Python: what writes into one (`np.setitem`, `np.operator.iadd`) changes every view of it. Therefore everything that
looks at the content of an array may raise: it keeps its place among its likes.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from dycl.ir import numerics
from dycl.ir.hostfunctions import HostFunction

MAX_PARTS = 8  # of a tuple of arrays that one call returns

_FUNCTIONS_TEXT = """
    abs absolute add all allclose amax amin any append arange arccos arccosh arcsin arcsinh arctan arctan2 arctanh
    argmax argmin argpartition argsort argwhere around array array_equal array_split asarray ascontiguousarray
    atleast_1d atleast_2d atleast_3d average bincount bitwise_and bitwise_not bitwise_or bitwise_xor broadcast_to
    cbrt ceil clip column_stack compress concatenate convolve copy copysign corrcoef cos cosh count_nonzero cov
    cross cumprod cumsum deg2rad degrees delete diag diagonal diff digitize divide divmod dot dstack ediff1d einsum
    empty empty_like equal exp exp2 expand_dims expm1 extract eye fabs flatnonzero flip fliplr flipud float_power
    floor floor_divide fmax fmin fmod full full_like gradient greater greater_equal heaviside histogram hsplit
    hstack hypot identity inner insert interp intersect1d invert isclose isfinite isin isinf isnan kron ldexp less
    less_equal lexsort linspace log log10 log1p log2 logaddexp logaddexp2 logical_and logical_not logical_or
    logical_xor logspace matmul max maximum mean median meshgrid min minimum mod moveaxis multiply nan_to_num
    nanargmax nanargmin nanmax nanmean nanmin nanstd nansum nanvar ndim negative nextafter nonzero not_equal ones
    ones_like outer pad partition percentile permute_dims positive power prod ptp put_along_axis quantile rad2deg
    radians ravel reciprocal remainder repeat reshape resize rint roll rot90 round searchsorted select setdiff1d
    setxor1d shape sign signbit sin sinc sinh size sort split sqrt square squeeze stack std subtract sum swapaxes
    take take_along_axis tan tanh tensordot tile trace transpose trapezoid tri tril triu true_divide trunc union1d
    unique unravel_index vander vdot vsplit vstack where zeros zeros_like bool_ int8 int16 int32 int64 uint8 uint16
    uint32 uint64 float16 float32 float64 linalg.norm
"""
_METHODS_TEXT = """
    all any argmax argmin argpartition argsort astype clip compress conj copy cumprod cumsum diagonal dot flatten
    max mean min nonzero prod ravel repeat reshape round searchsorted squeeze std sum swapaxes take trace transpose
    var
"""
_SEVERAL = (
    "array_split",
    "divmod",
    "gradient",
    "histogram",
    "hsplit",
    "meshgrid",
    "nonzero",
    "split",
    "unique",
    "unravel_index",
    "vsplit",
    "where",
)

# name, sign, precedence
_OPERATORS: tuple[tuple[str, str, int], ...] = (
    ("add", "+", 60),
    ("sub", "-", 60),
    ("mul", "*", 70),
    ("matmul", "@", 70),
    ("truediv", "/", 70),
    ("floordiv", "//", 70),
    ("mod", "%", 70),
    ("pow", "**", 80),
    ("lshift", "<<", 50),
    ("rshift", ">>", 50),
    ("and_", "&", 40),
    ("xor", "^", 35),
    ("or_", "|", 30),
    ("eq", "==", 20),
    ("ne", "!=", 20),
    ("lt", "<", 20),
    ("le", "<=", 20),
    ("gt", ">", 20),
    ("ge", ">=", 20),
)
_UNARY = (("neg", "-{0}", 75), ("pos", "+{0}", 75), ("invert", "~{0}", 75), ("abs", "abs({0})", 100))


def _named(name: str) -> Callable[..., Any]:
    found: Any = np
    for part in name.split("."):
        found = getattr(found, part)
    return found  # type: ignore[no-any-return]


def _with_keywords(function: Callable[..., Any], part: int | None = None) -> Callable[..., object]:
    """The function with its keyword arguments in a dict at the end, if there are any."""

    def call(*args: Any) -> object:
        keywords = args[-1] if args and isinstance(args[-1], dict) else {}
        result = function(*(args[:-1] if keywords else args), **keywords)
        return result if part is None else result[part]

    return call


def _method(name: str) -> Callable[..., Any]:
    return lambda array, *args, **keywords: getattr(array, name)(*args, **keywords)


def _in_place(name: str) -> Callable[..., Any]:
    def call(array: Any, other: Any) -> Any:
        return getattr(operator, name)(array, other)

    return call


def _set_item(array: Any, index: Any, value: Any) -> Any:
    array[index] = value
    return array


def tensor_of(array: Any) -> torch.Tensor:
    """The array as a tensor in the same memory; torch takes no negative strides."""
    return torch.from_numpy(array)


def _array_of(tensor: torch.Tensor) -> Any:
    return tensor.detach().numpy()


def array_of_objects(shape: tuple[int, ...], items: list[Any]) -> Any:
    """An array of these objects as they are: numpy would take apart those that have a length."""
    made = np.empty(shape, object)
    for index, item in zip(np.ndindex(shape), items, strict=True):
        made[index] = item
    return made


def _attempt(name: str) -> Callable[..., object]:
    """What tries a call that may write into its first operand: on a copy."""
    call = ARRAY_FUNCTIONS[name].call
    if name not in WRITES:
        return call
    return lambda array, *args: call(array.copy(), *args)


def _error_of(name: str, *args: Any) -> int:
    return numerics.error_of(_attempt(name), *args)


def _error_text(name: str, *args: Any) -> str:
    return numerics.error_text(_attempt(name), *args)


def _same(value: Any) -> Any:
    return value


def _rows() -> list[HostFunction]:
    rows = [HostFunction(f"np.{n}", _with_keywords(_named(n)), "", 100, True) for n in _FUNCTIONS_TEXT.split()]
    rows += [
        HostFunction(f"np.{n}[{k}]", _with_keywords(_named(n), k), "", 100, True)
        for n in _SEVERAL
        for k in range(MAX_PARTS)
    ]
    rows += [HostFunction(f"np.ndarray.{n}", _with_keywords(_method(n)), "", 100, True) for n in _METHODS_TEXT.split()]
    rows += [
        HostFunction(f"np.ndarray.nonzero[{k}]", _with_keywords(_method("nonzero"), k), "", 100, True)
        for k in range(MAX_PARTS)
    ]
    rows += [
        HostFunction(f"np.operator.{n}", getattr(operator, n), f"{{0}} {sign} {{1}}", p, True)
        for n, sign, p in _OPERATORS
    ]
    rows += [
        HostFunction(f"np.operator.i{n.strip('_')}", _in_place(f"i{n.strip('_')}"), "", 100, True)
        for n, _, p in _OPERATORS
        if p != 20
    ]
    rows += [HostFunction(f"np.operator.{n}", getattr(operator, n), text, p, True) for n, text, p in _UNARY]
    return [
        *rows,
        HostFunction("np.getitem", operator.getitem, "{0}[{1}]", 100, True),
        HostFunction("np.setitem", _set_item, "assign({0}, {1}, {2})", 100, True),
        HostFunction("np.contains", operator.contains, "bool({1} in {0})", 100, True),
        HostFunction("np.item", lambda array: array.item(), "{0}.item()", 100, True),
        HostFunction("np.item_at", lambda array, index: array.item(index), "{0}.item({1})", 100, True),
        HostFunction("np.tolist", lambda array: array.tolist(), "{0}.tolist()", 100, True),
        HostFunction("np.of_tensor", _array_of, "{0}"),
        HostFunction("np.copy_of_tensor", lambda tensor: _array_of(tensor).copy(), "{0}.copy()"),
        HostFunction("np.to_tensor", tensor_of, "as_tensor({0})", 100, True),
        HostFunction("np.copy_to_tensor", lambda array: tensor_of(array).clone(), "as_tensor({0}).copy()", 100, True),
        HostFunction("np.scalar_to_tensor", lambda number: torch.as_tensor(number), "np.asarray({0})", 100, True),
        HostFunction("np.of_objects", array_of_objects, "self._array(array_of_objects({0}, {1}))"),
        HostFunction("np.result", _same, "self._array({0})"),
        # the function that the first operand names, and its operands
        HostFunction("np.error_of", _error_of, "", 100, True),
        HostFunction("np.error_text", _error_text, "", 100, True),
    ]


ARRAY_FUNCTIONS: dict[str, HostFunction] = {row.name: row for row in _rows()}
"""Every host function on arrays by its name."""
WRITES = frozenset({"np.setitem", *(f"np.operator.i{n.strip('_')}" for n, _, p in _OPERATORS if p != 20)})
"""Those that write into their first operand."""
