"""Small models of the mechanisms that programs in the style of research code have brought up."""

from __future__ import annotations

import collections
import enum
import functools
import heapq
import operator

import torch
from torch import nn

from tests.specialize.programs import Case, vectors


class Action(enum.Enum):
    """What a router chooses."""

    SKIP = 0
    SCALE = 1
    SHIFT = 2

    def key(self, depth):
        return f"d{depth}_{self.name.lower()}"


class Level(enum.IntEnum):
    """Numbers with names."""

    LOW = 1
    HIGH = 3


class MemberOfNumber(nn.Module):
    """`Enum(number)`: a member for each value, or the error of one that there is not."""

    def forward(self, x):
        action = Action(x.argmax(-1).item() % 3)
        if action is Action.SCALE:
            x = x * 2
        elif action == Action.SHIFT:
            x = x + 1
        return x, action.key(1), Level(int(x[0, 0] > 0) * 2 + 1).name


class NoMemberOfNumber(nn.Module):
    def forward(self, x):
        return x * Level(x.argmax(-1).item()).value


class Vocabulary:
    """Numbers to texts."""

    def __init__(self):
        self.words = ["<b>", "_a", "b_"]

    def decode(self, tokens):
        return "".join(self.words[token] for token in tokens if token != 0).replace("_", " ").strip()


class JoinedGenerator(nn.Module):
    """Builtins that take in a generator over a list of run-time length."""

    def __init__(self):
        super().__init__()
        self.vocabulary = Vocabulary()

    def forward(self, x):
        tokens = x.sum(1).gt(0).nonzero().flatten().tolist()
        return self.vocabulary.decode(tokens)


def rows(seed):
    """As many rows as there are words."""
    return (torch.randn(3, 4, generator=torch.Generator().manual_seed(seed)),)


class OwnDefaults(nn.Module):
    """A `defaultdict` whose factory is Python of the model's, or makes tensors."""

    def forward(self, x):
        scores = collections.defaultdict(lambda: (0.0, torch.zeros(2)))
        for name in ("a", "b", "a"):
            score, total = scores[name]
            scores[name] = (score + x[0, 0].item(), total + 1) if x[0, 0] > 0 else (score, total)
        made = collections.defaultdict(functools.partial(torch.ones, 4))
        made["z"] += x[0]
        return dict(scores), dict(made)


class CountedNumbers(nn.Module):
    """A `Counter` of run-time numbers: made of a list, of a generator, updated, asked for what is most common."""

    def forward(self, x):
        ranks = x.argsort(-1)[0, :3].tolist()
        counts = collections.Counter(ranks)
        counts.update([ranks[0]])
        few = collections.Counter(rank % 2 for rank in ranks[:2])
        return counts.most_common(1)[0], few.most_common(), sum(counts.values())


FIRST = operator.itemgetter(0)


class Getters(nn.Module):
    """`itemgetter`, `attrgetter` and `methodcaller`, of before the run and of the run; `nlargest` with a key."""

    def __init__(self):
        super().__init__()
        self.size = operator.attrgetter("shape")

    def forward(self, x):
        pairs = [(x[0, i].item(), i) for i in range(3)]
        best = max(pairs, key=FIRST)
        pairs.sort(key=operator.itemgetter(0), reverse=True)
        clamp = operator.methodcaller("clamp", min=0.0)
        largest = heapq.nlargest(2, pairs, key=lambda pair: -pair[0])
        if x[0, 0] > 0:
            pairs = pairs[1:]
        indices = list(map(operator.itemgetter(1), pairs))
        return best, pairs, clamp(x), indices, self.size(x), operator.itemgetter(0, 1)(x[0]), largest


class WideIsland(nn.Module):
    """A layer computes in double precision for one call; what there was before, is there again."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 4)

    def forward(self, x):
        if x.sum() > 0:
            self.head.to(torch.float64)
            y = self.head(x.double())
            self.head.float()
            return y.float() + self.head(x)
        return self.head(x)


class TiedHalf(nn.Module):
    """A cast that loses digits stays, and all modules that share the weight see it; buffers are cast, too."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 4, bias=False)
        self.norm = nn.BatchNorm1d(4)
        self.tied = nn.Linear(4, 4, bias=False)
        self.tied.weight = self.head.weight

    def forward(self, x):
        if x[0, 0] > 0.5:
            nn.Sequential(self.head, self.norm).half()
            nn.Sequential(self.head, self.norm).float()
        return self.tied(x), self.head.weight.dtype, self.norm.running_var.dtype


class Hypothesis:
    """Ordered by its own method; equal ones keep their order."""

    def __init__(self, name, score):
        self.name, self.score = name, score

    def __lt__(self, other):
        return self.score < other.score


def by_distance(left, right):
    """As `cmp_to_key` wants it."""
    return (left > right) - (left < right)


class ObjectsInOrder(nn.Module):
    """`sorted` of objects that compare themselves, and of keys that do; `max`."""

    def forward(self, x):
        made = [Hypothesis(name, round(x[0, i].item())) for i, name in enumerate("abc")]
        keyed = sorted(range(2), key=lambda i: made[i])
        return [h.name for h in sorted(made, reverse=True)], max(made).name, keyed


class ComparedNumbers(nn.Module):
    """`cmp_to_key`, and `sort` in place."""

    def forward(self, x):
        made = [Hypothesis(name, x[0, i].item()) for i, name in enumerate("abc")]
        made.sort()
        return sorted(x[0, :2].tolist(), key=functools.cmp_to_key(by_distance)), [h.name for h in made]


class SpelledOut(nn.Module):
    """Characters, words of a list and of a dict by run-time numbers: tables; a layer by such a name: a branch each."""

    def __init__(self):
        super().__init__()
        self.names = ["first", "second", "third", "fourth"]
        self.words = dict(enumerate(self.names))
        self.layers = nn.ModuleDict({name: nn.Linear(4, 4) for name in self.names})

    def forward(self, x):
        i = x.argmax().item()
        name = self.names[i]
        text = "".join("abcd"[rank] for rank in x.argsort()[0].tolist())
        if name == "second":
            return text, name.upper()
        y = self.layers[name](x)
        return text, self.words[i], y, [letter for letter in self.names[i - 1]]  # noqa: C416


class SetOfDeque(nn.Module):
    """Whether the last numbers that a loop has seen are one and the same."""

    def forward(self, x):
        seen = collections.deque(maxlen=2)
        for row in (x, x.abs(), x * x):
            seen.append(row.argmax().item())
            if len(seen) == 2 and len(set(seen)) == 1:
                break
        return list(seen)


CASES = [
    Case(SetOfDeque),
    Case(ComparedNumbers),
    Case(SpelledOut),
    Case(ObjectsInOrder),
    Case(WideIsland),
    Case(TiedHalf),
    Case(MemberOfNumber),
    Case(NoMemberOfNumber, vectors),
    Case(JoinedGenerator, rows),
    Case(OwnDefaults),
    Case(CountedNumbers),
    Case(Getters),
]
