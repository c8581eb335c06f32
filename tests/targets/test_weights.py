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


def test_small_weights_fill_the_room_before_big_ones(tmp_path: Path) -> None:
    weights, made = WeightFile(), {}
    for number in range(8):
        for name, size in ((f"small{number}", 17), (f"big{number}", (1 << 18) + 1), (f"none{number}", 0)):
            made[name] = torch.full((size,), float(len(made)))
            weights.add(name, made[name])
    weights.write(tmp_path / "weights.bin")
    content = (tmp_path / "weights.bin").read_bytes()
    assert len(content) == weights.size
    places = sorted(
        (weights.entry(name).offset, tensor.nbytes, name) for name, tensor in made.items() if tensor.numel()
    )
    for (offset, size, name), (following, _, _) in zip(places, [*places[1:], (weights.size, 0, "")], strict=True):
        assert content[offset : offset + size] == made[name].numpy().tobytes() == weights.tensor(name).numpy().tobytes()
        assert offset + size <= following
        assert offset % (4096 if name.startswith("big") else 64) == 0
    first = min(offset for offset, _, name in places if name.startswith("big"))
    assert max(offset for offset, _, name in places if name.startswith("small")) < first  # one gap holds them all


def test_a_weight_of_no_elements_takes_no_place_of_another(tmp_path: Path) -> None:
    """Where the room before a big weight is full, nothing would lie where that begins."""
    weights, big = WeightFile(), torch.arange(1 << 18, dtype=torch.float32)
    for name, tensor in (
        ("one", torch.ones(16)),
        ("big", big),
        ("all", torch.arange(1008.0)),
        ("none", torch.empty(0)),
    ):
        weights.add(name, tensor)
    weights.write(tmp_path / "weights.bin")
    offset = weights.entry("big").offset
    assert weights.entry("all").offset + 1008 * 4 == offset
    assert (tmp_path / "weights.bin").read_bytes()[offset : offset + big.nbytes] == big.numpy().tobytes()
