"""DEQ: a deep equilibrium model, its fixed point found by Anderson acceleration.

Bai, Kolter, Koltun: "Deep Equilibrium Models", NeurIPS 2019. Anderson: "Iterative Procedures for Nonlinear Integral
Equations", JACM 1965.

Dynamic: the solver runs until the relative residual is below the tolerance or its steps are used up; the residuals are
Python floats. If Anderson's method does not converge, plain iteration goes on from where it stopped.
"""

import torch
from torch import nn


def anderson(f, x0, max_iter=30, tol=1e-2, beta=1.0, eps=1e-8):
    """Anderson acceleration that remembers one step: z, residuals."""
    x_old, f_old = x0, f(x0)
    x = f_old
    residuals = []
    it = 0
    residual = 1.0
    while residual > tol and it < max_iter:
        fx = f(x)
        g, g_old = fx - x, f_old - x_old
        dg = (g - g_old).flatten(1)
        alpha = (g.flatten(1) * dg).sum(1) / (dg.pow(2).sum(1) + eps)
        alpha = alpha.clamp(-2.0, 2.0).view(-1, *([1] * (x.dim() - 1)))
        mixed_f = fx - alpha * (fx - f_old)
        mixed_x = x - alpha * (x - x_old)
        x_old, f_old = x, fx
        x = beta * mixed_f + (1 - beta) * mixed_x
        residual = (fx - x_old).norm().item() / (1e-5 + fx.norm().item())
        residuals.append(residual)
        it += 1
    return x, residuals


def forward_iteration(f, x, max_iter=60, tol=1e-2):
    """Plain fixed-point iteration: z, number of steps."""
    for k in range(max_iter):
        new = f(x)
        if (new - x).norm() / (1e-5 + new.norm()) < tol:
            return new, k + 1
        x = new
    return x, max_iter


class ResNetLayer(nn.Module):
    def __init__(self, n_channels, n_inner, num_groups=4):
        super().__init__()
        self.conv1 = nn.Conv2d(n_channels, n_inner, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(n_inner, n_channels, 3, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(num_groups, n_inner)
        self.norm2 = nn.GroupNorm(num_groups, n_channels)
        self.norm3 = nn.GroupNorm(num_groups, n_channels)

    def forward(self, z, x):
        y = self.norm1(torch.relu(self.conv1(z)))
        return self.norm3(torch.relu(z + self.norm2(x + self.conv2(y))))


class DEQFixedPoint(nn.Module):
    def __init__(self, f, solver, tol, max_iter):
        super().__init__()
        self.f = f
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.forward_res = []

    def forward(self, x):
        z, self.forward_res = self.solver(
            lambda z: self.f(z, x), torch.zeros_like(x), max_iter=self.max_iter, tol=self.tol
        )
        if self.forward_res[-1] > self.tol:
            z, extra = forward_iteration(lambda z: 0.5 * (z + self.f(z, x)), z, tol=self.tol)
        else:
            extra = 0
        return self.f(z, x), extra


class DEQClassifier(nn.Module):
    def __init__(self, channels=8, inner=12, num_classes=10, tol=1e-2, max_iter=16):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, channels, 3, padding=1), nn.GroupNorm(4, channels))
        self.fixed_point = DEQFixedPoint(ResNetLayer(channels, inner), anderson, tol, max_iter)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, x):
        z, extra = self.fixed_point(self.stem(x))
        return self.head(z.mean(dim=(2, 3))), len(self.fixed_point.forward_res), extra


def build(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = DEQClassifier()
        for conv in (model.fixed_point.f.conv1, model.fixed_point.f.conv2):
            nn.init.normal_(conv.weight, std=0.05)
    return model.eval()


def example_inputs():
    return sample_inputs(0)


def sample_inputs(seed):
    """An 8 by 8 image: smooth or noisy, faint or strong."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 1, 2, 2, generator=rng) * (1 + seed % 4)
    image = nn.functional.interpolate(coarse, size=(8, 8), mode="bilinear")
    return (image + (seed % 3) * torch.randn(1, 1, 8, 8, generator=rng),)
