# inputs: row
"""The elements of a generator that native code takes were generalised to a list of run-time length."""

from torch import nn


def stream(x):
    for value in x[0].tolist():
        if value > 0:
            yield value


class Model(nn.Module):
    def forward(self, x):
        return sum(stream(x[:, :2]))
