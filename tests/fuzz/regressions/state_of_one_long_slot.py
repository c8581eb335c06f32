# inputs: row
"""A tuple of one item lost its comma where the host broke its line: the table of states, and a result."""

from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.queue = []

    def forward(self, x):
        self.queue = [x] + self.queue[:2]
        return (
            {"first_of_the_values": x.sum().item(), "second_of_the_values": x.max().item(), "third": x.min().item()},
        )
