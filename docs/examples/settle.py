"""A small dynamic network: a gate, a loop that the data ends, and a counter that outlives the call.

The documentation follows this file through the compiler.
"""

import torch
from torch import nn


class Settle(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(4, 1)
        self.blocks = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.head = nn.Linear(4, 2)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        for block in self.blocks:
            if self.gate(x).item() > 0:
                x = torch.tanh(block(x))
        steps = 0
        while x.norm() > 1:
            x = x * 0.5
            steps += 1
        return self.head(x), steps


def build():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Settle().eval()


def example_inputs():
    return sample_inputs(0)


def sample_inputs(seed):
    return (4 * torch.randn(1, 4, generator=torch.Generator().manual_seed(seed)),)
