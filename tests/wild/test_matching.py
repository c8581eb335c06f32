"""Matching of keypoints: LightGlue of transformers, adaptive in depth and width, on the keypoints of two images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

transformers = pytest.importorskip("transformers")


def lightglue() -> Any:
    """Three layers that stop early where the points are confident, and drop points that match none."""
    detector = transformers.SuperPointConfig(
        encoder_hidden_sizes=[4, 4, 4, 8], decoder_hidden_size=8, descriptor_decoder_dim=8
    )
    config = transformers.LightGlueConfig(
        keypoint_detector_config=detector,
        descriptor_dim=8,
        num_hidden_layers=3,
        num_attention_heads=2,
        depth_confidence=0.3,
        width_confidence=0.99,
        filter_threshold=0.0,
    )
    model = transformers.LightGlueForKeypointMatching(config)
    for name, weight in model.named_parameters():
        if "keypoint_detector" in name:
            continue
        torch.nn.init.normal_(weight, std=0.6)
        if "token_confidence" in name and weight.dim() == 1:
            weight.data.fill_(2.3)
        if "matchability" in name:
            weight.data = weight.data * 3 if weight.dim() > 1 else torch.full_like(weight, -3.0)
    return model


def keypoints_of_two(seed: int) -> dict[str, Any]:
    """Seven points in each image; in every third pair the second has five."""
    made = torch.Generator().manual_seed(seed)
    mask = torch.ones(1, 2, 7, dtype=torch.int)
    if seed % 3 == 2:
        mask[0, 1, 5:] = 0
    return {
        "keypoints": torch.rand(1, 2, 7, 2, generator=made) * 40,
        "descriptors": torch.randn(1, 2, 7, 8, generator=made) * (1 + seed % 3),
        "height": 40,
        "width": 40,
        "mask": mask,
    }


def test_points_are_matched_in_as_many_layers_as_it_takes(compare: Callable[..., Any]) -> None:
    torch.manual_seed(0)
    compare(lightglue().eval(), keypoints_of_two, calls=30, paths=2, method="_match_image_pair")
