"""Small models that compute with numpy on what their tensors hold, as detection and post-processing code does."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from tests.specialize.tensor_programs import Case, rows, whole


class ArraysOfTensors(nn.Module):
    """`.numpy()`, reductions, argmax as an index, back to tensors."""

    def forward(self, x):
        a = x.cpu().numpy()
        mean = a.mean(axis=0)
        best = np.argmax(mean)
        if mean[best] > 0.3:
            return torch.from_numpy(a[:, best] * 2), best
        order = np.argsort(mean)[::-1]
        return torch.tensor(mean[order]), int(best), mean.max(), mean.tolist()


class Elementwise(nn.Module):
    """Operators and functions, with the promotion of numpy's dtypes."""

    def forward(self, x):
        a = x.detach().numpy()
        b = np.exp(-np.abs(a)) + np.sqrt(np.maximum(a, 0.0)) - a**2
        c = a.astype(np.float64) * np.float32(1.5) + np.arange(4)
        d = (a > 0).astype(int) // 2 + 3
        e = np.clip(a, -0.5, 0.5) * 2.0
        f = np.where(a > 0, a, 0.1 * a)
        s = a.sum()
        if s > np.log(2.0) and a[0, 0] < 1:
            return b, c.dtype == np.float64, -d, 1.0 / s
        return b / (1 + a), c, d % 2, e, f, ~(a > 0), s, np.float64(s) * 2, a.shape, a.size, a.ndim


class Selections(nn.Module):
    """Views, fancy and boolean indices, new axes."""

    def forward(self, x):
        a = x.numpy()
        i = int(np.argmin(a[0]))
        keep = a[:, 0] > 0
        rest = a[keep]
        picked = a[np.where(keep)[0]]
        if len(rest) == 0:
            return a[..., None].shape, a[-1]
        ordered = rest[rest[:, 1].argsort()]
        return rest, picked, ordered[::-1].copy(), a[:, [0, i]], a[np.arange(3), [0, i, 1]], a[None, 1:, :i], a.T[i]


class WritesIntoArrays(nn.Module):
    """Assignments, masks, in-place operators and views that see them."""

    def forward(self, x):
        a = x.clone().numpy()
        view = a[1:]
        a[0] = 1.0
        a[a < 0] = 0.0
        view[:, 1] += 2.0
        if a.sum() > 6:
            a[:, 0] *= a[:, 1]
            view[-1] = -1
        total = np.zeros((2, 4))
        total[0] = a.mean(0)
        total[1, a.argmax(1)[0]] = 5.0
        return a, view, total, torch.from_numpy(a)


class Accumulates(nn.Module):
    """A static array that becomes one of the run's when run-time values are written into it."""

    def forward(self, x):
        counts = np.zeros(4, dtype=np.int64)
        weights = np.linspace(0.0, 1.0, 4)
        for row in x:
            k = row.argmax().item()
            counts[k] += 1
        if counts.max() > 1:
            counts[0] = -1
        return counts, (counts * weights).sum(), torch.from_numpy(counts).float().mean()


class ListsOfTensors(nn.Module):
    """Functions of numpy on lists of tensors and of numbers."""

    def forward(self, x):
        sums = [row.sum() for row in x]
        best = np.argmax(sums)
        values = [row.mean().item() for row in x]
        spread = np.max(values) - np.min(values)
        if spread > np.mean(values):
            return x[best], np.std(values)
        return x[int(best)], np.array(values), np.stack([row.numpy() for row in x]).sum(1), np.median(values)


class ScalarsInTorch(nn.Module):
    """Numpy's scalars where torch takes numbers, and on the left of a tensor."""

    def forward(self, x):
        s = np.sqrt(x.abs().sum().item())
        m = x.numpy().max()
        k = np.int64(2)
        y = x * s + m
        z = s * x - m
        if m > 1:
            y = y.clamp(max=m)
        return y, z, torch.tensor([s, 1.0]), torch.full((2,), s), x[:, : int(np.ceil(m))].sum(), x[:k], float(m) + 1


