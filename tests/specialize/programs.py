"""Small models, one per thing that the specializer has to get right, each with inputs that take its different paths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn


def vectors(seed: int) -> tuple[torch.Tensor, ...]:
    """One input of four numbers around zero."""
    return (torch.randn(1, 4, generator=torch.Generator().manual_seed(seed)),)


def tokens(seed: int) -> tuple[torch.Tensor, ...]:
    """One input of small integers."""
    return (torch.randint(0, 4, (1, 4), generator=torch.Generator().manual_seed(seed)),)


class StaticFlag(nn.Module):
    """A predicate flips a flag that is static Python: it dissolves into control flow."""

    def forward(self, x):
        a = 0
        if x.sum() > 0:
            a = 1
        x = x * 2
        if a == 1:
            return x + 1
        return x - 1


class WhileTensor(nn.Module):
    """A loop whose trip count only the data knows."""

    def forward(self, x):
        steps = 0
        while x.abs().max() > 0.1:
            x = x * 0.5
            steps += 1
        return x, steps


class BreakInLayers(nn.Module):
    """`break` inside a dynamic `if` inside a loop over layers, with `else`."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(4)])

    def forward(self, x):
        for index, layer in enumerate(self.layers):
            x = torch.tanh(layer(x))
            if x.mean() > 0.1:
                break
        else:
            index = -1
        return x, index


class NestedReturn(nn.Module):
    """An early return from a nested call."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)

    def head(self, x):
        for layer in (self.first, self.second):
            x = layer(x)
            if (x > 0).all():
                return x, "all"
            if x.sum().item() < -1.0:
                return x, "low"
        return x, "end"

    def forward(self, x):
        y, why = self.head(x)
        return {"y": y, "why": why}


class TooConfident(Exception):
    """Carries a tensor up two frames."""

    def __init__(self, value, depth):
        self.value = value
        self.depth = depth


class ExceptionTwoFramesUp(nn.Module):
    """An exception with a tensor in it, caught two frames up."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def inner(self, x, depth):
        y = self.layer(x)
        if y.max() > 0.5:
            raise TooConfident(y, depth)
        return y

    def middle(self, x):
        for depth in range(3):
            x = self.inner(x, depth)
        return x

    def forward(self, x):
        try:
            return self.middle(x), 3
        except TooConfident as stop:
            return stop.value * 2, stop.depth
        finally:
            x = None


class Counter(nn.Module):
    """A counter and a tensor kept on self."""

    def __init__(self):
        super().__init__()
        self.calls = 0
        self.positive = 0
        self.last = None

    def forward(self, x):
        self.calls += 1
        if x.sum() > 0:
            self.positive += 1
            if self.last is not None:
                x = x + self.last
            self.last = x
        return x, self.positive


class Experts(nn.Module):
    """An expert picked by a run-time index."""

    def __init__(self):
        super().__init__()
        self.router = nn.Linear(4, 3)
        self.experts = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])

    def forward(self, x):
        index = self.router(x).argmax(dim=1)
        return self.experts[index.item()](x)


class ExpertByName(nn.Module):
    """An expert picked by a formatted attribute name."""

    def __init__(self):
        super().__init__()
        self.block_0 = nn.Linear(4, 4)
        self.block_1 = nn.ReLU()

    def forward(self, x):
        chosen = int(x.sum() > 0)
        return getattr(self, f"block_{chosen}")(x)


class GrowingList(nn.Module):
    """A list that grows while the data says so."""

    def forward(self, x):
        out = []
        while len(out) < 20:
            value = x.sum().item()
            if value < 0.05:
                break
            out.append(value)
            x = x * 0.7
        return out


class Closures(nn.Module):
    """Closures that rebind a captured variable under a dynamic condition."""

    def forward(self, x):
        count = 0

        def bump(by=1):
            nonlocal count
            count += by
            return count

        if x[0, 0] > 0:
            bump()
        if x[0, 1] > 0:
            bump(by=2)
        return x * count, [bump() for _ in range(2)]


class SharedIterator(nn.Module):
    """An iterator that both sides of a branch advance: each side has its own."""

    def forward(self, x):
        import itertools

        pairs = enumerate(itertools.pairwise([1, 2, 3, 4]))
        total = x
        for number, (low, high) in pairs:
            if total.sum() > 0:
                total = total - low * number
            else:
                total = total + high
        return total


class SharedDict(nn.Module):
    """Mutable objects made before a branch and changed on one side only."""

    def forward(self, x):
        seen = {"path": [], "n": 0}
        alias = seen["path"]
        if x.sum() > 0:
            alias.append("pos")
            seen["n"] += 1
        else:
            alias.append("neg")
        if x.max() > 1:
            seen["path"].append("big")
        return x, alias, seen["n"], seen["path"] is alias


class ShortCircuit(nn.Module):
    """`and`, `or`, `not`, chained comparisons and conditional expressions over tensors."""

    def forward(self, x):
        a = x[0, 0] > 0 and not x[0, 1] > 0
        b = x[0, 2] > 0 or x[0, 3] > 0
        inside = -1 < x.sum().item() < 1
        y = x * 2 if a else x
        return y + 1 if b and inside else y


