"""Run-time sizes by the order in which a call meets them: equal calls about other sizes have one form."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import sympy


class Renaming:
    """Numbers the symbols of a call as they come; `canonical` and `own` translate expressions both ways."""

    __slots__ = ("_canonical", "_own")

    def __init__(self) -> None:
        self._canonical: dict[sympy.Symbol, sympy.Symbol] = {}
        self._own: dict[sympy.Symbol, sympy.Symbol] = {}

    def copy(self) -> Renaming:
        """A renaming that may go on without this one."""
        other = Renaming()
        other._canonical, other._own = dict(self._canonical), dict(self._own)
        return other

    @property
    def symbols(self) -> frozenset[sympy.Symbol]:
        """What has a number."""
        return frozenset(self._canonical)

    def canonical(self, expr: sympy.Basic) -> sympy.Basic:
        """The expression with numbered symbols; those that are new get the next numbers."""
        if isinstance(expr, sympy.Symbol):
            return self._canonical.get(expr) or self._number(expr)
        for symbol in sorted(expr.free_symbols - self._canonical.keys(), key=lambda symbol: symbol.name):
            self._number(symbol)
        return _replaced(expr, self._canonical)

    def own(self, expr: sympy.Basic) -> sympy.Basic:
        """What a canonical expression says here."""
        return self._own[expr] if isinstance(expr, sympy.Symbol) else _replaced(expr, self._own)

    def has(self, canonical: sympy.Symbol) -> bool:
        """Whether there are as many symbols."""
        return canonical in self._own

    def _number(self, symbol: sympy.Symbol) -> sympy.Symbol:
        canonical = _nth(len(self._own), tuple(symbol.assumptions0.items()))
        self._canonical[symbol], self._own[canonical] = canonical, symbol
        return canonical


@functools.cache
def _nth(number: int, assumptions: tuple[tuple[str, bool], ...]) -> sympy.Symbol:
    return sympy.Symbol(f"n{number}", **dict(assumptions))


def _replaced(expr: sympy.Basic, names: Mapping[sympy.Symbol, sympy.Symbol]) -> sympy.Basic:
    symbols = expr.free_symbols
    return _exchanged(expr, frozenset((symbol, names[symbol]) for symbol in symbols)) if symbols else expr


@functools.lru_cache(maxsize=65536)
def _exchanged(expr: sympy.Basic, pairs: frozenset[tuple[sympy.Symbol, sympy.Symbol]]) -> sympy.Basic:
    return expr.xreplace(dict(pairs))