class GreedyNms(nn.Module):
    """Non-maximum suppression as it is written by hand, over arrays of run-time length."""

    def forward(self, boxes, scores):
        dets = boxes.numpy()
        x1, y1, x2, y2 = dets[:, 0], dets[:, 1], dets[:, 2], dets[:, 3]
        areas = (x2 - x1 + 1) * (y2 - y1 + 1)
        order = scores.numpy().argsort()[::-1]
        picked = np.zeros(len(order), dtype=np.int64)
        count = 0
        while order.size > 0:
            i = order[0]
            picked[count] = i
            count += 1
            xx1 = np.maximum(x1[i], x1[order[1:]])
            yy1 = np.maximum(y1[i], y1[order[1:]])
            xx2 = np.minimum(x2[i], x2[order[1:]])
            yy2 = np.minimum(y2[i], y2[order[1:]])
            w = np.maximum(0.0, xx2 - xx1 + 1)
            h = np.maximum(0.0, yy2 - yy1 + 1)
            inter = w * h
            overlap = inter / (areas[i] + areas[order[1:]] - inter)
            left = np.where(overlap <= 0.4)[0]
            order = order[left + 1]
        return boxes[torch.from_numpy(picked[:count])]


class PickedInLoop(nn.Module):
    """Suppression that keeps its picks in a list of any length, whose items are scalars of numpy's."""

    def forward(self, boxes, scores):
        x1, x2 = boxes[:, 0].numpy(), boxes[:, 2].numpy()
        ids = np.argsort(scores.numpy())
        picked = []
        while len(ids) > 0:
            last = len(ids) - 1
            i = ids[last]
            picked.append(i)
            overlap = np.minimum(x2[i], x2[ids[:last]]) - np.maximum(x1[i], x1[ids[:last]])
            ids = np.delete(ids, np.concatenate([[last], np.where(overlap > 3.0)[0]]))
        return boxes.numpy()[picked], len(picked)


class IteratesArrays(nn.Module):
    """Loops over arrays, membership, conversions."""

    def forward(self, x):
        found = []
        for value in x.numpy().ravel():
            if value > 1:
                found.append(float(value))
        flags = (x > 0).numpy().any(axis=1)
        names = [i for i, flag in enumerate(flags) if flag]
        total = 0
        for i in np.nonzero(flags)[0]:
            total += int(i) + 1
        return len(found), names, total, bool(flags.all()), 2 in np.arange(3)


class ThroughDecisions(nn.Module):
    """Arrays made before a decision, written after it, joined, and kept in a list."""

    def forward(self, x):
        a = np.array(x)
        parts = [a[0], a[1] * 2]
        if x.sum() > 0:
            parts[0] = parts[0] + 1
            a[2] = 0
        else:
            a[2] = parts[1]
        joined = np.concatenate(parts + [a.ravel()])
        return joined, np.vstack(parts), np.hstack([parts[0], 1.0]), np.unique(np.round(joined)).size


class IntegerArrays(nn.Module):
    """Division, remainders and shifts of integers; truth of one element."""

    def forward(self, x):
        a = x.numpy()
        b = a // 2 + a % 3 - (a << 1)
        if a[:1, :1] > 0:
            b = b - a.min()
        if not a[0, 0]:
            return b.astype(np.float32) / 2, np.bincount(np.abs(a).ravel(), minlength=8)[:5]
        return b, np.prod(a[0]), a.cumsum(1), np.power(a, 2), a.std(), np.abs(a).sum(dtype=np.int32)


