"""Small models about tensors: writes in place, views and their aliases, state, constants, dtypes, sizes of the data.

Each is compiled from its first input only and must agree with eager on all the others, call after call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional


def rows(seed: int) -> tuple[Any, ...]:
    """One input of three rows of four numbers around zero."""
    return (torch.randn(3, 4, generator=torch.Generator().manual_seed(seed)),)


def pair(seed: int) -> tuple[Any, ...]:
    """Two inputs of one row."""
    made = torch.Generator().manual_seed(seed)
    return torch.randn(1, 4, generator=made), torch.randn(1, 4, generator=made)


def whole(seed: int) -> tuple[Any, ...]:
    """Three rows of small integers."""
    return (torch.randint(-2, 4, (3, 4), generator=torch.Generator().manual_seed(seed)),)


def flags(seed: int) -> tuple[Any, ...]:
    """A mask and numbers."""
    made = torch.Generator().manual_seed(seed)
    return torch.randint(0, 2, (3, 4), generator=made).bool(), torch.randn(3, 4, generator=made)


def nested(seed: int) -> tuple[Any, ...]:
    """A dict of a tensor and a list, a flag and a text."""
    made = torch.Generator().manual_seed(seed)
    x, y, z = (torch.randn(2, 3, generator=made) for _ in range(3))
    return {"x": x, "more": [y, (z, 2)]}, True, "sum"


# ---------------------------------------------------------------- writes in place


class WritesOfAllKinds(nn.Module):
    """Every way to write into a tensor, some on one side only."""

    def forward(self, x):
        y = x.clone()
        y.add_(1.0)
        y[0] = 2.0
        y[1:, 2] = x[1:, 0]
        if x.sum() > 0:
            y[x > 0.5] = -1.0
            y[torch.tensor([0, 2]), 1] = 7.0
        y.copy_(y * 2)
        y.masked_fill_(x < -1, 0.25)
        if y.mean() > 1:
            y.index_put_((torch.tensor([0]), torch.tensor([1])), torch.tensor(3.0), accumulate=True)
        y.scatter_(1, torch.tensor([[0], [1], [2]]), 9.0)
        y[2].fill_(x[0, 0])
        y[:, -1].zero_()
        y.clamp_(-5, 8)
        return y


class OutArgument(nn.Module):
    """`out=` writes, and returns the tensor that it was given."""

    def forward(self, x):
        total = torch.zeros(3, 4)
        same = torch.add(x, 1.0, out=total)
        if x.sum() > 0:
            torch.mul(total, 2.0, out=total)
        same.sub_(1.0)
        return total, same is total


class InplaceModules(nn.Module):
    """Modules that write into what they are given."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.act = nn.ReLU(inplace=True)
        self.stack = nn.Sequential(nn.Linear(4, 4), nn.ELU(inplace=True), nn.Hardtanh(-0.5, 0.5, inplace=True))

    def forward(self, x):
        y = self.first(x)
        before = y
        z = self.act(y)
        if before.sum() > 1:
            z = self.stack(z)
            functional.leaky_relu_(before, 0.1)
        return before, z


class ViewsAcrossForks(nn.Module):
    """Views made before a fork and written after it, and the reverse."""

    def forward(self, x):
        base = x.clone()
        row, flat, turned = base[1], base.view(-1), base.t()
        if x.sum() > 0:
            row.mul_(2.0)
        else:
            flat[3] = 4.0
        turned[0, 2] += 1.0
        first, *others = base.unbind(0)
        if flat.max() > 1.5:
            first.neg_()
            others[1].copy_(first)
        left, right = base.chunk(2, dim=1)
        left += right
        return base, row, flat.sum(), turned[0], first


class AliasesAcrossJoin(nn.Module):
    """Two names for one memory, live across a join; which two depends on the data."""

    def forward(self, x):
        a, b = x.clone(), x * 2
        c = a if x[0, 0] > 0 else b
        d = c[0]
        if x[1, 1] > 0:
            a = a + 1
        d.fill_(5.0)
        if x[2, 2] > 0:
            c.add_(b)
        return a, b, c, d


class WriteInLoop(nn.Module):
    """A slot of a preallocated tensor for each round, until the data says stop."""

    def forward(self, x):
        out = torch.zeros(6, 4)
        state = x[0]
        for step in range(6):
            state = torch.tanh(state + x.mean(0))
            out[step] = state
            if state.sum() > 1.5:
                break
        out[step, 0] = -1
        return out, step


