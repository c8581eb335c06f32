"""Spatially adaptive computation time (SACT) on residual units, masks instead of shrinking."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Unit(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv1 = nn.Conv2d(c, c, 3, padding=1)
        self.conv2 = nn.Conv2d(c, c, 3, padding=1)
        self.halt_local = nn.Conv2d(c, 1, 3, padding=1)
        self.halt_global = nn.Linear(c, 1)

    def forward(self, x, mask):
        residual = self.conv2(F.relu(self.conv1(F.relu(x))))
        out = x + residual * mask
        pooled = F.adaptive_avg_pool2d(out, 1).flatten(1)
        logits = self.halt_local(out) + self.halt_global(pooled)[:, :, None, None]
        return out, torch.sigmoid(logits + 0.5)


class SACTBlock(nn.Module):
    def __init__(self, c, n, eps=0.01):
        super().__init__()
        self.units = nn.ModuleList([Unit(c) for _ in range(n)])
        self.eps = eps

    def forward(self, x):
        b, c, h, w = x.shape
        halting_cumsum = x.new_zeros(b, 1, h, w)
        element_finished = torch.zeros(b, 1, h, w, dtype=torch.bool, device=x.device)
        remainder = torch.ones_like(halting_cumsum)
        ponder_cost = torch.zeros_like(halting_cumsum)
        selector = torch.ones_like(halting_cumsum)
        outputs = torch.zeros_like(x)
        for idx, unit in enumerate(self.units):
            x, halting_prob = unit(x, selector)
            last = idx == len(self.units) - 1
            if last:
                halting_prob = torch.ones_like(halting_prob)
            halting_cumsum = halting_cumsum + halting_prob * selector
            finished_now = (halting_cumsum >= 1.0 - self.eps) & ~element_finished
            distrib = torch.where(finished_now, remainder, halting_prob * (~element_finished).float())
            distrib = torch.where(element_finished, torch.zeros_like(distrib), distrib)
            outputs = outputs + x * distrib
            ponder_cost = ponder_cost + (~element_finished).float()
            ponder_cost[finished_now] += remainder[finished_now]
            remainder = remainder - halting_prob * (~element_finished).float()
            element_finished = element_finished | finished_now
            selector = (~element_finished).float()
            if element_finished.all():
                break
        return outputs, ponder_cost, idx + 1


class SACTNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.blocks = nn.ModuleList([SACTBlock(6, 4), SACTBlock(6, 3)])
        self.fc = nn.Linear(6, 5)

    def forward(self, x):
        x = self.stem(x)
        ponder = 0
        stats = {}
        for i, block in enumerate(self.blocks):
            x, cost, n = block(x)
            ponder = ponder + cost.mean()
            stats["block%d" % i] = n
        return self.fc(x.mean((2, 3))), ponder, stats


def build():
    torch.manual_seed(0)
    return SACTNet().eval()


def sample_inputs(seed):
    g = torch.Generator().manual_seed(seed)
    return (torch.randn(1, 3, 6, 6, generator=g) * (0.5 + seed),)
