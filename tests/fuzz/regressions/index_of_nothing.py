# inputs: row
# forks: 619
"""Places in an empty tensor: no place is out of bounds where there is none; an IndexError was made of it."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, x):
        kept = x.repeat(2, 1)[::2]
        kept = kept[(kept[:, 0] > 0.18).nonzero().squeeze(1)]
        best = kept[torch.where(kept.max(1).values > 0.63)[0]]
        if kept.shape[0] == 0:
            x = x + kept[torch.where(kept.min(1).values > -0.63)[0]].sum()
            x = x + kept[torch.nonzero(kept[:, 1] > 0)[:, 0]].sum()
        return best, x, best.shape[0]
