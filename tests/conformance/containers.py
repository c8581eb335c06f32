"""Lists, tuples, dicts, sets."""

from __future__ import annotations

import collections.abc
import copy
from collections import Counter, OrderedDict, defaultdict, deque
from typing import Any, ClassVar, NamedTuple

import torch

from tests.conformance.table import Base, Section, vectors

SECTION = Section("Containers")


@SECTION.yes("list of tensors of known length, appended on one path", "an ordinary list of the run")
class Appended(Base):
    def forward(self, x):
        kept = [x]
        for layer in self.layers:
            y = layer(kept[-1])
            if y.sum() > 0:
                kept.append(y)
        return torch.stack(kept).sum(0), len(kept)


@SECTION.yes("`extend`, `insert`, `pop`, `remove`, `reverse`, `index`, `count`, `clear`, slices, `del`, `+`, `*`")
class ListMethods(Base):
    def forward(self, x):
        items = [1, 2, 3]
        if x.sum() > 0:
            items.extend([4, 5])
            items.insert(0, 9)
        items.remove(2)
        items.reverse()
        last = items.pop()
        del items[0]
        items[0:1] = [7, 8]
        return items + [last] * 2, items.index(7), items.count(8), items[::-1], items[-1]


@SECTION.yes("list of known length cut at a run-time number", "a run-time list; of a tuple or text, a decision")
class CutAtRuntime(Base):
    def forward(self, x):
        n = int((x > 0).sum())
        rows = [layer(x) for layer in self.layers]
        return [row.sum().item() for row in reversed(rows[:n])], (1, 2, 3)[n:], "abc"[:n]


@SECTION.yes("list repeated by a run-time number, slices of one assigned and deleted")
class RepeatedAtRuntime(Base):
    def forward(self, x):
        marks = [0] * int((x > 0).sum())
        marks[1:2] = [7, 8]
        del marks[:1]
        return marks, [None] * len(marks)


@SECTION.yes("None beside tensors or numbers in a list of run-time length", "which of them is a decision of the host")
class NoneBesideTensors(Base):
    def forward(self, x):
        slots = [None] * int((x > 0).sum())
        for index in range(len(slots)):
            if x[0, index] > 0.5:
                slots[index] = x[0, index] * 2
        return slots, [slot is None for slot in slots]


@SECTION.yes("list of numbers that grows in a loop", "a Python list in the host")
class Growing(Base):
    def forward(self, x):
        found = []
        while x.abs().max() > 0.1:
            found.append(x.sum().item())
            x = x * 0.5
        return found, len(found)


@SECTION.yes("list of tensors that grows in a loop, `stack`, `cat` of it")
class GrowingTensors(Base):
    def forward(self, x):
        found = []
        while x.abs().max() > 0.01:
            found.append(x)
            x = x * 0.5
        return torch.stack(found) if found else x


@SECTION.yes("element of a list of run-time length assigned")
class AssignInList(Base):
    def forward(self, x):
        found = []
        while x.abs().max() > 0.01:
            found.append(1)
            x = x * 0.5
        if found:
            found[0] = 2
        return found


@SECTION.yes("tuple: unpacking, starred, nested, swap")
class Tuples(Base):
    def forward(self, x):
        a, b = x, x * 2
        if x.sum() > 0:
            a, b = b, a
        (first, *rest), (c, d) = (a, b, a), (1, 2)
        return first, *rest, c + d


@SECTION.yes("dict: literals, `get`, `items`, `update`, `setdefault`, `pop`, `in`, `|`, `**`")
class Dicts(Base):
    def forward(self, x):
        table: dict[str, Any] = {"x": x}
        if x.sum() > 0:
            table["y"] = x * 2
        table.update(z=1)
        table.setdefault("w", []).append(3)
        both = {**table, "v": 0} | {"u": "y" in table}
        return {key: value for key, value in both.items() if key != "x"}, table.get("y", 5), table.pop("z")


def _given(seed: int) -> tuple[Any, ...]:
    (x,) = vectors(seed)
    return ({"features": [x, x.flip(1)], "scale": 2.0},)


@SECTION.yes("lists and dicts among the inputs, read before and behind decisions", "their tensors are inputs", _given)
class GivenContainers(Base):
    def forward(self, batch):
        first, second = batch["features"]
        if first.sum() > 0:
            first = first * batch["scale"]
        batch = {**batch, "first": first}
        return self.layers[0](second) + batch["first"], len(batch["features"])


