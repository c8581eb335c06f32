# inputs: row
"""A number that the facts had decided, in the arguments of an exception that was copied, was an internal error."""

from torch import nn


class Stop(Exception):
    def __init__(self, value, number):
        self.value = value


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.count = 0

    def forward(self, x):
        try:
            raise Stop(x.view(2, 2).t().reshape(4), self.count)
        except Stop as stop:
            steps = 0
            while 0 in [self, self.count]:
                steps += 1
                self.count = steps
        return steps
