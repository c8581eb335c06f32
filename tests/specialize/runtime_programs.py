"""Small models whose Python values only the run knows: lists cut, repeated and compared, None among tensors."""

from __future__ import annotations

import torch
from torch import nn

from tests.specialize.tensor_programs import Case


def columns(seed: int) -> tuple[torch.Tensor, ...]:
    return (torch.randn(3, 30, generator=torch.Generator().manual_seed(seed)),)


class KnownListCut(nn.Module):
    """A list of known length, cut at a number without bounds; where its items are unpacked, they are known."""

    def forward(self, x):
        n = int(x[0, :4].sum())
        rows = [x[0, :4] * 2, x[1, :4], x[2, :4] + 1]
        part = rows[:n]
        first, *_ = rows[-n:] if n else rows
        back = [row.sum().item() for row in reversed(rows[n:])]
        return len(part), part[-1] if part else None, back, first


class KnownTupleCut(nn.Module):
    """A tuple or text of known length, cut at numbers without bounds."""

    def forward(self, x):
        n = int(x[0, :4].sum())
        items = (1, 2.0, "a", None)
        return items[n:], items[:n], "hello"[n : n + 2], items[n::2]


class ListsAmongItems(nn.Module):
    """Lists of run-time length are compared by what is in them, though native code holds them."""

    def forward(self, x):
        some = (x[0] > 0).nonzero().flatten().tolist()
        others = (x[1] > 0).nonzero().flatten().tolist()
        kept = [some, others]
        kept.append(some)
        return some in kept, [0, 1] in kept, kept


class SlicesStored(nn.Module):
    """Assignment to slices of a list of run-time length, and their deletion."""

    def forward(self, x):
        kept = (x[0] > 0).nonzero().flatten().tolist()
        n = int(x[1].sum())
        kept[1:2] = [9, 9]
        kept[:0] = (5,)
        kept[n : n - 2] = (i * 2 for i in range(2))
        kept[-1:] = []
        del kept[n:3]
        return kept


class KnownSliceStored(nn.Module):
    """Assignment to a slice between run-time numbers of a list of known length."""

    def forward(self, x):
        n = int(x[0, :4].sum())
        kept, rest = [1, 2, 3, 4], [x[0, 0], 1]
        kept[n:] = [9, 9]
        del rest[:n]
        return kept, rest


class NoneBesideTensors(nn.Module):
    """Tensors and None in a list that grows."""

    def forward(self, x):
        found = []
        for row in x.T[x[0] > 0]:
            found.append(row * 2 if row.sum() > 0 else None)
        total = torch.zeros(3)
        for item in found:
            if item is not None:
                total = total + item
        return found, total, sum(1 for item in found if item is None)


class SlotsOfNone(nn.Module):
    """A list of as many None as the run says, filled with tensors and numbers."""

    def forward(self, x):
        slots = [None] * int((x > 0).sum())
        marks = int((x > 0).sum()) * [None]
        for i in range(len(slots)):
            if x[i % 3, i % 30] > 0:
                slots[i] = x[i % 3, :4] * 2
                marks[i] = x[i % 3, 0].item()
        return slots, marks


class RepeatedByRun(nn.Module):
    """Lists of known items, repeated as often as the run says."""

    def forward(self, x):
        n = int((x[0] > 0).sum())
        marks = [False] * n
        for i in range(n):
            if x[1, i] > 0:
                marks[i] = True
        return marks, 2 * [0] + n * [1, 2], len([None] * n), [x[0, 0]] * n


class RowsOfTensors(nn.Module):
    """A list that takes the rows of tensors, of which there are too many numbers to know them one by one."""

    def forward(self, x):
        wide = x.flatten().repeat(12)
        kept = [wide[0]]
        kept.extend(wide[wide > 2])
        kept += wide[wide < -2] * 2
        return len(kept), kept[-1], kept[0]


class RowsAsLists(nn.Module):
    """A list of a tensor's rows."""

    def forward(self, x):
        wide = x.flatten().repeat(12)
        rows = list(wide[wide > 2])
        return rows, sum(row * 2 for row in rows)


class Scored:
    """An object whose attributes lie in slots."""

    __slots__ = ("__twice", "missing", "score")

    def __init__(self, score):
        self.score = score
        self.__twice = score * 2

    def total(self):
        return self.__twice + self.score


class ObjectsWithSlots(nn.Module):
    """Objects with slots in lists of run-time length, the best taken out until none is left."""

    def forward(self, x):
        left = [Scored(value) for value in x[0][x[0] > 0].tolist()]
        kept = []
        while left:
            best = max(left, key=Scored.total)
            kept.append(best.score)
            left = [one for one in left if one.score < 0.6 * best.score]
        return kept, sum(kept), [hasattr(one, "missing") for one in left]


CASES = [
    *(Case(model, columns) for model in (KnownListCut, KnownTupleCut, ListsAmongItems, KnownSliceStored)),
    *(Case(model, columns, is_end_to_end=True) for model in (SlicesStored, NoneBesideTensors)),
    *(Case(model, columns) for model in (SlotsOfNone, RepeatedByRun, RowsOfTensors, RowsAsLists, ObjectsWithSlots)),
]
