"""Objects of classes: dataclasses, the model's own classes, properties, descriptors, enumerations."""

from __future__ import annotations

import enum
import functools
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, ClassVar

import torch

from tests.conformance.table import Base, Section

SECTION = Section("Objects")


@dataclass
class Output:
    """What a model returns."""

    logits: Any
    hidden: Any = None
    steps: int = 0


@SECTION.yes("dataclass as a result", "the artifact has a stand-in where the class cannot be imported")
class DataclassResult(Base):
    def forward(self, x):
        if x.sum() > 0:
            return Output(logits=x * 2)
        return Output(x, hidden=[x + 1], steps=3)


@dataclass
class Cursor:
    """State of a search, with a derived field and one that is made for each."""

    position: int
    seen: list = field(default_factory=list)
    double: int = field(init=False)
    limit: ClassVar[int] = 3

    def __post_init__(self):
        self.double = self.position * 2
        self.seen.append(self.position)

    def advance(self):
        self.position += 1
        self.seen.append(self.position)
        return self


@SECTION.yes("dataclass inside the run: `__post_init__`, `default_factory`, methods, `ClassVar`")
class DataclassInside(Base):
    def forward(self, x):
        cursor = Cursor(0)
        for layer in self.layers:
            x = layer(x)
            if x.sum() > 0 and cursor.position < Cursor.limit:
                cursor.advance()
        return x, cursor.seen, cursor.double


@dataclass(frozen=True)
class Config:
    """Frozen, compared by value."""

    width: int = 4
    scale: float = 2.0


@SECTION.yes("frozen dataclass, `dataclasses.replace`, comparison by value")
class FrozenDataclass(Base):
    def forward(self, x):
        config = Config()
        if x.sum() > 0:
            config = replace(config, scale=3.0)
        return x * config.scale, config == Config(), config.width


class Beam:
    """A hypothesis of a search."""

    def __init__(self, tokens, score):
        self.tokens = tokens
        self.score = score

    def extended(self, token, gain):
        return Beam([*self.tokens, token], self.score + gain)

    def __lt__(self, other):
        return self.score < other.score

    def __len__(self):
        return len(self.tokens)


@SECTION.yes("object of a class of the model's own inside the run", "dissolves")
class OwnObject(Base):
    def forward(self, x):
        beam = Beam([], 0.0)
        for i in range(3):
            value = x[0, i].item()
            if value > 0:
                beam = beam.extended(i, value)
        return beam.tokens, beam.score, len(beam)


class Opaque:
    """An object that only the model's code knows."""

    def __init__(self, x):
        self.x = x


@SECTION.yes("object of another class as a result", "the artifact has a stand-in with its attributes")
class ReturnsObject(Base):
    def forward(self, x):
        return Opaque(x)


class Vector:
    """Has operators of its own."""

    def __init__(self, data):
        self.data = data

    def __add__(self, other):
        return Vector(self.data + (other.data if isinstance(other, Vector) else other))

    __radd__ = __add__

    def __mul__(self, k):
        return Vector(self.data * k)

    def __getitem__(self, i):
        return self.data[:, i]

    def __setitem__(self, i, value):
        self.data = torch.cat([self.data[:, :i], value.reshape(1, 1), self.data[:, i + 1 :]], 1)

    def __eq__(self, other):
        return bool((self.data == other.data).all())

    def __hash__(self):
        return 0

    def __bool__(self):
        return bool(self.data.sum() > 0)

    def __contains__(self, value):
        return value < 4

    def __call__(self, k):
        return self * k

    def __neg__(self):
        return Vector(-self.data)

    def __iter__(self):
        return iter([self.data, self.data * 2])


@SECTION.yes("operators and other special methods of the model's own classes", "interpreted")
class OwnOperators(Base):
    def forward(self, x):
        v = Vector(x) + 1
        v = sum([v, v * 2]) if v else -v
        v[0] = x[0, 1]
        return v[0], v(3).data, v == Vector(x), 2 in v


@SECTION.yes("`zip(*map(f, xs))`, `f(*generator)` of run-time length", "gone through first")
class SpreadGenerator(Base):
    def forward(self, x):
        places = (x > 0).nonzero().flatten().tolist()
        if not places:
            return x
        some, others = zip(*map(lambda place: (place, x.sum() * place), places))
        return max(*(place for place in [*some, 1])), torch.stack(others)


@SECTION.yes("unpacking an object with an `__iter__` of the model's own")
class UnpackedObject(Base):
    def forward(self, x):
        first, second = Vector(x)
        return first + second if x.sum() > 0 else first


class Temperature:
    """Has a property with a setter, a class method, a static method."""

    scale = 2.0

    def __init__(self, value):
        self._value = value

    @property
    def value(self):
        return self._value * self.scale

    @value.setter
    def value(self, new):
        self._value = new if new.sum() > 0 else -new

    @classmethod
    def cold(cls, x):
        return cls(x * 0)

    @staticmethod
    def double(x):
        return x * 2


@SECTION.yes("property with a setter, `@classmethod`, `@staticmethod`, class attributes")
class Properties(Base):
    def forward(self, x):
        t = Temperature.cold(x)
        t.value = Temperature.double(x)
        return t.value, type(t).scale


