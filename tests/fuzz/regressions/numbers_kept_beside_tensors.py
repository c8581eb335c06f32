# inputs: row
"""A run-time number handed to a class beside a tensor came back as torch's symbol: in a named tuple, in an error."""

from collections import namedtuple

from torch import nn

Point = namedtuple("Point", ["value", "score"])


class Stop(Exception):
    def __init__(self, value, number=0):
        super().__init__(value, number)
        self.value = value
        self.number = number


class Model(nn.Module):
    def forward(self, x):
        point = Point(x, x.max().item())
        if x.sum() > 0.5:
            raise Stop(x + 1, x.argmax().item())
        return {"point": point, "score": point.score}
