"""Small models whose sizes torch's own rules ask about: where both answers come to the same, nothing is to fork."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from tests.specialize.tensor_programs import Case


def matrices(seed: int) -> tuple[torch.Tensor, ...]:
    """Two inputs of rows, of which none, one or more are above zero."""
    made = torch.Generator().manual_seed(seed)
    one, other = torch.randn(5, 4, generator=made), torch.randn(5, 4, generator=made)
    return one - (seed % 4), other - (seed // 4 % 4)


class AttendsToAny(nn.Module):
    """Attention of rows to rows, of both of which there may be none, one or more: nothing is decided."""

    def forward(self, x, y):
        x, y = x[x[:, 0] > 0], y[y[:, 0] > 0]
        q = x.unflatten(-1, (2, -1)).transpose(0, 1)
        k = y.unflatten(-1, (2, -1)).transpose(0, 1)
        weights = torch.einsum("hid,hjd->hij", q, k).softmax(-1)
        weights = weights.masked_fill(weights < 0.1, 0.0).contiguous()
        context = torch.einsum("hij,hjd->hid", weights, k).transpose(0, 1).flatten(1)
        mixed = torch.cat([context, x], -1)
        return mixed + mixed.mean(-1, keepdim=True), weights


class ViewOfOneRow(nn.Module):
    """A reshape that is a view for one row and a copy for more; it is written, so that this is a question."""

    def forward(self, x, y):
        rows = x[x[:, 0] > 0]
        flat = rows.unflatten(1, (2, 2)).transpose(0, 1).flatten(0, 1)
        flat.add_(1)
        return rows, flat


class CopyOfOneRow(nn.Module):
    """The same, and nothing is written."""

    def forward(self, x, y):
        rows = x[x[:, 0] > 0]
        flat = rows.unflatten(1, (2, 2)).transpose(0, 1).flatten(0, 1)
        return rows, flat + 1


class KeptViewOfOneRow(nn.Module):
    """A reshape that is a view for one row is kept on the model, and what it may be a view of is written later."""

    def __init__(self):
        super().__init__()
        self.register_buffer("kept", torch.zeros(1, 4))

    def forward(self, x, y):
        rows = x[x[:, 0] > 0]
        self.kept = rows.unflatten(1, (2, 2)).transpose(0, 1).flatten(0, 1)
        rows.mul_(2)
        return rows, self.kept.sum()


class SizeReadTwice(nn.Module):
    """One number, read from a tensor on both sides of a join, is one size."""

    def forward(self, x, y):
        count = (x[:, 0] > 0).sum()
        made = x.new_zeros(count, 2)
        if y.sum() > 0:
            made = made + 1
        return made.view(1, count, 2), made.sum()


class SizesByArithmetic(nn.Module):
    """A sum of bools is a size; what is computed from it in tensors fits it, and asserting that is no question."""

    def forward(self, x, y):
        count = (x[:, 0] > 0).sum()
        made = x.narrow(0, 0, count)
        assert list(made.size()) == [count, 4], f"{made.size()} is no {count}"
        rest = x.narrow(0, count, x.shape[0] - count)
        return torch.cat([rest, made]), made.new_zeros(count + 1, 1)


class NarrowAtNumber(nn.Module):
    """Where a part begins is a number that may be below zero: nothing is empty where it is not above."""

    def forward(self, x, y):
        start = int(x.sum())
        return x[:1].narrow(0, start, 1), x.narrow(1, start, 2)


class PartOfNothing(nn.Module):
    """Of no rows, a part that begins at a number."""

    def forward(self, x, y):
        rows = x[x[:, 0] > 0]
        if rows.shape[0] == 0:
            return rows.narrow(1, int(y.sum().clamp(-4, 4)), 1), rows + y[:1]
        return rows + y[: rows.shape[0]]


class DispatchesToPieces(nn.Module):
    """A batch in pieces of run-time sizes, as a mixture of experts makes it: not a decision for each set of empty ones."""

    def forward(self, x, y):
        gates = (x > 0.3).to(x.dtype)
        counts = (gates > 0).sum(0).tolist()
        rows = torch.nonzero(gates.t())[:, 1]
        pieces = torch.split(x[rows], counts, dim=0)
        return torch.cat([piece * (i + 1) for i, piece in enumerate(pieces)])


class ScoresOfPairs(nn.Module):
    """A bilinear form of as many pairs as there are: torch's own rule for it fails on run-time sizes."""

    def __init__(self):
        super().__init__()
        self.score = nn.Bilinear(4, 4, 2)

    def forward(self, x, y):
        chosen = x[:, 0] > 0
        left, right = x[chosen], x[chosen] * 2
        return self.score(left, right), torch.nn.functional.bilinear(left, right, self.score.weight)


class LeavesOneByOne(nn.Module):
    """Rows leave, those that stay are kept with their numbers: an index of true elements fits, also where none is left."""

    def forward(self, x, y):
        number = torch.arange(x.shape[0])
        out = torch.zeros(x.shape[0])
        for column in range(3):
            done = x[:, column] > 0.5
            out[number[done]] = x[done, 0]
            x, number = x[~done], number[~done]
        return out, x, number


class FirstOfSome(nn.Module):
    """At most three rows, and parts of rows that do not lie one after another."""

    def forward(self, x, y):
        rows = x[x[:, 0] > 0]
        first = rows[:3]
        if first.shape[0] == 3:
            return first.reshape(3, -1), first[1:2], rows.t().flatten()
        return first.view(first.shape[0], 2, 2), rows[:5, 1:].reshape(-1)