class Clamped:
    """A descriptor."""

    def __set_name__(self, owner, name):
        self.name = "_" + name

    def __get__(self, instance, owner=None):
        return self if instance is None else instance.__dict__[self.name]

    def __set__(self, instance, value):
        instance.__dict__[self.name] = value if value.sum() > 0 else value * 0


class Holder:
    """Uses the descriptor."""

    level = Clamped()

    def __init__(self, x):
        self.level = x


@SECTION.yes("descriptor (`__get__`, `__set__`, `__set_name__`)")
class Descriptors(Base):
    def forward(self, x):
        holder = Holder(x)
        return holder.level + 1


class Lazy:
    """Computes once, and falls back for unknown names."""

    def __init__(self, x):
        self.x = x
        self.count = 0

    @functools.cached_property
    def total(self):
        self.count += 1
        return self.x.sum()

    def __getattr__(self, name):
        if name.startswith("get_"):
            return lambda k: self.x[:, k]
        raise AttributeError(name)


@SECTION.yes("`functools.cached_property`, `__getattr__`")
class CachedProperty(Base):
    def forward(self, x):
        lazy = Lazy(x)
        if lazy.total > 0:
            return lazy.total + lazy.total, lazy.count, lazy.get_first(0)
        return lazy.count, hasattr(lazy, "other")


class Mode(enum.Enum):
    """What to do."""

    KEEP = "keep"
    DOUBLE = "double"

    @property
    def is_keep(self):
        return self is Mode.KEEP


class Level(enum.IntEnum):
    """How far."""

    LOW = 1
    HIGH = 2


@SECTION.yes("enumerations: members, values, comparison, iteration")
class Enumerations(Base):
    def forward(self, x):
        mode = Mode.KEEP if x.sum() > 0 else Mode("double")
        level = Level.HIGH if x[0, 0] > 0 else Level.LOW
        if mode.is_keep and level > Level.LOW:
            return x, level.name, len(Mode)
        return x * level, mode.value, [m.name for m in Mode]


@SECTION.yes("`Enum(number)` of a run-time number", "one branch for each member")
class MemberOfNumber(Base):
    def forward(self, x):
        level = Level(int(x.sum() > 0) + 1)
        return x * level, level.name


class Ranked:
    """Compares itself."""

    def __init__(self, name, score):
        self.name, self.score = name, score

    def __lt__(self, other):
        return self.score < other.score


@SECTION.yes("`sorted`, `sort`, `min`, `max` of objects with `__lt__`, `cmp_to_key`", "a decision for each comparison")
class ObjectsInOrder(Base):
    def forward(self, x):
        made = [Ranked("a", x[0, 0].item()), Ranked("b", x[0, 1].item())]
        return [found.name for found in sorted(made)], max(made).name


class Strategy(ABC):
    """What a step does."""

    @abstractmethod
    def apply(self, x):
        """One step."""


class Grow(Strategy):
    """Makes it larger."""

    def apply(self, x):
        return x * 2


class Shrink(Strategy):
    """Makes it smaller, but not always."""

    def apply(self, x):
        return x * 0.5 if x.abs().max() > 1 else super().apply(x)


@SECTION.yes("abstract base classes, inheritance, `super()`, polymorphism")
class Polymorphism(Base):
    def forward(self, x):
        strategy: Strategy = Grow() if x.sum() > 0 else Shrink()
        return strategy.apply(x), isinstance(strategy, Strategy), type(strategy).__name__


class Left:
    """First in the order of resolution."""

    def tag(self):
        return ["left", *super().tag()]


class Right:
    """Last in the order of resolution."""

    def tag(self):
        return ["right"]


class Both(Left, Right):
    """Multiple inheritance."""


@SECTION.yes("multiple inheritance, method resolution order")
class Resolution(Base):
    def forward(self, x):
        return Both().tag() if x.sum() > 0 else Right().tag()


@SECTION.yes("`types.SimpleNamespace`, `__dict__`, `vars`, `__slots__`")
class Namespaces(Base):
    def forward(self, x):
        state = SimpleNamespace(x=x, steps=0)
        while state.x.abs().max() > 0.5:
            state.x = state.x * 0.5
            state.steps += 1
        return state.x, state.steps


class Stack:
    """A small container of the model's own."""

    __slots__ = ("items",)

    def __init__(self):
        self.items = []

    def push(self, item):
        self.items.append(item)

    def pop(self):
        if not self.items:
            raise IndexError("empty")
        return self.items.pop()


@SECTION.yes("stack machine over a class with `__slots__`", unreachable=5)
class SlotsObject(Base):
    def forward(self, x):
        stack = Stack()
        for i in range(3):
            if x[0, i] > 0:
                stack.push(x[0, i])
            else:
                try:
                    x = x + stack.pop()
                except IndexError:
                    x = x - 1
        return x, len(stack.items)


@SECTION.refused("DY210", "`id()`", "its answer would be frozen; compare with `is`")
class Identity(Base):
    def forward(self, x):
        return id(self)
