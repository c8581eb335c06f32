"""What a path knows about the sizes of an operation: which are equal, and which are numbers.

The types of the operands say what was known where they were made; what the path has learned since is noted with the
operation, so that a subgraph is exported with equal sizes that are equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import sympy
import torch

from dycl.ir.trees import leaves
from dycl.ir.values import ScalarKind, ScalarType
from dycl.passes.specialize.values import Scalar

if TYPE_CHECKING:
    from dycl.passes.specialize.facts import Facts
    from dycl.passes.specialize.machine import Machine

Sizes = tuple[tuple[str, int | str], ...]


def note_sizes(machine: Machine, arguments: Any, results: Any) -> Sizes:
    """The equalities that hold for the sizes in an operation; a run-time int among them gets the size as its type."""
    symbols: set[sympy.Symbol] = set()
    for leaf in leaves(arguments):
        number = machine.scalar_of(leaf) if isinstance(leaf, torch.SymInt) else leaf
        if isinstance(number, Scalar) and number.kind is ScalarKind.INT and number.expr is not None:
            symbols |= number.expr.free_symbols
            settled = machine.settled(number)
            if isinstance(settled, Scalar):
                machine.values.types[settled.vid] = ScalarType(ScalarKind.INT, str(number.expr))
    for expr in _sizes((arguments, results)):
        symbols |= expr.free_symbols
    return equal_sizes(machine.state.facts, symbols) if symbols else ()


def _sizes(arguments: Any) -> Iterator[sympy.Basic]:
    for leaf in leaves(arguments):
        if isinstance(leaf, torch.SymInt):
            yield leaf.node.expr
        elif isinstance(leaf, torch.Tensor):
            sizes: list[Any] = list(leaf.shape)
            yield from (size.node.expr for size in sizes if isinstance(size, torch.SymInt))


def equal_sizes(facts: Facts, symbols: set[sympy.Symbol]) -> Sizes:
    """Pairs of a symbol, or of an expression that is not linear, and what it equals on this path."""
    wanted, equations = _closure(facts, symbols)
    solved: dict[sympy.Symbol, sympy.Basic] = {}
    for symbol in sorted(wanted, key=_age):
        low, high = facts.interval(symbol)
        if low == high:
            solved[symbol] = low
    others: Sizes = ()
    for equation in equations:
        left, right = equation.lhs.subs(solved), equation.rhs.subs(solved)
        difference = sympy.expand(left - right)
        symbol = _solvable(difference)
        if symbol is not None:
            value = sympy.expand(symbol - difference * difference.coeff(symbol, 1))
            solved = {known: sympy.expand(size.subs(symbol, value)) for known, size in solved.items()}
            solved[symbol] = value
        elif difference.free_symbols and right.is_Integer:
            others = (*others, (str(left), int(right)))
    pairs = tuple((str(symbol), _spelled(solved[symbol])) for symbol in sorted(solved, key=_age))
    return (*pairs, *others)


def _closure(facts: Facts, symbols: set[sympy.Symbol]) -> tuple[set[sympy.Symbol], list[sympy.Eq]]:
    """The equations about these symbols, and about those that they lead to."""
    wanted = set(symbols)
    found: list[sympy.Eq] = []
    pending = [_equation(condition, outcome) for condition, outcome in facts.relations.items()]
    rest = [equation for equation in pending if equation is not None]
    while True:
        near = [equation for equation in rest if equation.free_symbols & wanted]
        if not near:
            return wanted, found
        found += near
        rest = [equation for equation in rest if equation not in near]
        wanted = wanted.union(*(equation.free_symbols for equation in near))


def _equation(condition: sympy.Basic, outcome: bool) -> sympy.Eq | None:
    stated = condition if outcome else sympy.Not(condition)
    is_whole = isinstance(stated, sympy.Eq) and all(symbol.is_integer for symbol in stated.free_symbols)
    return stated if is_whole else None


def _solvable(difference: sympy.Basic) -> sympy.Symbol | None:
    """The youngest symbol that stands alone with the factor 1 or -1."""
    for symbol in sorted(difference.free_symbols, key=_age, reverse=True):
        factor = difference.coeff(symbol, 1)
        if abs(factor) == 1 and symbol not in (difference - factor * symbol).free_symbols:
            return symbol
    return None


def _age(symbol: sympy.Symbol) -> tuple[int, str]:
    digits = "".join(letter for letter in symbol.name if letter.isdigit())
    return int(digits or 0), symbol.name


def _spelled(size: sympy.Basic) -> int | str:
    return int(size) if size.is_Integer else str(size)
