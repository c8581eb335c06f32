"""LISTA with adaptive halting (LISTA-stop), soft threshold; FISTA with momentum t_k as Python floats."""

import math
import torch
from torch import nn
import torch.nn.functional as F


class LISTA(nn.Module):
    def __init__(self, m=6, n=10, max_iter=20):
        super().__init__()
        A = torch.randn(m, n) / math.sqrt(m)
        self.register_buffer("A", A)
        L = float(torch.linalg.matrix_norm(A, 2) ** 2)
        self.L = L
        self.We = nn.Linear(m, n, bias=False)
        self.S = nn.Linear(n, n, bias=False)
        self.We.weight.data = A.t() / L
        self.S.weight.data = torch.eye(n) - A.t() @ A / L
        self.theta = nn.Parameter(torch.tensor(0.1))
        self.max_iter = max_iter

    def shrink(self, x, lam):
        return torch.sign(x) * torch.max(torch.abs(x) - lam, torch.zeros_like(x))

    def lista(self, y, tol):
        B = self.We(y)
        x = self.shrink(B, self.theta)
        losses = []
        for it in range(self.max_iter):
            x_new = self.shrink(B + self.S(x), self.theta)
            delta = torch.norm(x_new - x) / (torch.norm(x) + 1e-8)
            x = x_new
            losses.append(delta)
            if delta < tol:
                break
        return x, it, torch.stack(losses)

    def fista(self, y, lam=0.1, tol=1e-2):
        x = torch.zeros(y.size(0), self.A.size(1), dtype=y.dtype)
        z = x.clone()
        t = 1.0
        old = float("inf")
        k = 0
        while k < self.max_iter:
            k += 1
            x_old = x
            grad = (z @ self.A.t() - y) @ self.A
            x = F.softshrink(z - grad / self.L, lam / self.L)
            t_new = (1 + math.sqrt(1 + 4 * t**2)) / 2
            z = x + ((t - 1) / t_new) * (x - x_old)
            t = t_new
            obj = (0.5 * (x @ self.A.t() - y).pow(2).sum() + lam * x.abs().sum()).item()
            if abs(old - obj) < tol * max(1.0, obj):
                break
            old = obj
        return x, k, obj

    def forward(self, y):
        a, n, l = self.lista(y, 1e-2)
        b, k, o = self.fista(y)
        return a, n, l.mean(), b, k, o


TOL = (1e-3, 1e-5)


def build():
    torch.manual_seed(0)
    return LISTA().eval()


def sample_inputs(seed):
    g = torch.Generator().manual_seed(seed)
    return (torch.randn(1, 6, generator=g) * (0.3 + seed),)
