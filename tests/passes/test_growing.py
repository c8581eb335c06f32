"""A decoder's tokens and cache grow: how much is compiled does not depend on how far they may."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

import dycl
from dycl import pipeline

STEPS = (10, 100, 1000)


class Greedy(nn.Module):
    """One layer of attention with a cache, that writes tokens until the end token or until it has written enough."""

    def __init__(self, steps: int, vocab: int = 40, dim: int = 16, end: int = 0) -> None:
        super().__init__()
        self.steps, self.end = steps, end
        self.tokens = nn.Embedding(vocab, dim)
        self.positions = nn.Embedding(1024, dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.head = nn.Linear(dim, vocab)

    def forward(self, prompt: torch.Tensor) -> torch.Tensor:
        tokens, new, cache = prompt, prompt, None
        for _ in range(self.steps):
            length = tokens.size(1)
            x = self.tokens(new) + self.positions(torch.arange(length - new.size(1), length))
            q, k, v = self.qkv(x).chunk(3, dim=-1)
            if cache is not None:
                k, v = torch.cat([cache[0], k], dim=1), torch.cat([cache[1], v], dim=1)
            cache = (k, v)
            scores = q[:, -1:] @ k.transpose(1, 2) / math.sqrt(x.size(-1))
            new = self.head(x[:, -1] + (scores.softmax(-1) @ v)[:, 0]).argmax(-1, keepdim=True)
            tokens = torch.cat([tokens, new], dim=1)
            if new.item() == self.end:
                break
        return tokens


def build(steps: int) -> Greedy:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Greedy(steps)
        for weight in model.parameters():  # sharp: texts differ, some end and some do not
            nn.init.normal_(weight, std=0.6)
    return model.eval()


def prompt(seed: int) -> torch.Tensor:
    return torch.randint(1, 40, (1, 3), generator=torch.Generator().manual_seed(seed))


def test_the_number_of_subgraphs_does_not_depend_on_the_steps() -> None:
    counted = {}
    for steps in STEPS:
        checked = pipeline.check_model(build(steps), (prompt(0),), {}, pipeline.Settings())
        counted[steps] = (checked.report.blocks, checked.report.subgraphs, checked.report.structures)
    assert len(set(counted.values())) == 1, counted
    assert counted[10][1] <= 4, counted


@pytest.mark.parametrize("steps", [STEPS[1], *(pytest.param(n, marks=pytest.mark.slow) for n in (STEPS[0], STEPS[2]))])
def test_the_host_writes_what_eager_writes(steps: int, tmp_path: Path) -> None:
    model = build(steps)
    host = dycl.compile(model, (prompt(0),), output=tmp_path / "artifact", verify=False)
    lengths = set()
    for seed in range(12):
        with torch.no_grad():
            wanted = model(prompt(seed))
        torch.testing.assert_close(host(prompt(seed)), wanted, rtol=0, atol=0)
        lengths.add(wanted.size(1))
    assert 3 + steps in lengths, lengths  # one that was not ended
    assert len(lengths) > 2, lengths
