"""Objects made during a run: classes, operators, containers, aliases and text, on both sides of a branch."""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import math
from typing import NamedTuple

import torch
from torch import nn

from tests.specialize.programs import Case


class Vector:
    """Operators of every sort."""

    def __init__(self, a, b):
        self.a, self.b = a, b

    def __add__(self, other):
        if not isinstance(other, Vector):
            return NotImplemented
        return Vector(self.a + other.a, self.b + other.b)

    def __radd__(self, other):
        return Vector(self.a + other, self.b + other)

    def __neg__(self):
        return Vector(-self.a, -self.b)

    def __eq__(self, other):
        return isinstance(other, Vector) and self.a == other.a and self.b == other.b

    def __lt__(self, other):
        return self.a < other.a

    def __bool__(self):
        return self.a > 0

    def __len__(self):
        return 2

    def __getitem__(self, i):
        return (self.a, self.b)[i]

    def __contains__(self, v):
        return v == self.a or v == self.b

    def __call__(self, k):
        return self.a * k

    def __repr__(self):
        return f"Vector({self.a:.3f}, {self.b:.3f})"

    def pair(self):
        return self.a, self.b


class Operators(nn.Module):
    """Binary, reflected and unary operators of the model's own class."""

    def forward(self, x):
        v = Vector(x[0, 0].item(), x[0, 1].item())
        w = Vector(x[0, 2].item(), 1.0)
        s = v + w
        t = 2.0 + v
        n = -s
        return s.pair(), t.pair(), n.pair(), v(3), v[1]


class Comparisons(nn.Module):
    """Equality, order, truth and membership of the model's own class."""

    def forward(self, x):
        v = Vector(x[0, 0].item(), 1.0)
        w = Vector(x[0, 1].item(), 1.0)
        out = [v == w, v != w, v < w, v > w, not v]
        out.append("yes" if v else "no")
        out.append(1.0 in v)
        out.append(2.0 not in v)
        out.append(bool(w))
        return out


class ReflectedFallback(nn.Module):
    """An operator that answers NotImplemented."""

    def forward(self, x):
        v = Vector(x[0, 0].item(), 1.0)
        try:
            v + "text"
        except TypeError as error:
            return error.args
        return None


class SortedObjects(nn.Module):
    """Native code that compares the model's own objects."""

    def forward(self, x):
        items = [Vector(x[0, i].item(), float(i)) for i in range(3)]
        return [v.b for v in sorted(items)], min(items).b


class OwnText(nn.Module):
    """Text of the model's own objects in f-strings and str()."""

    def forward(self, x):
        v = Vector(x[0, 0].item(), 1.0)
        return f"{v} and {v!r}", str(v), repr(v)


class OwnIterator:
    """An iterator with state."""

    def __init__(self, values):
        self.values = values
        self.at = 0

    def __iter__(self):
        return self

    def __next__(self):
        if self.at >= len(self.values):
            raise StopIteration
        self.at += 1
        return self.values[self.at - 1]


class IteratorObject(nn.Module):
    """An iterator of the model's own, advanced by loops, next() and native consumers."""

    def forward(self, x):
        it = OwnIterator([1, 2, 3, 4, 5])
        total = 0
        for v in it:
            total += v
            if x[0, v - 1] > 0:
                break
        if x[0, 3] > 0:
            total += next(it) * 100
        return total, list(it), it.at


class ConsumedNatively(nn.Module):
    """sum, any, list, tuple and zip over the model's own iterator whose items are decided by the data."""

    class Positive:
        def __init__(self, x, log):
            self.x, self.log = x, log

        def __iter__(self):
            for i in range(2):
                self.log.append(i)
                if self.x[0, i] > 0:
                    yield i

    def forward(self, x):
        log = []
        p = self.Positive(x, log)
        return sum(p), list(p), tuple(zip(p, "abcd")), any(p), log


class Managed:
    """A context manager that keeps a log and may swallow."""

    def __init__(self, name, log, swallow=False):
        self.name, self.log, self.swallow = name, log, swallow

    def __enter__(self):
        self.log.append("+" + self.name)
        return self

    def __exit__(self, kind, error, trace):
        self.log.append(f"-{self.name}:{kind.__name__ if kind else None}:{error.args if error else ()}")
        return self.swallow


