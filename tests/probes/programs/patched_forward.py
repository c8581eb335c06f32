"""self.forward patched per instance; modules in plain dicts under formatted keys; getattr dispatch."""

import types
import torch
from torch import nn


class Gate(nn.Module):
    def __init__(self, c, mode):
        super().__init__()
        self.fc = nn.Linear(c, 2)
        self.mode = mode
        if mode == "hard":
            self.forward = self.forward_hard
        else:
            self.forward = self.forward_soft

    def forward_hard(self, x):
        return self.fc(x.mean(dim=(2, 3))).argmax(dim=1)

    def forward_soft(self, x):
        return torch.softmax(self.fc(x.mean(dim=(2, 3))), 1)[:, 1]


class Net(nn.Module):
    def __init__(self, c=8, n=4):
        super().__init__()
        self.stem = nn.Conv2d(3, c, 3, padding=1)
        self.blocks = {}
        for i in range(n):
            self.blocks["block_{}".format(i)] = nn.Sequential(
                nn.Conv2d(c, c, 3, padding=1), nn.BatchNorm2d(c), nn.ReLU()
            )
            setattr(self, "gate{}".format(i), Gate(c, "hard" if i % 2 else "soft"))
        self.n = n
        self.head = nn.Linear(c, 4)
        self.activation = {"relu": torch.relu, "tanh": torch.tanh}

    def _skip(self, x, i):
        return x

    def _run(self, x, i):
        return x + self.blocks[f"block_{i}"](x)

    def forward(self, x):
        x = self.stem(x)
        used = []
        table = {0: self._skip, 1: self._run}
        for i in range(self.n):
            g = getattr(self, "gate%d" % i)(x)
            if g.dtype.is_floating_point:
                take = int(round(g.item()))
            else:
                take = g.item()
            x = table[take](x, i)
            used.append(take)
            name = "tanh" if sum(used) > 2 else "relu"
            x = self.activation[name](x)
        return self.head(x.mean((2, 3))), used


def build():
    torch.manual_seed(1)
    m = Net().eval()
    for i in range(4):
        getattr(m, f"gate{i}").fc.weight.data *= 12
    m.stem.weight.data *= 2
    return m


def sample_inputs(s):
    g = torch.Generator().manual_seed(s)
    return (torch.randn(1, 3, 8, 8, generator=g) * (1 + s % 4) + (s % 3 - 1) * 0.5,)
