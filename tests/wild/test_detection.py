"""Detection: the suppression of overlapping boxes that detectors of torchvision end with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tests.wild import vision

vision.register()
torchvision = pytest.importorskip("torchvision")


class Kept(nn.Module):
    """The boxes that are left of each class, best first."""

    def forward(self, boxes: torch.Tensor, scores: torch.Tensor, labels: torch.Tensor) -> Any:
        keep = torchvision.ops.batched_nms(boxes, scores, labels, 0.3)
        if len(keep) > 4:
            return boxes[keep[:4]], scores[keep[:4]]
        return boxes[keep], scores[keep]


class Best(nn.Module):
    """Suppression of all boxes alike."""

    def forward(self, boxes: torch.Tensor, scores: torch.Tensor, labels: torch.Tensor) -> Any:
        return boxes[torchvision.ops.nms(boxes, scores, 0.3)] * 2


class Confident(nn.Module):
    """Suppression of those boxes that have a score, which may be none."""

    def forward(self, boxes: torch.Tensor, scores: torch.Tensor) -> Any:
        scored = scores > 0
        return torchvision.ops.nms(boxes[scored], scores[scored], 0.5)


def odd_boxes(seed: int) -> dict[str, torch.Tensor]:
    """Boxes of which some have swapped corners, no area, equal scores or no numbers, and some overlap by just half."""
    made = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, 4, (12, 4), generator=made).float()
    corners[seed % 3 :: 3, 2:] += 3
    if seed % 4 == 1:
        corners[torch.randint(0, 12, (3,), generator=made), seed % 3] = float("nan") if seed % 8 == 1 else float("inf")
    return {
        "boxes": corners,
        "scores": torch.randint(-2 if seed else 1, 4 if seed != 5 else 0, (12,), generator=made) / 4,
    }


def boxes(seed: int) -> dict[str, torch.Tensor]:
    """Eight boxes, near to each other or far apart."""
    made = torch.Generator().manual_seed(seed)
    corners = torch.rand(8, 2, generator=made) * (4 + 20 * (seed % 3))
    sizes = torch.rand(8, 2, generator=made) * 8 + 4
    labels = torch.randint(0, 2, (8,), generator=made)
    return {
        "boxes": torch.cat([corners, corners + sizes], 1),
        "scores": torch.rand(8, generator=made),
        "labels": labels,
    }


@pytest.mark.parametrize("model", [Best, Kept])
def test_suppression(model: type[nn.Module], compare: Callable[..., Any]) -> None:
    compare(model(), boxes, paths=1 if model is Best else 2)


def test_odd_boxes(compare: Callable[..., Any]) -> None:
    compare(Confident(), odd_boxes, paths=1, calls=60)
