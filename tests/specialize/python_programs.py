"""Iterators and generators on both sides of a branch, the model's own state, and structure of modules."""

from __future__ import annotations

import itertools

import torch
from torch import nn

from tests.specialize.programs import Case


class AdvancedOnOneSide(nn.Module):
    """Every kind of iterator, held in a variable and advanced on one side."""

    def forward(self, x):
        items = [1, 2, 3, 4]
        made = [
            iter(items),
            zip(items, "abcd"),
            map(lambda v: v * 2, items),
            filter(lambda v: v > 1, items),
            enumerate(items, 5),
            reversed(items),
            itertools.chain(items, (9,)),
            itertools.islice(iter(items), 1, 4),
            iter({"a": 1, "b": 2}.items()),
            (v + 1 for v in items),
            itertools.pairwise(items),
            iter(range(4)),
        ]
        flags = [1 if x[0, 0] > 0 else 0, 1 if x[0, 1] > 0 else 0]
        for number, it in enumerate(made):
            if flags[number % 2]:
                next(it)
        return [list(it) for it in made]


class SharedUnderneath(nn.Module):
    """Iterators that share their source."""

    def forward(self, x):
        source = iter([1, 2, 3, 4, 5, 6])
        pairs = zip(source, source)
        first = next(pairs)
        if x[0, 0] > 0:
            next(source)
        head = list(itertools.islice(source, 1))
        return first, head, list(pairs), next(source, "end")


class LazyConsumers(nn.Module):
    """any, all, next and `in` stop early; what follows must not run."""

    def forward(self, x):
        log = []

        def positive(i):
            log.append(i)
            if i == 3:
                raise ValueError("too far")
            return x[0, i] > 0

        out = []
        try:
            out.append(any(positive(i) for i in range(4)))
            out.append(all(not positive(i) for i in range(4)))
            out.append(next((i for i in range(4) if positive(i)), None))
        except ValueError as error:
            out.append(error.args)
        return out, log


class AnyLeavesTheRest(nn.Module):
    """any() over an iterator that is used afterwards."""

    def forward(self, x):
        flags = iter([(x[0, i] > 0).item() for i in range(4)])
        found = any(flags)
        return found, len(list(flags))


class GeneratorState(nn.Module):
    """Generators: yield in dynamic loops, yield from, return values, exhaustion."""

    def halves(self, x):
        while x.abs().sum() > 1:
            x = x / 2
            yield x.sum()

    def both(self, x):
        yield from self.counted(x)
        yield -1

    def counted(self, x):
        for i in range(3):
            if x[0, i] > 0:
                yield i

    def forward(self, x):
        total = 0
        for s in self.halves(x):
            total = total + s
        g = self.both(x)
        first = next(g, None)
        rest = list(g)
        return total, first, rest, list(g)


class GeneratorFinally(nn.Module):
    """A generator whose body catches and cleans up."""

    def forward(self, x):
        log = []

        def steps():
            try:
                for i in range(3):
                    if x[0, i] > 1:
                        raise KeyError(i)
                    yield i
            except KeyError as error:
                log.append(error.args[0])
                yield "caught"
            finally:
                log.append("end")

        return list(steps()), log


class StopIterationInside(nn.Module):
    """StopIteration inside a generator is a RuntimeError."""

    def forward(self, x):
        def broken():
            yield 1
            if x[0, 0] > 0:
                raise StopIteration

        try:
            return list(broken())
        except RuntimeError as error:
            return str(error)


class Comprehensions(nn.Module):
    """Nested and dynamic comprehensions of each kind."""

    def forward(self, x):
        flags = [True if v > 0 else False for v in x[0, :3]]
        squares = {i: i * i for i in range(3) if flags[i]}
        names = {("odd" if i % 2 else "even") for i in range(3) if flags[i]}
        grid = [[i * j for j in range(3) if flags[j]] for i in range(2) if flags[i]]
        return flags, squares, sorted(names), grid, sum(i for i, f in enumerate(flags) if f), list(range(sum(flags)))


