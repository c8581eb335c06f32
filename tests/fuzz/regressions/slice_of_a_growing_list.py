# inputs: row
"""A slice of a list that was generalised raised the machine's own TypeError, as if it were the model's."""

from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen = self.seen[-3:]
        self.seen.insert(0, 0)
        return x
