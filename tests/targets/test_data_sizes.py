"""Programs whose sizes depend on the data, through target and host: what the host returns is what eager returns."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import dycl
import dycl.diagnostics
from dycl.comparison import Comparison
from dycl.ir.nodes import CallFunction, TensorOp
from dycl.ir.sizes import evaluate_size, replace_names, size_names
from dycl.ir.values import Ref, ScalarKind, ScalarType, TensorType, Value, ValueId
from dycl.passes.sizes import unify_sizes
from tests.specialize import empty_programs, shape_programs, size_programs
from tests.specialize.tensor_programs import Case

QUICK = (
    "PaddedRest",
    "StoredRegion",
    "BroadcastRaise",
    "UniqueValues",
    "GraphConv",
    "ViewRaise",
    "Spreads",
    "Quantifiers",
    "PlainRecurrence",
)
REFUSED = {  # loudly
    name: "DY401: in one subgraph with the mask, torch asks whether the rows that it keeps are none"
    for name in ("Broadcast", "Products")
}


def _marks(case: Case) -> list[pytest.MarkDecorator]:
    marks = [] if case.name in QUICK else [pytest.mark.slow]
    if case.name in REFUSED:
        marks.append(pytest.mark.xfail(raises=dycl.diagnostics.DyclError, reason=REFUSED[case.name], strict=True))
    return marks


CASES = [
    pytest.param(case, marks=_marks(case), id=case.name)
    for case in (*shape_programs.CASES, *empty_programs.CASES, Case(size_programs.StoredRegion))
]


@pytest.mark.parametrize("case", CASES)
def test_the_host_agrees_with_eager(case: Case) -> None:
    torch.manual_seed(0)
    model = case.build().eval()
    compiled = dycl.compile(model, case.inputs(0), sample_inputs=case.inputs, samples=3)
    for seed in range(12):
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            try:
                expected = model(*case.inputs(seed))
            except (RuntimeError, IndexError) as error:
                with pytest.raises(type(error)):
                    compiled(*case.inputs(seed))
                continue
            comparison = Comparison()
            comparison.compare(expected, compiled(*case.inputs(seed)), "the result")
        assert comparison.differences == [], seed


def test_sizes_are_arithmetic_over_names() -> None:
    assert size_names("2*u0 + Max(u1, u0)") == ("u0", "u1")
    assert evaluate_size("2*u0 + Max(u1, u0)//2", {"u0": 3, "u1": 9}) == 10
    assert evaluate_size("Mod(u0, 2)", {"u0": 3}) == 1
    assert replace_names("u0 - u1", {"u1": "u2 + 1"}) == "u0 - u2 - 1"
    assert replace_names("u0 + u1 + u2", {"u2": "u3 - u0 - u1"}) == "u3"
    assert replace_names("2*u0 + u1", {"u1": "1 - 2*u0"}) == 1
    assert replace_names("Mod(u0, 2)*u1 + 1", {"u0": "u2 + 1"}) == "Mod((u2 + 1), 2)*u1 + 1"
    assert replace_names("u0 + 1", {"u0": -3}) == -2


def test_a_size_of_several_terms_that_is_known_names_its_terms() -> None:
    x, y = (Value(ValueId(i), TensorType("float32", (size,))) for i, size in enumerate(("u0 + 1", "2*u1 + u2")))
    op = TensorOp(
        target=CallFunction("torch.add"),
        args=(Ref(x.id), Ref(y.id)),
        results=(Value(ValueId(2), x.type),),
        sizes=(("u0 + 1", 1), ("2*u1 + u2", "u0 + 3")),
    )
    params, (done,) = unify_sizes((x, y), (op,))
    assert [param.type for param in params] == [TensorType("float32", (1,)), TensorType("float32", (3,))]
    assert done == replace(op, results=(Value(ValueId(2), TensorType("float32", (1,))),), sizes=())


def test_sizes_that_are_equal_get_one_name() -> None:
    a, b, n = (
        Value(ValueId(0), TensorType("float32", ("u0", 4))),
        Value(ValueId(1), TensorType("float32", ("u1", "u2"))),
        Value(ValueId(2), ScalarType(ScalarKind.INT, "u1 + u2")),
    )
    op = TensorOp(
        target=CallFunction("torch.add"),
        args=(Ref(a.id), Ref(b.id)),
        results=(Value(ValueId(3), a.type),),
        sizes=(("u1", "u0"), ("u2", 4), ("Mod(u1, 2)", 0)),
    )
    params, (done,) = unify_sizes((a, b, n), (op,))
    assert [param.type for param in params[:2]] == [a.type, a.type]
    assert isinstance(params[2].type, ScalarType)
    assert params[2].type.size == "u0 + 4"
    assert done == replace(op, sizes=(("Mod(u0, 2)", 0),))


class Stacks(torch.nn.Module):
    """Rows, numbers and answers of as many rounds as the data says, put together along each dimension."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        rows, numbers, answers = [], [], []
        while x.sum() > 1:
            rows.append(x)
            numbers.append(x.argmax())
            answers.append(x[0] > 0.5)
            x = x * 0.7 - 0.1
        if not rows:
            return (x,)
        return (
            torch.stack(rows),
            torch.stack(rows, 1),
            torch.stack(numbers),
            torch.stack(answers),
            torch.stack(rows, -2),
        )


def test_what_is_put_together_is_as_torch_puts_it(tmp_path: Path) -> None:
    compiled = dycl.compile(Stacks(), (torch.tensor([1.0, 3.0, 0.5]),), output=tmp_path / "stacks")
    for seed in range(6):
        x = torch.rand(3, generator=torch.Generator().manual_seed(seed)) * seed
        for made, expected in zip(compiled(x), Stacks()(x), strict=True):
            torch.testing.assert_close(made, expected)
    text = (tmp_path / "stacks" / "host.py").read_text(encoding="utf-8")
    assert (text.count("np.stack("), text.count("np.array(")) == (1, 4)
