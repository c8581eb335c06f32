"""Models that write to what they are given: the caller's lists, dicts and tensors."""

from __future__ import annotations

import torch
from torch import nn

from tests.specialize.tensor_programs import Case


class UpdatesDict(nn.Module):
    """A matcher's way: results go into the dict that holds the images; keys are replaced, removed, put last."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, data):
        feature = self.layer(data["image"])
        data.update({"feature": feature, "size": len(feature)})
        if feature.sum() > 0:
            data["scale"] = data["scale"] * 2
            data["mask"] = feature > 0
        else:
            del data["extra"]["unused"]
            data["image"] = data.pop("image") * 2
        data.setdefault("scale", 7)
        data["extra"]["rows"].append(feature[0])
        return data["extra"]["rows"][-1] + data["scale"]


class GrowsList(nn.Module):
    """A list of the caller's gets an item in each round of a loop that the data ends."""

    def forward(self, x, found):
        while x.norm() > 1:
            x = x * 0.5
            found.append(x)
            if len(found) > 5:
                raise RuntimeError(f"{len(found)} are too many")
        return x


class GrowsListLong(nn.Module):
    """The same without an end that is known: in the program the list has a length of the run."""

    def forward(self, x, found):
        while x.norm() > 0.01:
            x = x * 0.5
            found.append(x)
        return len(found)


class ShrinksLists(nn.Module):
    """Items are removed, replaced and put in another order, in nested lists and in a tuple."""

    def forward(self, items, pair):
        first = items.pop(0)
        if first.sum() > 0:
            items.insert(1, first * 2)
            pair[1].clear()
        else:
            items.reverse()
            pair[1][0], pair[1][1] = pair[1][1], pair[1][0]
        items[-1] += 1
        return len(items), len(pair[1])


class FillsTensors(nn.Module):
    """Tensors of the caller's are written: wholly, by mask, through views, on one side alone, or not at all."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x, mask, untouched):
        before = x.clone()
        x.relu_()
        row = x[0]
        if x.sum() > 3:
            mask[row > 0] = False
            row.mul_(2)
        if not mask.any():
            return before
        y = self.layer(x)
        x[:, 0] = y[:, 1]
        return y + untouched, before


class FillsWhatItDrops(nn.Module):
    """A tensor leaves its list and is written; the caller has it under another name, so it sees that."""

    def forward(self, items):
        last = items.pop()
        last += items[0]
        while last.sum() > 1:
            last.mul_(0.5)
        return last


class CatchesItself(nn.Module):
    """What was written before an exception stays written, whether it is caught or leaves the model."""

    def step(self, data, x):
        data["steps"].append(1)
        x.add_(1)
        if x.sum() > 2:
            raise ValueError("too large")
        data["done"] = True

    def forward(self, data, x):
        try:
            self.step(data, x)
        except ValueError as error:
            data["error"] = str(error)
        if x[0, 0] > 1:
            raise KeyError("first")
        return sum(data["steps"]) / (len(data) - 1)


class KeepsAndGives(nn.Module):
    """A counter and a tensor of the model's beside a list and tensors of the caller's."""

    def __init__(self):
        super().__init__()
        self.calls = 0
        self.register_buffer("last", torch.zeros(3))

    def forward(self, log, *more):
        self.calls += 1
        log.append(self.calls)
        for other in more:
            other.mul_(self.calls).add_(self.last)
            if other.sum() > 1:
                log.append(other)
        self.last = more[-1] * 0.5
        return len(log)


class FillsBetweenKinds(nn.Module):
    """What a call has written to its input is nothing to a call that finds the model in another kind of state."""

    def __init__(self):
        super().__init__()
        self.recent = None

    def forward(self, x):
        x.add_(1)
        if self.recent is not None:
            x.mul_(self.recent.mean())
        if x.sum() > 3:
            self.recent = x
        return x.mean()


class FillsWhatMayBeGiven(nn.Module):
    """At the write the tensor is the caller's on one way there, and the model's own on the other."""

    def forward(self, x, y):
        if y.sum() > 0:
            x = x * 2
        x += 1
        return x.sum()


def _generator(seed):
    return torch.Generator().manual_seed(seed)


def data(seed):
    made = _generator(seed)
    extra = {"unused": 1, "rows": [torch.randn(4, generator=made)]}
    return ({"image": torch.randn(3, 4, generator=made), "scale": 2.0, "extra": extra},)


def growing(seed):
    made = _generator(seed)
    return torch.randn(4, generator=made) * 2 ** (seed % 8), [torch.randn(4, generator=made)]


def nested(seed):
    made = _generator(seed)
    items = [torch.randn(3, generator=made) for _ in range(3)]
    return items, (torch.randn(2, generator=made), [torch.randn(2, generator=made), 5, torch.randn(2, generator=made)])


def tensors(seed):
    made = _generator(seed)
    x = torch.randn(3, 4, generator=made)
    return x, torch.rand(4, generator=made) > 0.5, torch.randn(4, generator=made)


def two(seed):
    made = _generator(seed)
    return torch.randn(2, 3, generator=made), torch.randn(2, 3, generator=made)


def some(seed):
    made = _generator(seed)
    return ([torch.randn(3, generator=made) for _ in range(2)],)


def more(seed):
    made = _generator(seed)
    return [], torch.randn(3, generator=made), torch.randn(3, generator=made)


def steps(seed):
    made = _generator(seed)
    return {"steps": [2], "name": "first"}, torch.randn(1, 2, generator=made)


CASES = [
    Case(FillsWhatMayBeGiven, two, is_end_to_end=True),  # the executor writes to its arguments in any case
    Case(FillsBetweenKinds),
    Case(UpdatesDict, data, is_end_to_end=True),
    Case(GrowsList, growing),
    Case(GrowsListLong, growing, is_end_to_end=True),
    Case(ShrinksLists, nested),
    Case(FillsTensors, tensors, is_end_to_end=True),
    Case(FillsWhatItDrops, some),
    Case(CatchesItself, steps),
    Case(KeepsAndGives, more, is_end_to_end=True),
]
