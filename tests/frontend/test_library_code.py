"""Real code: standard library functions run lowered as they do natively; whole modules lower without a crash."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import difflib
import fractions
import heapq
import importlib
import inspect
import itertools
import json.decoder
import random
import statistics
import textwrap
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch.nn.functional
from interpreter import interpreted
from test_random_programs import check_tables

from dycl.diagnostics import UnsupportedError
from dycl.frontend.code import Code, Import, ImportFrom, Instruction, MakeFunction
from dycl.frontend.lower import lower_function

TEXT = (
    "The quick brown fox, which was very-very tired,   jumped over the lazy dog.\n\n  And again: hyphen-ated words " * 3
)


def on_method(kind: type, name: str) -> Callable[[Callable[[], Any]], Any]:
    """Run a scenario with one method of a class replaced by its lowered form."""

    def run(scenario: Callable[[], Any]) -> Any:
        native = kind.__dict__[name]
        setattr(kind, name, interpreted(native))
        try:
            return scenario()
        finally:
            setattr(kind, name, native)

    return run


FUNCTIONS: list[tuple[types.FunctionType, tuple[Any, ...]]] = [
    (textwrap.wrap, (TEXT, 24)),
    (textwrap.shorten, (TEXT, 40)),
    (textwrap.indent, (TEXT, "> ")),
    (textwrap.dedent, ("    a\n      b\n\n    c\n",)),
    (statistics.median, ([5, 1, 4, 2],)),
    (statistics.median, ([],)),
    (statistics.mean, ([1, 2.5, 3],)),
    (statistics.multimode, ("aabbc",)),
    (statistics.quantiles, ([1, 2, 3, 4, 5, 6],)),
    (statistics.variance, ([1.5, 2.5, 4.0, 2.0],)),
    (statistics.variance, ([1],)),
    (statistics._sum, ([fractions.Fraction(1, 3), 2, 3],)),
    (json.decoder.py_scanstring, ('a\\n\\u00e9\\ud83d\\ude00 end" rest', 0)),
    (json.decoder.py_scanstring, ("no end", 0)),
    (json.decoder.py_scanstring, ("bad \\x escape", 0)),
    (heapq.nlargest, (3, [5, 1, 9, 2, 7])),
    (heapq.nsmallest, (2, "shuffle", str.upper)),
    (difflib.get_close_matches, ("appel", ["ape", "apple", "peach", "puppy"])),
    (difflib.get_close_matches, ("x", [], 0)),
    (inspect.cleandoc, ("  first\n    second\n      third\n",)),
    (inspect.getmro, (bool,)),
    (dataclasses.asdict, (dataclasses.make_dataclass("D", [("x", int), ("y", list)])(1, [2, (3,)]),)),
    (random.Random.sample, (random.Random(3), range(50), 5)),
]


@pytest.mark.parametrize(
    ("function", "args"), FUNCTIONS, ids=[f"{i}-{f.__qualname__}" for i, (f, _) in enumerate(FUNCTIONS)]
)
def test_library_function(function: types.FunctionType, args: tuple[Any, ...]) -> None:
    if function is random.Random.sample:
        assert interpreted(function)(random.Random(3), *args[1:]) == function(*args)
    else:
        assert outcome(interpreted(function), args) == outcome(function, args)


def outcome(function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[object, ...]:
    try:
        return ("returned", function(*args))
    except Exception as error:
        return ("raised", type(error), error.args)


def test_generator_merge() -> None:
    streams = [[1, 4, 9], [2, 4], [], range(0, 12, 5)]
    assert list(interpreted(heapq.merge)(*streams)) == list(heapq.merge(*streams))
    keyed = {"key": len, "reverse": True}
    words = [["xxx", "b"], ["yy", "c", ""]]
    assert list(interpreted(heapq.merge)(*words, **keyed)) == list(heapq.merge(*words, **keyed))


SCENARIOS: list[tuple[type, str, Callable[[], Any]]] = [
    (textwrap.TextWrapper, "_wrap_chunks", lambda: textwrap.wrap(TEXT, 20, max_lines=4)),
    (textwrap.TextWrapper, "_handle_long_word", lambda: textwrap.wrap("a" * 50 + "-" + "b" * 30, 20)),
    (collections.Counter, "most_common", lambda: collections.Counter("mississippi").most_common(2)),
    (collections.Counter, "subtract", lambda: (c := collections.Counter("aab"), c.subtract("ab", a=3), c)),
    (
        difflib.SequenceMatcher,
        "find_longest_match",
        lambda: difflib.SequenceMatcher(None, "qabxcd", "abycdf").get_opcodes(),
    ),
    (difflib.SequenceMatcher, "get_opcodes", lambda: difflib.SequenceMatcher(None, "qabxcd", "abycdf").get_opcodes()),
    (
        difflib.SequenceMatcher,
        "_SequenceMatcher__chain_b",
        lambda: difflib.SequenceMatcher(None, "abcab", "bcaab").ratio(),
    ),
    (difflib.Differ, "_fancy_replace", lambda: list(difflib.ndiff(["one\n", "two\n"], ["ore\n", "tree\n", "emu\n"]))),
    (argparse.ArgumentParser, "_parse_known_args", lambda: parse(["-v", "--n", "3", "x", "y"])),
    (argparse.ArgumentParser, "_get_values", lambda: parse(["z", "--n=4"])),
    (argparse.HelpFormatter, "_format_usage", lambda: parser().format_help()),
    (fractions.Fraction, "limit_denominator", lambda: fractions.Fraction("3.1415926535").limit_denominator(1000)),
    (inspect.Signature, "_bind", lambda: str(inspect.signature(textwrap.wrap).bind("a", width=3))),
]


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="p")
    made.add_argument("files", nargs="+")
    made.add_argument("-v", action="store_true")
    made.add_argument("--n", type=int, default=1)
    return made


def parse(args: list[str]) -> argparse.Namespace:
    return parser().parse_args(args)


@pytest.mark.parametrize(("kind", "name", "scenario"), SCENARIOS, ids=[f"{k.__name__}.{n}" for k, n, _ in SCENARIOS])
def test_library_method(kind: type, name: str, scenario: Callable[[], Any]) -> None:
    if name.startswith("_SequenceMatcher"):
        name = "_SequenceMatcher__chain_b"
    assert on_method(kind, name)(scenario) == scenario()


def test_torch_code() -> None:
    """Python of torch, lowered."""
    import torch

    x = torch.arange(6.0).reshape(2, 3)
    functional = torch.nn.functional
    for function, args in ((functional.softmin, (x, 1)), (functional.normalize, (x,)), (functional.glu, (x[:, :2],))):
        assert torch.equal(interpreted(function)(*args), function(*args))
    layer = torch.nn.MultiheadAttention(4, 2).eval()
    q = torch.rand(3, 1, 4)
    expected = layer(q, q, q)
    assert on_method(torch.nn.MultiheadAttention, "forward")(lambda: torch.equal(layer(q, q, q)[0], expected[0]))
    net = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.ReLU())
    want = net(x)
    assert on_method(torch.nn.Module, "_call_impl")(lambda: torch.equal(net(x), want))


# ---------------------------------------------------------------- whole modules

MODULES = [
    "torch.nn.functional",
    "torch.nn.modules.module",
    "torch.nn.modules.activation",
    "torch.nn.modules.container",
    "argparse",
    "dataclasses",
    "contextlib",
]


def functions_of(module: types.ModuleType) -> Iterator[types.FunctionType]:
    """Every Python function that the module defines, in classes too."""
    seen: set[int] = set()

    def visit(value: object) -> Iterator[types.FunctionType]:
        if isinstance(value, (staticmethod, classmethod)):
            value = value.__func__
        if id(value) in seen:
            return
        seen.add(id(value))
        if isinstance(value, property):
            yield from visit(value.fget)
            yield from visit(value.fset)
        elif isinstance(value, types.FunctionType) and value.__module__ == module.__name__:
            yield value
        elif isinstance(value, type) and value.__module__ == module.__name__:
            for member in list(vars(value).values()):
                yield from visit(member)

    for value in list(vars(module).values()):
        yield from visit(value)


def nested(code: Code) -> Iterator[Instruction]:
    for instruction in code.instructions:
        yield instruction
        if isinstance(instruction, MakeFunction):
            yield from nested(instruction.code)


@pytest.mark.parametrize("name", MODULES)
def test_whole_module_lowers(name: str) -> None:
    """No crash; what CPython compiled and what we lowered have the same parameters, cells and kinds."""
    count = 0
    for function in functions_of(importlib.import_module(name)):
        try:
            code = lower_function(function)
        except UnsupportedError as error:
            made = "no source" in error.message
            allowed = (
                "an async function",
                "a class is defined inside",
                "the value of `yield from`",
                "a global is deleted",
            )
            assert made or (error.code == "DY102" and error.message.startswith(allowed)), error
            continue
        count += 1
        check_tables(code)
        native = function.__code__
        size = native.co_argcount + native.co_kwonlyargcount + bool(native.co_flags & 4) + bool(native.co_flags & 8)
        assert set(code.parameters.names) == set(native.co_varnames[:size])
        assert set(code.free_names) == set(native.co_freevars)
        assert set(code.cell_names) <= set(native.co_cellvars), "comprehensions that CPython 3.11 has as functions"
        assert code.is_generator == inspect.isgeneratorfunction(function)
    assert count > 3


def test_lowering_is_fast() -> None:
    """The first function of a file of seven thousand lines, and then another."""
    from dycl.frontend import source

    source._files.clear()
    code = torch.nn.functional.interpolate.__code__
    fresh = types.FunctionType(code.replace(), vars(torch.nn.functional))  # a code object not seen before
    start = time.perf_counter()
    lower_function(fresh)
    first = time.perf_counter() - start
    start = time.perf_counter()
    assert lower_function(fresh) is lower_function(fresh)
    assert time.perf_counter() - start < 0.05
    assert first < 5, "well above what it takes, so that a busy machine does not fail"


def test_names_are_those_of_the_bytecode() -> None:
    """Every global and attribute of a module's bytecode appears in the lowered code."""
    for function in itertools.chain(functions_of(argparse), functions_of(difflib)):
        try:
            code = lower_function(function)
        except UnsupportedError:
            continue
        names: set[str] = set()
        for instruction in nested(code):
            names.add(getattr(instruction, "name", ""))
            names.update(instruction.fromlist if isinstance(instruction, Import) else ())
            names.update([instruction.name] if isinstance(instruction, ImportFrom) else ())
        assert _names(function.__code__) <= names, function


def _names(code: types.CodeType) -> set[str]:
    inner = [_names(const) for const in code.co_consts if isinstance(const, types.CodeType)]
    return set(code.co_names).union(*inner)