class FailsUnderNoGrad(nn.Module):
    """What a `with torch.no_grad()` lets pass is no handler: a call of numpy that may raise is made without a question."""

    def forward(self, x, y):
        with torch.no_grad():
            first = x[:, 0].numpy()
            kept = np.take(first, [int(np.argmax(first)) + 1], mode="raise")
        return kept, first.shape


def picture_and_boxes(seed):
    made = torch.Generator().manual_seed(seed)
    return torch.randn(1, 3, 24, 28, generator=made), torch.randn(2, 4, generator=made) * 14 + 10


class CropsOfBoxes(nn.Module):
    """Parts of a picture under boxes, each clipped to the picture and two pixels wide at least, brought to one size."""

    def forward(self, picture, boxes):
        height, width = picture.shape[2:]
        boxes = boxes.numpy()
        crops = []
        for i in range(2):
            x = min(max(int(boxes[i, 0]), 0), width - 2)
            y = min(max(int(boxes[i, 1]), 0), height - 2)
            right = min(max(int(boxes[i, 2]) + 1, x + 2), width)
            bottom = min(max(int(boxes[i, 3]) + 1, y + 2), height)
            crop = picture[:, :, y:bottom, x:right]
            crops.append(nn.functional.interpolate(crop, size=(8, 8), mode="bilinear", align_corners=False))
        return torch.cat(crops)


def eighty(seed):
    return (torch.randn(80, 3, generator=torch.Generator().manual_seed(seed)),)


class CutsOfForty(nn.Module):
    """More rows than an exporter's example has are cut off where there are so many."""

    def forward(self, x):
        rows = x[x[:, 0] > 0]
        if len(rows) > 40:
            return rows[:40].sum(0), rows[1:40]
        return rows.sum(0)


class PositionsOfMany(nn.Module):
    """A small table of positions that may be too short for what grows: all of it is taken there, however much is asked."""

    def __init__(self):
        super().__init__()
        self.positions = nn.Buffer(torch.full((1, 20, 2), 0.1))

    def forward(self, x):
        rows, steps = torch.zeros(1, 1, 2), 0
        while True:
            steps += 1
            placed = rows + self.positions[:, : rows.size(1)]
            rows = torch.cat([rows, placed[:, -1:]], dim=1)
            if rows.sum() > x.sum().abs() * 16:
                return rows, steps


class FillsUnderAnother(nn.Module):
    """Rows of one selection are filled under a mask of another, which fits or does not."""

    def forward(self, x, y):
        return x[x[:, 0] > 0].masked_fill(y[y[:, 0] > 0] > 0, torch.tensor(0.5))


class PadsPiecesAlike(nn.Module):
    """What is chosen of each of two rows is padded to one length, several tensors in turn, round after round."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

    def forward(self, x, y):
        rows, kept, ids = torch.stack([x, y]), torch.ones(2, 5), torch.arange(5).expand(2, -1)
        for layer in self.layers:
            rows = torch.tanh(layer(rows)) * 2
            if rows.sum() > 4:
                break
            keep = (rows.sum(2) > -1).masked_fill(kept == 0, torch.tensor(False))
            chosen = [[row[mask] for row, mask in zip(tensor, keep, strict=True)] for tensor in (rows, keep, ids)]
            rows, kept, ids = (nn.utils.rnn.pad_sequence(found, batch_first=True) for found in chosen)
        return rows, kept, ids


class StopsInPairs(nn.Module):
    """One flag is asked three times, in other words: both rows stop, or none."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))

    def forward(self, x, y):
        rows, ids, stopped = torch.stack([x[0], y[0]]), torch.arange(2), []
        for layer in self.layers:
            rows = torch.tanh(layer(rows)) * 2
            done = rows.reshape(1, -1).sum(1) > 0
            if torch.any(done):
                both = done.repeat_interleave(2)
                stopped.extend(list(rows[both]))
                stopped.extend(list(ids[both]))
                rows, ids = rows[~both], ids[~both]
            if torch.all(done):
                break
        return stopped, rows.shape


UNASKED = [
    Case(CropsOfBoxes, picture_and_boxes),
    Case(AttendsToAny, matrices, is_end_to_end=True),
    Case(CopyOfOneRow, matrices),
    Case(SizesByArithmetic, matrices),
    Case(LeavesOneByOne, matrices, is_end_to_end=True),
    Case(FailsUnderNoGrad, matrices),
]
CASES = [
    *UNASKED,
    Case(PositionsOfMany),
    Case(FillsUnderAnother, matrices),
    Case(PadsPiecesAlike, matrices, is_end_to_end=True, is_large=True),
    Case(StopsInPairs, matrices),
    Case(CutsOfForty, eighty, is_end_to_end=True),
    Case(ScoresOfPairs, matrices, is_end_to_end=True, is_large=True),
    Case(DispatchesToPieces, matrices, is_end_to_end=True),
    Case(ViewOfOneRow, matrices),
    Case(KeptViewOfOneRow, matrices),
    Case(SizeReadTwice, matrices),
    Case(FirstOfSome, matrices, is_end_to_end=True),
    Case(NarrowAtNumber, matrices),
    Case(PartOfNothing, matrices),
]
