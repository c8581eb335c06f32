"""Small models with tuples and lists whose length only the run knows: converted, spread, unpacked, compared."""

from __future__ import annotations

import itertools

import torch
from torch import nn

from tests.specialize.tensor_programs import Case


def tokens(seed: int) -> tuple[torch.Tensor, ...]:
    made = torch.Generator().manual_seed(seed)
    size = seed % 5
    return torch.randint(0, 12, (20,), generator=made), torch.randn(20, generator=made) - 0.4 * size


class TupleOfNumbers(nn.Module):
    """A tuple of a list: returned, sliced, asked, added to, gone through."""

    def forward(self, ids, x):
        some = tuple(ids[x > 0].tolist())
        total = 0
        for index, token in enumerate(some):
            total += index * token
        more = some[1:] + (7,) * len(some) + (1, 2)
        return some, more, len(some), 3 in some, some == tuple(list(some)), total, isinstance(some, tuple), some * 2


class GrowingTuple(nn.Module):
    """A tuple that a dynamic loop makes longer, of tensors and numbers."""

    def forward(self, ids, x):
        past, steps = (), (0,)
        i = 0
        while i < 20 and x[i] < 1.2:
            past = past + (x[i] * 2,)
            steps += (i,)
            i += 1
        if past:
            return torch.stack(past).sum(), steps, past[-1]
        return steps


class Transposed(nn.Module):
    """`zip(*rows)` of rows that only the run counts, unpacked; without a row it is an error."""

    def forward(self, ids, x):
        rows = []
        for i in range(int((x > 0).sum())):
            rows.append((ids[i].item(), x[i], i))
        try:
            tokens, values, places = zip(*rows)
        except ValueError as error:
            return str(error)
        return list(tokens), torch.stack(values), places, [list(column) for column in zip(*rows)]


class TransposedLists(nn.Module):
    """`zip(*rows)` of two rows of the same length, and of a run-time number of lists."""

    def forward(self, ids, x):
        some = ids[x > 0].tolist()
        pairs = list(zip(some, some[1:]))
        rows = [some] * int((x[:4] > 0).sum())
        blocks = ids.reshape(4, 5)[x[:4] > 0].tolist()
        return pairs, list(zip(*rows)), list(zip(*blocks)), tuple(enumerate(some))


def gather(first, *rest, scale=1):
    return first * scale, len(rest), sum(rest), rest


def pair(left, right):
    return left - right


class SpreadCalls(nn.Module):
    """A run-time number of arguments: for `*args`, for parameters, for builtins."""

    def forward(self, ids, x):
        some = ids[x > 0].tolist()
        try:
            found = gather(*some, scale=2)
        except TypeError as error:
            found = str(error)
        try:
            difference = pair(*some)
        except TypeError as error:
            difference = str(error)
        chained = list(itertools.chain(some, *[some, [1]]))
        return found, difference, chained, gather(1, 2, *some, 3)


class UnpackedRest(nn.Module):
    """Names for the ends, a list for what is between."""

    def forward(self, ids, x):
        some = ids[x > 0].tolist()
        try:
            first, *rest = some
        except ValueError as error:
            return str(error)
        rest.append(first)
        try:
            head, second, *inner, last = tuple(some)
        except ValueError as error:
            return rest, str(error)
        return rest, head, second, inner, last


class BuiltOfParts(nn.Module):
    """Lists, tuples and sets written with stars."""

    def forward(self, ids, x):
        some = ids[x > 0].tolist()
        return [*some, 3, *some], (1, *some), sorted({*some, 3}), [*tuple(some)], (*range(len(some)),)


class Compared(nn.Module):
    """Run-time lists and tuples compared with others of their kind and of another."""

    def forward(self, ids, x):
        some, other = ids[x > 0].tolist(), ids[x > 0.5].tolist()
        return (
            some == other,
            some != other,
            some < other,
            tuple(some) >= tuple(other),
            some == tuple(some),
            some == [],
            (some, 1) == (other, 1),
            [(i, i + 1) for i in some] == [(i, i + 1) for i in other],
        )


class Consumed(nn.Module):
    """Generators of run-time length in what goes through them."""

    def forward(self, ids, x):
        some = ids[x > 0].tolist()
        rows = tuple(x[i] * 2 for i in range(len(some)))
        total = torch.stack(rows).sum() if len(rows) > 0 else x.sum()
        doubled = list(i * 2 for i in some)
        doubled.extend(i + 1 for i in some)
        return total, doubled, sorted(i % 3 for i in some), [*(i for i in some)], max((i for i in some), default=-1)


class NestedTuples(nn.Module):
    """Run-time tuples as elements of run-time lists, as values of dicts, as results of functions."""

    def forward(self, ids, x):
        groups = []
        for i in range(int((x > 0).sum())):
            groups.append((i, tuple(ids[: i + 1].tolist())))
        longest = max(groups, key=lambda group: len(group[1]), default=(0, ()))
        flat = [token for _, group in groups for token in group]
        return groups, longest, flat, {"last": groups[-1][1] if groups else ()}


