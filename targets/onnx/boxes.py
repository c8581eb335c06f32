"""Operators on boxes (torchvision's) that the exporter converts rightly for some boxes only.

They are named, not imported: a program has them only where torchvision has registered them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from dycl.targets.onnx.replacements import replaces


def _float32_below(number: float) -> float:
    """The largest float32 that is no larger: a float32 exceeds the one exactly where it exceeds the other."""
    near = np.float32(number)
    return float(near if float(near) <= number else np.nextafter(near, np.float32(-np.inf)))


@replaces("torchvision.nms.default")
def _nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> Any:
    """Suppression in which a box whose corners are swapped, or are no numbers, overlaps with none.

    ONNX Runtime would put the corners in order. A box without an area overlaps with none there either, so these become
    such boxes. It goes by the rank of a score, not by the score, so that equal scores keep their order.
    """
    if boxes.dtype is not torch.float32 or iou_threshold < 0:
        return NotImplemented
    order = scores.sort(descending=True)[1]  # stable in ONNX
    boxes = boxes[order]
    low, high = boxes[:, :2], boxes[:, 2:]
    proper = torch.cat([low, torch.maximum(low, high)], 1)
    is_finite = (boxes - boxes == 0).to(torch.int64).sum(1, keepdim=True) == 4
    proper = torch.where(is_finite, proper, torch.zeros_like(proper))
    ranks = -torch.arange(boxes.shape[0], dtype=torch.float32)
    threshold = _float32_below(min(iou_threshold, 1.0))
    kept = torch.ops.torchvision.nms.default(proper, ranks, threshold)
    return order[kept]
