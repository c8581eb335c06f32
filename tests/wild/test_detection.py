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


def faster_rcnn() -> nn.Module:
    """The detector of torchvision as it is, on a backbone of two layers, with weights that tell images apart."""
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
    from torchvision.models.detection.rpn import AnchorGenerator

    backbone = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())
    backbone.out_channels = 8  # type: ignore[assignment]
    model = FasterRCNN(
        backbone,
        rpn_anchor_generator=AnchorGenerator(sizes=((8, 16),), aspect_ratios=((1.0,),)),
        box_roi_pool=torchvision.ops.MultiScaleRoIAlign(featmap_names=["0"], output_size=3, sampling_ratio=2),
        box_head=TwoMLPHead(8 * 9, 16),
        box_predictor=FastRCNNPredictor(16, 3),
        min_size=32,
        max_size=40,
        rpn_pre_nms_top_n_test=12,
        rpn_post_nms_top_n_test=6,
        rpn_score_thresh=0.6,
        box_score_thresh=0.6,
        box_detections_per_img=4,
    )
    torch.manual_seed(9)
    for part in model.modules():
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(part.weight)
            nn.init.zeros_(part.bias)  # type: ignore[arg-type]
    with torch.no_grad():
        model.rpn.head.bbox_pred.weight *= 0.1
        model.roi_heads.box_predictor.bbox_pred.weight *= 0.1
    return model.eval()


def images(seed: int) -> tuple[list[torch.Tensor]]:
    """One image of soft spots of colour."""
    spots = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return ([0.45 + 0.3 * nn.functional.interpolate(spots, (32, 32), mode="bilinear")[0]],)


def test_faster_rcnn(compare: Callable[..., Any]) -> None:
    model = faster_rcnn()
    with torch.no_grad():
        found = {len(model(*images(seed))[0]["boxes"]) for seed in range(30)}
    assert {0, 1, 2} <= found
    compare(model, images, calls=30, paths=4)
