"""Closures rebinding solver state under while with two breaks; time.time(); namedtuple results; split by a tuple of tensors."""

import time
from collections import namedtuple
import torch
from torch import nn

State = namedtuple("State", ["y", "t", "h", "nfe"])


class Heun(nn.Module):
    def __init__(self, d=4, rtol=1e-2, atol=1e-3):
        super().__init__()
        self.f = nn.Sequential(nn.Linear(d, 16), nn.Tanh(), nn.Linear(16, d))
        self.rtol, self.atol = rtol, atol

    def forward(self, y0, sizes):
        nfe = 0
        started = time.time()

        def func(t, y):
            nonlocal nfe
            nfe += 1
            return self.f(y) * torch.cos(torch.as_tensor(t))

        t, y, h = 0.0, y0, 0.25
        rejected = 0
        history = []

        def step():
            nonlocal t, y, h, rejected
            k1 = func(t, y)
            k2 = func(t + h, y + h * k1)
            err = (0.5 * h * (k2 - k1)).abs().max()
            tol = self.atol + self.rtol * y.abs().max()
            ratio = (err / tol).item()
            if ratio <= 1:
                t, y = t + h, y + 0.5 * h * (k1 + k2)
                history.append(t)
            else:
                rejected += 1
            h = h * min(2.0, max(0.2, 0.9 * (1 / (ratio + 1e-8)) ** 0.5))
            return ratio

        while True:
            if t + h >= 1.0:
                h = 1.0 - t
            ratio = step()
            if t >= 1.0 - 1e-9:
                break
            if rejected > 8 or time.time() - started > 100.0:
                break
        parts = torch.split(y, tuple(sizes))
        return State(torch.stack([p.sum() for p in parts]), t, h, nfe), history


def build():
    torch.manual_seed(4)
    m = Heun().eval()
    m.f[0].weight.data *= 3
    m.f[2].weight.data *= 3
    return m


def sample_inputs(s):
    g = torch.Generator().manual_seed(s)
    return (torch.randn(6, 4, generator=g) * (1 + s % 3), torch.tensor([1, 2, 3] if s % 2 else [3, 1, 2]))