class RunTimeSlot(nn.Module):
    """A slot whose index only the run knows."""

    def forward(self, x):
        out = torch.zeros(3, 4)
        where = x.sum(1).argmax().item()
        out[where] = x[where]
        out[where, 1:3] += 1.0
        count = 0
        while x.abs().sum() > 1.0 and count < 10:
            x = x * 0.6
            out[0, 0] = count
            count += 1
        return out, where


class WritesThroughContainers(nn.Module):
    """Tensors in lists, dicts and objects, written through any of them."""

    def forward(self, x):
        y = x.clone()
        box = {"y": y, "list": [y, y[0]], "own": x * 3}
        if x.sum() > 0:
            box["list"][1].zero_()
            box["list"].append(box["own"])
        box["y"].add_(1.0)
        for item in box["list"]:
            item.mul_(0.5)
        return y, box["own"], len(box["list"])


class WriteOneSideThenJoin(nn.Module):
    """The same tensor is written on one side only; both go on as one."""

    def forward(self, x):
        y = x * 1.0
        view = y[0]
        for column in range(4):
            if x[0, column] > 0:
                y[:, column] = 0.0
        return y, view + 1


class AugmentedViews(nn.Module):
    """`x[i] += v` and its relatives: read, operate in place, write back."""

    def forward(self, x):
        y = x.clone()
        y[0] += 1
        y[:, 1] *= x[:, 0]
        y[1:][0] -= 2
        if y[0].sum() > 4:
            y[..., ::2] **= 2
        y.data.add_(1.0)
        y.detach().mul_(2.0)
        return y


class ElementsOfARowWritten(nn.Module):
    """What a row is a view of has no use left, while elements of the row are written in several blocks."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(4, 5)

    def forward(self, x):
        ids = [1]
        for place in range(2):
            logits = self.out(x[place : place + 1])[0]
            for token in ids:
                if logits[token] < 0:
                    logits[token] *= 3
                else:
                    logits[token] /= 2
            ids.append(logits.argmax().item())
        return ids, logits


class ReshapedInPlace(nn.Module):
    """Shapes that change in place, on one side only too: whoever holds the tensor sees it."""

    def __init__(self):
        super().__init__()
        self.last = torch.zeros(1, 4)

    def forward(self, x):
        y = torch.tanh(x)
        kept = {"y": y, "both": [y, (y,)]}
        part = y[0]
        part.unsqueeze_(0)
        part.mul_(2.0)
        if x.sum() > 0:
            y.t_()
            y.add_(1.0)
        z = y.sum(0).unsqueeze_(0).transpose_(0, 1)
        while z.abs().max() > 1:
            z.squeeze_().mul_(0.5)
            z.unsqueeze_(1)
        w = torch.ones(2, 6)
        w.resize_(3, 4).add_(x)
        w.resize_((2, 2)).resize_as_(torch.zeros(4))
        self.last = w.unsqueeze_(0)
        return kept["y"] is y, kept["both"][1][0].shape, y, part, z, w, self.last.swapaxes_(0, 1)


class ExpandedAndReshaped(nn.Module):
    """`expand` and `reshape` share memory or not; writes tell the difference."""

    def forward(self, x):
        y = x.clone()
        shared = y.reshape(4, 3)
        copied = y.t().reshape(4, 3)
        wide = y[0:1].expand(3, 4)
        y[0, 0] = 10.0
        if x.sum() > 0:
            shared[0] = -1.0
            copied[0] = -2.0
        return shared, copied, wide + 0, y


# ---------------------------------------------------------------- state


class StateNoneFirst(nn.Module):
    """None in the first call, a tensor later, replaced and written in place."""

    def __init__(self):
        super().__init__()
        self.memory = None
        self.seen = 0

    def forward(self, x):
        if self.memory is None:
            self.memory = x[0].clone()
        elif x.sum() > 0:
            self.memory = self.memory * 0.5 + x[0]
        else:
            self.memory.add_(x[1])
        self.seen += 1
        return self.memory + 0


class RingBuffer(nn.Module):
    """A buffer, its write position and its fill."""

    def __init__(self):
        super().__init__()
        self.register_buffer("ring", torch.zeros(3, 4))
        self.position = 0

    def forward(self, x):
        if x[0].sum() > 0:
            self.ring[self.position] = x[0]
            self.position = (self.position + 1) % 3
        return self.ring.mean(0), self.position


class TensorPosition(nn.Module):
    """A write position kept in an integer buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("ring", torch.zeros(3, 4))
        self.register_buffer("position", torch.zeros((), dtype=torch.long))

    def forward(self, x):
        if x[0].sum() > 0:
            self.ring[self.position] = x[0]
            self.position.add_(1).remainder_(3)
        return self.ring.clone(), self.position.clone()


