"""What the host computes in place of a dispatch is what torch computes, to the bit, and takes no dispatch."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import dycl
from dycl.ir.hostops import HOST_FUNCTIONS
from dycl.ir.nodes import CallFunction, TensorOp
from dycl.ir.values import Lit, Operand, Ref, TensorType, TorchLit, Value, ValueId
from dycl.passes.compute_elements import Step, _without_needless, find_steps
from dycl.pipeline import check_model, explain_decisions
from dycl.settings import Settings

SPECIAL = (math.nan, math.inf, -math.inf, 0.0, -0.0, 0.5, 1.5, -2.5, -0.3, 3.4e38, 1e-40, 1e-45, 4503599627370497.5)
LARGE = (2147483647.0, 2147483648.0, -2147483648.5, -2147483649.0, 9.3e18, -9.3e18, 8388607.5, 16777217.0)
BITS = {
    "float32": st.integers(0, 2**32 - 1).map(lambda bits: float(np.uint32(bits).view(np.float32))),
    "float64": st.integers(0, 2**64 - 1).map(lambda bits: float(np.uint64(bits).view(np.float64))),
}
NUMBERS = {dtype: st.one_of(st.sampled_from(SPECIAL + LARGE), st.floats(-1e4, 1e4), BITS[dtype]) for dtype in BITS}


def check(name: str, array: np.ndarray, *rest: Operand) -> bool:
    """Compare each number with torch's, but for the bits of NaN; False where this is left to torch."""
    tensor = torch.from_numpy(array)
    given = [getattr(torch, arg.text[6:]) if isinstance(arg, TorchLit) else arg.value for arg in rest]  # type: ignore[union-attr]
    wanted = getattr(torch.Tensor, name)(tensor, *given)
    kinds = [TensorType(str(each.dtype)[6:], tuple(each.shape)) for each in (tensor, wanted)]
    op = TensorOp(
        target=CallFunction(f"torch.Tensor.{name}"),
        args=(Ref(ValueId(0)), *rest),
        results=(Value(ValueId(1), kinds[1]),),
    )
    steps = find_steps(op, {ValueId(0): kinds[0]})
    if steps is None:
        return False
    for number, expected in zip(array.tolist(), wanted.tolist(), strict=True):
        found = number
        for function, operands in steps:
            found = HOST_FUNCTIONS[function].call(found, *(arg.value for arg in operands))  # type: ignore[union-attr]
        assert type(found) is type(expected)
        is_same = found == expected and math.copysign(1, found) == math.copysign(1, expected)
        assert is_same or (found != found and expected != expected), (name, number, rest, found, expected)
    return True


@given(st.lists(NUMBERS["float32"], min_size=1), st.integers(0, 40), st.sampled_from(["round", "trunc", "int", "long"]))
def test_nobody_tells_whether_a_part_of_a_number_was_rounded_before(values: list[float], power: int, name: str) -> None:
    with np.errstate(over="ignore"):
        tensor = torch.from_numpy(np.array(values, np.float32))
    one: Step = ("mul", (Lit(0.5**power),))
    function = {"round": "rounded", "trunc": "truncated", "int": "int32", "long": "int64"}[name]
    steps = _without_needless([one, ("numerics.single", ()), (f"numerics.{function}", ())])
    assert steps == [one, (f"numerics.{function}", ())]
    wanted = getattr(tensor * 0.5**power, name)().tolist()
    for number, expected in zip(tensor.tolist(), wanted, strict=True):
        found = HOST_FUNCTIONS[f"numerics.{function}"].call(number * 0.5**power)
        is_same = found == expected and math.copysign(1, found) == math.copysign(1, expected)
        assert is_same or (found != found and expected != expected)


def test_other_numbers_are_rounded() -> None:
    for number, after in ((0.3, "rounded"), (2.0, "rounded"), (-0.5, "rounded"), (0.5, "floored")):
        steps: list[Step] = [("mul", (Lit(number),)), ("numerics.single", ()), (f"numerics.{after}", ())]
        assert _without_needless(steps) == steps


