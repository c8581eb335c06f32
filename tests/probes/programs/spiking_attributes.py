"""An attribute that is int 0 at first and a tensor later; a custom autograd.Function; type(x) is Tensor; reset between calls."""

import torch
from torch import nn


class Surrogate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, alpha):
        ctx.save_for_backward(x)
        ctx.alpha = alpha
        return (x > 0).to(x)

    @staticmethod
    def backward(ctx, grad):
        return grad, None


class LIF(nn.Module):
    def __init__(self, tau=2.0, v_th=1.0):
        super().__init__()
        self.tau, self.v_th = tau, v_th
        self.v = 0.0
        self.spikes = 0

    def reset(self):
        self.v = 0.0
        self.spikes = 0

    def forward(self, x):
        if type(self.v) is not torch.Tensor:
            self.v = torch.full_like(x, self.v)
        if isinstance(self.spikes, int):
            self.spikes = torch.zeros(x.shape[0])
        self.v = self.v + (x - self.v) / self.tau
        s = Surrogate.apply(self.v - self.v_th, 4.0)
        self.v = (1.0 - s.detach()) * self.v
        self.spikes = self.spikes + s.sum(1)
        return s


class SNN(nn.Module):
    def __init__(self, T=8):
        super().__init__()
        self.T = T
        self.fc1, self.fc2 = nn.Linear(6, 16), nn.Linear(16, 3)
        self.l1, self.l2 = LIF(), LIF(v_th=0.5)

    def forward(self, x):
        for m in self.modules():
            if hasattr(m, "reset"):
                m.reset()
        out = 0
        used = self.T
        for t in range(self.T):
            o = self.l2(self.fc2(self.l1(self.fc1(x))))
            out = out + o if t else o
            conf = torch.softmax(out, -1).max(-1)[0]
            if (conf > 0.85).all() and t >= 1:
                used = t + 1
                break
        rate = out / used
        if self.l1.spikes.sum() == 0:
            return rate, None
        return rate, used


def build():
    torch.manual_seed(3)
    m = SNN().eval()
    m.fc1.weight.data *= 3
    m.fc2.weight.data *= 3
    return m


def sample_inputs(s):
    g = torch.Generator().manual_seed(s)
    return (torch.rand(2, 6, generator=g) * (s % 5) * 0.8,)