class Immutable(nn.Module):
    """What a tuple has not: `append`, assignment, deletion, a list added."""

    def forward(self, ids, x):
        some = tuple(ids[x > 0].tolist())
        words = []
        try:
            some[0] = 1
        except TypeError as error:
            words.append(str(error))
        try:
            some.append(1)
        except AttributeError as error:
            words.append(str(error))
        try:
            some + [1]
        except TypeError as error:
            words.append(str(error))
        try:
            del some[0]
        except TypeError as error:
            words.append(str(error))
        return words, some.count(3), f"{some}"


class TupleState(nn.Module):
    """A tuple on the model that each call makes longer."""

    def __init__(self):
        super().__init__()
        self.history = ()

    def forward(self, ids, x):
        if x[0] > 0:
            self.history = (*self.history, x[0].item())
        return len(self.history), sum(self.history)


class Rows(nn.Module):
    """Tensors of run-time length as lists of their rows."""

    def forward(self, ids, x):
        kept = x.reshape(10, 2)[x[:10] > 0]
        rows = [x[:2]]
        rows.extend(kept)
        first, *rest = tuple(kept) + (x[:2],)
        doubled = torch.stack([row * 2 for row in kept.unbind()]) if len(kept) else x
        return torch.stack(rows), rows, first, rest, doubled, kept.unbind(1), kept.T.unbind(1), list(x[x > 0])


class Splits(nn.Module):
    """Tensors cut to a run-time list of sizes, or to parts of one size; sizes that do not fit are torch's errors."""

    def forward(self, ids, x):
        sizes = torch.bincount(ids[x > 0]).tolist()
        kept = x[: sum(sizes)]
        blocks = x.reshape(2, 10)[:, x[:10] > 0]
        try:
            parts = x.split((ids[x > 0] - 1).tolist())
        except RuntimeError as error:
            parts = str(error)
        return [piece.sum() for piece in torch.split(kept, sizes)], torch.split(kept, 3), blocks.split(4, 1), parts


class NothingToJoin(nn.Module):
    """Torch's own errors for lists that are empty in some calls alone."""

    def forward(self, ids, x):
        words, kept = [], []
        for i in range(int((x > 1).sum())):
            kept.append(x[i : i + 2])
        for join in (torch.stack, torch.cat):
            try:
                words.append(join(kept))
            except (RuntimeError, ValueError) as error:
                words.append(f"{type(error).__name__}: {error}")
        return words


class SameLengths(nn.Module):
    """Two lists as long as each other index together, in every round of a loop."""

    def forward(self, ids, x):
        table = x.reshape(4, 5)
        for step in range(3):
            rows, columns = torch.where(table > step * 0.2)
            if rows.shape[0] == 0:
                continue
            places, others = rows.tolist(), columns.tolist()
            total = x.sum()
            for place in places[:2]:
                total = total + place
            table = table + table[places, others].sum() * 0.1 + total * 0.01
        return table


class KeyOfALargest(nn.Module):
    """A dict of layers by a text with a number that has no bounds."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleDict({f"b{i}": nn.Linear(20, 2) for i in range(3)})

    def forward(self, ids, x):
        largest = int(torch.bincount(ids % 4).argmax())
        try:
            return self.layers[f"b{largest}"](x)
        except KeyError as error:
            return str(error)


class Several(nn.Module):
    """Several layers side by side."""

    def __init__(self, *sizes):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(20, size) for size in sizes])

    def forward(self, x):
        return tuple([layer(x) for layer in self.layers])


class PartsOfBatches(nn.Module):
    """One function for nets of two results and of three: the sizes of each are known of its own parts."""

    def __init__(self):
        super().__init__()
        self.pair, self.triple = Several(4, 2), Several(4, 10, 2)

    def in_batches(self, x, net):
        out = []
        for start in range(0, len(x), 2):
            batch = x[start : start + 2]
            out.append(net(batch))
        return tuple(torch.cat(part, dim=0) for part in zip(*out))

    def forward(self, ids, x):
        rows = x.expand(40, -1)[: int(ids.sum()) % 23 + 1]
        box, score = self.in_batches(rows, self.pair)
        again, points, sure = self.in_batches(rows, self.triple)
        if score.sum() > 0:
            return box.shape[1], points[:, :5].shape[1], sure.shape
        return box, again.t().shape[0], points.shape[1]


MODELS = (
    PartsOfBatches,
    KeyOfALargest,
    *(Rows, Splits, NothingToJoin, SameLengths),
    *(GrowingTuple, Transposed, TransposedLists, SpreadCalls, UnpackedRest, BuiltOfParts, Compared),
    *(Consumed, NestedTuples, Immutable, TupleState),
)
CASES = [*(Case(model, tokens) for model in MODELS), Case(TupleOfNumbers, tokens, is_end_to_end=True)]
