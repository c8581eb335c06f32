# inputs: row
# forks: 859
"""A flag computed from a generalised counter stood where a bound of an integer was expected."""

from torch import nn


class Model(nn.Module):
    def forward(self, x):
        k2 = 0
        while k2 < 20:
            k2 += 1
            done = k2 > 2
            x if x.norm() else None
            done
        return k2
