# inputs: row row
"""Tensors that are one in some rounds, at several joins of nested loops: the parts of one must not undo another's."""

import torch
from torch import nn


def stream(x, p=2):
    for i in range(p):
        yield x * (i + 1)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.counts = {}
        self.level = 0.0
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])

    def forward(self, x, y):
        total = x.max()
        work1, left2 = [(x / (1 + abs(self.level)), 0)], 5
        while work1 and left2 > 0:
            left2 -= 1
            v, d = work1.pop(0)
            states = list(stream(self.layers[d % 3](x)))
            work1, left3 = [(y, 0)], 5
            while work1 and left3 > 0:
                left3 -= 1
                v, d = work1.pop()
                hit1 = False
                for p4 in range(3):
                    for q4 in range(2):
                        visits = {}
                        if self.level > 0.38:
                            hit1 = True
                            break
                    else:
                        x = y
                        continue
                    break
                if d < 2 and v.repeat(2, 1).sum() > 0.63:
                    work1.append((x, d + 1))
            if d < 2 and total:
                work1.append((x, d + 1))
        steps = (2 > 1) + (self.level > (-0.31))
        return (y, self.counts, x, steps & 3)
