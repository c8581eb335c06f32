"""The file of the weights."""

from __future__ import annotations

from pathlib import Path

import torch

from dycl.targets.weights import WeightFile


def test_tensors_that_are_gone_do_not_lend_their_memory() -> None:
    """Each of these is freed before the next is made, which then lies where it lay."""
    weights = WeightFile()
    for number in range(20):
        weights.add(f"w{number}", torch.full((64, 64), float(number)))
    for number in range(20):
        assert torch.equal(weights.tensor(f"w{number}"), torch.full((64, 64), float(number)))


def test_what_is_equal_is_stored_once(tmp_path: Path) -> None:
    weights = WeightFile()
    held = torch.arange(6.0)
    weights.add("a", held)
    weights.add("b", held.clone())
    weights.add("c", held.reshape(2, 3))
    assert weights.size == held.nbytes
    assert torch.equal(weights.tensor("c"), held.reshape(2, 3))
    weights.write(tmp_path / "weights.bin")
    assert (tmp_path / "weights.bin").read_bytes() == held.numpy().tobytes()
    weights.add("nothing", torch.empty(0, 3))
    assert weights.tensor("nothing").shape == (0, 3)