@SECTION.yes("write into a list or dict among the inputs", "the caller sees it", _given)
class GivenContainerWritten(Base):
    def forward(self, batch):
        first = batch["features"][0]
        if first.sum() > 0:
            first = first * 2
        batch["first"] = first
        return first


@SECTION.yes("`defaultdict`, `OrderedDict`, `Counter`, `deque`, `ChainMap`")
class Collections(Base):
    def forward(self, x):
        table = defaultdict(list)
        recent = deque([x], maxlen=2)
        for index, layer in enumerate(self.layers):
            x = layer(x)
            table[index % 2].append(x)
            recent.append(x)
            if x.sum() > 0:
                break
        order = OrderedDict([("b", 1), ("a", 2)])
        order.move_to_end("b")
        return dict(table), sum(recent), list(order), collections.Counter("aab")["a"]


@SECTION.yes(
    "dict with run-time keys", "keys and values are lists of the host; a `dict` may be returned", unreachable=2
)  # a key that `get` has found is found again
class RuntimeKeys(Base):
    def forward(self, x):
        counts: dict[int, int] = {}
        for value in (x[0] * 20).long().tolist():
            counts[value] = counts.get(value, 0) + 1
        return counts, 3 in counts


@SECTION.yes("set of run-time elements: `add`, `in`, `len`, `sorted`, `|`, `<=`")
class RuntimeElements(Base):
    def forward(self, x):
        seen = set((x[x > 0] * 20).long().tolist())
        seen.add(int(x.sum()))
        return sorted(seen), len(seen)


@SECTION.yes(
    "`defaultdict` with a factory of the model's own, `Counter` of run-time numbers, `most_common`", "interpreted"
)
class OwnFactories(Base):
    def forward(self, x):
        table = defaultdict(lambda: x * 2)
        table["a"] += 1
        ranks = x.argsort(-1)[0, :2].tolist()
        counts = Counter(ranks)
        return dict(table), counts.most_common(1)[0]


@SECTION.yes("a set of run-time integers gone through, filled one by one", "in the order of Python's hash table")
class WalkedRuntimeSet(Base):
    def forward(self, x):
        seen = set((x[x > 0] * 20).long().tolist())
        seen.add(int(x.sum()))
        return [value for value in seen]


@SECTION.refused("DY204", "the order of a set of run-time floats or texts, or of one that was united or cut", "sort it")
class OrderOfRuntimeSet(Base):
    def forward(self, x):
        return [value for value in set((x[x > 0] * 20).tolist())]


@SECTION.yes("set, frozenset of known elements")
class Sets(Base):
    def forward(self, x):
        seen = set()
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if x.sum() > 0:
                seen.add(index)
        return x, sorted(seen), 1 in seen, len(seen | {7}), seen <= {0, 1, 2}


class Pair(NamedTuple):
    """A result of two."""

    left: Any
    right: Any = 0


@SECTION.yes("named tuple", "the artifact has a stand-in where the class cannot be imported")
class NamedTuples(Base):
    def forward(self, x):
        pair = Pair(x, 1) if x.sum() > 0 else Pair(left=x * 2)
        left, right = pair
        return pair._replace(right=right + 1), pair.left + left


@SECTION.yes("`copy.copy`, `copy.deepcopy` of containers and tensors", "`copy` is interpreted")
class Copied(Base):
    def forward(self, x):
        rows = [x, {"y": x * 2}]
        shallow, deep = copy.copy(rows), copy.deepcopy(rows)
        if x.sum() > 0:
            shallow.append(x)
            deep[1]["y"] += 1
        return len(rows), len(shallow), rows[1]["y"], deep


@SECTION.yes("identity of objects (`is`), aliases of a list", "survives forks and joins")
class Aliases(Base):
    def forward(self, x):
        a = [x]
        b = a if x.sum() > 0 else [x]
        b.append(x * 2)
        return len(a), a is b, a[0] is b[0]


@SECTION.yes("dict, list, nested tuples as a result")
class NestedResult(Base):
    def forward(self, x):
        return {"logits": x * 2, "aux": [x, (x.sum(), None)], 3: "three"} if x.sum() > 0 else {"logits": x}


@SECTION.yes("dict of which every key is a tuple as a result", "keys alike, and values alike")
class TupleKeys(Base):
    def forward(self, x):
        k = int(x.argmax()) % 2
        return {(0, k): x * 2, (1, 1 - k): x} if x.sum() > 0 else {(0, 0): x}


