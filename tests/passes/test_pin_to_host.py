"""What the host does in place of tensor operations is the same to the bit: numpy beside torch, and whole models."""

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
from dycl.ir.values import Lit, Ref, TensorType, ValueId
from dycl.passes.host_forms import find_compared
from dycl.pipeline import check_model, explain_decisions
from dycl.settings import Settings
from tests.graphs import read_graphs

SPECIAL = (math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, 1.0, -2.5, 3.4e38)
FLOATS = st.one_of(st.sampled_from(SPECIAL), st.floats(width=32))
OPERATORS = ("eq", "ne", "lt", "le", "gt", "ge")


def same(first: float, second: float) -> bool:
    return first == second or (first != first and second != second)


@given(st.lists(FLOATS, min_size=1, max_size=12), st.integers(1, 85), st.sampled_from(["argmax", "argmin"]))
def test_places_and_numbers_are_those_of_torch(few: list[float], times: int, name: str) -> None:
    """Of long rows, too, which both go through several elements at a time; each element is in them several times."""
    values = few * times
    array = np.array([values], np.float32)
    tensor = torch.tensor([values], dtype=torch.float32)
    place = getattr(array, name)(1).item()
    assert place == getattr(tensor, name)(dim=1).item() == getattr(tensor, name)().item()
    largest = getattr(torch, name.removeprefix("arg"))
    number, index = largest(tensor, 1)
    assert place == index.item()
    assert same(array.item(place), number.item())
    assert same(array.item(place), largest(tensor).item())
    assert same(array.item(place), getattr(torch, "a" + name.removeprefix("arg"))(tensor).item())


@given(FLOATS, st.one_of(FLOATS, st.floats(), st.integers(-(2**63), 2**63 - 1), st.booleans()))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_thresholds_are_those_of_torch(dtype: str, value: float, threshold: float) -> None:
    tensor = torch.tensor(value, dtype=getattr(torch, dtype))
    compared = find_compared(Lit(threshold), TensorType(dtype, ()), {})
    assert isinstance(compared, Lit)
    for name in OPERATORS:
        ours = getattr(tensor.item(), f"__{name}__")(compared.value)
        assert ours is getattr(torch, name)(tensor, threshold).item(), name


@given(st.data(), st.sampled_from(["int8", "uint8", "int32", "int64", "bool"]))
def test_whole_numbers_are_those_of_torch(data: st.DataObject, dtype: str) -> None:
    kind = getattr(torch, dtype)
    limits = torch.iinfo(torch.uint8 if dtype == "bool" else kind)
    value = data.draw(st.integers(limits.min, limits.max)) if dtype != "bool" else data.draw(st.booleans())
    threshold = data.draw(st.integers(-300, 300))
    compared = find_compared(Lit(threshold), TensorType(dtype, (1,)), {})
    tensor = torch.tensor([value], dtype=kind)
    if compared is None:
        assert not limits.min <= threshold <= limits.max
        return
    assert isinstance(compared, Lit)
    for name in OPERATORS:
        assert (
            getattr(int(tensor.item()), f"__{name}__")(compared.value) is getattr(torch, name)(tensor, threshold).item()
        )


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_what_torch_would_round_is_left_to_it(dtype: str) -> None:
    """A whole number beside a fraction is rounded to float32; one of another kind is converted."""
    one, types = TensorType(dtype, (1,)), {ValueId(0): TensorType("float32", (1,))}
    assert find_compared(Lit(0.5), one, types) is None
    assert find_compared(Ref(ValueId(0)), one, types) is None
    assert find_compared(Lit(2**63), TensorType("float32", ()), types) is None


