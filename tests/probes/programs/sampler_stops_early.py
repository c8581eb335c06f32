"""A sampler with early stopping, guidance switched by step, a scheduler object with tables, callback list, dynamic thresholding."""

import numpy as np
import torch
from torch import nn


class Scheduler:
    def __init__(self, n=20):
        betas = np.linspace(1e-3, 0.2, n, dtype=np.float64)
        self.alphas_cumprod = torch.from_numpy(np.cumprod(1.0 - betas)).float()
        self.n = n
        self.timesteps = None

    def set_timesteps(self, k):
        step = self.n // k
        self.timesteps = torch.from_numpy((np.arange(0, k) * step).round()[::-1].copy().astype(np.int64))
        self.k = k

    def step(self, eps, t, x, eta=0.0):
        prev = t - self.n // self.k
        a = self.alphas_cumprod[t]
        ap = self.alphas_cumprod[prev] if prev >= 0 else torch.tensor(1.0)
        x0 = (x - (1 - a) ** 0.5 * eps) / a**0.5
        s = torch.quantile(x0.abs().flatten(1), 0.9, dim=1)
        if (s > 1.0).any():
            s = torch.clamp(s, min=1.0).view(-1, 1)
            x0 = x0.clamp(-s, s) / s
        return ap**0.5 * x0 + (1 - ap) ** 0.5 * eps, x0


class Denoiser(nn.Module):
    def __init__(self, d=6):
        super().__init__()
        self.t = nn.Embedding(20, d)
        self.net = nn.Sequential(nn.Linear(2 * d, 24), nn.SiLU(), nn.Linear(24, d))
        self.scheduler = Scheduler()

    def eps(self, x, t):
        te = self.t(torch.as_tensor(t).expand(x.shape[0]))
        return self.net(torch.cat([x, te], -1))

    def forward(self, x, guidance=1.5, steps=5):
        self.scheduler.set_timesteps(steps)
        prev0 = None
        used = 0
        for i, t in enumerate(self.scheduler.timesteps):
            e = self.eps(x, t)
            if guidance > 1.0 and i < steps // 2:
                un = self.eps(torch.zeros_like(x), t)
                e = un + guidance * (e - un)
            x, x0 = self.scheduler.step(e, t, x)
            used = i + 1
            if prev0 is not None:
                change = torch.linalg.norm(x0 - prev0) / (torch.linalg.norm(prev0) + 1e-8)
                if change < 0.35:
                    break
            prev0 = x0
        return x, used


def build():
    torch.manual_seed(18)
    return Denoiser().eval()


def sample_inputs(s):
    g = torch.Generator().manual_seed(s)
    return (torch.randn(2, 6, generator=g) * (0.5 + s % 4),)
