"""Loops and iteration."""

from __future__ import annotations

import functools
import itertools

import torch

from tests.conformance.table import Base, Section

SECTION = Section("Loops and iteration")


@SECTION.yes("`for` over modules, with `break` and `else`", "unrolled: the modules are known")
class ForElse(Base):
    def forward(self, x):
        for layer in self.layers:
            if x.mean() > 0:
                break
            x = layer(x)
        else:
            x = -x
        return x


@SECTION.yes("`while` on data", "a loop of the host, compiled once")
class While(Base):
    def forward(self, x):
        steps = 0
        while x.abs().max() > 0.25:
            x, steps = x * 0.5, steps + 1
        return x, steps


@SECTION.yes("`while True` with two `break`s, `while`/`else`, `continue`")
class TwoBreaks(Base):
    def forward(self, x):
        steps = 0
        while True:
            x = x * 0.5
            steps += 1
            if x.abs().max() < 0.1:
                break
            if steps % 2:
                continue
            if x.sum() > 0.7:
                break
        while steps > 3:
            steps -= 2
            if x.sum() > 10:
                break
        else:
            steps = -steps
        return x, steps


@SECTION.yes("nested loops on data")
class NestedLoops(Base):
    def forward(self, x):
        inner = 0
        while x.abs().max() > 0.25:
            y = x
            while y.abs().max() > 0.5:
                y = y * 0.5
                inner += 1
            x = x - y * 0.5
        return x, inner


@SECTION.yes("`range` of a run-time number", "a loop of the host")
class Range(Base):
    def forward(self, x):
        total = torch.zeros(1, 4)
        for index in range(int(x.abs().sum())):
            total = total + x * index
        return total


@SECTION.yes("`range` with a run-time start or step")
class RangeStep(Base):
    def forward(self, x):
        first = int(x.argmax())
        total = 0
        for index in range(first, 10, 1 + first):
            total = total + index
        for index in range(9, first, -3):
            total = total * 2 + index
        return x * total


@SECTION.yes("zero-dimensional tensor as a loop bound or counter", "its number is read")
class TensorBound(Base):
    def forward(self, x):
        total, count = torch.zeros(1, 4), torch.tensor(0)
        for _ in range(x.argmax() + 1):
            total = total + x
            count = count + 1
        while count > 1:
            count = count - 1
            total = total * 0.5
        return total, count


@SECTION.yes("`for row in tensor`", "the rows are known: unrolled")
class Rows(Base):
    def forward(self, x):
        for row in x.reshape(2, 2):
            if row.sum() > 0:
                return row
        return x


@SECTION.yes("comprehension with a decision in it")
class Comprehension(Base):
    def forward(self, x):
        kept = [y for layer in self.layers if (y := layer(x)).sum() > 0]
        return {index: y * 2 for index, y in enumerate(kept)}, len({y.shape for y in kept})


@SECTION.yes("nested comprehension, `[*range(k)]` of a known number")
class NestedComprehension(Base):
    def forward(self, x):
        rows = [[x[0, i] * j for i in [*range(2)]] for j in range(3)]
        return sum(sum(row) for row in rows if row[0] > 0 or len(row) > 2)


@SECTION.yes("`[*range(k)]`, `list(range(k))` of a run-time number", "a list of run-time length")
class UnpackedRange(Base):
    def forward(self, x):
        k = int(x.argmax())
        return [*range(k)], list(range(k))


@SECTION.yes("generator with decisions, consumed on the spot", "a frame of the machine, copied when the path forks")
class GeneratorFunction(Base):
    def parts(self, x):
        for layer in self.layers:
            y = layer(x)
            if y.sum() > 0:
                yield y

    def forward(self, x):
        return sum(map(lambda part: part * 2, self.parts(x)), torch.zeros(1, 4))


@SECTION.yes("generator left before its end, `next` with a default")
class FirstOf(Base):
    def forward(self, x):
        found = next((y for layer in self.layers if (y := layer(x)).sum() > 0), None)
        return x if found is None else found


