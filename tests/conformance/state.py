"""What outlives a call."""

from __future__ import annotations

import torch
from torch import nn

from tests.conformance.table import Base, Section

SECTION = Section("State")
SEEN: list[int] = []
switched = False


@SECTION.yes(
    "attribute of the model written, None at first", "read at entry, kept at exit; one entry for each kind of state"
)
class Attribute(Base):
    def __init__(self):
        super().__init__()
        self.calls = 0
        self.last = None

    def forward(self, x):
        before = self.last
        self.last = x * 1
        self.calls += 1
        return (x if before is None else x + before), self.calls


@SECTION.yes("attribute that is the int 0 at first, a tensor later")
class ZeroAtFirst(Base):
    def __init__(self):
        super().__init__()
        self.memory = 0

    def forward(self, x):
        self.memory = self.memory + x
        return self.memory if self.memory.sum() > 0 else x


@SECTION.yes("buffer written in place")
class Buffer(Base):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, 4))

    def forward(self, x):
        if x.sum() > 0:
            self.mean.mul_(0.5).add_(x)
        return self.mean + 0


@SECTION.yes("buffer replaced, `self.buffer = ...`")
class BufferReplaced(Base):
    def __init__(self):
        super().__init__()
        self.register_buffer("total", torch.zeros(1, 4))

    def forward(self, x):
        if x.sum() > 0:
            self.total = self.total + x
        return self.total * 2


class Neuron(nn.Module):
    """Leaky, integrates, fires."""

    def __init__(self):
        super().__init__()
        self.membrane = None

    def reset(self):
        self.membrane = None

    def forward(self, x):
        if self.membrane is None:
            self.membrane = torch.zeros_like(x)
        self.membrane = self.membrane * 0.9 + x
        spike = (self.membrane > 1).float()
        self.membrane = self.membrane - spike
        return spike


@SECTION.yes("state of submodules, reset in forward")
class Spiking(Base):
    def __init__(self):
        super().__init__()
        self.neurons = nn.ModuleList([Neuron(), Neuron()])

    def forward(self, x):
        for neuron, layer in zip(self.neurons, self.layers, strict=False):
            x = neuron(layer(x) * 3)
        if x.sum() > 1:
            for neuron in self.neurons:
                neuron.reset()
        return x


@SECTION.yes("list or dict on the model, of known length")
class ListState(Base):
    def __init__(self):
        super().__init__()
        self.history = [0.0, 0.0]
        self.cache = {"count": 0}

    def forward(self, x):
        self.history = [*self.history[1:], x.sum().item()]
        if x.sum() > 0:
            self.cache["count"] += 1
        return self.history[0], self.cache["count"]


@SECTION.yes("list of numbers kept on the model that grows with every call", "a list in the state of the host")
class GrowingState(Base):
    def __init__(self):
        super().__init__()
        self.sums = []

    def forward(self, x):
        self.sums.append(x.sum().item())
        return len(self.sums)


@SECTION.yes("flags and counters of the model", "a bounded one makes entries, any other is a run-time number")
class Flags(Base):
    def __init__(self):
        super().__init__()
        self.is_warm = False
        self.skipped = 0

    def forward(self, x):
        if not self.is_warm and x.sum() > 0:
            self.is_warm = True
        if self.is_warm:
            return self.layers[0](x), self.skipped
        self.skipped += 1
        return x, self.skipped


@SECTION.yes("attributes set during a call for use within it")
class Scratch(Base):
    def first(self, x):
        self.hidden = x * 2

    def forward(self, x):
        self.first(x)
        return self.hidden if self.hidden.sum() > 1 else x


@SECTION.yes("state written before an error", "kept, as in the source")
class ErrorState(Base):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        if x.sum() > 1:
            raise ValueError(f"call {self.calls}")
        return self.calls


@SECTION.yes("attribute deleted, `del self.cache`")
class Deleted(Base):
    def __init__(self):
        super().__init__()
        self.note = 1

    def forward(self, x):
        if hasattr(self, "note") and x.sum() > 1:
            del self.note
        return hasattr(self, "note")


class Keys:
    """A helper object that a model keeps."""

    def __init__(self):
        self.items = []
        self.n = 0

    def add(self, key):
        self.items = [*self.items[-1:], key]
        self.n += 1


@SECTION.yes("helper object on the model, written and replaced", "state, shown by its attributes")
class HelperObject(Base):
    def __init__(self):
        super().__init__()
        self.keys = Keys()

    def forward(self, x):
        if x.sum() > 1:
            self.keys = Keys()
        self.keys.add(x * 2)
        return sum(self.keys.items), self.keys.n


@SECTION.yes("`register_buffer` in a call", "an assignment")
class RegisteredLate(Base):
    def forward(self, x):
        if not hasattr(self, "mean"):
            self.register_buffer("mean", x * 1)
        if x.sum() > 0:
            self.mean = self.mean * 0.5 + x
        return x - self.mean


@SECTION.yes("global variable written", "state of the artifact: no two hosts share it")
class GlobalVariable(Base):
    def forward(self, x):
        global switched
        if x.sum() > 0:
            switched = not switched
        return x if switched else -x


@SECTION.refused("DY206", "global list or another object written", "keep what changes in attributes of the model")
class Global(Base):
    def forward(self, x):
        SEEN.append(1)
        return x


@SECTION.yes("tensor and views of it kept on the model, made once (grids and anchors of a detector)", "none is written")
class KeptViews(Base):
    def __init__(self):
        super().__init__()
        self.size = 0

    def forward(self, x):
        if x.shape[1] != self.size:
            self.size = x.shape[1]
            self.anchors = torch.FloatTensor([(a / self.size, b / self.size) for a, b in [(1, 2), (3, 4)]])
            self.width = self.anchors[:, 0:1].view(1, 2)
            self.height = self.anchors[:, 1:2].view(1, 2)
        scaled = x[:, :2] * self.width + self.height
        return scaled if scaled.sum() > 0 else self.anchors
