"""What the host computes with numbers, against torch and against Python's own slices."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dycl.ir import numerics

LIMIT = 2.0**31
EDGES = [0.5, 1.5, -0.5, -2.5, -0.0, *(sign * LIMIT + off for sign in (1, -1) for off in (-1.5, -1.0, -0.5, 0.0, 0.5))]


@pytest.mark.filterwarnings("error::RuntimeWarning")
@given(st.floats() | st.sampled_from([*EDGES, math.nan, math.inf, -math.inf]))
def test_to_round_and_convert_is_one_step(number: float) -> None:
    found = numerics.nearest_int32(number)
    assert found == torch.tensor([number], dtype=torch.float64).round().int().item()
    assert type(found) is int


@given(st.integers(-12, 12), st.integers(-12, 12), st.integers(0, 8))
def test_bounds_of_a_slice(start: int, stop: int, size: int) -> None:
    items = np.arange(size)
    low, high = numerics.clip(start, size), numerics.clip(stop, size)
    length = numerics.span(low, high)
    assert items[start:stop].tolist() == list(range(low, low + length))
