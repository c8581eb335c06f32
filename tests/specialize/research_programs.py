"""Small models of the mechanisms that programs in the style of research code have brought up."""

from __future__ import annotations

import enum

import torch
from torch import nn

from tests.specialize.programs import Case, vectors


class Action(enum.Enum):
    """What a router chooses."""

    SKIP = 0
    SCALE = 1
    SHIFT = 2

    def key(self, depth):
        return f"d{depth}_{self.name.lower()}"


class Level(enum.IntEnum):
    """Numbers with names."""

    LOW = 1
    HIGH = 3


class MemberOfNumber(nn.Module):
    """`Enum(number)`: a member for each value, or the error of one that there is not."""

    def forward(self, x):
        action = Action(x.argmax(-1).item() % 3)
        if action is Action.SCALE:
            x = x * 2
        elif action == Action.SHIFT:
            x = x + 1
        return x, action.key(1), Level(int(x[0, 0] > 0) * 2 + 1).name


class NoMemberOfNumber(nn.Module):
    def forward(self, x):
        return x * Level(x.argmax(-1).item()).value


class Vocabulary:
    """Numbers to texts."""

    def __init__(self):
        self.words = ["<b>", "_a", "b_"]

    def decode(self, tokens):
        return "".join(self.words[token] for token in tokens if token != 0).replace("_", " ").strip()


class JoinedGenerator(nn.Module):
    """Builtins that take in a generator over a list of run-time length."""

    def __init__(self):
        super().__init__()
        self.vocabulary = Vocabulary()

    def forward(self, x):
        tokens = x.sum(1).gt(0).nonzero().flatten().tolist()
        return self.vocabulary.decode(tokens)


def rows(seed):
    """As many rows as there are words."""
    return (torch.randn(3, 4, generator=torch.Generator().manual_seed(seed)),)


CASES = [Case(MemberOfNumber), Case(NoMemberOfNumber, vectors), Case(JoinedGenerator, rows)]
