"""Small models that reduce selections of the data, which may be empty or hold one row."""

from __future__ import annotations

import torch
from torch import nn

from tests.specialize.shape_programs import masks
from tests.specialize.tensor_programs import Case


class Means(nn.Module):
    def forward(self, x):
        s = x[x[:, 0] > 0]
        return s.mean(), s.mean(0), s.mean(1), s.mean(0, keepdim=True), s.sum(), s.sum(0)


class Quantifiers(nn.Module):
    def forward(self, x):
        s = x[x[:, 0] > 0] > 0
        return s.all(), s.any(), s.all(0), s.any(1), s.all(0, keepdim=True)


class Spreads(nn.Module):
    def forward(self, x):
        s = x[x[:, 0] > 0]
        return s.std(0), s.var(), s.std(1), torch.var_mean(s, 0), s.var(0, unbiased=False), s.std(0, keepdim=True)


class Norms(nn.Module):
    def forward(self, x):
        s = x[x[:, 0] > 0]
        return s.norm(), s.norm(dim=0), s.norm(p=1), torch.linalg.vector_norm(s, dim=1)


class Products(nn.Module):
    def forward(self, x):
        s = x[x[:, 0] > 0]
        return s.prod(), s.prod(0), s.cumsum(0), s.logsumexp(1), torch.logsumexp(s, 0)


CASES = [
    Case(found, masks)
    for found in list(globals().values())
    if isinstance(found, type) and issubclass(found, nn.Module) and found.__module__ == __name__
]