@given(st.data())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_are_those_of_torch(dtype: str, data: st.DataObject) -> None:
    with np.errstate(over="ignore"):
        array = np.array(data.draw(st.lists(NUMBERS[dtype], min_size=1, max_size=33)), dtype)
    for name in ("neg", "abs", "round", "floor", "ceil", "trunc", "int", "long", "float", "double"):
        assert check(name, array), name
    for kind in ("float32", "float64", "int32", "int64"):
        assert check("to", array, TorchLit(f"torch.{kind}"))
    other, whole = data.draw(NUMBERS["float64"]), data.draw(st.integers(-(2**24), 2**24))
    for name in ("add", "sub", "mul", "__radd__", "__rmul__"):
        assert check(name, array, Lit(other)), name
        assert check(name, array, Lit(whole)), name
    as_torch_has_it = torch.tensor(other, dtype=getattr(torch, dtype)).item()
    assert check("div", array, Lit(other)) is (as_torch_has_it != 0)
    assert check("__truediv__", array, Lit(whole)) is (whole != 0)


def test_what_is_not_the_same_is_left_to_torch() -> None:
    array = np.array([0.1, 2.0], np.float32)
    assert not check("sqrt", array)
    assert not check("mul", array, Lit(2**24 + 1))
    assert not check("__rtruediv__", array, Lit(3.0))  # torch multiplies with what it divides 1 by
    assert not check("to", array, TorchLit("torch.uint8"))
    assert not check("add", np.array([1, 2]), Lit(1))  # numbers of Python's do not wrap


class Windows(nn.Module):
    """Cuts out what boxes in a list enclose: where they begin and end is arithmetic on a row of four numbers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.layer = nn.Conv2d(1, 2, 3, padding=1)

    def forward(self, x, boxes):
        picture = self.layer(x)
        found = []
        for box in boxes[boxes[:, 0] != 7]:
            low, high, seen, scaled = (box * 0.3 - 1).round().int().tolist()
            found.append((low, high, seen, scaled, picture[:, :, min(max(low, 0), 3) :].sum()))
        return found


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_arithmetic_on_a_row_takes_no_dispatch(tmp_path: Path) -> None:
    model = Windows().eval()
    rows = [
        [1.0, -2.5, 5.0, 8.3],
        [7.0, 0.0, 0.0, 0.0],
        [math.nan, math.inf, -math.inf, 3e38],
        [5e9, -5e9, 1e-40, -0.0],
    ]
    args = (torch.randn(1, 1, 8, 8), torch.tensor(rows))
    compiled = dycl.compile(model, args, output=tmp_path / "out")
    host = (tmp_path / "out" / "host.py").read_text()
    assert "numerics.nearest_int32(numerics.single(" in host and "_select" not in host
    for boxes in (args[1], args[1].flip(0), torch.full((4, 4), 7.0), torch.randn(4, 4) * 9):
        for mine, theirs in zip(compiled(args[0], boxes), model(args[0], boxes), strict=True):
            assert mine[:4] == theirs[:4]
            np.testing.assert_allclose(np.asarray(mine[4]), theirs[4].detach().numpy(), rtol=1e-4)


def test_arithmetic_in_a_dispatch_that_is_there_anyway_stays_in_it() -> None:
    class Scaled(nn.Module):
        def forward(self, x):
            return torch.exp(x).mul(3).round().int().tolist()

    class Given(nn.Module):
        def forward(self, x):
            return x.mul(3).round().int().tolist()

    for model, is_done in ((Scaled(), False), (Given(), True)):
        checked = check_model(model.eval(), (torch.zeros(4),), {}, Settings())
        texts = [note.text for note in explain_decisions(checked) if note.step == "compute-elements"]
        assert bool(texts) is is_done
        assert not texts or "mul, round, int: computed by the host" in texts[0]
