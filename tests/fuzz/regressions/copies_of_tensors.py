# inputs: row
"""`copy.copy` of a tensor made objects that no fork could copy (DY205); it is another tensor on the same memory."""

import copy

from torch import nn


class Model(nn.Module):
    def forward(self, x):
        own = x.clone()
        other = copy.copy(own)
        k = 0
        while k < 3:
            k += 1
            if x.sum() > k:
                x = copy.copy(x * 2) + 1
                other.add_(1)
        return copy.copy(x) if x.sum() > 0 else x - copy.copy(x), own, other
