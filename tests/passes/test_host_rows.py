"""Rows that the host takes at places that it has: the same to the bit, and the errors of torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import dycl
from dycl.ir import numerics
from dycl.ir.nodes import CallFunction, TensorOp
from dycl.ir.values import Lit, Operand, Ref, SliceOf, TensorType, Value, ValueId
from dycl.passes.host_rows import Between, Take, find_rows
from dycl.pipeline import check_model, explain_decisions
from dycl.settings import Settings


@given(st.integers(0, 4), st.lists(st.integers(-7, 7), max_size=5), st.sampled_from([(), (1,), (3,), (2, 2)]))
@pytest.mark.parametrize("dtype", ["bool", "float16", "float32", "float64", "int8", "int64", "uint8"])
def test_rows_and_errors_are_those_of_torch(dtype: str, count: int, places: list[int], row: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    source = (torch.randn(count, *row) * 3).to(getattr(torch, dtype))
    index = torch.tensor(places, dtype=torch.int64)
    try:
        wanted = source[index].numpy()
    except IndexError as error:
        with pytest.raises(IndexError) as raised:
            numerics.take_rows(source.numpy(), index.numpy())
        assert str(raised.value) == str(error)
        return
    found = numerics.take_rows(source.numpy(), index.numpy())
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
    assert found.tobytes() == wanted.tobytes()
    assert found.flags.c_contiguous and not np.shares_memory(found, source.numpy())


def operation(name: str, *args: Operand) -> TensorOp:
    return TensorOp(
        target=CallFunction(f"torch.Tensor.{name}"),
        args=(Ref(ValueId(0)), *args),
        results=(Value(ValueId(9), TensorType("float32", ("u9", 4))),),
    )


def find(source: TensorType, places: TensorType, name: str, *args: Operand) -> Take | Between | None:
    return find_rows(operation(name, *args), {ValueId(0): source, ValueId(1): places})


def part(start: int | None, stop: int | None, step: int | None = None) -> SliceOf:
    return SliceOf(Lit(start), Lit(stop), Lit(step))


BOXES, PLACES, AT = TensorType("float32", ("u0", 4)), TensorType("int64", ("u1",)), Ref(ValueId(1))


def test_what_could_be_another_result_is_left_to_torch() -> None:
    assert find(BOXES, PLACES, "__getitem__", AT) == Take(Ref(ValueId(0)), AT)
    for dtype in ("bool", "uint8", "int32"):  # masks; and what numpy would take as well
        assert find(BOXES, TensorType(dtype, ("u1",)), "__getitem__", AT) is None
    assert find(BOXES, TensorType("int64", ()), "__getitem__", AT) is None  # one row
    assert find(BOXES, TensorType("int64", (2, 2)), "__getitem__", AT) is None
    assert (
        find(TensorType("float32", ("u0", 0)), PLACES, "__getitem__", AT) is None
    )  # torch does not look at the places
    assert find(TensorType("float32", ("u0", "u2")), PLACES, "__getitem__", AT) is None  # rows of any size
    assert find(TensorType("float32", (4096, 4)), PLACES, "__getitem__", AT) is None
    assert find(TensorType("bfloat16", ("u0", 4)), PLACES, "__getitem__", AT) is None


def test_rows_between_two_numbers() -> None:
    zero, one, five = Lit(0), Lit(1), Lit(5)
    source = Ref(ValueId(0))
    assert find(PLACES, PLACES, "narrow", zero, zero, five) == Between(source, 0, 5)
    assert find(PLACES, PLACES, "__getitem__", part(None, None)) == Between(source, 0, None)
    assert find(PLACES, PLACES, "__getitem__", part(1, 3, 1)) == Between(source, 1, 3)
    for args in ((part(-2, None),), (part(None, -1),), (part(None, None, 2),)):
        assert find(PLACES, PLACES, "__getitem__", *args) is None
    assert find(BOXES, PLACES, "narrow", one, zero, five) is None
    assert find(BOXES, PLACES, "narrow", zero, Ref(ValueId(1)), five) is None


class Kept(nn.Module):
    """Keeps some boxes, best first, and looks at those; `places` are the caller's."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 4)

    def forward(self, x, places):
        boxes = torch.tanh(self.layer(x))
        order = torch.where(boxes[:, 0] > 0)[0]
        kept = []
        while order.numel() > 0:
            first = order[0]
            kept.append(first)
            if first.item() > 3:
                break
            order = order[1:]
        if len(kept) == 0:
            found = boxes[places]
            return found, found, found[0, 0].item() > 0
        chosen = torch.stack(kept)
        found = boxes[chosen[:2]]
        total = 0.0
        for number in range(found.shape[0]):
            total = total + found[number, 1].item()
        return found, found * 2 if total > 0 else found, boxes[chosen]


