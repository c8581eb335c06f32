"""Recursive functions without Python's limit on recursion: generators that yield their recursive calls.

A host may have thousands of blocks, each nested in the one before. `run(walk(tree))` drives `def walk(tree): ...;
part = yield walk(tree.left); ...; return result` with a stack of its own.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

T = TypeVar("T")

# What is sent to a call is the result of the call it yielded, whose type only the caller knows.
Call = Generator["Call[Any]", Any, T]


def run(call: Call[T]) -> T:
    """What the call returns."""
    stack: list[Call[Any]] = [call]
    result: Any = None
    while stack:
        try:
            stack.append(stack[-1].send(result))
            result = None
        except StopIteration as stop:
            stack.pop()
            result = stop.value
    final: T = result
    return final
