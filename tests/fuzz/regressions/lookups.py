# inputs: row tokens
"""`dict.get` of a run-time number, and `float(...)` of an object whose class has `__float__`, were refused."""

import torch
from torch import nn


class Box:
    def __init__(self, content):
        self.content = content

    def __float__(self):
        return self.content.mean().item()

    def __int__(self):
        if self.content.sum() > 0:
            return 1
        return int(self.content.argmax())


class Model(nn.Module):
    def forward(self, x, tokens):
        p = sum(int(token) for token in tokens[0])
        found = {0: 3, 1.0: 0, True: 7, "a": 9, 4: 1}.get(p, 5)
        act = {0: torch.tanh, 3: torch.relu}.get(p % 4, torch.abs)
        return found, act(x), {2: 1}.get(p), float(Box(x)), int(Box(x)), {True: 1, 5: 2}.get(p > 3)