class NestedWith(nn.Module):
    """Several managers, an exception in the middle, swallowed on one side."""

    def forward(self, x):
        log = []
        try:
            with Managed("a", log), Managed("b", log, swallow=bool(x[0, 0] > 0)) as b:
                log.append(b.name)
                if x[0, 1] > 0:
                    raise ValueError("inside")
                log.append("body")
            log.append("after")
        except ValueError:
            log.append("caught")
        return log


class Base(nn.Module):
    """The base of an inheritance chain."""

    scale = 2

    def step(self, x):
        return x * self.scale

    @property
    def name(self):
        return "base"

    @classmethod
    def make(cls, k):
        return cls.scale * k

    @staticmethod
    def twice(k):
        return k * 2

    def forward(self, x):
        if x.sum() > 0:
            x = self.step(x)
        return x, self.name, self.make(3), self.twice(x.argmax().item())


class Derived(Base):
    """super(), overridden properties and class attributes."""

    scale = 3

    def step(self, x):
        y = super().step(x)
        return y + 1 if y[0, 0] > 0 else super().step(y)

    @property
    def name(self):
        return "derived of " + super().name


class Kind(enum.Enum):
    LOW = 0
    MIDDLE = 1
    HIGH = 2

    @property
    def next(self):
        return Kind((self.value + 1) % 3)


class Level(enum.IntEnum):
    A = 1
    B = 2


class Enums(nn.Module):
    """Enumerations as keys, values, in conditions."""

    def forward(self, x):
        kind = Kind.HIGH if x.sum() > 1 else Kind.LOW if x.sum() < -1 else Kind.MIDDLE
        names = {Kind.LOW: "l", Kind.MIDDLE: "m"}
        level = Level.B if x[0, 0] > 0 else Level.A
        return names.get(kind, "other"), kind.next.name, kind is Kind.LOW, level + 1, level > 1, Kind["LOW"].value


@dataclasses.dataclass
class Record:
    """A dataclass with a default factory, a method and work after its making."""

    score: float
    path: list = dataclasses.field(default_factory=list)
    total: float = 0.0

    def __post_init__(self):
        if self.score > 0:
            self.total = self.score * 2
        self.path.append("made")

    def add(self, what):
        self.path.append(what)
        return self


@dataclasses.dataclass(frozen=True, order=True)
class Point:
    x: float
    y: int = 0


class Dataclasses(nn.Module):
    """Dataclasses: post-init, replace, equality, order, fields, asdict."""

    def forward(self, x):
        record = Record(x[0, 0].item())
        if x[0, 1] > 0:
            record.add("more").score += 1
        p, q = Point(x[0, 2].item()), Point(x[0, 3].item(), 1)
        moved = dataclasses.replace(p, y=5)
        return record, p < q, p == Point(x[0, 2].item()), moved, [f.name for f in dataclasses.fields(record)]


class Journalled:
    """Writes every attribute down, also what dataclasses set."""

    def __setattr__(self, name, value):
        super().__setattr__("written", [*getattr(self, "written", []), name])
        super().__setattr__(name, value)

    @property
    def double(self):
        return self.score * 2

    @double.setter
    def double(self, value):
        self.score = value / 2


@dataclasses.dataclass
class Outcome(Journalled):
    """A dataclass whose making runs Python of the model's own everywhere that it can."""

    score: float
    model: dataclasses.InitVar[nn.Module]
    level: int = dataclasses.field(default=3, kw_only=True)
    path: list = dataclasses.field(init=False, default_factory=lambda: ["made"])
    name: str = "none"

    def __post_init__(self, model):
        model.made += 1
        if self.score > 0:
            self.name = "high"


class DataclassesOfTheModel(nn.Module):
    """Dataclasses with a `__setattr__`, parameters that are no fields, keywords; the making of one changes the model."""

    def __init__(self):
        super().__init__()
        self.made = 0

    def forward(self, x):
        outcome = Outcome(x[0, 0], self, level=4)
        if x[0, 1] > 0:
            outcome = Outcome(x[0, 1], model=self, name="other")
        setattr(outcome, "double", 1.0)
        return outcome.score, outcome.level, outcome.path, outcome.name, outcome.written, self.made