class InPlace(nn.Module):
    """In-place writes on one side of a branch."""

    def forward(self, x):
        y = x.clone()
        if x.sum() > 0:
            y[0, 1] = 5.0
            y += 1
        view = y[:, :2]
        view.mul_(2)
        return y


class Asserted(nn.Module):
    """`assert` and `raise` under a condition of the data."""

    def forward(self, x):
        assert x.sum() > -3, "too low"
        if x.sum().item() > 3:
            raise ValueError(f"sum is {x.sum().item():.2f}")
        return x


class RangeOfData(nn.Module):
    """`range` of a run-time number."""

    def forward(self, x):
        total = torch.zeros(1, 4)
        for i in range(x.max().item()):
            total = total + x * i
        return total


class Patience(nn.Module):
    """A Python counter that is reset by the data."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(6)])

    def forward(self, x):
        patience, previous = 0, None
        for layer in self.layers:
            x = torch.tanh(layer(x))
            label = x.argmax(dim=1)
            patience = patience + 1 if previous is not None and torch.equal(label, previous) else 0
            previous = label
            if patience == 2:
                break
        return label, patience


class MaximumOfList(nn.Module):
    """`max`, `min`, `sorted` and `sum` over run-time numbers."""

    def forward(self, x):
        values = x[0].tolist()
        best = max(range(len(values)), key=lambda i: values[i])
        return best, min(values), sum(values), sorted(values)[1]


class WithHook(nn.Module):
    """A forward hook that changes the output."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.layer.register_forward_hook(lambda module, args, out: out * 2 if out.sum() > 0 else None)

    def forward(self, x):
        return self.layer(x) + 1


class Recurrent(nn.Module):
    """An LSTM whose state is carried around a loop that the data ends."""

    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(4, 4)

    def forward(self, x):
        h, c = torch.zeros(1, 4), torch.zeros(1, 4)
        for _ in range(50):
            h, c = self.cell(x, (h, c))
            if c.abs().max() > 0.4:
                break
        return h


class Generators(nn.Module):
    """A generator whose consumer stops early."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])

    def stages(self, x):
        for layer in self.layers:
            x = torch.relu(layer(x))
            yield x

    def forward(self, x):
        for depth, stage in enumerate(self.stages(x)):
            if stage.sum() > 1.0:
                return stage, depth
        return stage, -1


class ContextManager:
    """A context manager of the model's own that swallows an exception."""

    def __init__(self, log):
        self.log = log

    def __enter__(self):
        self.log.append("in")
        return self

    def __exit__(self, kind, error, trace):
        self.log.append("out" if kind is None else kind.__name__)
        return kind is KeyError


class WithStatement(nn.Module):
    """`with` around a raise that depends on the data."""

    def forward(self, x):
        log = []
        with ContextManager(log), torch.no_grad():
            if x.sum() > 0:
                raise KeyError("swallowed")
            x = x + 1
        return x, log


class BufferState(nn.Module):
    """A registered buffer written in place: state across calls."""

    def __init__(self):
        super().__init__()
        self.register_buffer("memory", torch.zeros(1, 4))
        self.threshold = 1.0

    def forward(self, x):
        self.memory.mul_(0.5).add_(x)
        if self.memory.sum() > self.threshold:
            spikes = (self.memory > 0).float()
            self.memory[:] = 0.0
            return spikes
        return torch.zeros_like(x)


class MatchStatement(nn.Module):
    """`match` on a run-time number and on structures."""

    def forward(self, x):
        pair = (x.argmax().item(), "label")
        match pair:
            case (0, str()):
                return x
            case (1 | 2, name):
                return x * 2, name
            case _:
                return x * 3


class DigitsOfItem(nn.Module):
    """Host arithmetic on an item: double precision, integer division, rounding."""

    def forward(self, x):
        value = x.sum().item()
        whole = int(value * 10)
        return value / 3, whole // 3, whole % 4, round(value, 2), abs(value) ** 0.5, x * value


@dataclass(frozen=True)
class Case:
    """A model to build and where its inputs come from."""

    build: Callable[[], nn.Module]
    inputs: Callable[[int], tuple[torch.Tensor, ...]] = vectors

    @property
    def name(self) -> str:
        return self.build.__name__


CASES = [
    Case(StaticFlag),
    Case(WhileTensor),
    Case(BreakInLayers),
    Case(NestedReturn),
    Case(ExceptionTwoFramesUp),
    Case(Counter),
    Case(Experts),
    Case(ExpertByName),
    Case(GrowingList),
    Case(Closures),
    Case(SharedIterator),
    Case(SharedDict),
    Case(ShortCircuit),
    Case(InPlace),
    Case(Asserted),
    Case(RangeOfData, tokens),
    Case(Patience),
    Case(MaximumOfList),
    Case(WithHook),
    Case(Recurrent),
    Case(Generators),
    Case(WithStatement),
    Case(BufferState),
    Case(MatchStatement),
    Case(DigitsOfItem),
]
