"""Random expressions over two integers, as sizes are made of."""

from __future__ import annotations

import sympy
from hypothesis import strategies as st
from torch.utils._sympy.functions import FloorDiv, Max, Min, PythonMod

A, B = sympy.symbols("a b", integer=True)
LEAVES = st.one_of(st.sampled_from([A, B]), st.integers(-3, 5).map(sympy.Integer))
OPERATIONS = st.sampled_from(
    [
        lambda x, y: x + y,
        lambda x, y: x * y,
        lambda x, y: x - y,
        Max,
        Min,
        lambda x, y: FloorDiv(x, y) if y.is_number and y > 0 else x,
        lambda x, y: PythonMod(x, y) if y.is_number and y > 0 else y,
        lambda x, y: x**2 + y,
    ]
)
NUMBERS = st.recursive(LEAVES, lambda inner: st.builds(lambda f, x, y: f(x, y), OPERATIONS, inner, inner), max_leaves=6)
RELATIONS = st.sampled_from([sympy.Eq, sympy.Ne, sympy.Lt, sympy.Le, sympy.Gt, sympy.Ge])
COMPARED = st.builds(lambda relation, x, y: relation(x, y), RELATIONS, NUMBERS, NUMBERS)