class ErrorsAreHandled(nn.Module):
    """Errors that numpy raises at run time reach the model's own handlers."""

    def forward(self, x):
        a = x.numpy()
        n = int(x.sum().round())
        try:
            picked = a[0][n]
        except IndexError as error:
            picked = str(error)
        try:
            best = a[a[:, 0] > 0.5].max()
        except ValueError:
            best = -1.0
        try:
            both = a[0][a[0] > 0] + a[1][a[1] > 0]
        except ValueError as error:
            both = str(error)
        kept = np.zeros(3)
        try:
            kept[n] = 7.0
            kept[:2] += a[2][a[2] > 0][:2]
        except (IndexError, ValueError):
            kept[0] = -1.0
        return picked, best, both, kept


class StateBeforeAnError(nn.Module):
    """An error of numpy leaves the state as it was written before."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        a = x.numpy()
        self.calls += 1
        found = np.nonzero(a[:, 0] > 0)[0]
        row = a[found[1]]
        self.calls += 10
        return row * 2, np.delete(a, int(x.sum().abs()), axis=0)


class LargeIntegers(nn.Module):
    """An array of integers of Python's that are not a tensor's own."""

    def forward(self, x):
        n = int(x.argmax()) + 1
        return np.array([n * n + 1, 2]), np.array([n + 1, 0.5]), np.arange(n + 1).sum()


class RowsOfRunTimeLength(nn.Module):
    """A new array with one row for each of as many as there are."""

    def forward(self, x):
        kept = x.numpy()[x.numpy()[:, 0] > 0]
        count = len(kept)
        if count == 0:
            return None
        made = np.zeros((count, 2), "float32")
        for i in range(count):
            made[i] = kept[i][:2]
        return torch.from_numpy(made)


class KnownResult(nn.Module):
    """Arrays that were known beforehand as results: each call returns its own."""

    def forward(self, x):
        if x.sum() > 1:
            return np.zeros((0, 5)), np.zeros((0, 2), dtype=np.int64)
        return x.numpy().mean(0), np.array([[1, 2], [3, 4]]), np.arange(40.0)


class NumberedRows(nn.Module):
    """Arrays of as many rows as a mask has true elements: numbered, and made by the functions that fill."""

    def forward(self, x):
        a = x.numpy()
        kept = a[a[:, 0] > 0]
        sums = []
        for i, row in enumerate(kept):
            sums.append(row.sum() * i)
        filled = 3 * np.ones((len(kept),), dtype=np.int32), np.full((len(kept), 2), 7.0), np.zeros(len(kept))
        return len(sums), sum(sums), [torch.from_numpy(array) for array in filled], np.ones_like(kept).sum()


def boxes(seed):
    made = torch.Generator().manual_seed(seed)
    corners = torch.rand(6, 2, generator=made) * 20
    sizes = torch.rand(6, 2, generator=made) * 15 + 2
    return torch.cat([corners, corners + sizes], 1), torch.rand(6, generator=made)


def many_boxes(seed):
    made = torch.Generator().manual_seed(seed)
    corners = torch.rand(24, 2, generator=made) * 60
    return torch.cat([corners, corners + 8], 1), torch.rand(24, generator=made)


CASES = [
    Case(ArraysOfTensors, is_end_to_end=True),
    Case(Elementwise),
    Case(Selections, is_end_to_end=True),
    Case(WritesIntoArrays, is_end_to_end=True),
    Case(Accumulates, is_end_to_end=True),
    Case(ListsOfTensors),
    Case(ScalarsInTorch, is_end_to_end=True),
    Case(GreedyNms, boxes, is_end_to_end=True, is_large=True),
    Case(PickedInLoop, many_boxes, is_end_to_end=True),
    Case(IteratesArrays),
    Case(ThroughDecisions, is_end_to_end=True),
    Case(IntegerArrays, whole),
    Case(ErrorsAreHandled, is_end_to_end=True),
    Case(StateBeforeAnError),
    Case(LargeIntegers),
    Case(RowsOfRunTimeLength),
    Case(KnownResult, is_end_to_end=True),
    Case(NumberedRows),
]
assert rows
