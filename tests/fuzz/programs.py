"""Whole random programs: a module with functions, classes and a model, as text."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.fuzz.idioms import Idioms
from tests.fuzz.kinds import Kind
from tests.fuzz.scope import Callee, Scope
from tests.fuzz.statements import BUFFER, BY_FEATURE, Statements

# What a program may use: each takes a share of these, so that those it has meet often.
FEATURES: dict[str, float] = {
    "alias": 0.4,
    "arithmetic": 0.3,
    "asserts": 0.3,
    "batches": 0.25,
    "beams": 0.2,
    "calls": 0.8,
    "choice": 0.5,
    "circuits": 0.5,
    "classes": 0.3,
    "closures": 0.35,
    "comprehensions": 0.4,
    "counters": 0.35,
    "dispatch": 0.3,
    "dispatchers": 0.3,
    "dtypes": 0.25,
    "effects": 0.1,
    "einsum": 0.15,
    "errors": 0.5,
    "floats": 0.4,
    "functions": 0.25,
    "generators": 0.3,
    "guards": 0.6,
    "identity": 0.2,
    "inplace": 0.4,
    "ints": 0.4,
    "iterators": 0.3,
    "lambdas": 0.3,
    "layers": 0.6,
    "loops": 0.8,
    "managers": 0.2,
    "masks": 0.4,
    "match": 0.3,
    "memory": 0.3,
    "meters": 0.2,
    "mixed": 0.2,
    "modules": 0.3,
    "nested": 0.25,
    "nones": 0.4,
    "numbers": 0.6,
    "numpy": 0.1,
    "objects": 0.3,
    "owns": 0.25,
    "queues": 0.2,
    "returns": 0.6,
    "rows": 0.5,
    "shortcuts": 0.3,
    "sizes": 0.25,
    "slices": 0.3,
    "sorting": 0.3,
    "specials": 0.1,
    "state": 0.5,
    "tables": 0.3,
    "tensors": 0.7,
    "text": 0.3,
    "tokens": 0.3,
    "tops": 0.3,
    "truth": 0.5,
    "tuples": 0.4,
    "views": 0.3,
    "walrus": 0.3,
    "words": 0.2,
    "worklists": 0.2,
}

GIVEN_RATE = 0.3  # of the programs that write in place: how many write to their inputs, too

HEAD = '''\
"""A random program."""

import collections
import copy
import functools
import itertools
import math
from collections import namedtuple
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

Point = namedtuple("Point", ["value", "score"])


@dataclass
class Record:
    value: torch.Tensor
    count: int = 0
    tags: list = field(default_factory=list)

    def grown(self, by):
        return Record(self.value * by, self.count + by, [*self.tags, by])


class Box:
    factor = 2

    def __init__(self, content):
        self.content = content

    @property
    def doubled(self):
        return self.content * self.factor

    @staticmethod
    def weigh(content):
        return content.sum()

    def __call__(self, by):
        return self.content * by

    def __add__(self, other):
        return Box(self.content + other.content)

    def __len__(self):
        return int((self.content > 0).sum())

    def __bool__(self):
        return bool(self.weigh(self.content) > 0.5)

    def __eq__(self, other):
        return torch.equal(self.content, other.content)

    def __lt__(self, other):
        return self.weigh(self.content) < other.weigh(other.content)

    def __float__(self):
        return self.content.mean().item()


class Meter:
    def __init__(self):
        self.total = 0.0
        self.items = []

    def update(self, value):
        self.total += value
        self.items.append(value)
        return self

    @property
    def mean(self):
        return self.total / max(len(self.items), 1)

    def __len__(self):
        return len(self.items)

    def __iter__(self):
        yield from self.items


def above(batch, least):
    return batch[batch.sum(1) > least]


def twice(function):
    def both(r):
        return function(function(r))

    return both


class Stop(Exception):
    def __init__(self, value, number=0):
        super().__init__(value, number)
        self.value = value
        self.number = number


class Halt(Stop):
    pass


class Guard:
    def __init__(self, notes, swallows):
        self.notes = notes
        self.swallows = swallows

    def __enter__(self):
        self.notes.append(1)
        return self

    def __exit__(self, kind, error, trace):
        self.notes.append(2 if kind is None else 3)
        return self.swallows and kind is not None and issubclass(kind, Stop)

'''

FEATURE_OF = {kind: feature for feature, kind in BY_FEATURE}
RESULTS = (Kind.ROW, Kind.INT, Kind.FLOAT, Kind.BOOL, Kind.SCALAR)
OPTIONAL_RESULTS: tuple[tuple[str, Kind], ...] = (
    ("text", Kind.TEXT),
    ("ints", Kind.INTS),
    ("floats", Kind.FLOATS),
    ("rows", Kind.ROWS),
    ("tables", Kind.TABLE),
    ("tables", Kind.ROWTABLE),
    ("tuples", Kind.PAIR),
    ("tuples", Kind.POINT),
    ("objects", Kind.RECORD),
    ("nones", Kind.MAYBE),
    ("dtypes", Kind.DOUBLE),
    ("counters", Kind.WHOLE),
    ("counters", Kind.SLOTS),
    ("batches", Kind.BATCH),
    ("beams", Kind.BEAMS),
    ("owns", Kind.OWNS),
    ("nested", Kind.GROUPS),
    ("nested", Kind.COUNTS),
    ("words", Kind.WORDS),
    ("mixed", Kind.MIXED),
    ("sizes", Kind.VECTOR),
)
DEFAULTS: dict[Kind, str] = {Kind.INT: "1", Kind.BOOL: "False", Kind.FLOAT: "0.25", Kind.MAYBE: "None"}
ATTRIBUTES: tuple[tuple[str, Kind, str], ...] = (
    ("self.count", Kind.INT, "0"),
    ("self.level", Kind.FLOAT, "0.0"),
    ("self.memory", Kind.MAYBE, "None"),
    ("self.trace", Kind.ROW, "torch.zeros(1, 4)"),
    ("self.seen", Kind.INTS, "[]"),
    ("self.queue", Kind.ROWS, "[]"),
    ("self.whole", Kind.WHOLE, "torch.tensor(0)"),
    ("self.slots", Kind.SLOTS, "torch.zeros(3, dtype=torch.long)"),
    ("self.running", Kind.MIXED, "0"),
    ("self.table", Kind.TABLE, "{}"),
    ("self.record", Kind.RECORD, "Record(torch.zeros(1, 4))"),
    ("self.meter", Kind.METER, "Meter()"),
    ("self.recent", Kind.QUEUE, "collections.deque(maxlen=2)"),
    ("self.counts", Kind.COUNTS, "{}"),
    ("self.precise", Kind.DOUBLE, "torch.zeros(1, 4, dtype=torch.float64)"),
)


MODULES = (
    "        self.cell = nn.GRUCell(4, 4)",
    "        self.memory_cell = nn.LSTMCell(4, 4)",
    "        self.norm = nn.LayerNorm(4)",
    '        self.blocks = nn.ModuleDict({f"block{i}": nn.Linear(4, 4) for i in range(2)})',
    "        self.gate0, self.gate1 = nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.Tanh())",
    '        self.plain = {"a": self.first, "b": self.stack}',
    "        self.drop = nn.Dropout(0.5)",
    "        self.scale = nn.Parameter(torch.full((4,), 0.75))",
)


@dataclass(frozen=True, slots=True)
class RandomProgram:
    """The text of a program, and what it takes."""

    text: str
    features: frozenset[str]
    inputs: tuple[str, ...]  # the kinds of what `forward` takes


class ProgramWriter:
    """Writes one program."""

    def __init__(self, rng: random.Random, size: int) -> None:
        self.rng = rng
        self.size = size
        self.features = frozenset(name for name, share in FEATURES.items() if rng.random() < share) | {"basic"}
        self.lines: list[str] = []
        self.functions: list[Callee] = []

    def write(self) -> RandomProgram:
        """The program."""
        if "calls" in self.features:
            for index in range(self.rng.randint(1, 2)):
                self._helper(index)
        if "generators" in self.features:
            self._generator()
        if "calls" in self.features and self.rng.random() < 0.3:
            self._recursive()
        part = self._part() if "calls" in self.features and self.rng.random() < 0.5 else None
        inputs = self._model(part)
        return RandomProgram(HEAD + "\n" + "\n".join(self.lines) + "\n", self.features, inputs)

    # ------------------------------------------------------------ functions

    def _function(self, indent: int) -> Statements:
        statements = Idioms(self.rng, self.features)
        statements.callees = list(self.functions)
        statements.indent = indent
        return statements

    def _params(self) -> tuple[tuple[str, Kind, str], ...]:
        kinds = [
            k for f, k in (("ints", Kind.INTS), ("rows", Kind.ROWS), ("objects", Kind.RECORD)) if f in self.features
        ]
        params: list[tuple[str, Kind, str]] = [("x", Kind.ROW, "")]
        if self.rng.random() < 0.4:
            params.append(("c", self.rng.choice([Kind.ROW, Kind.INT, Kind.FLOAT, *kinds]), ""))
        for name in ("p", "q"):
            if self.rng.random() < 0.5:
                kind = self.rng.choice(list(DEFAULTS))
                params.append((name, kind, DEFAULTS[kind]))
        return tuple(params)

    def _define(self, statements: Statements, name: str, callee: Callee, *, method: bool = False) -> None:
        """Write a function with these parameters and this result."""
        params = [f"{n}={default}" if default else n for n, _, default in callee.params]
        star = ["*rest"] if callee.takes_star else []
        head = f"def {name}({', '.join([*(['self'] if method else []), *params, *star])}):"
        names = {n: kind for n, kind, _ in callee.params}
        if callee.takes_star:
            names["rest"] = Kind.TEXT  # read in a place of its own
        protected = frozenset({"Stop", "Halt"}) if callee.may_raise else frozenset()
        statements.scope = Scope(protected=protected)
        statements.returns = lambda: statements.expr(callee.returns, 1)
        statements.budget = self.rng.randint(1, max(2, self.size // 3))
        with statements.block(head):
            statements.scope.names.update({n: k for n, k in names.items() if n != "rest"})
            if callee.takes_star:
                statements.line("for more in rest:")
                statements.line("    x = x + more")
            statements.body(1, 3)
            statements.line(f"return {statements.expr(callee.returns, 2)}")
        self.lines += [*statements.lines, ""]

    def _callee(self, text: str, *, may_raise: bool) -> Callee:
        kinds = [Kind.ROW, Kind.ROW, Kind.ROW, Kind.INT, Kind.FLOAT, Kind.SCALAR]
        kinds += [Kind.PAIR] if "tuples" in self.features else []
        params = self._params()
        star = self.rng.random() < 0.15 and not any(default for *_, default in params)
        return Callee(text, params, self.rng.choice(kinds), may_raise=may_raise, takes_star=star)

    def _helper(self, index: int) -> None:
        callee = self._callee(f"helper{index}", may_raise="errors" in self.features and self.rng.random() < 0.6)
        self._define(self._function(0), callee.text, callee)
        self.lines.append("")
        self.functions.append(callee)

    def _generator(self) -> None:
        callee = Callee("stream", (("x", Kind.ROW, ""), ("p", Kind.INT, "2")), Kind.ROW, is_generator=True)
        statements = self._function(0)
        statements.features |= {"yield"}
        statements.yields = Kind.ROW
        statements.budget = 3
        with statements.block("def stream(x, p=2):"):
            statements.scope.names.update({"x": Kind.ROW, "p": Kind.INT})
            with statements.block(
                f"for i in range({self.rng.choice(['3', '2', 'p % 4'])}):", in_loop=True, fixed=frozenset("i")
            ):
                statements.scope.names["i"] = Kind.INT
                statements.body(1, 2)
                statements.line(f"x = {statements.expr(Kind.ROW, 2)}")
                statements.line("yield x")
            if self.rng.random() < 0.4:
                with statements.block(f"if {statements.cond(1)}:"):
                    statements.line("yield x * 2")
        self.lines += [*statements.lines, "", ""]
        self.functions.append(callee)

    def _recursive(self) -> None:
        statements = self._function(0)
        statements.scope.names.update({"x": Kind.ROW, "n": Kind.INT})
        test, step, result = statements.cond(2), statements.expr(Kind.ROW, 2), statements.expr(Kind.ROW, 1)
        again = f" + recurse({statements.expr(Kind.ROW, 1)}, n - 2)"
        params = [("x", Kind.ROW, "")]
        if self.rng.random() < 0.5:
            params.append(("n", Kind.INT, ""))  # a depth that only the run may know
        self.lines += [
            "def recurse(x, n=3):",
            f"    if n <= 0 or n > 6 or {test}:",
            f"        return {result}",
            f"    return recurse({step}, n - 1){statements.one_of('', ' * 0.5', ' + x', again)}",
            "",
            "",
        ]
        self.functions.append(Callee("recurse", tuple(params), Kind.ROW))

    # ------------------------------------------------------------ classes

    def _attributes(self) -> list[tuple[str, Kind, str]]:
        if "state" not in self.features:
            return []
        able = [row for row in ATTRIBUTES if FEATURE_OF.get(row[1], "basic") in self.features]
        return self.rng.sample(able, self.rng.randint(1, min(3, len(able))))

    def _open(self, attributes: list[tuple[str, Kind, str]], has_buffer: bool, indent: int) -> Statements:
        statements = self._function(indent)
        statements.is_state_open = True
        statements.attributes = {name: kind for name, kind, _ in attributes}
        if has_buffer:
            statements.attributes[BUFFER] = Kind.ROW
        return statements

    def _init(self, attributes: list[tuple[str, Kind, str]], has_buffer: bool) -> None:
        self.lines += ["    def __init__(self):", "        super().__init__()"]
        self.lines += [f"        {name} = {value}" for name, _, value in attributes]
        if has_buffer:
            self.lines.append('        self.register_buffer("buffer", torch.zeros(1, 4))')

    def _part(self) -> Callee:
        attributes = self._attributes() if self.rng.random() < 0.5 else []
        self.lines.append("class Part(nn.Module):")
        self._init(attributes, False)
        self.lines += ["        self.first = nn.Linear(4, 4)", ""]
        callee = self._callee("self.part", may_raise="errors" in self.features and self.rng.random() < 0.5)
        statements = self._open(attributes, False, 1)
        self._define(statements, "forward", callee, method=True)
        self.lines.append("")
        return callee

    def _model(self, part: Callee | None) -> tuple[str, ...]:
        attributes, has_buffer = self._attributes(), "state" in self.features and self.rng.random() < 0.3
        self.lines.append("class Model(nn.Module):")
        self._init(attributes, has_buffer)
        self.lines += [
            "        self.first = nn.Linear(4, 4)",
            "        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])",
            "        self.stack = nn.Sequential(nn.Linear(4, 4), nn.ReLU())",
            "        self.embed = nn.Embedding(4, 4)",
        ]
        if "modules" in self.features:
            self.lines += MODULES
        self.lines += ["        self.part = Part()"] if part else []
        self.lines.append("")
        methods = [part] if part else []
        if "calls" in self.features and self.rng.random() < 0.5:
            callee = self._callee("self.method", may_raise="errors" in self.features and self.rng.random() < 0.5)
            statements = self._open(attributes, has_buffer, 1)
            statements.callees += methods
            statements.has_layers = True
            self._define(statements, "method", callee, method=True)
            methods.append(callee)
        return self._forward(attributes, has_buffer, methods)

    def _forward(
        self, attributes: list[tuple[str, Kind, str]], has_buffer: bool, methods: list[Callee]
    ) -> tuple[str, ...]:
        statements = self._open(attributes, has_buffer, 1)
        statements.callees += methods
        statements.has_layers = True
        statements.budget = self.rng.randint(self.size // 2, self.size)
        inputs = ["row"]
        inputs += ["row"] if self.rng.random() < 0.2 else []
        inputs += ["tokens"] if "tokens" in self.features else []
        params = [
            {"row": "x", "tokens": "tokens"}[kind] if index == 0 or kind == "tokens" else "y"
            for index, kind in enumerate(inputs)
        ]
        statements.returns = lambda: self._result(statements)
        with statements.block(f"def forward(self, {', '.join(params)}):"):
            statements.scope.names.update({n: Kind(kind) for n, kind in zip(params, inputs, strict=True)})
            if "inplace" in self.features and self.rng.random() < GIVEN_RATE:  # the caller sees what is written
                statements.scope.owned |= {name for name in params if name != "tokens"}
            statements.body(3, 7)
            statements.line(f"return {self._result(statements)}")
        self.lines += statements.lines
        return tuple(inputs)

    def _result(self, statements: Statements) -> str:
        """What is returned: values of several kinds, in a tuple, a dict or alone."""
        kinds = [*RESULTS, *(kind for feature, kind in OPTIONAL_RESULTS if feature in self.features)]
        names = [n for kind in kinds for n in statements.variables(kind)]
        chosen = self.rng.sample(names, min(len(names), self.rng.randint(1, 4)))
        parts = [*chosen, statements.expr(self.rng.choice(RESULTS), 1)]
        shape = self.rng.random()
        if shape < 0.15:
            return parts[0]
        if shape < 0.35:
            return "{" + ", ".join(f"'r{index}': {part}" for index, part in enumerate(parts)) + "}"
        if shape < 0.45:
            return "[" + ", ".join(parts) + "]"
        return "(" + ", ".join(parts) + ")"


def write_program(rng: random.Random, size: int = 12) -> RandomProgram:
    """A random program; `size` bounds the statements of `forward`."""
    return ProgramWriter(rng, size).write()
