"""Random programs agree with CPython when lowered and interpreted, and their tables hold what they promise."""

from __future__ import annotations

import itertools
import linecache
import random
import re
import types
import warnings
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from interpreter import interpreted

from dycl.frontend.code import Catch, Code, MakeFunction
from dycl.frontend.lower import lower_function
from dycl.frontend.registers import reads, successors

_numbers = itertools.count()


class Writer:
    """Writes one random function; loops end because each round asks `t()`, which is true for a while only."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.lines: list[str] = []
        self.names = ["a", "b", "c"]
        self.loops = 0
        self.depth = 0
        self.budget = 40
        self.in_generator = False

    def one_of(self, *choices: str) -> str:
        return self.rng.choice(choices)

    def name(self) -> str:
        return self.rng.choice(self.names)

    def expression(self, depth: int = 3) -> str:
        if depth == 0:
            return self.one_of(self.name(), self.name(), str(self.rng.randint(0, 3)), "r(1)", "r(0)")
        e = lambda: self.expression(depth - 1)  # noqa: E731
        kind = self.rng.randint(0, 21)
        match kind:
            case 0 | 1:
                return f"r({e()})"
            case 2:
                return f"({e()} and {e()})"
            case 3:
                return f"({e()} or {e()})"
            case 4:
                return f"(not {e()})"
            case 5:
                return (
                    f"({e()} {self.one_of('<', '==', '!=', 'is', '>=')} {e()} {self.one_of('<', '<=', 'is not')} {e()})"
                )
            case 6:
                return f"({e()} if {e()} else {e()})"
            case 7:
                return f"({self.name()} := {e()})"
            case 8:
                return f"[{e()}, *l({e()}), {e()}]"
            case 9:
                return f"f({e()}, {e()})"
            case 10:
                return f"f({e()}, *l({e()}), k={e()}, **d({e()}))"
            case 11:
                return f"[{e()} for x in l({e()}) if {e()}]"
            case 12:
                return f"(lambda x: ({e()}, x))({e()})"
            case 13:
                return f"list(({e()}, y) for y in l({e()}) if {e()})"
            case 14:
                return f"f'{{{self.expression(0)}!r}}{{{self.name()}=}}'"
            case 15:
                return f"[(lambda: (x, {e()}))() for x in l({e()})]"
            case 16:
                return f"{{{e()!s}: 1}}" if self.rng.random() < 0.3 else f"l({e()})[{e()}]"
            case 17:
                return f"1 // {e()}"
            case 18:
                return f"({e()}, *l({e()}), r(2), *l({e()}))"
            case 19:
                return f"{{**d({e()}), 'k': {e()}, **d({e()})}}"
            case 20 if self.in_generator:
                return f"(yield {e()})"
            case _:
                return f"({e()} + {e()})"

    def line(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    def block(self, loops: int | None = None) -> None:
        self.depth += 1
        before = self.loops
        self.loops = before if loops is None else loops
        for _ in range(self.rng.randint(1, 3)):
            self.statement()
        self.loops = before
        self.depth -= 1

    def statement(self) -> None:
        self.budget -= 1
        if self.budget < 0 or self.depth > 5:
            self.line(f"r({self.rng.randint(10, 99)})")
            return
        self.rng.choice(self.STATEMENTS)(self)

    def simple(self) -> None:
        name, value = self.name(), self.expression(2)
        self.line(
            self.one_of(
                f"{name} = {value}",
                f"{name} = {self.name()} = {value}",
                f"{name} += {value}",
                f"{name}, {self.name()} = {value}, {self.expression(1)}",
                f"{name}, *{self.name()} = l({value})",
                f"r({value})",
                f"del {name}",
                f"assert {value}, {self.expression(1)}",
                f"o[{value}] = o.x = {self.expression(1)}",
                f"o[{value}] += {self.expression(1)}",
            )
        )

    def jump(self) -> None:
        choices = [f"return {self.expression(2)}", f"raise E({self.expression(1)})", "raise"]
        choices += ["break", "continue"] * 3 if self.loops else []
        choices.append(f"raise K from E({self.expression(0)})")
        self.line(self.rng.choice(choices))

    def guarded_jump(self) -> None:
        self.line(f"if {self.expression(2)}:")
        self.depth += 1
        self.jump()
        self.depth -= 1

    def if_(self) -> None:
        self.line(f"if {self.expression()}:")
        self.block()
        if self.rng.random() < 0.4:
            self.line(f"elif {self.expression(2)}:")
            self.block()
        if self.rng.random() < 0.6:
            self.line("else:")
            self.block()

    def while_(self) -> None:
        self.line(self.one_of(f"while t() and {self.expression(2)}:", "while t():"))
        self.block(self.loops + 1)
        self.orelse()

    def for_(self) -> None:
        self.line(f"for {self.one_of(self.name(), 'i', 'i, ' + self.name())} in l({self.expression(1)}):")
        self.block(self.loops + 1)
        self.orelse()

    def orelse(self) -> None:
        if self.rng.random() < 0.4:
            self.line("else:")
            self.block()

    def try_(self) -> None:
        self.line("try:")
        self.block()
        handlers = self.rng.randint(0, 2)
        for _ in range(handlers):
            self.line(self.one_of("except E:", "except K as a:", "except (E, K) as e:", "except Exception as b:"))
            self.block()
        if handlers and self.rng.random() < 0.3:
            self.line("except:")
            self.block()
        if handlers and self.rng.random() < 0.4:
            self.line("else:")
            self.block()
        if not handlers or self.rng.random() < 0.5:
            self.line("finally:")
            self.block()

    def with_(self) -> None:
        self.line(
            f"with m({self.expression(1)}) as {self.name()}" + self.one_of("", f", m({self.expression(1)})") + ":"
        )
        self.block()

    def function(self) -> None:
        name = f"g{len(self.lines)}"
        generator = self.rng.random() < 0.4
        self.line(f"def {name}(p, q={self.expression(1)}, *, k={self.expression(0)}):")
        outer, self.in_generator = self.in_generator, generator
        self.depth += 1
        if self.rng.random() < 0.5:
            self.line("nonlocal a, b")
        self.names.append("p")
        self.depth -= 1
        self.block(0)
        if generator:
            self.line(f"    yield {self.expression(1)}")
        self.names.remove("p")
        self.in_generator = outer
        self.line(f"r({'list' if generator else ''}({name}({self.expression(1)})))")

    def match_(self) -> None:
        self.line(f"match {self.expression(2)}:")
        self.depth += 1
        patterns = [
            "[]",
            "[a]",
            "[a, *b]",
            "0 | 1",
            "int(c)",
            "{'k': a}",
            "[_, (b as c), *_]",
            "str() | list()",
            "True",
        ]
        for pattern in self.rng.sample(patterns, 3):
            self.line(f"case {pattern}" + (f" if {self.expression(1)}" if self.rng.random() < 0.3 else "") + ":")
            self.block()
        self.depth -= 1

    STATEMENTS = (
        simple,
        simple,
        guarded_jump,
        guarded_jump,
        jump,
        if_,
        while_,
        for_,
        try_,
        try_,
        with_,
        function,
        match_,
    )

    def write(self) -> str:
        self.line("def program(r, t, l, d, f, m, o, E, K):")
        self.depth = 1
        self.line("a, b, c = 1, 0, 2")
        self.depth = 0
        for _ in range(3):
            self.block(0)
        return "\n".join(self.lines) + "\n"


class World:
    """What a program can touch; everything that happens is recorded."""

    def __init__(self) -> None:
        self.records: list[str] = []
        self.ticks = 0

    def note(self, *what: object) -> None:
        if len(self.records) > 3000:
            raise RuntimeError("too long")
        self.records.append(repr(what)[:300])

    def arguments(self) -> tuple[Any, ...]:
        note = self.note

        class E(Exception):  # noqa: N818
            pass

        class K(Exception):  # noqa: N818
            pass

        class Manager:
            def __init__(self, value: object) -> None:
                self.value = value

            def __enter__(self) -> object:
                note("enter", self.value)
                return self.value

            def __exit__(self, kind: type | None, error: object, trace: object) -> object:
                note("exit", kind and kind.__name__, repr(error))
                return self.value

        class Store:
            def __setattr__(self, name: str, value: object) -> None:
                note("setattr", value)

            def __setitem__(self, key: object, value: object) -> None:
                note("setitem", key, value)

            def __getitem__(self, key: object) -> object:
                note("getitem", key)
                return 5

        def record(value: object) -> object:
            note(value)
            return value

        def tick() -> bool:
            self.ticks += 1
            note("tick")
            return self.ticks < 25

        def items(value: object) -> object:
            note("items", value)
            return iter([1, 2, value]) if value else ()

        def mapping(value: object) -> dict[str, object]:
            note("mapping", value)
            return {"x": value} if value else {}

        def call(*args: object, **kwargs: object) -> object:
            note("call", args, kwargs)
            return len(args) % 2

        return record, tick, items, mapping, call, Manager, Store(), E, K

    def run(self, function: Any) -> tuple[object, ...]:
        try:
            outcome: tuple[object, ...] = ("returned", repr(function(*self.arguments()))[:300])
        except Exception as error:
            outcome = ("raised", type(error).__name__, repr(error.args)[:300], repr(error.__cause__), _chain(error))
        return outcome, self.records


def _chain(error: BaseException | None) -> list[str]:
    names: list[str] = []
    while error is not None and len(names) < 20:
        names.append(type(error).__name__)
        error = error.__context__
    return names


def load(text: str) -> types.FunctionType | None:
    """The function of a program; None where CPython refuses it."""
    name = f"<random program {next(_numbers)}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    space: dict[str, Any] = {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # comparisons with literals and the like
            exec(compile(text, name, "exec"), space)
    except SyntaxError:
        return None
    return space["program"]  # type: ignore[no-any-return]


def check_tables(code: Code) -> None:
    """What every `Code` promises about its tables."""
    count = len(code.instructions)
    assert len(code.handlers) == len(code.joins) == len(code.live) == count
    for index, instruction in enumerate(code.instructions):
        assert set(reads(instruction)) <= code.live[index]
        handler = code.handlers[index]
        assert handler is None or isinstance(code.instructions[handler], Catch)
        assert instruction.loc.line >= 1 and instruction.loc.end_line >= instruction.loc.line
        for target in successors(index, instruction):
            assert 0 <= target < count
            assert target > index or code.joins[target], "a loop header is a join"
        if isinstance(instruction, MakeFunction):
            assert set(instruction.code.free_names) <= set(code.cell_names) | set(code.free_names)
            check_tables(instruction.code)


def compare(text: str) -> bool:
    """Run a program both ways; False where CPython refuses it."""
    program = load(text)
    if program is None:
        return False
    check_tables(lower_function(program))
    expected, actual = World().run(program), World().run(interpreted(program))
    for line, (a, b) in enumerate(zip(expected[1], actual[1], strict=False)):
        assert _plain(a) == _plain(b), f"record {line} differs in\n{text}"
    assert _plain(repr(expected)) == _plain(repr(actual)), f"differs in\n{text}"
    return True


def _plain(text: str) -> str:
    """Without addresses; CPython 3.11 has comprehensions as functions, so an unbound name in one is a free variable."""
    text = re.sub(r"cannot access (local|free) variable \\*'(\w+)\\*'[\w ]*", r"unbound \2", text)
    text = text.replace("UnboundLocalError", "NameError")
    text = re.sub(r"\w+(\.<locals>\.\w+|\.<lambda>)*(\.<locals>\.)?<?\w*>? at 0x[0-9a-f]+", "", text)
    return text.replace("object at", "")


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32))
def test_random_programs_agree_with_cpython(seed: int) -> None:
    compare(Writer(random.Random(seed)).write())


def test_most_random_programs_are_programs() -> None:
    """The comparison above is not vacuous."""
    texts = [Writer(random.Random(seed)).write() for seed in range(40)]
    assert sum(load(text) is not None for text in texts) > 25
