"""What runs is chosen by data."""

from __future__ import annotations

import torch
from torch import nn

from tests.conformance.table import Base, Section

SECTION = Section("Dispatch")


@SECTION.yes("module list indexed by a run-time number", "one branch for each candidate; no match raises IndexError")
class ModuleIndex(Base):
    def forward(self, x):
        return self.layers[int(x.argmax()) % 3](x)


@SECTION.yes("zero-dimensional tensor as an index of a list", "its number is read")
class TensorAsIndex(Base):
    def forward(self, x):
        return self.layers[(x[0, :3]).argmax()](x), ["a", "b", "c", "d"][x.argmax()]


@SECTION.yes("dict of modules under formatted keys", "the keys are known: nothing is asked at run time")
class FormattedKeys(Base):
    def __init__(self):
        super().__init__()
        self.table = {f"stage{i}": nn.Linear(4, 4) for i in range(3)}

    def forward(self, x):
        for i in range(3):
            x = self.table[f"stage{i}"](x)
            if x.sum() > 0.5:
                break
        return x


@SECTION.yes("dict by a run-time number", "no match raises KeyError")
class NumberKey(Base):
    def forward(self, x):
        return {0: "a", 1: "b", 2: "c"}.get(int(x.argmax()), "none"), {0: 1, 1: 2, 2: 3, 3: 4}[int(x.argmin())]


@SECTION.yes("function or lambda chosen from a table")
class FunctionTable(Base):
    def forward(self, x):
        activations = [torch.relu, torch.tanh, lambda y: y * y, nn.Identity()]
        return activations[int(x.argmax())](x)


@SECTION.yes("`nn.ModuleDict`, `nn.ParameterList`, `nn.ParameterDict`")
class Containers(Base):
    def __init__(self):
        super().__init__()
        self.heads = nn.ModuleDict({"high": nn.Linear(4, 2), "low": nn.Linear(4, 2)})
        self.scales = nn.ParameterList([nn.Parameter(torch.ones(4) * i) for i in range(3)])
        self.named = nn.ParameterDict({"bias": nn.Parameter(torch.ones(4))})

    def forward(self, x):
        for scale in self.scales:
            x = x * scale if x.sum() > 0 else x + self.named["bias"]
        return self.heads["high" if x[0, 0] > 0 else "low"](x), list(self.heads), len(self.scales)


@SECTION.yes("`getattr(self, name)`, `hasattr`, `setattr` with names put together")
class ByName(Base):
    def __init__(self):
        super().__init__()
        for i in range(3):
            setattr(self, f"block{i}", nn.Linear(4, 4))

    def forward(self, x):
        i = 0
        while hasattr(self, f"block{i}"):
            x = getattr(self, f"block{i}")(x)
            if x.sum() > 0.3:
                break
            i += 1
        return x, getattr(self, "missing", i)


@SECTION.yes("bound method chosen by data")
class MethodChoice(Base):
    def left(self, x):
        return self.layers[0](x)

    def right(self, x):
        return self.layers[1](x) * 2

    def forward(self, x):
        step = self.left if x.sum() > 0 else self.right
        return step(x)


@SECTION.yes("`isinstance` chains over modules")
class ByType(Base):
    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList([nn.Linear(4, 4), nn.ReLU(), nn.LayerNorm(4)])

    def forward(self, x):
        for part in self.parts:
            if isinstance(part, nn.Linear):
                x = part(x)
            elif isinstance(part, (nn.ReLU, nn.GELU)) and x.sum() > 0:
                x = part(x)
            else:
                x = x + 1
        return x


@SECTION.yes("soft and hard routing over experts (`topk`, `one_hot`, `argmax`)")
class Routing(Base):
    def __init__(self):
        super().__init__()
        self.router = nn.Linear(4, 3)

    def forward(self, x):
        weights, chosen = self.router(x).softmax(-1).topk(2)
        total = torch.zeros_like(x)
        for weight, index in zip(weights[0], chosen[0], strict=True):
            total = total + weight * self.layers[index](x)
        return total


@SECTION.yes("same module several times, shared weights")
class SharedModule(Base):
    def forward(self, x):
        layer = self.layers[0]
        for _ in range(3):
            x = layer(x)
            if x.sum() > 0:
                return layer(x)
        return x