class Positive:
    """A descriptor that sets."""

    def __set_name__(self, owner, name):
        self.key = "_" + name

    def __get__(self, target, owner):
        return getattr(target, self.key, 0)

    def __set__(self, target, value):
        target.sets = getattr(target, "sets", 0) + 1
        setattr(target, self.key, value if value > 0 else -value)


class Limited:
    width = Positive()


class SettingDescriptors(nn.Module):
    """A descriptor of the model's own decides what is kept."""

    def forward(self, x):
        held = Limited()
        held.width = x[0, 0].item()
        setattr(held, "width", held.width - 1)
        return held.width, held.sets


class DescribesTensors(nn.Module):
    """A dtype and a device in the result: their names, where there is no torch."""

    def forward(self, x):
        return {"dtype": x.dtype, "device": x.device, "sign": 1 if x.sum() > 0 else -1}


class FrozenError(nn.Module):
    """Assignment to a frozen dataclass."""

    def forward(self, x):
        p = Point(1.0)
        try:
            if x[0, 0] > 0:
                p.x = 2.0
        except dataclasses.FrozenInstanceError as error:
            return str(error)
        return p


class Pair(NamedTuple):
    """A named tuple with a default and a method."""

    left: float
    right: int = 3

    def swapped(self):
        return Pair(self.right, self.left)


class NamedTuples(nn.Module):
    """Named tuples: fields, unpacking, _replace, methods, equality."""

    def forward(self, x):
        p = Pair(x[0, 0].item())
        if p.left > 0:
            p = p._replace(right=4)
        a, b = p
        return p, p.swapped(), a, b, p[1], p == (a, b), p._asdict()


