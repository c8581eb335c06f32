# inputs: row
"""A list was generalised between the look-up of its method and the call, whose argument decides something."""

from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.queue = []

    def forward(self, x):
        shrunk = x
        while shrunk.norm().item() > 0.2:
            shrunk = shrunk * 0.7
            self.queue.append(x if shrunk.max() > 0.3 else -x)
        return shrunk