class ListOfStates(nn.Module):
    """A list of tensors and a dict of tensors on self."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(2)])
        self.hidden = [torch.zeros(4), torch.zeros(4)]
        self.cache = {}

    def forward(self, x):
        value = x.mean(0)
        for index, layer in enumerate(self.layers):
            value = torch.tanh(layer(value) + self.hidden[index])
            if value.sum() > 0:
                self.hidden[index] = value
        if "best" not in self.cache or value.max() > self.cache["best"].max():
            self.cache["best"] = value
        return value, self.cache["best"]


class Cell(nn.Module):
    """Keeps a running value of its own."""

    def __init__(self, decay):
        super().__init__()
        self.decay = decay
        self.register_buffer("trace", torch.zeros(4))
        self.fired = 0

    def forward(self, x):
        self.trace.mul_(self.decay).add_(x)
        if self.trace.sum() > 1:
            self.trace.zero_()
            self.fired += 1
            return torch.ones(4)
        return torch.zeros(4)


class TwoCells(nn.Module):
    """Two modules with state of their own, one of them not always called."""

    def __init__(self):
        super().__init__()
        self.one = Cell(0.5)
        self.two = Cell(0.9)

    def forward(self, x):
        spikes = self.one(x[0])
        if spikes.sum() > 0:
            spikes = spikes + self.two(x[1])
        return spikes, self.one.fired % 3


class RaisesAfterWrite(nn.Module):
    """State written before an exception leaves the call stays written."""

    def __init__(self):
        super().__init__()
        self.register_buffer("total", torch.zeros(4))
        self.failures = 0

    def forward(self, x):
        self.total += x[0]
        if self.total.sum() > 2:
            self.failures = min(self.failures + 1, 3)
            self.total.zero_()
            raise ValueError("too much")
        return self.total.clone(), self.failures


class SwappedStates(nn.Module):
    """Two attributes change places."""

    def __init__(self):
        super().__init__()
        self.old = torch.zeros(4)
        self.new = torch.ones(4)

    def forward(self, x):
        if x.sum() > 0:
            self.old, self.new = self.new, x[0] + self.old
        return self.old - self.new


class ReturnsState(nn.Module):
    """What is returned is kept as well, and written later."""

    def __init__(self):
        super().__init__()
        self.register_buffer("sum", torch.zeros(3, 4))

    def forward(self, x):
        self.sum.add_(x)
        out = self.sum * 1
        if x.sum() > 0:
            self.sum[0].zero_()
        return out, self.sum[0].sum().item()


class TrainBatchNorm(nn.Module):
    """Batch norm in train mode updates its running statistics."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def train(self, mode=True):
        super().train(mode)
        self.norm.train(True)
        return self

    def forward(self, x):
        y = self.norm(x)
        return y * 2 if y[0].sum() > 0 else y


# ---------------------------------------------------------------- weights and constants

TABLE = torch.tensor([[1.0, -1.0, 0.5, 0.0], [0.0, 2.0, 0.0, -1.0]])
LIMITS = (torch.tensor(0.5), torch.tensor(-0.5))


class TiedWeights(nn.Module):
    """One weight used in three ways."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(4, 4)
        self.head = nn.Linear(4, 4, bias=False)
        self.head.weight = self.embed.weight
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, x):
        y = functional.linear(x, self.embed.weight.t()) * self.scale
        if self.scale.item() > 1 and y.sum() > 0:
            y = self.head(y)
        return y + self.embed(torch.arange(3))


class Constants(nn.Module):
    """Tables made in forward and at module level, compared with data and with each other."""

    def forward(self, x):
        count = torch.tensor(0)
        steps = torch.arange(4)
        for row in TABLE:
            if (x[0] * row).sum() > LIMITS[0]:
                count = count + 1
            if steps[int(count)] == 1:
                x = x + row
        if count > 1:
            x = x * 2
        return x, count, steps.float().mean() + x.sum()


class ConstantWrittenLater(nn.Module):
    """A constant is compared, then written, then compared again."""

    def forward(self, x):
        counter = torch.zeros(2)
        if counter[0] > 0:
            return x
        if x.sum() > 0:
            counter[0] = 1
        if counter[0] > 0:
            x = x + 1
        counter += 1
        if counter[0] > 1.5:
            x = x * 2
        return x, counter


class CountsInTensor(nn.Module):
    """A tensor counter in a loop that the data ends."""

    def forward(self, x):
        count = torch.zeros((), dtype=torch.long)
        while x.abs().max() > 0.2:
            x = x * 0.7
            count += 1
            if count == 12:
                break
        return x, count


# ---------------------------------------------------------------- dtypes, inputs


class Dtypes(nn.Module):
    """Conversions and what Python makes of them."""

    def forward(self, x):
        y = x.double()
        n = (x * 3).to(torch.int32)
        if n.sum() > 0:
            y = y + n
        mask = (n % 2 == 0) & ~(n > 2)
        h = x.half().float()
        k = n[0, 0].item()
        return y, n // 2, mask, h, k // 2, k % 3, mask.sum(), mask.any().item(), (n.float() / 3).long()


class IntegerInput(nn.Module):
    """Decisions over integers."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(8, 4)

    def forward(self, x):
        if x[0, 0] == 3:
            return self.embed(x + 2).sum(0)
        total = int(x.sum())
        if total % 2:
            return x // 2
        return x << 1 if total > 4 else x.float() / 2


