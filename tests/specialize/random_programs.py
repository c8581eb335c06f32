"""Small models that draw random numbers or look at a clock: what eager draws after `torch.manual_seed` is drawn."""

from __future__ import annotations

import random
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tests.specialize.programs import Case, vectors


class Kinds(nn.Module):
    """Every function that draws."""

    def forward(self, x):
        a = torch.rand(3) + torch.rand((2, 3), dtype=torch.float64).sum(0)
        b = torch.randn(5), torch.randn(4, 9), torch.randn_like(x), torch.randn(40, dtype=torch.float64)
        c = torch.randint(0, 10, (6,)), torch.randint(5, (2,)), torch.randint_like(x, 3, 9), torch.randperm(7)
        d = torch.bernoulli(torch.sigmoid(x)), torch.empty(8).bernoulli_(0.3), torch.zeros(3).uniform_(-1, 2)
        e = (
            torch.empty(6).exponential_(2.0),
            torch.normal(x, 2.0),
            torch.normal(1.0, 0.5, (3,)),
            torch.empty(20).normal_(),
        )
        return a, b, c, d, e


class Sampled(nn.Module):
    """Sampling decides how often a loop runs."""

    def forward(self, x):
        steps = 0
        while torch.rand(()) < torch.sigmoid(x.sum()) and steps < 9:
            x = x * 0.9 + torch.randn_like(x) * 0.1
            steps += 1
        return x, steps


class Chosen(nn.Module):
    """An expert drawn from a distribution; a categorical of torch.distributions."""

    def __init__(self):
        super().__init__()
        self.experts = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
        self.route = nn.Linear(4, 3)

    def forward(self, x):
        probs = torch.softmax(self.route(x), -1)
        i = torch.multinomial(probs, 1).item()
        x = self.experts[i](x)
        j = torch.distributions.Categorical(probs=probs).sample()
        keep = torch.distributions.Bernoulli(probs[0, 0]).sample()
        if keep:
            x = self.experts[j.item()](x)
        noise = torch.distributions.Normal(x, 1.0).rsample()
        pairs = torch.multinomial(probs, 2)
        return x + noise, i, j, functional.gumbel_softmax(x), pairs, torch.multinomial(probs[0], 5, True)


class Dropped(nn.Module):
    """Dropout in train mode, inside of containers too."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.4), nn.Linear(8, 4))

    def forward(self, x):
        x = self.net.train()(x)
        if x.sum() > 0:
            x = functional.dropout(x, 0.2)
        return functional.dropout2d(x.reshape(1, 2, 2, 1), 0.5).sum(), x


class PythonNumbers(nn.Module):
    """`random` and `numpy.random`."""

    def forward(self, x):
        a = random.random() + random.uniform(1, 2) + random.gauss(0.0, 1.0)
        i = random.randint(0, 2)
        y = [x, x * 2, x * 3][i]
        b = np.random.rand() + np.random.normal(0.0, 2.0)
        return y * a, b, random.choice([10, 20, 30]), random.randrange(5)


class Seeded(nn.Module):
    """The model seeds the streams itself."""

    def forward(self, x):
        torch.manual_seed(7)
        return x + torch.rand(4)


class Deadline(nn.Module):
    """A clock decides when to stop: never, here."""

    def forward(self, x):
        start = time.perf_counter()
        steps = 0
        while x.abs().sum() > 0.5:
            x = x * 0.7
            steps += 1
            if time.perf_counter() - start > 1000.0:
                break
        return x, steps


CASES = [Case(cls, vectors) for cls in (Kinds, Sampled, Chosen, Dropped, PythonNumbers, Seeded)]
CLOCKS = [Case(Deadline, vectors)]
