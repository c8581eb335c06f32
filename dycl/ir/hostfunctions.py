"""What a host function is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HostFunction:
    """One host function.

    `text` is a format string over the printed operands, `precedence` that of its outermost Python operator (larger
    binds tighter; 100: an atom or a call). `may_raise`: it can raise for operands of the right types, so it is never
    removed, moved before a decision or executed twice.
    """

    name: str
    call: Callable[..., object]
    text: str
    precedence: int = 100
    may_raise: bool = False
    is_effect: bool = False  # its answer depends on when it runs: never computed beforehand, never moved
