"""Run-time sizes as types spell them: a name, or arithmetic over names (`u0 + 1`, `2*u0`, `(u0//2)`, `Mod(u0, 2)`)."""

from __future__ import annotations

import ast
import functools
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from dycl.diagnostics import InternalError

_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Mod": operator.mod,
    "PythonMod": operator.mod,
    "FloorDiv": operator.floordiv,
    "CleanDiv": operator.floordiv,
    "Max": max,
    "Min": min,
}
_NAME = re.compile(r"[A-Za-z_]\w*(?!\w*\()")


def size_names(size: int | str) -> tuple[str, ...]:
    """The names in a size, each once, in order."""
    return tuple(dict.fromkeys(_NAME.findall(size))) if isinstance(size, str) else ()


def is_arithmetic(size: str) -> bool:
    """Whether the size is made by operators alone, which torch's symbolic sizes have too."""
    return not any(isinstance(node, ast.Call) for node in ast.walk(_parsed(size)))


def evaluate_size(size: int | str, sizes: Mapping[str, Any]) -> Any:
    """The number that a size is."""
    if isinstance(size, int):
        return size
    return sizes[size] if size.isidentifier() else _evaluate(_parsed(size), sizes)


def replace_names(size: str, sizes: Mapping[str, int | str]) -> int | str:
    """The size with others in the place of its names: an int once no name is left."""
    if size.isidentifier():
        return sizes.get(size, size)
    text = _NAME.sub(lambda found: _part(sizes.get(found[0], found[0])), size)
    if not _NAME.search(text):
        return int(evaluate_size(text, {}))
    terms = _linear(_parsed(text))
    return text if terms is None else _spelled(terms)


def solve_name(one: int | str, other: int | str) -> tuple[str, int | str] | None:
    """A name that two sizes of equal value determine, and what it is: `u0 + 1` and `u1` say that `u0` is `u1 - 1`."""
    difference = _linear(_parsed(f"({one}) - ({other})")) or {}
    for name, count in difference.items():
        if name and abs(count) == 1:
            rest = {known: -count * often for known, often in difference.items() if known != name}
            return name, _spelled(rest)
    return None


def _linear(node: ast.expr) -> dict[str, int] | None:
    """How often each name is in a sum, and the constant under the empty name; None if it is no sum."""
    match node:
        case ast.Name(id=name):
            return {name: 1}
        case ast.Constant(value=int(value)):
            return {"": value}
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _scaled(_linear(operand), -1)
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as op, right=right):
            one, other = _linear(left), _scaled(_linear(right), 1 if isinstance(op, ast.Add) else -1)
            if one is None or other is None:
                return None
            return {name: one.get(name, 0) + other.get(name, 0) for name in one | other}
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            factor = _linear(left)
            return _scaled(_linear(right), factor[""]) if factor is not None and factor.keys() == {""} else None
    return None


def _scaled(terms: dict[str, int] | None, factor: int) -> dict[str, int] | None:
    return None if terms is None else {name: count * factor for name, count in terms.items()}


def _spelled(terms: dict[str, int]) -> int | str:
    """A sum as sympy writes it: names in order, the constant last; terms that cancel are gone."""
    named = [(name, count) for name, count in sorted(terms.items()) if name and count]
    constant = terms.get("", 0)
    if not named:
        return constant
    parts = [(count, name if abs(count) == 1 else f"{abs(count)}*{name}") for name, count in named]
    parts += [(constant, str(abs(constant)))] if constant else []
    first = f"-{parts[0][1]}" if parts[0][0] < 0 else parts[0][1]
    return first + "".join(f" {'-' if count < 0 else '+'} {text}" for count, text in parts[1:])


def _part(size: int | str) -> str:
    is_plain = size >= 0 if isinstance(size, int) else size.isidentifier()
    return str(size) if is_plain else f"({size})"


@functools.cache
def _parsed(size: str) -> ast.expr:
    return ast.parse(size, mode="eval").body


def _evaluate(node: ast.expr, sizes: Mapping[str, Any]) -> Any:
    match node:
        case ast.Name(id=name):
            return sizes[name]
        case ast.Constant(value=int(value)):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluate(operand, sizes)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_evaluate(left, sizes), _evaluate(right, sizes))
        case ast.Call(func=ast.Name(id=name), args=args) if name in _FUNCTIONS:
            return _FUNCTIONS[name](*(_evaluate(arg, sizes) for arg in args))
    raise InternalError(f"the size {ast.unparse(node)} is not understood")