@SECTION.refused("DY203", "generator left before its end inside of its `try` or `with`", "take its items as a list")
class LeftInside(Base):
    def halves(self, x, notes):
        try:
            for _ in range(3):
                x = x * 0.5
                yield x
        finally:
            notes.append("closed")

    def forward(self, x):
        notes = []
        for y in self.halves(x, notes):
            if y.sum() > 0:
                break
        return y, notes


@SECTION.yes("`yield from`, its value")
class YieldFrom(Base):
    def inner(self, x):
        for layer in self.layers[:2]:
            x = layer(x)
            yield x
            if x.sum() > 0:
                return "early"
        return "late"

    def outer(self, x):
        how = yield from self.inner(x)
        yield x * len(how)

    def forward(self, x):
        return list(self.outer(x))


@SECTION.yes("generator's `send`")
class Send(Base):
    def steps(self, x):
        while True:
            factor = yield x
            x = x * factor

    def forward(self, x):
        steps = self.steps(x)
        next(steps)
        return steps.send(2.0 if x.sum() > 0 else 3.0)


@SECTION.yes("`enumerate`, `zip`, `reversed`, `map`, `filter`", "the machine's own iterators")
class Iterators(Base):
    def forward(self, x):
        for index, (first, second) in enumerate(zip(self.layers, reversed(list(self.layers)), strict=True)):
            if x.sum() > index:
                x = first(x) + second(x)
        return list(map(lambda y: y * 2, filter(lambda y: y.sum() > 0, [x, -x])))


@SECTION.yes("itertools: `pairwise`, `chain`, `islice`, `accumulate`, `product`, `count`, `cycle`, `takewhile`")
class Itertools(Base):
    def forward(self, x):
        total = x
        for first, second in itertools.pairwise(self.layers):
            if x.sum() > 0:
                total = total + first(second(x))
        for number, scale in zip(itertools.count(1), itertools.islice(itertools.cycle([1.0, -1.0]), 3), strict=False):
            total = total + number * scale
        sums = list(itertools.accumulate([x[0, 0], x[0, 1], x[0, 2]]))
        below = list(itertools.takewhile(lambda s: s < 0.5, sums))
        return total, len(below), [a * b for a, b in itertools.product([1, 2], [3])]


@SECTION.yes("`itertools.tee`, `itertools.groupby`")
class Shared(Base):
    def forward(self, x):
        first, second = itertools.tee(layer(x) for layer in self.layers)
        next(second)
        best = [b if b.sum() > a.sum() else a for a, b in zip(first, second, strict=False)]
        groups = [(key, len(list(group))) for key, group in itertools.groupby([1, 1, 2, 3, 3])]
        signs = [(sign, next(group)) for sign, group in itertools.groupby(x[0].tolist(), key=lambda number: number > 0)]
        return best, groups, signs


@SECTION.yes("`functools.reduce`")
class Reduce(Base):
    def forward(self, x):
        return functools.reduce(lambda y, layer: layer(y) if y.sum() > 0 else y - 1, self.layers, x)


class Countdown:
    """An iterator of the model's own."""

    def __init__(self, x):
        self.x = x

    def __iter__(self):
        return self

    def __next__(self):
        if self.x.abs().max() < 0.5:
            raise StopIteration
        self.x = self.x * 0.5
        return self.x


@SECTION.yes("iterator class (`__iter__`, `__next__`), sequence class (`__len__`, `__getitem__`)")
class OwnIterator(Base):
    def forward(self, x):
        total = x
        for y in Countdown(x):
            total = total + y
        return total


@SECTION.yes("closure that rebinds variables (`nonlocal`) in a loop with two exits", "cells are copied with the path")
class Solver(Base):
    def forward(self, x):
        step, error = 1.0, x.abs().max()

        def advance(y):
            nonlocal step, error
            proposed = y - step * y * 0.5
            if (proposed.abs().max() > 0.5) and step > 0.25:
                step = step * 0.5
                return y
            error = proposed.abs().max()
            return proposed

        count = 0
        while True:
            x = advance(x)
            count += 1
            if error < 0.3:
                break
            if count >= 12:
                break
        return x, count, step
