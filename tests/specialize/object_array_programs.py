"""Small models with numpy arrays of objects: batches of detections of which no two images have as many."""

from __future__ import annotations

import numpy as np
from torch import nn

from tests.specialize.tensor_programs import Case, rows


class BatchOfOne(nn.Module):
    """An array in a list is one array of Python's numbers; what is left of it is sorted, measured and picked from."""

    def forward(self, x):
        kept = x[x[:, 0] > 0].numpy()
        batch = np.array([kept.copy()], dtype=object)
        found = []
        for box in batch:
            box = np.array(box)
            if len(box) == 0:
                found.append(None)
            else:
                order = np.argsort((box[:, 1] - box[:, 0]) * box[:, 2])[::-1]
                found.append(box[order])
        found = np.array(found, dtype=object)[0]
        if found is None:
            return found, np.array([[None]], dtype=object)[0], batch.shape
        best = found[[0]]
        return found, best[0, 1] / 3, max(best[0, 0] - 0.5, 0), found[:, 2], batch.dtype == object


class BatchOfTwo(nn.Module):
    """Whether two arrays are one or two is decided by their sizes; None and lists stand beside arrays."""

    def forward(self, x):
        left, right = (x[side > 0][:, :2].numpy() for side in (x[:, 0], x[:, 1]))
        both = np.array([left, right], dtype=object)
        parts = [part.shape for part in both]
        scores = [part[:, 1] if len(part) else [None] for part in (left, right)]
        scores = np.array(scores, dtype=object)
        first = np.array([left if len(left) else None, 2.5], dtype=object)
        return both, both.shape, parts, scores, scores.ndim, first[0] is None, first.copy()[1], list(first)[1]


class DoublePrecision(nn.Module):
    """What numpy computes with objects, Python computes: in double precision, and without wrapping integers."""

    def forward(self, x):
        numbers = np.array([row.numpy() for row in x], dtype=object)
        whole = np.array([x.mul(4).long().numpy()], dtype=object)
        if x.sum() > 0:
            return numbers * numbers - 0.1, (whole + 2**62) * 4, numbers.astype(np.float32), numbers.max()
        flags = np.array([(x > 0).numpy()], dtype=object)
        return -numbers, whole.tolist(), numbers[0] > 0.25, flags, flags[0, 1, 2], type(numbers[0, 0]) is float


class DividesObjects(nn.Module):
    """A division by zero raises, other than that of numpy's own numbers."""

    def forward(self, x):
        numbers = np.array([x.clamp(min=0).numpy()], dtype=object)
        try:
            return 1 / numbers[0, 0]
        except ZeroDivisionError:
            return "by zero"


class WritesObjects(nn.Module):
    """Numbers of the same kind are written; a copy is apart, a view is not."""

    def forward(self, x):
        numbers = np.array([x.numpy()], dtype=object)
        before, row = numbers.copy(), numbers[0, 1]
        numbers[0, :, 1] = float(x[0, 0])
        row *= 2.0
        if numbers[0, 1, 0] > 0:
            numbers[numbers > 0.5] = 0.5
        return numbers, before, row


CASES = [
    Case(BatchOfOne, is_end_to_end=True),
    Case(BatchOfTwo, is_end_to_end=True),
    Case(DoublePrecision, is_end_to_end=True),
    Case(DividesObjects),
    Case(WritesObjects),
]
assert rows
