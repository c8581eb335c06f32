"""What a caller sees written by a compiled model, as the model itself would have written it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import dycl


class Matcher(nn.Module):
    """Clamps a tensor of its input in place, and puts what it finds into the dict and a list in there."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, data: dict[str, Any], weights: torch.Tensor) -> torch.Tensor:
        """The score of the features."""
        data["image"].clamp_(min=0)
        feature = self.layer(data["image"]) * weights
        score = feature.sum()
        if score > 0:
            data["levels"].append(feature)
        data["score"] = score
        return score


def make_inputs(seed: int) -> tuple[Any, ...]:
    """A call."""
    made = torch.Generator().manual_seed(seed)
    image, weights = torch.randn(2, 3, generator=made), torch.randn(3, generator=made)
    return {"image": image, "levels": [torch.zeros(1)], "threshold": 0.5}, weights


@pytest.fixture(scope="module")
def compiled() -> dycl.CompiledModel:
    """The matcher, compiled."""
    torch.manual_seed(0)
    return dycl.compile(Matcher().eval(), make_inputs(0), samples=6, sample_inputs=make_inputs)


def as_arrays(data: dict[str, Any]) -> dict[str, Any]:
    """The same with arrays."""
    return {**data, "image": data["image"].numpy(), "levels": [level.numpy() for level in data["levels"]]}


def test_tensors_of_the_caller_are_written(compiled: dycl.CompiledModel) -> None:
    data, weights = make_inputs(1)
    image, levels, before = data["image"], data["levels"], data["image"].clone()
    score = compiled(data, weights)
    assert list(data) == ["image", "levels", "threshold", "score"]
    assert data["image"] is image and data["levels"] is levels
    assert torch.equal(image, before.clamp(min=0)) and torch.is_tensor(data["score"])
    assert torch.equal(data["score"], score) and len(levels) == (2 if score > 0 else 1)


def test_arrays_of_the_caller_are_written(compiled: dycl.CompiledModel) -> None:
    """Also such whose elements lie apart, of which the subgraphs get a copy."""
    data, weights = make_inputs(2)
    given = as_arrays(data)
    given["image"] = np.zeros((2, 6), np.float32)[:, ::2]
    given["image"][...] = data["image"].numpy()
    compiled(given, weights.numpy())
    assert np.array_equal(given["image"], data["image"].clamp(min=0).numpy())
    assert isinstance(given["score"], np.ndarray)


def test_one_memory_under_two_names_is_refused(compiled: dycl.CompiledModel) -> None:
    data, _ = make_inputs(3)
    given = as_arrays(data)
    with pytest.raises(ValueError, match=r"data\['image'\]: .* shares its memory with weights"):
        compiled(given, given["image"][0])
    assert np.array_equal(given["image"], data["image"].numpy()) and "score" not in given


def test_memory_that_cannot_be_written_is_refused(compiled: dycl.CompiledModel) -> None:
    data, weights = make_inputs(4)
    given = as_arrays(data)
    given["image"].flags.writeable = False
    with pytest.raises(ValueError, match=r"data\['image'\]: .* read-only"):
        compiled(given, weights.numpy())


class TwoLists(nn.Module):
    """Moves an item from one list to the other."""

    def forward(self, first: list[torch.Tensor], second: list[torch.Tensor]) -> None:
        """None."""
        second.append(first.pop())


def test_one_list_in_two_places_is_refused() -> None:
    made = dycl.compile(TwoLists(), ([torch.ones(2)], [torch.zeros(2)]), samples=1)
    items, others = [np.ones(2, np.float32)], [np.zeros(2, np.float32)]
    made(items, others)
    assert items == [] and len(others) == 2
    one = [np.ones(2, np.float32)]
    with pytest.raises(ValueError, match=r"a list .* twice"):
        made(one, one)
    with pytest.raises(ValueError, match=r"second: .* given as first too"):
        made.host(one, one)