class MaskInput(nn.Module):
    """A boolean input indexes and multiplies."""

    def forward(self, mask, x):
        if mask.all():
            return x
        if mask[0].any() and not mask[1, 1]:
            return torch.where(mask, x, -x)
        return x.masked_fill(mask, 0.0)


class NestedInput(nn.Module):
    """Nested inputs beside a flag and a text."""

    def forward(self, data, double, how, scale=2.0, *, extra=None):
        y, (z, factor) = data["more"]
        total = data["x"] + y * factor
        if double and (total > z).any():
            total = total * scale
        return {"total": getattr(total, how)(), "z": [z] if extra is None else extra}


class PerSample(nn.Module):
    """A decision for each sample of a batch."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        out = []
        for sample in x:
            if sample.mean() > 0:
                sample = self.layer(sample)
            out.append(sample)
        return torch.stack(out)


@dataclass(frozen=True)
class Case:
    """A model to build and where its inputs come from.

    `is_end_to_end`: also through target and host. `is_large`: that takes long, the default suite stops at the host.
    """

    build: Callable[[], nn.Module]
    inputs: Callable[[int], tuple[Any, ...]] = rows
    is_end_to_end: bool = False
    is_large: bool = False

    @property
    def name(self) -> str:
        return self.build.__name__


class OldConstructors(nn.Module):
    """Torch's older ways to make a tensor, whose C++ no function mode sees."""

    def forward(self, x):
        words = torch.LongTensor([[1], [2]] * 2)
        table = torch.Tensor([0.5, 1.5])
        if x.sum() > 0:
            table = table.type(torch.DoubleTensor).type("torch.FloatTensor")
        total = x.new(2, 3).zero_() + x.new_tensor([x.max().item(), 1.0, 2.0]) + x.data[:2, :3]
        empty = torch.FloatTensor()
        other = x.new(x.size()).fill_(2.0)
        return words, table, total, empty.numel(), other, x.type(), words.type(torch.FloatTensor) * 2, torch.Tensor(x)


class Converges(nn.Module):
    """`allclose` reads a number below Python."""

    def forward(self, x):
        for step in range(4):
            y = torch.tanh(x) * 0.9
            if torch.allclose(x, y, atol=0.3):
                return x, step
            x = y
        return x, -1


class AddedToNothing(nn.Module):
    """Python's own error about a tensor names the class that the model knows."""

    def forward(self, x):
        bias = None if x.sum() > 0 else x
        try:
            return bias + x
        except TypeError as error:
            return x, str(error)


CASES = [
    Case(AddedToNothing),
    Case(OldConstructors, is_end_to_end=True, is_large=True),
    Case(Converges, is_end_to_end=True),
    Case(WritesOfAllKinds, is_end_to_end=True),
    Case(OutArgument, is_end_to_end=True),
    Case(InplaceModules, is_end_to_end=True),
    Case(ViewsAcrossForks),
    Case(AliasesAcrossJoin),
    Case(WriteInLoop),
    Case(RunTimeSlot),
    Case(WritesThroughContainers),
    Case(WriteOneSideThenJoin),
    Case(AugmentedViews),
    Case(ElementsOfARowWritten, is_end_to_end=True),
    Case(ReshapedInPlace, is_end_to_end=True),
    Case(ExpandedAndReshaped),
    Case(StateNoneFirst, is_end_to_end=True),
    Case(RingBuffer),
    Case(TensorPosition),
    Case(ListOfStates),
    Case(TwoCells),
    Case(RaisesAfterWrite),
    Case(SwappedStates),
    Case(ReturnsState),
    Case(TrainBatchNorm),
    Case(TiedWeights),
    Case(Constants),
    Case(ConstantWrittenLater),
    Case(CountsInTensor),
    Case(Dtypes),
    Case(IntegerInput, whole),
    Case(MaskInput, flags),
    Case(NestedInput, nested),
    Case(PerSample),
]
