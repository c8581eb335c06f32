"""Small models that keep lists, dicts, objects and buffers of the run on themselves, from call to call."""

from __future__ import annotations

import collections

import torch
from torch import nn

from tests.specialize.tensor_programs import Case


class WritesItsDict(nn.Module):
    """Attributes are written through `__dict__`."""

    def __init__(self):
        super().__init__()
        self.n = 0

    def forward(self, x):
        self.__dict__["n"] = self.__dict__["n"] + 1
        if x.sum() > 0:
            self.__dict__.update(last=x[0] * 1)
        if "last" in self.__dict__:
            return self.__dict__["last"], self.n
        return x[1], self.n


class RegistersInForward(nn.Module):
    """The first call registers a buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("count", None)

    def forward(self, x):
        if not hasattr(self, "mean"):
            self.register_buffer("mean", x.mean(0), persistent=False)
        if self.count is None:
            self.register_buffer("count", torch.zeros(1))
        if x.sum() > 0:
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
            self.count += 1
        return x - self.mean, sum(1 for _ in self.buffers()), self.count * 1


class Counts(nn.Module):
    """Collections of the standard library."""

    def __init__(self):
        super().__init__()
        self.stats = collections.defaultdict(int)
        self.queue = collections.deque(maxlen=3)

    def forward(self, x):
        self.stats["many" if x.sum() > 0 else "few"] = min(self.stats["many"] + 1, 4)
        self.queue.append(x.mean().item())
        return x * self.stats["many"], sum(self.queue) / len(self.queue)


class Cache:
    """What a model keeps of its last inputs: Python objects and tensors, written in place."""

    def __init__(self):
        self.keys = []
        self.n = 0
        self.last = torch.zeros(4)

    def update(self, key):
        self.keys.append(key)
        self.n += 1
        self.last += key
        if len(self.keys) > 3:
            self.keys.pop(0)
        return torch.stack(self.keys)

    def reset(self):
        self.keys = []
        self.n = 0


class HoldsCache(nn.Module):
    """A helper object whose list is replaced."""

    def __init__(self):
        super().__init__()
        self.cache = Cache()

    def forward(self, x):
        if x.sum() > 2:
            self.cache.reset()
        return self.cache.update(x[0] * 1).sum(0), self.cache.n, self.cache.last * 1


class ReplacesCache(nn.Module):
    """A helper object that is written and replaced, beside a list in a list."""

    def __init__(self):
        super().__init__()
        self.cache = Cache()
        self.log = [[0]]

    def forward(self, x):
        if x.sum() > 2:
            self.cache = Cache()
            self.log = self.log[-1:]
        self.log[-1].append(self.cache.n)
        if len(self.log[-1]) > 3:
            self.log[-1].clear()
        return self.cache.update(x[0] * 1).sum(0), self.cache.n, len(self.log[-1])


class Slots:
    __slots__ = ("__hidden", "h", "n")

    def __init__(self):
        self.h = None
        self.n = self.__hidden = 0

    def count(self):
        self.n += 1
        self.__hidden = 1 - self.__hidden
        return self.__hidden


class HoldsSlots(nn.Module):
    """A helper object without a dict."""

    def __init__(self):
        super().__init__()
        self.slots = Slots()

    def forward(self, x):
        even = self.slots.count()
        if self.slots.h is None or x.sum() > 0:
            self.slots.h = x[0] * 2
        return self.slots.h + self.slots.n, even


class NestedStates(nn.Module):
    """The states of two recurrent layers in a list that is replaced, and in a dict."""

    def __init__(self):
        super().__init__()
        self.states = [None, None]
        self.kept = {"h": None, "c": 0}
        self.cell = nn.LSTMCell(4, 4)

    def forward(self, x):
        for i in range(2):
            self.states[i] = self.cell(x, self.states[i])
            x = self.states[i][0]
        if x.sum() > 0:
            self.states = [None, None]
        self.kept["h"] = x
        self.kept["c"] += 1
        return x


class ListUnderTwoNames(nn.Module):
    """One list that the model holds in three places."""

    def __init__(self):
        super().__init__()
        self.a = [None, None]
        self.b = self.a
        self.d = {"k": self.a}

    def forward(self, x):
        self.a[0] = x[0] * 1
        if x.sum() > 0:
            self.d["k"][1] = x[1] * 1
        if x.sum() > 2:
            self.a = [None, x[2] * 1]
        return [t for t in self.b if t is not None], [t for t in self.a if t is not None]


class IntThenTensor(nn.Module):
    """A membrane that is the int 0 until the first call, and again after a spike."""

    def __init__(self):
        super().__init__()
        self.mem = 0

    def forward(self, x):
        self.mem = self.mem * 0.5 + x.sum(0)
        spikes = (self.mem > 1).float()
        self.mem = self.mem - spikes
        if spikes.sum() > 1:
            self.mem = 0
        return spikes


class MovesItself(nn.Module):
    """Moves of modules and tensors that change nothing."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.rnn = nn.GRU(4, 4)
        self.offset = torch.ones(4)

    def forward(self, x):
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        x = x.to(device)
        self.fc.to(device)
        self.to(x.device)
        self.float().requires_grad_(False)
        self.rnn.flatten_parameters()
        if self.offset.device != x.device:
            self.offset = self.offset.to(x.device)
        y = self.fc.to(x.dtype)(x) + torch.zeros(4).to(x).type_as(x) + self.offset.to(x.device, non_blocking=True)
        if y.sum() > 0:
            return y.cpu().double().float()
        return self.rnn(y.type(torch.float64).to(torch.float32))[0]