@SECTION.refused("DY213", "`Counter`, `OrderedDict`, ... as a result with other keys than text", "return a `dict`")
class CounterResult(Base):
    def forward(self, x):
        return Counter({1: x.sum(), 2: x.mean()})


@SECTION.yes("dict, list, tuple of tensors as an input", "the nesting of the example", lambda seed: _nested(seed))
class NestedInput(Base):
    def forward(self, batch, pair):
        first, second = pair
        if batch["x"].sum() > 0:
            return batch["x"] + first
        return [second, *batch["more"]]


def _nested(seed: int) -> tuple[Any, ...]:
    x, y, z, v, w = (t.clone() for t in torch.randn(5, 4, generator=torch.Generator().manual_seed(seed)))
    return {"x": x, "more": [y, z]}, (v, w)


@SECTION.yes("`enumerate` and `zip` over dict views, `sorted` of keys")
class Views(Base):
    def forward(self, x):
        table = {"b": self.layers[0], "a": self.layers[1]}
        for name, layer in table.items():
            x = layer(x) if x.sum() > 0 else x + len(name)
        return x, sorted(table), list(table.keys()), max(len(key) for key in table)


@SECTION.yes(
    "tuple of run-time length: `tuple(xs)`, `+`, slices, `in`, comparison, grown in a loop", "a tuple in the host"
)
class RuntimeTuple(Base):
    def forward(self, x):
        places = tuple((x > 0).nonzero().flatten().tolist())
        seen = ()
        while x.abs().max() > 0.1:
            seen = (*seen, x.sum().item())
            x = x * 0.5
        return places, (0, *places[1:]) + places, 2 in places, places < (2, 3), seen


@SECTION.yes("`zip(*rows)` of run-time rows, `enumerate`, `reversed`", "one operation of the host for each column")
class Transposed(Base):
    def forward(self, x):
        rows = [(place, x[0, place] * 2) for place in range(int((x > 0).sum()))]
        if not rows:
            return [], None
        places, values = zip(*rows)
        return [i * p for i, p in enumerate(places)], torch.stack(values), list(reversed(places))


@SECTION.yes("`first, *rest = xs`, `f(*xs)`, `[*xs, y]` of a run-time list", "how many there are, is a decision")
class SpreadAtRuntime(Base):
    def forward(self, x):
        def gather(first, *rest):
            return first, len(rest), sum(rest)

        places = (x > 0).nonzero().flatten().tolist()
        try:
            first, *rest = places
            return gather(*places), first, rest, [*places, -1]
        except ValueError as error:
            return str(error)


@SECTION.yes("`[item] * n` with a run-time `n`")
class RepeatedItems(Base):
    def forward(self, x):
        kept = x[x > 0]
        return [7] * kept.shape[0], torch.tensor([1] * kept.numel())


class Steps(list):
    """A list that is called."""

    def __init__(self, *steps):
        super().__init__(steps)
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        for step in self:
            x = step(x)
        return x


@SECTION.yes("a subclass of `list` with methods and attributes of its own", "how many items it has is always known")
class ListSubclass(Base):
    def forward(self, x):
        steps = Steps(self.layers[0])
        if x.sum() > 0:
            steps.append(torch.tanh)
        x = steps(x)
        if x.sum() > 0:
            steps += [self.layers[1], torch.relu]
        return steps(x), len(steps), steps.calls


class Registry(collections.abc.MutableMapping):
    """Names of its own before those of a table that all share."""

    shared: ClassVar = {"tanh": torch.tanh, "relu": torch.relu}

    def __init__(self):
        self.own = {}

    def __getitem__(self, name):
        return self.own[name] if name in self.own else self.shared[name]

    def __setitem__(self, name, value):
        self.own[name] = value

    def __delitem__(self, name):
        del self.own[name]

    def __iter__(self):
        return iter({**self.shared, **self.own})

    def __len__(self):
        return len(self.shared.keys() | self.own.keys())


@SECTION.yes("a class made of `collections.abc.MutableMapping`: its `get`, `in`, `pop`, `items` are interpreted")
class AbstractMapping(Base):
    def forward(self, x):
        table = Registry()
        if x.sum() > 0:
            table["relu"] = self.layers[0]
        if "gelu" not in table and x.max() > 1:
            table.update(gelu=self.layers[1])
        last = table.pop("gelu", None)
        x = table.get("relu")(x) if last is None else last(x)
        return x, [name for name, _ in table.items()], len(table)