class Itertools(nn.Module):
    """The rest of itertools."""

    def forward(self, x):
        k = int(x[0, 0] > 0) + 1
        flags = [int(x[0, i] > 0) for i in range(3)]
        return (
            list(itertools.compress("abc", flags)),
            list(itertools.zip_longest([1, 2, 3], range(k), fillvalue=0)),
            list(itertools.product(flags, "ab")),
            list(itertools.accumulate(flags)),
            list(itertools.takewhile(lambda f: f, flags)),
            list(itertools.dropwhile(lambda f: f, flags)),
            list(itertools.starmap(lambda a, b: a + b, [(1, k), (2, 3)])),
            list(itertools.islice(itertools.count(k), 3)),
            list(itertools.islice(itertools.cycle("ab"), k, 5, 2)),
            list(itertools.filterfalse(None, flags)),
            list(itertools.combinations(range(3), k)),
            [len(list(itertools.repeat(1, k)))],
        )


class ExtremaWithKeys(nn.Module):
    """sorted, min and max with keys over data, ties and defaults."""

    def forward(self, x):
        values = x[0].tolist()
        order = sorted(range(4), key=lambda i: values[i], reverse=True)
        best = max(enumerate(values), key=lambda pair: pair[1])
        names = sorted(["bb", "a", "cc"], key=len)
        return order, best[0], names, min([], default=3), max("ab", "cd", key=lambda s: s[1]), sorted(values)[0]


class StateOfModel(nn.Module):
    """Attributes of several kinds, written under conditions, across calls."""

    def __init__(self):
        super().__init__()
        self.history = []
        self.counts = {"pos": 0, "neg": 0}
        self.mode = "start"
        self.pair = (0, 0.0)

    def forward(self, x):
        if x.sum() > 0:
            self.counts["pos"] += 1
            self.mode = "pos"
        else:
            self.counts["neg"] += 1
        if len(self.history) < 3:
            self.history.append(self.mode)
        else:
            self.history.clear()
        self.pair = (self.pair[0] + 1, self.pair[1])
        return self.mode, list(self.history), dict(self.counts), self.pair[0] % 4


class StateThenRaise(nn.Module):
    """State written before an exception leaves stays written."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        if x[0, 0] > 0.5:
            raise ValueError(self.calls)
        if x[0, 1] > 0.5:
            self.calls += 10
            assert x[0, 2] > 0, self.calls
        return self.calls


class MutableDefaultOfMethod(nn.Module):
    """A mutable default that calls share."""

    def forward(self, x, seen=[]):  # noqa: B006
        if x[0, 0] > 0:
            seen.append(1)
        return len(seen)


class Structure(nn.Module):
    """Indexing, slicing and iterating over containers of modules."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
        self.named = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Tanh()})
        self.line = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))

    def forward(self, x):
        for layer in self.layers[1:]:
            x = layer(x)
        if x[0, 0] > 0:
            x = self.line[:2](x)
        for name, module in self.named.items():
            if name == "a" or x.sum() > 0:
                x = module(x)
        chosen = self.layers[int(x[0, 0] > 0)]
        return chosen(x), len(self.line), "b" in self.named, [n for n, _ in self.named_children()]


class IndexOfModules(nn.Module):
    """A run-time index beyond a list of modules."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])

    def forward(self, x):
        return self.layers[x.argmax().item()](x)


class Hooks(nn.Module):
    """Pre-hooks and hooks that decide."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.layer.register_forward_pre_hook(lambda module, args: (args[0] * 2,) if args[0].sum() > 0 else None)
        self.layer.register_forward_hook(self.after)

    def after(self, module, args, out):
        if out.max() > 1:
            raise OverflowError("hook")

    def forward(self, x):
        try:
            return self.layer(x)
        except OverflowError as error:
            return error.args


class SizesAfterBranch(nn.Module):
    """A size that is an expression, first needed on both sides of a branch."""

    def forward(self, x):
        found = torch.nonzero(x[0] > 0)
        n = torch.cat([found, found]).shape[0]
        if x.sum() > 0:
            return n + 1, n
        return n * 2, n


class SetOrder(nn.Module):
    """A set iterated over after a branch."""

    def forward(self, x):
        numbers = {8, 0, 16, 24, 3}
        if x[0, 0] > 0:
            numbers.discard(8)
        return list(numbers), [n for n in numbers if n]


CASES = [
    Case(found)
    for found in list(globals().values())
    if isinstance(found, type) and issubclass(found, nn.Module) and found.__module__ == __name__
]
