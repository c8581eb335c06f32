"""What a random function may use at one place, and its expressions."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tests.fuzz.grammar import ATOMS, CONDITIONS, EXPRESSIONS, NAMES
from tests.fuzz.kinds import Kind

_HOLE = re.compile(r"<(\w+!?)>")
_CLOSED = (ast.Name, ast.Call, ast.Attribute, ast.Subscript, ast.List, ast.Dict, ast.ListComp, ast.DictComp)
_KINDS = {kind.value: kind for kind in Kind}


@dataclass(frozen=True, slots=True)
class Callee:
    """A function that a program may call: how, with what, for what."""

    text: str  # what stands before the parenthesis
    params: tuple[tuple[str, Kind, str], ...]  # name, kind, default or nothing
    returns: Kind
    may_raise: bool = False
    is_generator: bool = False
    takes_star: bool = False  # further rows


@dataclass(slots=True)
class Scope:
    """The variables that are surely bound here, and what may be done with them."""

    names: dict[str, Kind] = field(default_factory=dict)
    fixed: frozenset[str] = frozenset()  # not to be assigned: loop variables, names of an outer function
    owned: frozenset[str] = frozenset()  # rows of the function's own memory: they may be written in place
    in_loop: bool = False
    protected: frozenset[str] = frozenset()  # exceptions that somebody catches
    is_plain: bool = False  # inside a comprehension or lambda: no walrus, no calls

    def inner(self, **changes: object) -> Scope:
        """A scope for a block: what it binds is unknown afterwards."""
        return replace(self, names=dict(self.names), **changes)  # type: ignore[arg-type]  (fields by name)


class Expressions:
    """Writes expressions of a wanted kind over the variables of the current scope."""

    def __init__(self, rng: random.Random, features: frozenset[str]) -> None:
        self.rng = rng
        self.features = features
        self.scope = Scope()
        self.callees: list[Callee] = []
        self.attributes: dict[str, Kind] = {}  # `self.count` and the like, where `self` is in scope
        self.has_layers = False
        self._constants: dict[str, Callable[[], str]] = {
            "factor": lambda: self.one_of("0.5", "-0.5", "0.9", "1.5", "-1.0"),
            "bias": lambda: str(round(rng.gauss(0.0, 0.5), 2)),
            "wide": lambda: str(round(rng.gauss(0.0, 1.5), 2)),
            "small": lambda: str(rng.randint(0, 2)),
            "pos": lambda: str(rng.randint(1, 3)),
            "column": lambda: str(rng.randint(0, 3)),
            "flag": lambda: self.one_of("True", "False"),
            "word": lambda: self.one_of("'low'", "'high'", "''"),
            "key": lambda: self.one_of("'a'", "'b'", "'c'"),
        }

    def one_of(self, *choices: str) -> str:
        return self.rng.choice(choices)

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def has(self, *features: str) -> bool:
        return any(feature in self.features for feature in features)

    # ------------------------------------------------------------ variables

    def variables(self, kind: Kind) -> list[str]:
        """What may be read as this kind."""
        names = [name for name, of in self.scope.names.items() if of is kind]
        return names + [name for name, of in self.attributes.items() if of is kind]

    def fresh(self, kind: Kind) -> str:
        """A name that is not bound here, or is of this kind and may be bound again."""
        taken = self.scope.names
        for name in self.rng.sample(NAMES[kind], len(NAMES[kind])):
            if name not in taken or (taken[name] is kind and name not in self.scope.fixed and self.chance(0.5)):
                return name
        number = 2
        while f"{NAMES[kind][0]}{number}" in taken:
            number += 1
        return f"{NAMES[kind][0]}{number}"

    # ------------------------------------------------------------ expressions

    def expr(self, kind: Kind, depth: int = 2) -> str:
        """An expression of the kind."""
        variables = self.variables(kind)
        if variables and (depth <= 0 or self.chance(0.35)):
            return self.rng.choice(variables)
        if depth <= 0:
            return self.fill(ATOMS[kind], 0)
        if not self.scope.is_plain and self.has("calls") and self.chance(0.25) and (text := self.call(kind, depth - 1)):
            return text
        templates = [text for feature, text in EXPRESSIONS[kind] if self._may_use(feature, text)]
        return self.fill(self.rng.choice(templates), depth - 1) if templates else self.fill(ATOMS[kind], 0)

    def cond(self, depth: int = 2) -> str:
        """Something that may be tested."""
        if depth <= 0:
            return self.fill("<row!>.sum() > <wide>", 0)
        templates = [text for feature, text in CONDITIONS if self._may_use(feature, text)]
        return self.fill(self.rng.choice(templates), depth - 1)

    def call(self, kind: Kind, depth: int) -> str | None:
        """A call of a function that returns the kind; None if there is none that may be called here."""
        able = [c for c in self.callees if c.returns is kind and not c.is_generator]
        able = [c for c in able if not c.may_raise or "Stop" in self.scope.protected]
        return self.arguments(self.rng.choice(able), depth) if able else None

    def arguments(self, callee: Callee, depth: int) -> str:
        """The call, its arguments by position, by name, by default, from a tuple or from a dict."""
        by_name = False
        parts: list[str] = []
        for name, kind, default in callee.params:
            if default and self.chance(0.4):
                by_name = True
                continue
            value = self.expr(kind, depth)
            if by_name or (default and self.chance(0.5)):
                by_name = True
                parts.append(f"{name}={value}" if self.chance(0.8) else f"**{{'{name}': {value}}}")
            else:
                parts.append(value if self.chance(0.9) else f"*({value},)")
        if callee.takes_star and not by_name:
            parts += [self.expr(Kind.ROW, depth) for _ in range(self.rng.randint(0, 2))]
        return f"{callee.text}({', '.join(parts)})"

    def _may_use(self, feature: str, text: str) -> bool:
        if feature not in self.features and feature != "basic":
            return False
        if self.scope.is_plain and ":=" in text:
            return False
        if "self." in text and not self.has_layers:
            return False
        return all(
            self.variables(_KINDS[word[:-1]]) for word in _HOLE.findall(text) if word.endswith("!") and word != "row!"
        )

    def fill(self, template: str, depth: int) -> str:
        """The template with its holes filled."""
        before = self.scope
        if " for " in template or "lambda" in template:
            self.scope = before.inner(is_plain=True)
        if "f'" in template:  # no quotes inside
            depth = -1
        parts: list[str] = []
        end = 0
        for hole in _HOLE.finditer(template):
            text = self._part(hole.group(1), depth)
            around = template[hole.start() - 1 : hole.start()], template[hole.end() : hole.end() + 1]
            parts += [template[end : hole.start()], _closed(text, around)]
            end = hole.end()
        self.scope = before
        return "".join([*parts, template[end:]])

    def _part(self, word: str, depth: int) -> str:
        if word in self._constants:
            return self._constants[word]()
        if word == "cond":
            return self.cond(depth)
        if word.endswith("!"):
            return self.rng.choice(self.variables(_KINDS[word[:-1]]))
        return self.expr(_KINDS[word], depth)


def _closed(text: str, around: tuple[str, str]) -> str:
    """The text, in parentheses where it would fall apart between its neighbours."""
    node = ast.parse(text, mode="eval").body
    if isinstance(node, _CLOSED) or (isinstance(node, ast.Constant) and text[0] != "-"):
        return text
    if around[0] in ("(", "[") and around[1] in (")", "]") and not isinstance(node, ast.NamedExpr):
        return text
    return text if text.startswith("(") and text.endswith(")") and _is_one(text) else f"({text})"


def _is_one(text: str) -> bool:
    """Whether the first parenthesis closes at the end."""
    depth = 0
    for index, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return index == len(text) - 1
    return False