class PartialReduce(nn.Module):
    """functools: partial, reduce, wraps, lru_cache, cached methods."""

    @staticmethod
    def logged(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return function(*args, **kwargs), function.__name__

        return wrapper

    def forward(self, x):
        add = functools.partial(lambda a, b, c: a * 100 + b * 10 + c, 1, c=x.argmax().item())
        total = functools.reduce(lambda a, v: a + v if v > 0 else a, x[0].tolist(), 0.0)

        @self.logged
        def inner(k):
            return k + 1 if x[0, 0] > 0 else k

        return add(2), total, inner(5), inner.__name__, square(7)


@functools.lru_cache
def square(k):
    """A cached function of a number."""
    return k * k


class Containers(nn.Module):
    """deque, defaultdict, Counter, OrderedDict changed on one side."""

    def forward(self, x):
        queue = collections.deque([1, 2, 3], maxlen=3)
        groups = collections.defaultdict(list)
        counts = collections.Counter("abca")
        order = collections.OrderedDict(a=1, b=2)
        alias = groups["x"]
        if x[0, 0] > 0:
            queue.append(4)
            groups["x"].append(1)
            counts["b"] += 5
            order.move_to_end("a")
        if x[0, 1] > 0:
            queue.appendleft(0)
            groups["y"].append(2)
            counts.update("cc")
            order["c"] = 3
        return list(queue), dict(groups), alias, counts.most_common(1), list(order), alias is groups["x"]


class DefaultFactory(nn.Module):
    """A defaultdict whose factory the run made."""

    def forward(self, x):
        start = 5 if x[0, 0] > 0 else 7
        table = collections.defaultdict(lambda: start)
        table["a"] += 1
        return dict(table), table["b"]


class SetsAndDicts(nn.Module):
    """Sets and dicts changed on one side; set algebra, comprehensions, views, deletion, setdefault, pop."""

    def forward(self, x):
        seen = {1, 2}
        table = {"a": 1, "b": 2}
        if x[0, 0] > 0:
            seen.add(3)
            del table["a"]
        if x[0, 1] > 0:
            seen |= {4}
            table.setdefault("c", []).append(9)
        taken = table.pop("a", None)
        both = {k for k in seen if k > 1} & {2, 3, 4}
        return (
            sorted(seen),
            table,
            taken,
            sorted(both),
            sorted(table.keys() - {"b"}),
            {v: k for k, v in enumerate("ab")},
        )


class RuntimeKeys(nn.Module):
    """Run-time integers as keys of dicts and elements of sets."""

    def forward(self, x):
        k = x.argmax().item()
        flag = (x[0, 0] > 0).item()
        table = {0: "zero"}
        if 0 <= k < 4:
            table[k] = "k"
        counts = collections.Counter()
        counts[flag] += 1
        return table, k in {1, 2}, flag in table, dict(counts), {flag: 1}, {flag, True}


class ViewsWhileChanging(nn.Module):
    """A dict iterated over while its values change."""

    def forward(self, x):
        table = {"a": 1, "b": 2, "c": 3}
        out = []
        for key, value in table.items():
            out.append((key, value))
            if x[0, 0] > 0:
                table["c"] = 30
        try:
            for key in table:
                if x[0, 1] > 0:
                    table[key + key] = 0
        except RuntimeError as error:
            out.append(str(error))
        try:
            for value in table.values():
                if x[0, 2] > 0 and len(table) < 10:
                    table[value] = 0
        except RuntimeError as error:
            out.append(str(error))
        return out


class ListWhileChanging(nn.Module):
    """A list iterated over, forwards and backwards, while it changes."""

    def forward(self, x):
        items = [1, 2, 3, 4]
        seen = []
        for v in items:
            seen.append(v)
            if x[0, 0] > 0 and len(items) < 7:
                items.append(v * 10)
        for v in reversed(items):
            seen.append(-v)
            if x[0, 1] > 0 and len(items) > 2:
                items.pop()
                items.pop()
        return seen, items


class Aliases(nn.Module):
    """Identity after forks, cycles, nested aliases."""

    def forward(self, x):
        inner = [1]
        outer = {"one": inner, "two": inner, "pair": (inner, inner)}
        node = Vector(1, 2)
        node.a = node
        if x[0, 0] > 0:
            outer["two"] = list(inner)
        if x[0, 1] > 0:
            inner.append(2)
        return (
            outer["one"] is outer["two"],
            outer["pair"][0] is inner,
            outer["two"],
            node.a is node,
            node.a.a.b,
            [inner is o for o in outer.values()],
        )


class SlicesOfLists(nn.Module):
    """Slices, deletion, multiplication, insertion, index, count, reversal on one side."""

    def forward(self, x):
        items = [5, 3, 8, 1]
        if x[0, 0] > 0:
            del items[1:3]
            items.insert(0, 7)
        if x[0, 1] > 0:
            items[1:1] = [9, 9]
            items.reverse()
        sign = -1 if x[0, 2] > 0 else 1
        items.sort(key=lambda v: sign * v)
        return items, items.index(5), items.count(9), items * 2, items[::-1], 8 in items


class Attributes(nn.Module):
    """getattr with defaults, hasattr, setattr and delattr on the model's own objects."""

    def forward(self, x):
        v = Vector(1, 2)
        if x[0, 0] > 0:
            v.extra = 5
        if hasattr(v, "extra") and x[0, 1] > 0:
            del v.extra
        setattr(v, "b" if x[0, 2] > 0 else "c", 9)
        try:
            missing = v.nothing
        except AttributeError as error:
            missing = str(error)
        return getattr(v, "extra", None), v.b, getattr(v, "c", -1), missing, sorted(vars(v))


class NumberAttributes(nn.Module):
    """What a number has and has not."""

    def forward(self, x):
        v, k = x.sum().item(), x.argmax().item()
        has = [hasattr(v, n) for n in ("item", "kind", "real", "vid", "shape", "is_integer")]
        try:
            v.item()
        except AttributeError as error:
            has.append(str(error))
        return (
            has,
            v.real,
            k.numerator,
            k.imag,
            v.is_integer(),
            isinstance(v, float),
            type(k) is int,
            isinstance(k, (int, str)),
        )


class TextOfNumbers(nn.Module):
    """Every way to write a run-time number."""

    def forward(self, x):
        v, k = x.sum().item(), x.argmax().item()
        flag = v > 0
        width = 8
        a = f"{v:.2f}|{v:>{width}.1e}|{k:03d}|{k!r}|{flag}|{v}"
        b = "%.2f and %d or %s" % (v, k, flag)  # noqa: UP031
        c = f"{v:.1f}-{k}"
        d = str(v) + repr(k) + format(v, "+.1f")
        return a, b, c, d


class TextOfError(nn.Module):
    """The text of an exception that holds run-time text."""

    def forward(self, x):
        v = x.sum().item()
        try:
            if v > 0:
                raise ValueError(f"v={v:.2f}")
            raise KeyError(f"k={v:.1f}", 2)
        except (ValueError, KeyError) as error:
            return f"<{error}>", str(error)


class TextOfContainer(nn.Module):
    """The text of containers that hold run-time numbers."""

    def forward(self, x):
        k = x.argmax().item()
        return str([k, 1]), f"{(k, 'a')}"


class TextCompared(nn.Module):
    """Run-time text compared, measured, used as a key."""

    def forward(self, x):
        name = f"expert_{int(x[0, 0] > 0)}"
        return (
            {"expert_0": "zero", "expert_1": "one"}[name],
            name == "expert_1",
            len(name),
            name.upper(),
            name in ("expert_0",),
        )


class CachedProperty(nn.Module):
    """A cached property of an object made in the run."""

    class Stats:
        def __init__(self, x):
            self.x = x
            self.made = 0

        @functools.cached_property
        def top(self):
            self.made += 1
            return "high" if self.x.max() > 1 else "low"

    def forward(self, x):
        stats = self.Stats(x)
        return stats.top, stats.top, stats.made


class Dynamic:
    """Attributes that are made up."""

    def __init__(self, x):
        self.x = x

    def __getattr__(self, name):
        if name.startswith("is_"):
            return self.x.sum() > float(name[3:])
        raise AttributeError(f"no {name}")


class MadeUpAttributes(nn.Module):
    """__getattr__ of the model's own."""

    def forward(self, x):
        d = Dynamic(x)
        try:
            d.other  # noqa: B018
        except AttributeError as error:
            text = str(error)
        return "yes" if d.is_1 else "no", text, getattr(d, "also", 3)


class MathOfNumbers(nn.Module):
    """The numeric tower."""

    def forward(self, x):
        v, k, flag = x.sum().item(), x.argmax().item(), (x[0, 0] > 0).item()
        return (
            k / 2, k // 2, -k // 2, k % 3, -k % 3, k**2, 2**k, v**2, v // 1, v % 1, -v % 2, divmod(k, 3), divmod(v, 0.3),
            round(v), round(v, 1), round(k, -1), abs(v), flag + 1, flag * v, flag and k, flag or v, flag & True, flag ^ True,
            k << 1, k & 1, k | 4, ~k, min(k, 1), max(v, 0.0), min(v, 1, k), max(flag, 0), sum([k, v, flag]),
            int(v), float(k), bool(k), math.floor(v), math.ceil(v), math.sqrt(abs(v)), math.isnan(v), v == k, k == flag,
            0 < v <= 1.5, k in (1, 2), -1 < k < 2 < 3, +flag, -flag, not k, v.__class__.__name__, 1 if k else 0.5,
        )  # fmt: skip


class Mixed(nn.Module):
    """Types that depend on the data."""

    def forward(self, x):
        v = x.sum().item()
        limit = 1 if v > 0 else 2.5
        return max(limit, v), min(1, v), limit * 2, [type(limit).__name__, isinstance(limit, int)]


class BigIntegers(nn.Module):
    """Integers beyond 64 bits."""

    def forward(self, x):
        k = x.argmax().item()
        return (k + 3) ** 50, 10 ** (20 + 0) + k, (k + 1) << 70


class SpecialFloats(nn.Module):
    """nan, infinities and the sign of zero."""

    def forward(self, x):
        v = (x[0, 0] / torch.relu(x[0, 1])).item()
        z = (x[0, 2].clamp(0, 0) * x[0, 3]).item()
        out = [v, z, v == v, v > 1, v != v, max(v, 0.0), min(0.0, v), sorted([v, 0.0, 1.0])]
        return out, math.copysign(1.0, z), z == 0, -z


class CallOfNone(nn.Module):
    """What is no function is called on one path: Python's own error, whatever it is handed."""

    def forward(self, x):
        steps = {"tanh": torch.tanh, "none": None}
        step = steps["tanh" if x.sum() > 0 else "none"]
        try:
            return step(x), "called"
        except TypeError as error:
            return x, str(error)


CASES = [
    Case(found)
    for found in list(globals().values())
    if isinstance(found, type) and issubclass(found, nn.Module) and found.__module__ == __name__
]
