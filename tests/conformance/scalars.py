"""Run-time numbers: what comes out of a tensor and is computed with in Python."""

from __future__ import annotations

import math
import operator

import numpy as np
import torch

from tests.conformance.table import Base, Section

SECTION = Section("Numbers")


@SECTION.yes("`.item()`, `float()`, `int()`, `bool()` of a tensor", "read by the host, Python numbers from there on")
class Item(Base):
    def forward(self, x):
        value = x[0, 0].item()
        return value, float(x[0, 1]), int(x.sum()), bool(x.sum() > 0), int(value * 1000)


@SECTION.yes(
    "arithmetic on `.item()`",
    "one Python operation of the host for each in the source, in its order, in double precision",
)
class Arithmetic(Base):
    def forward(self, x):
        value = x[0, 0].item()
        whole = int(value * 1000) // 7
        return value / 3.0 + 1e-17 - value, whole % -5, -whole, divmod(whole, 6), whole**2, abs(value), +whole


@SECTION.yes("bit operations, shifts")
class Bits(Base):
    def forward(self, x):
        n = int(x.abs().sum() * 10)
        return n & 3, n | 8, n ^ 5, ~n, n << 2, n >> 1


@SECTION.yes("comparisons, equality with another type")
class Comparisons(Base):
    def forward(self, x):
        n, value = int(x.argmax()), x.sum().item()
        return n == 1, n != value, value <= n, n == "a", value is None, (n, 1) == (1, 1)


@SECTION.yes("augmented assignment")
class Augmented(Base):
    def forward(self, x):
        n = int(x.argmax())
        n += 2
        n *= 3
        n //= 2
        total = x * 1
        total += n
        return n, total


@SECTION.yes("`round`, `abs`, `divmod`, `pow`")
class Rounding(Base):
    def forward(self, x):
        value = x.sum().item()
        return round(value), round(value, 2), divmod(value, 0.7), pow(int(x.argmax()), 2), abs(value)


@SECTION.yes("`math.*`", "the same function of the host")
class Math(Base):
    def forward(self, x):
        value = x.abs().sum().item()
        return (
            math.sqrt(value),
            math.floor(value),
            math.ceil(value),
            math.log(value + 1),
            math.exp(-value),
            math.isnan(value),
            math.hypot(value, 3.0),
            math.cos(value) if value > 2 else math.pi,
        )


@SECTION.refused("DY203", "unknown native function on run-time values", "it could keep or change what it is handed")
class Native(Base):
    def forward(self, x):
        return math.comb(int(x.argmax()), 2)


@SECTION.yes("`max`, `min` of run-time numbers", "one operation of the host where all are of one type")
class Extremes(Base):
    def forward(self, x):
        numbers = x[0, :3].tolist()
        return max(numbers), min(numbers[0], numbers[1]), max(int(x.argmax()), numbers[0]), max(numbers, default=0.0)


@SECTION.yes("`max` and `min` with `key`")
class ExtremesByKey(Base):
    def forward(self, x):
        numbers = x[0].tolist()
        return max(range(4), key=lambda i: numbers[i]), min(numbers, key=abs), max(numbers, key=lambda v: -v)


@SECTION.yes("`sorted`, `list.sort` of run-time numbers", "one operation of the host where only numbers are ordered")
class Sorted(Base):
    def forward(self, x):
        numbers = x[0].tolist()
        copy = list(numbers)
        copy.sort(reverse=True)
        return sorted(numbers), copy, sorted(numbers, reverse=True)[0]


@SECTION.yes("`sorted` with `key` of run-time numbers, of pairs")
class SortedByKey(Base):
    def forward(self, x):
        numbers = x[0, :3].tolist()
        order = sorted(range(3), key=lambda i: numbers[i], reverse=True)
        pairs = sorted([(numbers[0], "a"), (numbers[1], "b")])
        return order, [name for _, name in pairs], self.layers[order[0]](x)