class OwnSetattr(nn.Module):
    """Special methods of the model's own that fall back on torch's."""

    def __init__(self):
        super().__init__()
        self.n = 0
        self.h = None

    def __setattr__(self, name, value):
        if name == "n" and value > 3:
            value = 0
        super().__setattr__(name, value)

    def __getattribute__(self, name):
        return super().__getattribute__("n" if name == "alias" else name)

    def forward(self, x):
        self.n = self.n + 1
        self.h = x[0] * self.n if x.sum() > 0 else None
        if self.h is None:
            return x[1] + self.alias
        object.__setattr__(self, "h", x[2] * 1)
        return self.h * 1


class SizesFromTensors(nn.Module):
    """Sizes that are tensors of one integer, in calls and in texts."""

    def forward(self, x):
        rows = torch.div(x.size(0) * 2, 2, rounding_mode="trunc")
        y = x.view(rows, -1).new_zeros(rows, torch.tensor(2))
        count = (x[:, 0] > 0).sum()
        if count > 1:
            raise ValueError(f"{count} {count!r} {str(torch.tensor(3))} {y.size()}")
        return y.expand(rows, 2), x.narrow(0, torch.tensor(1), torch.tensor(2)) + count


calls = 0
last = None


class WritesGlobals(nn.Module):
    """Global variables of its module, one of them None at first."""

    def forward(self, x):
        global calls, last
        calls += 1
        if last is None or x.sum() > 0:
            last = x[0] * 1
        return last * 2, calls


class GivenContainers(nn.Module):
    """Lists and dicts of tensors that the caller gave, read before and behind joins, by functions and copies."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def best(self, data):
        rows = self.layer(data["image"])
        rows = rows[rows[:, 0] > 0]
        if len(rows) > 1:
            rows = rows[:1]
        return rows

    def forward(self, data):
        found = {f"best{i}": self.best({"image": image}) for i, image in enumerate(data["images"])}
        data = {**data, **found}
        total = data["images"][1].sum()
        if total > 0:
            total = total + data["bias"]
        return total, len(data), {name: value for name, value in data.items() if name.startswith("best")}


class VariableArguments(nn.Module):
    """Parameters before and behind a `*more` that takes some."""

    def forward(self, x, weight=2.0, *more, scale=None):
        for index, other in enumerate(more):
            if other.sum() > 0:
                x = x * (index + weight) + other
        return x if scale is None else x * scale


def several(seed):
    made = torch.Generator().manual_seed(seed)
    return (torch.randn(3, generator=made), 2.0, torch.randn(3, generator=made), torch.randn(3, generator=made))


def given(seed):
    made = torch.Generator().manual_seed(seed)
    return ({"images": [torch.randn(3, 4, generator=made) for _ in range(2)], "bias": torch.randn(4, generator=made)},)


CASES = [
    Case(GivenContainers, given, is_end_to_end=True),
    Case(VariableArguments, several, is_end_to_end=True),
    Case(WritesGlobals, is_end_to_end=True),
    Case(OwnSetattr),
    Case(SizesFromTensors),
    Case(WritesItsDict, is_end_to_end=True),
    Case(RegistersInForward, is_end_to_end=True),
    Case(Counts, is_end_to_end=True),
    Case(HoldsCache, is_end_to_end=True),
    Case(ReplacesCache),
    Case(HoldsSlots),
    Case(NestedStates),
    Case(ListUnderTwoNames),
    Case(IntThenTensor, is_end_to_end=True),
    Case(MovesItself),
]