class Exits(nn.Module):
    """Answers early where it is sure; else gives the answer of the surest."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))
        self.last = -1

    def forward(self, x):
        answers, sure = [], []
        for layer in self.layers:
            x = torch.tanh(layer(x))
            answers.append(x)
            confidence = x.max()
            if confidence > 0.7:
                return x.argmax(dim=1), confidence.item()
            sure.append(confidence)
        best = torch.stack(sure).argmax().item()
        value, label = answers[best].min(dim=1)
        if value.item() < -0.45:
            return label, -1.0
        return answers[best].argmin(1), 0.0


@pytest.fixture(scope="module")
def exits(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, object]:
    model = Exits().eval()
    directory = tmp_path_factory.mktemp("exits") / "out"
    compiled = dycl.compile(model, torch.zeros(1, 6), output=directory, sample_inputs=lambda seed: (sample(seed),))
    return model, compiled


def sample(seed: int) -> torch.Tensor:
    torch.manual_seed(seed)
    x = torch.randn(1, 6) * (seed % 4 + 0.1)
    if seed % 5 == 3:
        x[0, seed % 6] = (math.nan, math.inf, -math.inf)[seed % 3]
    return x


def test_a_model_says_what_eager_says(exits: tuple[nn.Module, object]) -> None:
    model, compiled = exits
    found = set()
    for seed in range(40):
        x = sample(seed)
        label, number = model(x)
        own_label, own_number = compiled(x)  # type: ignore[operator]
        assert isinstance(own_number, float)
        assert np.asarray(own_label).dtype == np.int64
        np.testing.assert_array_equal(np.asarray(own_label), label.numpy())
        np.testing.assert_allclose(own_number, number, rtol=1e-5)
        found.add(number if number <= 0 else 1.0 if number == number else 2.0)
    assert len(found) >= 3


def test_its_subgraphs_have_no_kernel_for_what_the_host_does(tmp_path: Path) -> None:
    dycl.compile(Exits().eval(), torch.zeros(1, 6), output=tmp_path / "out")
    kinds = {node.op_type for model in read_graphs(tmp_path / "out").values() for node in model.graph.node}
    assert not kinds & {"ArgMax", "ArgMin", "ReduceMax", "ReduceMin", "IsNaN", "Greater", "Less"}


def test_the_decision_is_explained() -> None:
    checked = check_model(Exits().eval(), (torch.zeros(1, 6),), {}, Settings())
    texts = [note.text for note in explain_decisions(checked) if note.step == "pin-to-host"]
    assert any(text.startswith("argmax: done by the host, which alone looks at it (") for text in texts)
    assert any(text.startswith("gt: done by the host") for text in texts)
    assert any(text.startswith("stack: done by the host") for text in texts)


class Words(nn.Module):
    """Says one word after the other: each goes into the next dispatch, once the host has looked at it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.table = nn.Embedding(6, 6)

    def forward(self, x):
        word = x.argmax(dim=1)
        steps = 0
        while word.item() != 0 and steps < 400:
            x = torch.tanh(x + self.table(word))
            word = x.argmax(dim=1)
            steps += 1
        return word, steps


def test_what_the_next_dispatch_reads_is_the_hosts_where_it_looks_at_it_first(tmp_path: Path) -> None:
    model = Words().eval()
    notes = explain_decisions(check_model(model, (torch.zeros(1, 6),), {}, Settings()))
    assert not [note for note in notes if note.step == "pin-to-host"]
    assert [note for note in notes if note.step == "pin-to-host-late" and "before another dispatch does" in note.text]
    compiled = dycl.compile(
        model, torch.zeros(1, 6), output=tmp_path / "out", sample_inputs=lambda seed: (sample(seed),)
    )
    host = (tmp_path / "out" / "host.py").read_text()
    assert "word = x.argmax(1)" in host
    for seed in range(20):
        word, steps = model(sample(seed))
        own_word, own_steps = compiled(sample(seed))
        assert (np.asarray(own_word).tolist(), own_steps) == (word.tolist(), steps)