@SECTION.yes("several `max`, `sorted` over longer lists in one function")
class ManyExtremes(Base):
    def forward(self, x):
        numbers = torch.cat([x, x * 2, x - 1], 1)[0].tolist()
        high, low = max(numbers), min(numbers)
        middle = sorted(numbers)[len(numbers) // 2]
        return high, low, middle, max(high - middle, middle - low), sum(sorted(numbers)[2:-2])


@SECTION.yes("`sum`, `any`, `all` of run-time numbers")
class Quantifiers(Base):
    def forward(self, x):
        numbers = x[0].tolist()
        return sum(numbers), sum(numbers, 1.5), any(n > 1 for n in numbers), all(n < 1 for n in numbers)


@SECTION.yes("`.tolist()`, unpacking of it", "one number for each element")
class ToList(Base):
    def forward(self, x):
        first, *rest = x[0].tolist()
        grid = x.reshape(2, 2).tolist()
        return first, rest, grid[1][0] if first > 0 else grid


@SECTION.yes("a run-time number in a tensor operation", "an input of the subgraph")
class ScalarToTensor(Base):
    def forward(self, x):
        value = x.sum().item()
        return x * value, torch.full((1, 2), value), torch.tensor([value, 1.0]), x.clamp(max=value)


@SECTION.yes(
    "run-time slice bound, `x[:, :k]`, `narrow`",
    "a symbolic size in the subgraph; a slice and a `narrow` by one number there: DY401",
)
class RuntimeSlice(Base):
    def forward(self, x):
        k = int(x.argmax()) + 1
        return x[:, :k].sum(), x[:, k - 1], x.narrow(1, 0, k).sum()


@SECTION.yes("zero-dimensional tensor as an index of a tensor")
class TensorIndex(Base):
    def forward(self, x):
        return x[0, x.argmax()], x[:, x.argmin()] if x.sum() > 0 else x[0]


@SECTION.yes("`shape`, `size()`, `numel()`, `dim()`, `len()`, dtype, device", "known from the example: constants")
class Shapes(Base):
    def forward(self, x):
        batch, width = x.shape
        if x.dim() == 2 and x.numel() == batch * width and x.dtype == torch.float32 and x.device.type == "cpu":
            return x.view(x.size(1), -1) if x.sum() > 0 else x, len(x), x.ndim
        return x


@SECTION.yes("int and float of a bool, arithmetic on bools")
class Bools(Base):
    def forward(self, x):
        yes, no = bool(x[0, 0] > 0), (x[0, 1] > 0).item()
        return int(yes) + no, yes * 2.5, yes and no, yes is True, not no, yes ^ no


@SECTION.yes("`nan` and infinities", "comparisons and `max` exactly as Python's")
class NotANumber(Base):
    def forward(self, x):
        value = (x.clamp(min=0) / x.clamp(min=0)).sum().item()
        return value != value, max(value, 1.0), max(1.0, value), value > 0 or value <= 0, min([2.0, value, 1.0])


@SECTION.yes("mixed int and float through `max`, `min`, `sum`", "where the type depends on the values: a decision")
class Mixed(Base):
    def forward(self, x):
        n, value = int(x.argmax()), x.sum().item()
        return max(n, value), min(0, value), max(0.0, n), sum([n, value])


@SECTION.yes("`operator` functions")
class Operators(Base):
    def forward(self, x):
        n = int(x.argmax())
        return operator.add(n, 1), operator.itemgetter(1)([n, n + 2]), operator.mul(x, 2)


@SECTION.yes("run-time number as a dict key or in a set", "one branch for each value in its range")
class NumberAsKey(Base):
    def forward(self, x):
        n = int(x.argmax()) % 4
        return {0: "a", 1: "b", 2: "c", 3: "d"}[n], n in {1, 3}, n in (0, 2), n in [3]


@SECTION.yes("`numpy()` of a small tensor, its numbers")
class NumpyNumbers(Base):
    def forward(self, x):
        array = x[0].numpy()
        return float(array[0]), array.max().item() > 1


@SECTION.yes("numpy on run-time values: functions, indices, masks, writes", "by the host, with numpy itself")
class NumpyArrays(Base):
    def forward(self, x):
        array = x.numpy().copy()
        array[array < 0] = 0.0
        kept = array[0][np.where(array[0] > 0.5)[0]]
        return torch.from_numpy(array), kept, np.argsort(array[0])[::-1].copy(), len(kept)


@SECTION.yes("`np.array(..., dtype=object)` of run-time arrays", "of one shape or apart: decided where sizes differ")
class ObjectArrays(Base):
    def forward(self, x):
        parts = [row[row > 0].numpy() for row in x]
        batch = np.array(parts, dtype=object)
        if batch.ndim == 1:
            return batch, [len(part) for part in batch]
        return batch, batch * 2.0


@SECTION.yes("errors of numpy at run time, in the model's `try`", "a decision where the model would notice")
class NumpyErrors(Base):
    def forward(self, x):
        array = x[0].numpy()
        try:
            return array[array > 0][1] * 2
        except IndexError:
            return "none"
