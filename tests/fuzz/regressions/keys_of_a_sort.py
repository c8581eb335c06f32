# inputs: row tokens
"""The keys of a sort over known items were generalised to a list of run-time length, and the sort was refused."""

from torch import nn


class Stop(Exception):
    def __init__(self, value, number):
        self.value = value


class Model(nn.Module):
    def forward(self, x, tokens):
        k = 0
        while True:
            k += 1
            if x.sum() or k > 3:
                break
        try:
            raise Stop(x, k)
        except Stop as stop:
            rows = sorted([stop.value, -x, x * 2], key=lambda r: r.mean())
            for row in sorted(rows[0], key=lambda r: r.mean()):
                x = x + row
        return x, k, max(rows, key=lambda r: r.sum().item())