class Best(nn.Module):
    """Takes the best, then the best of what is left: places that the host looks at, puts in a list, and returns."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.layer = nn.Linear(6, 6)

    def forward(self, x):
        rows = torch.tanh(self.layer(x)).expand(6, 6) + x.t()
        order = torch.where(x[0] > 0)[0]
        kept = []
        while order.numel() > 0:
            first = order[0]
            kept.append(first)
            order = order[order > first.item() + 1]
        chosen = torch.stack(kept) if kept else torch.empty(0, dtype=torch.long)
        last = int(x.argmax())
        return chosen, kept[:1], rows[last], rows, x[0]


@pytest.fixture(scope="module")
def best(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, object, str]:
    model, directory = Best().eval(), tmp_path_factory.mktemp("best") / "out"
    compiled = dycl.compile(model, torch.zeros(1, 6), output=directory, sample_inputs=lambda seed: (torch.randn(1, 6),))
    return model, compiled, (directory / "host.py").read_text()


def test_the_host_takes_rows_of_what_it_has(best: tuple[nn.Module, object, str]) -> None:
    model, compiled, host = best
    assert "order[0, ...]" in host and "order.item(0)" in host and "rows[x.argmax(1).item(), ...]" in host
    torch.manual_seed(3)
    for _ in range(12):
        x = torch.randn(1, 6)
        found, wanted = compiled(x.numpy()), model(x)  # type: ignore[operator]
        for mine, theirs in zip((found[0], *found[1], *found[2:]), (wanted[0], *wanted[1], *wanted[2:]), strict=True):
            assert type(mine) is np.ndarray
            np.testing.assert_allclose(mine, theirs.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_a_row_stays_as_it_is_while_somebody_has_it(best: tuple[nn.Module, object, str]) -> None:
    """Its memory is that of a dispatch's result, which is used again once nobody refers to it."""
    _, compiled, _ = best
    torch.manual_seed(4)
    inputs = [torch.randn(1, 6).numpy() for _ in range(30)]
    kept = [compiled(x)[2] for x in inputs]  # type: ignore[operator]
    before = [row.copy() for row in kept]
    for x in inputs:
        compiled(x)  # type: ignore[operator]
    for x, row, as_it_was in zip(inputs, kept, before, strict=True):
        np.testing.assert_array_equal(row, as_it_was)
        np.testing.assert_array_equal(row, compiled(x)[2])  # type: ignore[operator]


def test_no_result_is_a_row_of_the_callers_array(best: tuple[nn.Module, object, str]) -> None:
    _, compiled, _ = best
    x = np.ones((1, 6), np.float32)
    for result in compiled(x)[2:]:  # type: ignore[operator]
        assert not np.shares_memory(result, x)


class Nothing(nn.Module):
    """Hands arrays of no elements to the caller, and takes some."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(6)
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        kept = torch.where(x[:, 0] > 0)[0]
        if kept.numel() == 0:
            kept = torch.empty(0, dtype=torch.long)
        elif kept.numel() == 1:
            return torch.zeros(0, 4), kept.new_zeros(2, 0, dtype=torch.bool)
        rows = self.layer(x)[kept]
        if rows.sum() > 100:
            return rows, rows
        return rows * 2, kept


def test_arrays_of_no_elements_take_no_dispatch(tmp_path: Path) -> None:
    model = Nothing().eval()
    inputs = [torch.randn(3, 4) * sign for sign in (1.0, -1.0) for _ in range(6)] + [-torch.ones(3, 4)]
    inputs.append(torch.tensor([[1.0] * 4, [-1.0] * 4, [-1.0] * 4]))
    compiled = dycl.compile(
        model, torch.ones(3, 4), output=tmp_path / "out", sample_inputs=lambda seed: (inputs[seed % len(inputs)],)
    )
    host = (tmp_path / "out" / "host.py").read_text()
    assert 'np.empty((0, 4), "float32"), np.empty((2, 0), "bool")' in host
    for x in inputs * 2:
        for mine, theirs in zip(compiled(x.numpy()), model(x), strict=True):
            assert (mine.dtype, mine.shape) == (theirs.detach().numpy().dtype, tuple(theirs.shape))
            np.testing.assert_allclose(mine, theirs.detach().numpy(), rtol=1e-5, atol=1e-6)
