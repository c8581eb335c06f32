"""Token halting (A-ViT) and token pruning by a threshold: kept tokens change per layer, index bookkeeping, fused leftover token."""

import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, d, h):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.proj = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.mlp = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))
        self.h = h

    def forward(self, x, keep_rate=None):
        B, N, C = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(B, N, 3, self.h, C // self.h).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        attn = ((q @ k.transpose(-2, -1)) * (C // self.h) ** -0.5).softmax(dim=-1)
        x = x + self.proj((attn @ v).transpose(1, 2).reshape(B, N, C))
        cls_attn = attn[:, :, 0, 1:].mean(1)
        x = x + self.mlp(self.norm2(x))
        return x, cls_attn


class ViT(nn.Module):
    def __init__(self, d=12, h=3, depth=4, n=9):
        super().__init__()
        self.patch = nn.Conv2d(3, d, 4, 4)
        self.cls = nn.Parameter(torch.zeros(1, 1, d))
        self.pos = nn.Parameter(torch.randn(1, n + 1, d) * 0.2)
        self.blocks = nn.ModuleList([Block(d, h) for _ in range(depth)])
        self.head = nn.Linear(d, 5)
        self.mass = 0.85

    def forward(self, x):
        B = x.shape[0]
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls.expand(B, -1, -1), x), dim=1) + self.pos
        kept = []
        for i, blk in enumerate(self.blocks):
            x, att = blk(x)
            if i in (1, 2):
                p = att[0] / att[0].sum()
                val, idx = torch.sort(p, descending=True)
                n = int((torch.cumsum(val, 0) < self.mass).sum()) + 1
                idx, _ = torch.sort(idx[:n])
                rest = torch.ones(p.shape[0], dtype=torch.bool)
                rest[idx] = False
                tokens = x[:, 1:]
                new = [x[:, :1], tokens[:, idx]]
                if rest.sum() > 0:
                    w = p[rest]
                    new.append((tokens[:, rest] * w[None, :, None]).sum(1, keepdim=True) / w.sum())
                x = torch.cat(new, dim=1)
                kept.append(x.shape[1])
        return self.head(x[:, 0]), kept


def build():
    torch.manual_seed(14)
    m = ViT().eval()
    for b in m.blocks:
        b.qkv.weight.data *= 3
    return m


def sample_inputs(s):
    g = torch.Generator().manual_seed(s)
    return (torch.randn(1, 3, 12, 12, generator=g) * (1 + s % 3),)
