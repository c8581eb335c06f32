"""Modules: how models are put together."""

from __future__ import annotations

import torch
from torch import nn

from tests.conformance.table import Base, Section

SECTION = Section("Modules")


class Gate(nn.Module):
    """Decides."""

    def __init__(self):
        super().__init__()
        self.score = nn.Linear(4, 1)

    def forward(self, x):
        return self.score(x).item() > 0


@SECTION.yes("submodules that decide, calls across modules", "interpreted; torch's own modules are one operation each")
class Nested(Base):
    def __init__(self):
        super().__init__()
        self.gates = nn.ModuleList([Gate() for _ in range(3)])

    def forward(self, x):
        for gate, layer in zip(self.gates, self.layers, strict=True):
            if gate(x):
                x = layer(x)
        return x


class Stages(nn.Sequential):
    """A Sequential with a loop of its own."""

    def forward(self, x):
        for index, module in enumerate(self):
            x = module(x)
            if x.sum() > 0.5:
                return x, index
        return x, -1


@SECTION.yes("`nn.Sequential` subclass with its own loop, slices and indices of `nn.Sequential`")
class OwnSequential(Base):
    def __init__(self):
        super().__init__()
        self.stages = Stages(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
        self.plain = nn.Sequential(nn.Linear(4, 4), nn.Tanh())

    def forward(self, x):
        x, index = self.stages(x)
        return self.plain[:1](x) if x.sum() > 0 else self.plain[1](x), index, len(self.plain)


class Parent(Base):
    """To be derived from."""

    factor = 2.0

    def forward(self, x):
        return x * self.factor if x.sum() > 0 else x


@SECTION.yes("`super().forward(...)`")
class Derived(Parent):
    factor = 3.0

    def forward(self, x):
        return super().forward(self.layers[0](x)) + super(Derived, self).forward(x)


class Halting:
    """A mixin, no module itself."""

    threshold = 0.25

    def halts(self, x):
        return bool(x.sum() > self.threshold)


@SECTION.yes("mixins, multiple inheritance of modules, class attributes")
class Mixed(Halting, Base):
    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
            if self.halts(x):
                break
        return x


@SECTION.yes("`self.forward = self.other` on the instance")
class Rebound(Base):
    def __init__(self, is_training=False):
        super().__init__()
        self.forward = self.forward_train if is_training else self.forward_infer

    def forward_train(self, x):
        return [layer(x) for layer in self.layers]

    def forward_infer(self, x):
        for layer in self.layers:
            x = layer(x)
            if x.sum() > 0:
                break
        return x


class OwnCall(nn.Module):
    """Does not go through nn.Module.__call__."""

    def __call__(self, x, twice=False):
        return x * 2 if twice and x.sum() > 0 else x


@SECTION.yes("`__call__` overridden in a module")
class Called(Base):
    def __init__(self):
        super().__init__()
        self.own = OwnCall()

    def forward(self, x):
        return self.own(x, twice=True)


@SECTION.yes("module without parameters in a plain list, dict or attribute of another object")
class Unregistered(Base):
    def __init__(self):
        super().__init__()
        self.plain = [nn.Linear(4, 4), nn.Tanh()]
        self.named = {"a": nn.Linear(4, 4)}

    def forward(self, x):
        return self.plain[1](self.plain[0](x)) if x.sum() > 0 else self.named["a"](x)


@SECTION.yes("forward hook, forward pre-hook", "interpreted as a call")
class Hook(Base):
    def __init__(self):
        super().__init__()
        self.layers[0].register_forward_hook(lambda module, args, out: out * 2 if out.sum() > 0 else out)
        self.layers[1].register_forward_pre_hook(lambda module, args: (args[0] + 1,))

    def forward(self, x):
        return self.layers[1](self.layers[0](x))


@SECTION.yes("hook that keeps what it sees", "state")
class KeepingHook(Base):
    def __init__(self):
        super().__init__()
        self.seen = None
        self.layers[0].register_forward_hook(self.keep)

    def keep(self, module, args, out):
        self.seen = out

    def forward(self, x):
        y = self.layers[0](x)
        return y if self.seen.sum() > 0 else -y


@SECTION.yes("`self.training`, `self.eval()`-dependent paths", "as the model is when compiled")
class Training(Base):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        if self.training:
            return self.drop(x), self.drop(x)
        return self.drop(x) if x.sum() > 0 else x


@SECTION.yes("`self.apply(function)` that sets attributes of all modules (slimmable networks)", "state")
class Applied(Base):
    def __init__(self):
        super().__init__()
        self.width = 4

    def forward(self, x):
        for width in (2, 4):
            self.apply(lambda module: setattr(module, "width", width))
            y = nn.functional.linear(x[:, :width], self.layers[0].weight[:, :width])
            if y.sum() > 0:
                break
        return y, self.width


@SECTION.yes("`named_children`, `modules()`, `parameters()`, `state_dict`-free introspection")
class Introspection(Base):
    def forward(self, x):
        for name, child in self.layers.named_children():
            x = child(x) if x.sum() > int(name) else x + 1
        device = next(self.parameters()).device
        return x.to(device), sum(1 for _ in self.modules())


@SECTION.yes("recurrent modules step by step (`LSTMCell`, `GRUCell`), state in local variables")
class Cells(Base):
    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(4, 4)

    def forward(self, x):
        h, c = torch.zeros(1, 4), torch.zeros(1, 4)
        for step in range(4):
            h, c = self.cell(x, (h, c))
            if h.sum() > 0.2:
                return h, step
        return h, -1


@SECTION.yes("attention, layer norm, embedding, convolution: modules of torch", "one operation each")
class TorchModules(Base):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.norm = nn.LayerNorm(4)
        self.embed = nn.Embedding(5, 4)
        self.conv = nn.Conv1d(1, 1, 3, padding=1)

    def forward(self, x):
        y, _ = self.attention(x[None], x[None], x[None])
        if y.sum() > 0:
            return self.norm(y)
        return self.embed(x.argmax(-1)) + self.conv(x[None])


@SECTION.yes("attribute of a submodule read and compared (`self.head.out_features`)")
class Attributes(Base):
    def forward(self, x):
        if self.layers[0].out_features == x.shape[-1] and x.sum() > self.limit:
            return self.layers[0](x)
        return x * self.layers[-1].bias.sum()


@SECTION.refused("DY206", "parameter replaced")
class Replaced(Base):
    def forward(self, x):
        self.layers[0].weight = nn.Parameter(x)
        return x


@SECTION.yes("`call = self.layer.__call__`, kept and called")
class BoundCall(Base):
    def forward(self, x):
        call = self.layers[0].__call__ if x.sum() > 0 else self.layers[1].__call__
        return call(x) + torch.nn.Module.__call__(self.layers[2], x)
