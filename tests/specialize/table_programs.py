"""Small models with dicts and sets whose keys only the run knows."""

from __future__ import annotations

import collections

import torch
from torch import nn

from tests.specialize.tensor_programs import Case


def tokens(seed: int) -> tuple[torch.Tensor, ...]:
    made = torch.Generator().manual_seed(seed)
    return torch.randint(0, 12, (20,), generator=made), torch.randn(20, generator=made)


class SeenTokens(nn.Module):
    """A set that grows in a dynamic loop, asked for members, sorted, counted."""

    def forward(self, ids, x):
        seen = set()
        order = []
        i = 0
        while i < 20 and x[i] < 1.2:
            token = ids[i].item()
            if token not in seen:
                seen.add(token)
                order.append(token)
            i += 1
        return order, sorted(seen), len(seen), 3 in seen


class CountedTokens(nn.Module):
    """Counts by token: what is missing counts as 0; the dict is returned, in the order of insertion."""

    def forward(self, ids, x):
        counts = collections.defaultdict(int)
        i = 0
        while i < 20 and x[i] < 1.2:
            counts[ids[i].item()] += 1
            i += 1
        return dict(counts), sum(counts.values())


class SummedTensors(nn.Module):
    """Tensors by token; one is deleted, the items are gone through."""

    def forward(self, ids, x):
        total = {}
        i = 0
        while i < 20 and x[i] < 1.2:
            token = ids[i].item()
            total[token] = total.get(token, torch.zeros(())) + x[i]
            i += 1
        if 3 in total:
            del total[3]
        return total, [key for key, value in total.items() if value > 0.5]


class MostCommon(nn.Module):
    """`max` of a dict by its values, and a key that only the run knows."""

    def forward(self, ids, x):
        counts = {}
        for token in ids.tolist():
            counts[token] = counts.get(token, 0) + 1
        return max(counts, key=counts.get), counts


class CountedSteps(nn.Module):
    """A dict by the counter of a dynamic loop, each value made of the one before."""

    def forward(self, ids, x):
        memo = {0: x[0] * 2}
        i = 0
        while x[i % 20] < 1.2 and i < 50:
            memo[i + 1] = memo[i] * 0.9 + x[i % 20]
            i += 1
        return memo[i], len(memo), (i + 5) in memo


class MissingKeys(nn.Module):
    """A KeyError that depends on data, `pop` with a default, the keys as a list."""

    def forward(self, ids, x):
        table = {}
        i = 0
        while i < 20 and x[i] < 1.2:
            table[ids[i].item()] = i
            i += 1
        try:
            return table[7], table.pop(3, None), list(table)
        except KeyError as error:
            return str(error)


class SetsOfLists(nn.Module):
    """Sets of a list of run-time length."""

    def forward(self, ids, x):
        some = ids[x > 0].tolist()
        found = set(some) | {1, 2}
        return len(set(some)) == len(some), sorted(found), 5 in found


class NamedByRun(nn.Module):
    """Texts with run-time numbers as keys."""

    def forward(self, ids, x):
        table = {}
        for i in range(int((x > 0).sum())):
            table[f"token {ids[i].item()}"] = x[i].item()
        return table


class BegunByAnother(nn.Module):
    """A dict that begins with the items of another one, then counts by token."""

    def forward(self, ids, x):
        start = {3: 1, 5: 0}
        counts = {**start, 4: 2}
        for token in ids[:6].tolist():
            counts[token] = counts.get(token, 0) + 1
        return counts


class OrderOfASet(nn.Module):
    """The order of a set of run-time integers is that of their hashes: the host makes the set."""

    def forward(self, ids, x):
        seen, far = set(ids[x > 0].tolist()), set()
        place = 0
        while place < 20 and x[place] < 1.2:
            far.add(ids[place].item() * 17 - 40)
            place += 1
        walked = [token for token in far]
        total = 0
        for place, token in enumerate(seen):
            total = total * 3 + place * token
        return walked, list(seen), total, [pair for pair in {(token, 2 * token) for token in walked}]


