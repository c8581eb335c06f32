"""Small models about a region of a picture: its height and width are the call's, and either or both may be 0."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from tests.specialize.tensor_programs import Case


def regions(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A picture and the corners of a region of it; of the first seeds it is empty in one dimension, then in both."""
    made = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, 5, (4,), generator=made)
    known = {0: [0, 2, 1, 4], 1: [1, 1, 0, 3], 2: [0, 3, 2, 2], 3: [1, 1, 2, 2], 4: [3, 1, 4, 2]}
    corners = torch.tensor(known[seed]) if seed in known else corners
    return torch.randn(1, 2, 4, 5, generator=made), corners


class Region(nn.Module):
    """What is made of a region."""

    def forward(self, x, corners):
        top, bottom, left, right = corners.tolist()
        return self.reduced(x[:, :, top:bottom, left:right])


class LargestOfRegion(Region):
    """Torch's shape rule asks whether there are elements, in one question for both dimensions; the kernel names one."""

    def reduced(self, region):
        return region.amax((2, 3))


class ReducedRegion(Region):
    """Reductions to which no elements are nothing special, and one to which they are."""

    def reduced(self, region):
        return region.mean((2, 3)), region.logsumexp((2, 3)), region.amin((3, 2), keepdim=True)


class LargestOfRows(Region):
    """An empty dimension that is not reduced is no error."""

    def reduced(self, region):
        return *region.max(3), region.argmin(-1), *torch.aminmax(region, dim=3)


class PooledRegion(Region):
    """The kernel names the first dimension that is empty, whichever the shape rule asks about first."""

    def reduced(self, region):
        return F.adaptive_max_pool2d(region, 1)


class FlatRegion(Region):
    """A dimension that is a product: that it is empty says of neither factor that it is 0."""

    def reduced(self, region):
        return tuple(region.flatten(2).max(2))


class Span(nn.Module):
    """Sizes that are differences of the call's numbers."""

    def forward(self, x, corners):
        top, bottom, left, right = corners.tolist()
        if top > bottom or left > right:
            return x
        return torch.ones(bottom - top, right - left).amax((0, 1)) * x


CASES = [
    Case(FlatRegion, regions, is_end_to_end=True),
    *(Case(found, regions) for found in (LargestOfRegion, ReducedRegion, LargestOfRows, PooledRegion, Span)),
]
