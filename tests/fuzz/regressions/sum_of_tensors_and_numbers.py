# inputs: row
"""Native code (`sum`, `max`) that met a tensor and a run-time number together was refused."""

from torch import nn


class Model(nn.Module):
    def forward(self, x):
        count = int((x > 0).sum())
        level = x.sum().item()
        total = sum(i * b for i, b in enumerate([(x > 0.3).any(), level > 0, count]))
        return total, sum([level, x, count]), sum([x.mean(), level]), max(x.mean(), level), count * x.max()