class GrowsWhileGoneThrough(nn.Module):
    """Python's own error, at the last element too."""

    def forward(self, ids, x):
        seen = set(ids[x > 0].tolist())
        for token in seen:
            if token % 5 == 4:
                seen.add(token + 100)
        return len(seen)


class OrderOfFloats(nn.Module):
    """Not-a-number has another hash each time."""

    def forward(self, ids, x):
        return [number for number in set(x[ids > 3].tolist())]


class OrderAfterRemoval(nn.Module):
    """What was taken out leaves its place in the hash table."""

    def forward(self, ids, x):
        seen = set(ids[x > 0].tolist())
        seen.discard(3)
        seen.add(40)
        return [token for token in seen]


class OrderOfUnion(nn.Module):
    """A set that takes in another one grows by other rules."""

    def forward(self, ids, x):
        seen = set(ids[x > 0].tolist())
        return [token for token in seen | {1, 2, 33}]


class TextOfADict(nn.Module):
    """A dict of run-time keys as text."""

    def forward(self, ids, x):
        counts = {}
        for token in ids[:4].tolist():
            counts[token] = counts.get(token, 0) + 1
        return f"{[counts]}"


class UpdatedByRun(nn.Module):
    """Native code goes through a dict of run-time keys."""

    def forward(self, ids, x):
        counts, known = {}, {"a": 1}
        for token in ids[:4].tolist():
            counts[token] = counts.get(token, 0) + 1
        known.update(counts)
        return known


class TuplesAsKeys(nn.Module):
    """Tuples of few values each as keys, put in, counted and taken out; a dict of them is the result."""

    def forward(self, ids, x):
        kinds = (ids[:4] % 2).tolist()
        counts, seen = {}, set()
        for a, b in zip(kinds, kinds[1:], strict=False):
            if (a, b) not in counts:
                counts[(a, b)] = 0
            counts[a, b] += 1
            seen.add((b, a))
        known = {(kinds[0], kinds[1]): 1, (kinds[1], kinds[2]): 2}
        del counts[(kinds[0], kinds[1])]
        return counts, len(seen), known.get((0, 1)), len(known), (1, 0) in seen, {(0, 1): x.sum(), (1, 1): x.max()}


class LongTuplesAsKeys(nn.Module):
    """Tuples of run-time length as keys of tables that are known, and of ones that the run fills."""

    def forward(self, ids, x):
        known, some = {"a": 0, (): 1, (0,): 2, None: 0, (0, 1): 3}, {(1,), (0, 1), 4}
        counts = {}
        for row in x[:4].reshape(2, 2):
            key = tuple((row > 0).nonzero().flatten().tolist())
            counts[key] = counts.get(key, 0) + 1
        try:
            found = known[key]
        except KeyError:
            found = -1
        return list(counts.values()), (0, 1) in counts, found, known.get(key), key in some, key == 2, key != "a"


class WalkedStates(nn.Module):
    """A walk that ends where it has been: pairs of numbers of few values, put into a set in a loop."""

    def forward(self, ids, x):
        steps, visited, state = 0, set(), (0, ids[0].item() % 4)
        while state not in visited and steps < 12:
            visited.add(state)
            state = (state[1], ids[steps].item() % 4)
            steps += 1
        return steps, len(visited), state


def few_tokens(seed: int) -> tuple[torch.Tensor, ...]:
    """For what decides anew with each pair of tokens."""
    ids, x = tokens(seed)
    return ids[:5], x[:5]


MODELS = (SeenTokens, SummedTensors, CountedSteps, MissingKeys, SetsOfLists, NamedByRun, TuplesAsKeys, LongTuplesAsKeys)
CASES = [
    *(Case(model, tokens) for model in MODELS),
    Case(MostCommon, few_tokens),
    Case(BegunByAnother, tokens),
    Case(OrderOfASet, tokens, is_end_to_end=True),
    Case(GrowsWhileGoneThrough, tokens),
    Case(WalkedStates, tokens),
    Case(CountedTokens, tokens, is_end_to_end=True),
]
REFUSED = [Case(model, tokens) for model in (OrderOfFloats, OrderAfterRemoval, OrderOfUnion, TextOfADict, UpdatedByRun)]
