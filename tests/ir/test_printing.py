"""The text of a tensor is torch's, to the letter."""

from __future__ import annotations

import math

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dycl.ir.printing import tensor_text

_DTYPES = st.sampled_from(["float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"])
_SHAPES = st.one_of(
    arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=8),
    st.sampled_from([(30,), (1000,), (1001,), (3, 400), (40, 50), (7, 8, 30), (2, 7, 2, 50), (2000, 1)]),
)
_SPECIALS = (0.0, -0.0, math.nan, math.inf, -math.inf, 1.0, -17.0, 0.99999, 99999.5, 1e-5, 1e8, 1e-30, 65504.0)
_OPTIONS = st.tuples(
    st.just("float32"),
    st.sampled_from([0, 1, 2, 8]),
    st.sampled_from([0, 5, 1000, math.inf]),
    st.sampled_from([0, 1, 3]),
    st.sampled_from([10, 40, 80, 200]),
    st.sampled_from([None, True, False]),
)


@st.composite
def _arrays(draw: st.DrawFn) -> np.ndarray:
    """Numbers of one magnitude, some whole, some special."""
    dtype, shape, seed = np.dtype(draw(_DTYPES)), draw(_SHAPES), draw(st.integers(0, 2**32 - 1))
    values = np.random.default_rng(seed).normal(size=shape) * 10.0 ** draw(st.integers(-9, 9))
    if draw(st.booleans()):
        values = np.round(values)
    if dtype.kind == "b":
        return np.asarray(values > 0)
    if dtype.kind in "iu":
        return np.asarray(np.clip(values, np.iinfo(dtype).min // 2, np.iinfo(dtype).max // 2)).astype(dtype)
    values = np.asarray(values)
    for special in draw(st.lists(st.sampled_from(_SPECIALS), max_size=3)):
        if values.size:
            values.flat[draw(st.integers(0, values.size - 1))] = special
    with np.errstate(over="ignore"):
        return values.astype(dtype)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(_arrays())
def test_text_is_torchs(array: np.ndarray) -> None:
    assert tensor_text(array) == repr(torch.from_numpy(array))


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(_arrays(), _OPTIONS)
def test_options_are_torchs(array: np.ndarray, options: tuple[object, ...]) -> None:
    names = ("precision", "threshold", "edgeitems", "linewidth", "sci_mode")
    with torch._tensor_str.printoptions(**dict(zip(names, options[1:], strict=True))):
        try:
            wanted = repr(torch.from_numpy(array))
        except IndexError:  # torch's own, for no edge items of nothing
            return
    assert tensor_text(array, *options) == wanted


@pytest.mark.parametrize("default", [torch.float64, torch.float16])
def test_default_dtype_needs_no_mention(default: torch.dtype) -> None:
    before = torch.get_default_dtype()
    torch.set_default_dtype(default)
    try:
        for array in (np.ones(2, "float64"), np.ones(2, "float32"), np.ones((0, 2), "float16")):
            assert tensor_text(array, str(default).removeprefix("torch.")) == repr(torch.from_numpy(array))
    finally:
        torch.set_default_dtype(before)
