"""Names of sizes in types, where a parameter goes and what it was passed takes its place."""

from __future__ import annotations

from dycl.ir.values import Lit, Ref, ScalarKind, ScalarType, TensorType, Value, ValueId
from dycl.passes.sizes import bind_sizes

ROWS = TensorType("float32", ("u0", 4))
COUNT = ScalarType(ScalarKind.INT, "u0")


def test_a_number_that_is_passed_says_nothing_of_a_size() -> None:
    """`for k in range(n)`: in an arm of a dispatch `n` is 3, and in the next one 2, whatever its type says."""
    params = [(Value(ValueId(0), COUNT), Lit(3)), (Value(ValueId(1), COUNT), Lit(2))]
    assert bind_sizes(params, {}) == {}


def test_a_tensor_says_what_its_sizes_are_before_a_number_does() -> None:
    types = {ValueId(2): ScalarType(ScalarKind.INT, "u7"), ValueId(3): TensorType("float32", ("u5", 4))}
    params = [(Value(ValueId(0), COUNT), Ref(ValueId(2))), (Value(ValueId(1), ROWS), Ref(ValueId(3)))]
    assert bind_sizes(params, types) == {"u0": "u5"}
