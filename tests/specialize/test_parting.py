"""Tensors that are one in some rounds of a loop: values of their own, unless somebody writes them or asks."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from dycl.ir.executor import Executor
from dycl.ir.verifier import verify
from dycl.passes.specialize.specializer import specialize


def descend(x):
    """Steps that are accepted or refused, the last accepted states kept, as adaptive solvers do it."""
    old = older = lowest = y = x + 0.0
    h, steps = torch.tensor(0.5), 0
    while y.norm() > 0.3 and steps < 40:
        steps += 1
        trial = y - h * (y**3 + 0.3 * y + 0.2 * (old - older))
        if trial.norm() < 0.98 * y.norm():
            older, old, y = old, y, trial
            h = h * 1.1
            if y.sum() < lowest.sum():
                lowest = y
        else:
            older = old
            h = h * 0.5
    return y, old, older, lowest, steps


class Descend(nn.Module):
    def forward(self, x):
        y, old, older, lowest, steps = descend(x)
        return y * 2, old + older, lowest + 1, steps


class WrittenAfterwards(nn.Module):
    """A write through one name is seen through the others that have the same tensor then, and by no other."""

    def forward(self, x):
        y, old, older, lowest, steps = descend(x)
        y.add_(10)
        old.mul_(2)
        return y, old, older, lowest, steps


class WrittenInTheLoop(nn.Module):
    def forward(self, x):
        last = y = x + 0.0
        rounds = 0
        while y.norm() > 0.5 and rounds < 30:
            rounds += 1
            y.mul_(0.8)
            if y.sum() > 0.4:
                last, y = y, y + 0.01
            elif y.sum() > 0.1:
                last = y
        return y, last, rounds


class Compared(nn.Module):
    def forward(self, x):
        y, old, older, lowest, steps = descend(x)
        return y + (1 if old is older else 2), lowest is y, steps


class KeptOnTheModel(nn.Module):
    """What the loop found is state: the next call writes one of the two."""

    def __init__(self):
        super().__init__()
        self.y = self.old = None

    def forward(self, x):
        if self.y is not None:
            self.y.add_(1)
        y, _, older, lowest, steps = descend(x)
        result = y if self.y is None else self.old + self.y
        self.y, self.old = y, lowest + older
        return result, steps


def starts(seed):
    return torch.randn(1, 3, generator=torch.Generator().manual_seed(seed)) * (0.5 + seed)


@pytest.mark.parametrize("build", [Descend, WrittenAfterwards, WrittenInTheLoop, Compared, KeptOnTheModel])
def test_a_loop_over_tensors_that_may_be_one(build):
    model = build().eval()
    eager = copy.deepcopy(model)
    made = specialize(model, (starts(0),))
    verify(made.program, after="specialize")
    executor = Executor(made.program, made.environment)
    for seed in range(12):
        with torch.no_grad():
            torch.testing.assert_close(executor.call(starts(seed)), eager(starts(seed)))


def test_the_ways_in_which_tensors_coincide_are_no_copies_of_the_loop():
    assert len(specialize(Descend().eval(), (starts(0),)).program.blocks) < 20
