"""Sizes that depend on data."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence, pad_packed_sequence

from tests.conformance.table import Base, Section

SECTION = Section("Sizes that depend on data")


@SECTION.yes("`x[x > 0]`, `masked_select`")
class Masked(Base):
    def forward(self, x):
        kept = x[x > 0]
        if kept.numel() > 2:
            return kept.sum(), len(kept)
        return x.sum(), 0


@SECTION.yes("`nonzero`, `where` with one argument")
class Nonzero(Base):
    def forward(self, x):
        index = (x[0] > 0).nonzero()
        return (x[0, index[:, 0]] * 2).sum() if index.shape[0] else x.sum()


@SECTION.yes("`unique`")
class Unique(Base):
    def forward(self, x):
        return torch.unique(x.round().long()).numel()


@SECTION.yes("result whose size depends on data")
class SizedResult(Base):
    def forward(self, x):
        return x[x > 0] * 2


@SECTION.yes("`topk` with a run-time `k`")
class TopK(Base):
    def forward(self, x):
        k = int((x > 0).sum()) + 1
        return x[0].topk(min(k, 4)).values.sum()


@SECTION.yes("`torch.split(x, tuple_of_tensors)`")
class SplitByTensors(Base):
    def forward(self, x):
        k = (x[0] > 0).sum()
        first, second = torch.split(x[0], (k, 4 - k))
        return first.sum(), second.sum()


@SECTION.yes(
    "`torch.split(x, xs)` of a run-time list or at every k of a run-time size", "views, one operation of the host"
)
class SplitByList(Base):
    def forward(self, x):
        counts = torch.bincount((x[0] > 0).long()).tolist()
        parts = torch.split(x[0], counts)
        return [part.sum() for part in parts], x[x > 0].split(2)


@SECTION.yes("`list(t)`, `t.unbind()`, `xs.extend(t)` of a tensor of run-time size", "views, one operation of the host")
class ListOfRows(Base):
    def forward(self, x):
        kept = x[x > 0]
        rows = [x.sum()]
        rows.extend(kept)
        return list(kept), torch.stack(rows), [row * 2 for row in kept.unbind()]


@SECTION.yes("iteration over a tensor of run-time size")
class RowsOfRuntimeSize(Base):
    def forward(self, x):
        total = x.sum() * 0
        for value in x[x > 0]:
            total = total + value * 2
        return total


@SECTION.yes("`torch.zeros(n)`, `arange(n)`, `expand` with a run-time size", "a symbolic size in the subgraph")
class MadeToSize(Base):
    def forward(self, x):
        n = int(x.argmax()) + 1
        return torch.arange(n).sum(), torch.zeros(n).sum() + n


@SECTION.yes("`where`, `clamp`, masks by arithmetic", "no decision: part of the subgraph")
class StaticMasks(Base):
    def forward(self, x):
        y = torch.where(x > 0, x, x * 0.1).clamp(max=1.0)
        return y.masked_fill(y < 0, 0.0) if y.sum() > 0 else y * (y > 0)


@SECTION.yes("`unique_consecutive`, with inverse and counts, over a dimension", "neighbours that differ start a run")
class UniqueConsecutive(Base):
    def forward(self, x):
        signs = (x[0] > 0).long()
        runs, counts = torch.unique_consecutive(signs, return_counts=True, dim=-1)
        labels, places = torch.unique_consecutive(signs, return_inverse=True)
        if len(runs) > 2:
            return runs, counts, torch.unique_consecutive(x > 0, dim=1)
        return labels, places, torch.unique_consecutive(x > 0, dim=0)


@SECTION.yes("tensor indexed by a list of run-time length (`x[index.tolist()]`)")
class IndexedByList(Base):
    def forward(self, x):
        places = (x[0] > 0).nonzero()[:, 0].tolist()
        return x[:, places].sum(), x[None, 0, places]


@SECTION.yes("`split`, `chunk` into pieces of a run-time size", "a loop, as in Python")
class PiecesOfRuntimeSize(Base):
    def forward(self, x):
        size = int(x.argmax()) + 1
        kept = x[0][x[0] > 0]
        return torch.stack([part.sum() for part in x[0].split(size)]), x.chunk(size, 1)[-1].sum(), len(kept.chunk(size))


@SECTION.yes("sizes that are tensors of one integer (`torch.zeros(n, 2)`, `F.pad(x, (0, n))`, `x.repeat(n, 1)`)")
class SizesInTensors(Base):
    def forward(self, x):
        n = x.argmax() + 1
        return torch.zeros(n, 2), F.pad(x, (0, n)), x.repeat(n, 1)


@SECTION.yes("`F.one_hot` of a run-time number of classes, or of as many as there are")
class OneHot(Base):
    def forward(self, x):
        order = x[0].argsort()
        return F.one_hot(order[:2]), F.one_hot(order, int(order[0]) + 4)


@SECTION.yes("`F.interpolate` to a run-time size: nearest, linear, bilinear", "weighted rows, one dimension at a time")
class Interpolation(Base):
    def forward(self, x):
        n = int(x.argmax()) + 1
        picture = x.reshape(1, 1, 2, 2)
        nearest, linear = F.interpolate(x[None], size=n), F.interpolate(x[None], size=n + 1, mode="linear")
        aligned = F.interpolate(x[None], size=n, mode="linear", align_corners=True)
        wide = F.interpolate(picture[..., : min(n, 2)], scale_factor=2, mode="bilinear")
        return nearest, linear, aligned, F.interpolate(picture, (n, 3), mode="bilinear"), wide


@SECTION.yes("`nn.LSTM`, `nn.GRU` over a run-time number of steps")
class StepsOfRuntimeNumber(Base):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(1, 3)
        self.gru = nn.GRU(1, 2, num_layers=2, bidirectional=True, batch_first=True)

    def forward(self, x):
        steps = x[0, : int(x.argmax()) + 1, None]
        return self.lstm(steps[:, None]), self.gru(steps[None])


@SECTION.yes(
    "packed sequences (`pack_padded_sequence`, an LSTM or GRU over them, `pad_packed_sequence`)", "padded and masked"
)
class PackedSequences(Base):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(2, 3, num_layers=2, bidirectional=True)
        self.gru = nn.GRU(2, 3, batch_first=True)

    def forward(self, x):
        lengths = (x[0] > 0).long() + 1
        steps = torch.stack([x[0], x[0] * 2, x[0] - 1, x[0] + 1]).reshape(2, 4, 2)
        ordered = pack_padded_sequence(steps, lengths.sort(descending=True)[0])
        out, (h, c) = self.lstm(ordered)
        every, counts = pad_packed_sequence(out, padding_value=-1.0)
        packed = pack_padded_sequence(steps.transpose(0, 1), lengths, batch_first=True, enforce_sorted=False)
        rows, last = self.gru(packed)
        padded = pad_packed_sequence(rows, batch_first=True, total_length=3)[0]
        ragged = pack_sequence([x[0][x[0] > -9], x[0, :2]])
        return every, counts, h, c, padded, last, packed.data.sum(), ragged.data, ragged.batch_sizes


@SECTION.yes("`x.shape` beside run-time numbers: `==`, `in`, `index`, `list(x.shape)`, `x.shape + (n,)`")
class ShapeCompared(Base):
    def forward(self, x):
        kept, n = x[:, x[0] > 0], len((x[0] > 0).nonzero())
        if kept.size() != (1, n) or list(kept.shape) != [1, n]:
            raise ValueError(f"{kept.shape} is not {(1, n)}")
        return kept.shape == (1, n + 1), n in kept.shape, kept.shape.index(n), list(kept.shape + (n,))


@SECTION.yes("a tensor that grows in a loop, beside the number that its size was before")
class GrownBesideCount(Base):
    def forward(self, x):
        wanted = len((x > 0).nonzero()) + 1
        row = torch.ones(1, wanted)
        while row.sum() < 12:
            row = torch.cat([row, row[:, -1:] * 1.1], 1)
            row = row + torch.arange(wanted).sum() * 0.1
        return row
