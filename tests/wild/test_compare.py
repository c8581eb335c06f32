"""The comparison of this folder finds what differs, and nothing where nothing does."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from tests.wild.differences import find_differences


class Counting(nn.Module):
    """Adds up what it sees, one sign apart from the other."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, x: torch.Tensor, scale: torch.Tensor) -> dict[str, torch.Tensor]:
        self.seen += 1
        if x.sum() > 0:
            return {"up": x * scale}
        return {"down": x - scale}


def inputs(seed: int) -> dict[str, torch.Tensor]:
    x = torch.randn(3, generator=torch.Generator().manual_seed(seed))
    return {"x": x, "scale": torch.tensor(2.0)}


def test_a_compiled_model_agrees(compare) -> None:
    taken = compare(Counting(), inputs, calls=8)
    assert len(set(taken)) == 2


def test_too_few_paths_are_a_difference(tmp_path: Path) -> None:
    differences, _ = find_differences(Counting(), lambda seed: inputs(0), tmp_path / "artifact", calls=3)
    assert differences == ["1 paths taken, 2 wanted"]
