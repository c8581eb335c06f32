"""Small models whose state is kept in unusual places, or written through unusual names."""

from __future__ import annotations

import collections

import torch
from torch import nn

from tests.specialize.tensor_programs import Case


class ViewOfBufferWritten(nn.Module):
    """A buffer is only ever written through a view of it."""

    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.zeros(3, 4))

    def forward(self, x):
        row = self.table[1]
        row.add_(x[0])
        if row.sum() > 1:
            self.table.view(-1)[4:8].zero_()
        return self.table * 1


class LeafOfWrittenWeight(nn.Module):
    """A weight of torch's own module is written; the module sees it."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.pool = nn.Dropout(0.0)

    def forward(self, x):
        y = self.layer(x)
        if y.sum() > 0:
            with torch.no_grad():
                self.layer.weight.mul_(0.9)
        return self.layer(x)


class LeafWithWrittenAttribute(nn.Module):
    """An attribute of torch's own module is written; the module sees it."""

    def __init__(self):
        super().__init__()
        self.act = nn.LeakyReLU(0.1)

    def forward(self, x):
        before = self.act(x)
        if x.sum() > 0:
            self.act.negative_slope = 0.5
        else:
            self.act.negative_slope = 0.2
        return before, self.act(x)


class DataWritten(nn.Module):
    """A parameter is written through `.data`."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, x):
        if x.sum() > 0:
            self.scale.data.mul_(0.5)
        else:
            self.scale.data[0] += 1
        return x * self.scale


class WritesInOppositeOrders(nn.Module):
    """Two attributes and a buffer, written in an order that the data decides."""

    def __init__(self):
        super().__init__()
        self.register_buffer("zeta", torch.zeros(4))
        self.alpha = torch.zeros(4)
        self.beta = None

    def forward(self, x):
        if x.sum() > 0:
            self.beta = x[0].clone()
            self.alpha = x[1].clone()
        else:
            self.zeta += x[2]
            self.alpha = self.alpha + 1
            self.beta = x[1] * 2
        return self.alpha + self.zeta + self.beta


class Statistics(nn.Module):
    """A record of its own class, kept on the model and changed in place."""

    def __init__(self):
        super().__init__()
        self.history = []
        self.stats = {"n": 0, "last": None, "inner": {"best": -100.0}}

    def forward(self, x):
        value = x.sum().item()
        if value > 0:
            self.stats["n"] = min(self.stats["n"] + 1, 3)
            self.stats["last"] = x[0] * 2
        if len(self.history) < 3:
            self.history.append(x[1].clone())
        else:
            self.history.pop(0)
            self.history.append(x[2] * 1)
        if value > self.stats["inner"]["best"]:
            self.stats["inner"]["best"] = value
        total = sum(self.history)
        return total, self.stats["n"], self.stats["inner"]["best"]


class Deleted(nn.Module):
    """An attribute comes and goes."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def forward(self, x):
        if hasattr(self, "held"):
            y = x[0] + self.held
            if x.sum() > 0:
                del self.held
            return y
        if x.sum() < 0:
            self.held = x[1] * 1
        return x[0]


class AliasInState(nn.Module):
    """What is kept is a view of what is returned, or the returned tensor itself."""

    def __init__(self):
        super().__init__()
        self.last = torch.zeros(4)

    def forward(self, x):
        y = x * 2 + self.last
        self.last = y[0].clone()
        if x.sum() > 0:
            self.last.add_(1)
        return y, self.last * 1


class RegistersBuffer(nn.Module):
    """Buffers are made by the first call."""

    def __init__(self):
        super().__init__()
        self.register_buffer("cache", None)

    def forward(self, x):
        if self.cache is None:
            self.cache = torch.zeros(4)
        self.cache += x[0]
        if self.cache.sum() > 2:
            self.cache = None
            return x[1]
        return self.cache + x[1]


class DelayLine(nn.Module):
    """Three states that move on by one place, the last one read."""

    def __init__(self):
        super().__init__()
        self.first = self.second = self.third = torch.zeros(4)

    def forward(self, x):
        if x.sum() > 0:
            self.third = self.second
            self.second = self.first
            self.first = torch.tanh(x[0])
        return self.third + self.first


class ReplacedOrWritten(nn.Module):
    """One attribute is replaced on one path and written in place on the other."""

    def __init__(self):
        super().__init__()
        self.register_buffer("memory", torch.zeros(4))
        self.plain = torch.zeros(4)

    def forward(self, x):
        if x.sum() > 0:
            self.memory = x[0] * 1
            self.plain.add_(x[1])
        else:
            self.memory.add_(x[1])
            self.plain = x[2] * 1
        return self.memory + self.plain


class ModeSwitched(nn.Module):
    """Methods of torch's own Module that write attributes."""

    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        if x.sum() > 0:
            self.eval()
        self.flag = x[0, 0].item() > 0
        return self.drop(x), self.flag, self.drop.training


class CountsByExit(nn.Module):
    """How often each exit was taken: the keys of the dicts are in the order in which exits were first taken."""

    def __init__(self):
        super().__init__()
        self.counts, self.named = {}, collections.defaultdict(int)

    def forward(self, x):
        for exit in range(4):
            if x[exit % 3, exit] > 0:
                break
        self.counts[exit] = self.counts.get(exit, 0) + 1
        self.named[f"exit{exit}"] += 1
        return exit, max(self.counts.values()), len(self.counts), sum(self.named.values())


class CountsByToken(nn.Module):
    """Counts by a number that only the run knows, from call to call; what was counted most often."""

    def __init__(self):
        super().__init__()
        self.counts, self.sums = {}, collections.defaultdict(float)

    def forward(self, x):
        for token in (x.abs().max().item(), x[0, 0].item()):
            self.counts[int(token * 3)] = self.counts.get(int(token * 3), 0) + 1
            self.sums[int(token)] += token
        best = max(self.counts, key=lambda token: self.counts[token])
        return best, self.counts[best], len(self.sums)


class UsedByName(nn.Module):
    """Which of many layers were used, by their names: a dict of other keys on each path."""

    def forward(self, x):
        used, total = {}, 0.0
        for place, gate in enumerate(x.flatten()[:7]):
            if gate > 0:
                used[f"block{place}"] = place * gate.item()
                total += used[f"block{place}"]
        return used, total, "block3" in used, used.get("block5", -1.0)


class RecursesLater(nn.Module):
    """Only calls that find what an earlier one has kept come to the recursion."""

    def __init__(self):
        super().__init__()
        self.kept = None
        self.depth = 0

    def fold(self, x, n):
        self.depth += 1
        if n <= 0:
            return x
        return self.fold(torch.tanh(x) * 1.5, n - 1) + x

    def forward(self, x):
        if self.kept is None:
            self.kept = x * 0.5
            return x
        return self.fold(self.kept + x, int(x.sum().abs() * 2) % 5)


CASES = [
    Case(RecursesLater, is_end_to_end=True),
    Case(CountsByExit, is_end_to_end=True),
    Case(CountsByToken, is_end_to_end=True),
    Case(UsedByName, is_end_to_end=True),
    Case(ReplacedOrWritten),
    Case(ModeSwitched),
    Case(ViewOfBufferWritten, is_end_to_end=True),
    Case(LeafOfWrittenWeight, is_end_to_end=True),
    Case(LeafWithWrittenAttribute),
    Case(DataWritten),
    Case(WritesInOppositeOrders, is_end_to_end=True),
    Case(Statistics),
    Case(Deleted),
    Case(AliasInState),
    Case(RegistersBuffer),
    Case(DelayLine),
]
