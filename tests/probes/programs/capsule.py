"""Capsule routing: iterations until agreement changes little; masking by predicted class; squash."""

import torch
import torch.nn as nn
import torch.nn.functional as F


def squash(s, dim=-1):
    squared_norm = torch.sum(s**2, dim=dim, keepdim=True)
    return squared_norm / (1 + squared_norm) * s / (torch.sqrt(squared_norm) + 1e-8)


class DigitCapsules(nn.Module):
    def __init__(self, in_dim=4, in_caps=18, num_caps=3, dim_caps=5, max_routing=6, tol=2e-2):
        super().__init__()
        self.W = nn.Parameter(0.3 * torch.randn(1, num_caps, in_caps, dim_caps, in_dim), requires_grad=True)
        self.num_caps, self.in_caps, self.max_routing, self.tol = num_caps, in_caps, max_routing, tol

    def forward(self, x):
        batch_size = x.size(0)
        x = x.unsqueeze(1).unsqueeze(4)
        u_hat = torch.matmul(self.W, x).squeeze(-1)
        temp_u_hat = u_hat.detach()
        b = torch.zeros(batch_size, self.num_caps, self.in_caps, 1).to(x.device)
        prev = None
        for route_iter in range(self.max_routing - 1):
            c = b.softmax(dim=1)
            v = squash((c * temp_u_hat).sum(dim=2))
            uv = torch.matmul(temp_u_hat, v.unsqueeze(-1))
            b += uv
            if prev is not None and (v - prev).abs().max() < self.tol:
                break
            prev = v
        c = b.softmax(dim=1)
        s = (c * u_hat).sum(dim=2)
        return squash(s), route_iter


class CapsNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, stride=2)
        self.primary = nn.Conv2d(8, 8, 1)
        self.digits = DigitCapsules()
        self.decoder = nn.Sequential(nn.Linear(15, 10), nn.ReLU(inplace=True), nn.Linear(10, 16), nn.Sigmoid())

    def forward(self, x):
        out = F.relu(self.conv(x))
        out = self.primary(out)
        out = out.view(out.size(0), -1, 4)
        out = squash(out)
        out, n = self.digits(out)
        logits = torch.norm(out, dim=-1)
        pred = torch.eye(3).to(x.device).index_select(dim=0, index=torch.argmax(logits, dim=1))
        reconstruction = self.decoder((out * pred.unsqueeze(2)).contiguous().view(out.size(0), -1))
        return logits, reconstruction, n


def build():
    torch.manual_seed(0)
    return CapsNet().eval()


def sample_inputs(seed):
    g = torch.Generator().manual_seed(seed)
    return (torch.randn(1, 1, 7, 7, generator=g) * (1 + seed % 4),)