def sample(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    x = torch.randn(5, 4) * (3 if seed % 3 else 0.3)
    if seed % 4 == 1:
        x = x.abs() * -Kept().layer.weight[0].detach().sign()
    if seed % 7 == 3:
        x[2, 1] = torch.nan
    return x, torch.randint(-5, 5, (3,))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Callable[..., object], str]:
    model, directory = Kept().eval(), tmp_path_factory.mktemp("kept") / "out"
    compiled = dycl.compile(model, sample(0), output=directory, sample_inputs=sample)
    return model, compiled, (directory / "host.py").read_text()


def test_a_model_gives_what_eager_gives(kept: tuple[nn.Module, Callable[..., object], str]) -> None:
    model, compiled, host = kept
    assert "numerics.take_rows(boxes, places)" in host and "[:2])" in host
    results, none = [], 0
    for seed in range(40):
        given = sample(seed)
        wanted, found = model(*given), compiled(*(each.numpy() for each in given))
        none += isinstance(wanted[2], bool)
        for mine, theirs in zip(found, wanted, strict=True):
            if isinstance(theirs, bool):
                assert mine is theirs
                continue
            assert (mine.dtype, mine.shape) == (theirs.detach().numpy().dtype, tuple(theirs.shape))
            np.testing.assert_allclose(mine, theirs.detach().numpy(), rtol=1e-5, atol=1e-6)
            results.append((mine, mine.copy()))
    assert 3 < none < 37
    for array, as_it_was in results:
        np.testing.assert_array_equal(array, as_it_was)


@pytest.mark.parametrize("place", [5, -6, 7])
def test_a_place_that_is_not_there_raises_as_in_torch(
    kept: tuple[nn.Module, Callable[..., object], str], place: int
) -> None:
    model, compiled, _ = kept
    x, places = next(given for given in map(sample, range(40)) if isinstance(model(*given)[2], bool))
    places[1] = place
    with pytest.raises(IndexError) as theirs:
        model(x, places)
    with pytest.raises(IndexError) as ours:
        compiled(x.numpy(), places.numpy())
    assert str(ours.value) == str(theirs.value) == f"index {place} is out of bounds for dimension 0 with size 5"


def test_the_decision_is_explained(tmp_path: Path) -> None:
    notes = explain_decisions(check_model(Kept().eval(), sample(0), {}, Settings()))
    texts = [note.text for note in notes if note.step == "pin-to-host-late"]
    assert any(
        text.startswith("getitem: done by the host, which looks at it, and has what it is made of (") for text in texts
    )


class Written(Kept):
    """Writes into what it has chosen: nobody shares that, and the boxes stay as they are."""

    def forward(self, x, places):
        boxes = torch.tanh(self.layer(x))
        if boxes.sum().item() > 0:
            return boxes, boxes
        found = boxes[places]
        if found[0, 0].item() > 0:
            found[0] = 7
        return found, boxes


def test_a_model_that_writes_gives_what_eager_gives(tmp_path: Path) -> None:
    model = Written().eval()
    compiled = dycl.compile(model, sample(0), output=tmp_path / "out", sample_inputs=sample)
    for seed in range(20):
        given = sample(seed)
        for mine, theirs in zip(compiled(*(each.numpy() for each in given)), model(*given), strict=True):
            np.testing.assert_allclose(mine, theirs.detach().numpy(), rtol=1e-5, atol=1e-6)
