# inputs: row
"""A view taken before a decision, its memory written after it, under either name: refused (DY301)."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, x):
        own = x.clone()
        part = own[0][1:3]
        turned = own.T
        if x.sum() > 0:
            part.add_(1)
        elif x.max() > 1:
            own.mul_(2)
        else:
            turned.zero_()
        own.add_(1)
        for step in range(int(x.argmax())):
            turned[step] += part.sum()
            if part.sum() > 3:
                part.sub_(turned.mean())
        left, right = own.chunk(2, dim=1)
        if own.sum() > 1:
            right.copy_(left)
            own += 1
        return own, part, turned, left, right
