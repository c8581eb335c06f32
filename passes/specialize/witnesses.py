"""Torch's own words for an error about run-time sizes: the kernel is asked with sizes that the path allows.

What a meta function says when sizes do not fit is neither the kernel's type of error nor its text. So the facts of the
path are met by small numbers, the real kernel runs on zeros of these sizes, and the numbers in its message are matched
with the expressions they are values of. A text is taken only if three witnesses give the same one.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import sympy
import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    UnsupportedFakeTensorException,
    UnsupportedOperatorException,
    unset_fake_temporarily,
)
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from dycl.diagnostics import DyclError, UnsupportedError
from dycl.ir.trees import leaves, map_leaves
from dycl.passes.specialize.evaluation import holds_at, value_at
from dycl.passes.specialize.facts import Facts
from dycl.passes.specialize.memory_order import expression
from dycl.passes.specialize.signals import Impossible
from dycl.passes.specialize.values import Scalar, Text, TextPart

if TYPE_CHECKING:
    from dycl.passes.specialize.natives import Natives

# What torch raises where fake tensors cannot tell: no verdict on the operation.
FAKE_FAILURES = (
    UnsupportedOperatorException,
    UnsupportedFakeTensorException,
    DynamicOutputShapeException,
    DataDependentOutputException,
    GuardOnDataDependentSymNode,
    NotImplementedError,
)

WITNESSES = 3
_MANY = 24  # of which those are taken in which every size that varies does
_TRIALS = 500
_MAX_OPEN = 4  # sizes of which all combinations of empty and not are tried
_SPREAD = 40  # sizes stay small: tensors of all of them are made
Sizes = dict[sympy.Symbol, int]


def genuine_error(machine: Natives, error: Exception, function: Any, args: Any, kwargs: Any) -> BaseException:
    """The exception eager would raise: meta functions fail in their own way, so the kernel is asked.

    It is asked with tensors of zeros, ones and twos: what it complains about may be what a tensor holds.
    """
    if isinstance(error, DyclError):
        return error
    if not machine.has_symbols(args, kwargs):
        found = [_error_with(value, function, args, kwargs) for value in (0, 1, 2)]
        if isinstance(found[0], type(error)) and all(type(one) is type(found[0]) for one in found):
            return type(found[0])(*found[0].args)
    elif (real_one := real_error(machine, function, args, kwargs)) is not None:
        return real_one
    return UnsupportedError(
        "DY209",
        machine.loc(),
        f"torch cannot tell the shape of this operation without data: {type(error).__name__}: {first_line(error)}",
    )


def real_error(
    machine: Natives, function: Any, args: Any, kwargs: Any, *, is_certain: bool = True
) -> BaseException | None:
    """The exception that eager raises for every choice of the run-time sizes on this path, or None.

    `is_certain`: torch's meta function has refused these sizes already.
    """
    expressions = list(dict.fromkeys([*_expressions((args, kwargs)), *_counts((args, kwargs))]))
    symbols = {symbol for expr in expressions for symbol in expr.free_symbols}
    if any(isinstance(leaf, (torch.SymFloat, torch.SymBool)) for leaf in leaves((args, kwargs))):
        return None
    dims = list(dict.fromkeys(_dimensions((args, kwargs))))
    facts = _with_sizes(machine.state.facts, dims)
    found = _varied(list(itertools.islice(_witnesses(facts, symbols), _MANY)), dims)
    if not found and not is_certain:
        return None
    if not found:  # not refused: sizes of which this is the only thing said are ruled out by the rest of the program
        raise Impossible(f"sizes that were taken for impossible reach {getattr(function, '__name__', function)}()")
    with unset_fake_temporarily(), torch._C.DisableTorchFunction():
        errors = [_error_at(function, args, kwargs, sizes) for sizes in found]
    first = errors[0]
    if first is None or any(type(error) is not type(first) for error in errors):
        return None
    words = [_words(error) for error in errors]
    if any(len(error.args) != 1 for error in errors if error is not None):
        return None
    columns = list(zip(*words, strict=True)) if len({len(w) for w in words}) == 1 else []
    parts = [_part(machine, column, found, expressions) for column in columns]
    if not parts or any(part is None for part in parts):
        return _error_of_either(machine, symbols, function, args, kwargs)
    text = Text.of(*parts)
    is_plain = all(isinstance(part, str) for part in text.parts)
    return type(first)("".join(str(part) for part in text.parts) if is_plain else text)


def _varied(found: list[Sizes], dims: list[sympy.Basic]) -> list[Sizes]:
    """Some of the witnesses, in which every size that differs among all of them differs: no number is one by chance.

    Dimensions that are empty in some of them and not in all are so among the chosen ones too: a kernel names one of
    them.
    """
    features = [[*sizes.values(), *(value_at(dim, sizes) == 0 for dim in dims)] for sizes in found]
    chosen, rest = [0] if found else [], list(range(1, len(found)))
    while rest:
        alike = [i for i, first in enumerate(features[0]) if all(features[one][i] == first for one in chosen)]
        best = max(rest, key=lambda one: sum(features[one][i] != features[0][i] for i in alike))
        is_new = any(features[best][i] != features[0][i] for i in alike)
        if not is_new and len(chosen) >= WITNESSES:
            break
        chosen.append(best)
        rest.remove(best)
    return [found[one] for one in chosen]


def _error_of_either(
    machine: Natives, symbols: set[sympy.Symbol], function: Any, args: Any, kwargs: Any
) -> BaseException | None:
    """The exception where the kernel has other words for no elements than for some: which it is, is a decision."""
    facts = machine.state.facts
    sizes = [*_dimensions((args, kwargs)), *sorted(symbols, key=str)]
    size = next((size for size in sizes if _may_be_empty(facts, size)), None)
    if size is None:
        return None
    machine.env.evaluate_expr(sympy.Eq(size, 0))
    return real_error(machine, function, args, kwargs)


def check_empty(machine: Natives, function: Any, args: Any, kwargs: Any) -> None:
    """Raise what the kernel raises for an empty tensor, where a run-time size may be 0: that is a decision.

    Meta functions do not look at sizes that they do not need (`max()` of no elements).
    """
    symbols = {symbol for expr in _expressions((args, kwargs)) for symbol in expr.free_symbols}
    dims = sorted(set(_dimensions((args, kwargs))), key=str)
    sizes = sorted({symbol for dim in dims for symbol in dim.free_symbols}, key=str)
    facts = _with_sizes(machine.state.facts, dims)
    if any(isinstance(leaf, (torch.SymFloat, torch.SymBool)) for leaf in leaves((args, kwargs))):
        return
    if isinstance(function, torch.nn.Module) and function.training:
        return  # it could keep statistics
    is_empty = any(facts.decide(sympy.Eq(dim, 0)) == sympy.true for dim in dims)
    usual = None if is_empty else next(_witnesses(facts, symbols, lowest=1), None)
    if usual is None:
        open_ones = [size for size in sizes if _may_be_empty(facts, size)]
        if _is_mixed(facts, open_ones, symbols, lambda found: _kernel_fails(machine, function, args, kwargs, found)):
            machine.env.evaluate_expr(sympy.Eq(open_ones[0], 0))  # of no elements, no index is out of bounds
            check_empty(machine, function, args, kwargs)
        elif symbols.issubset(sizes) and _always_fails(facts, symbols, function, args, kwargs):
            error = real_error(machine, function, args, kwargs, is_certain=False)
            if error is not None:
                raise error
        return
    if _error_alone(function, args, kwargs, usual) is not None:
        return  # it is not the size that it complains about
    for dim in dims:
        if facts.bounds(dim)[0] > 0:
            continue
        if dim.is_Symbol and _error_alone(function, args, kwargs, usual | {dim: 0}) is None:
            continue
        found = _empty_witnesses(facts, dim, symbols) or ([usual | {dim: 0}] if dim.is_Symbol else [])
        if not any(_kernel_fails(machine, function, args, kwargs, empty) for empty in found):
            continue
        if machine.env.evaluate_expr(sympy.Eq(dim, 0)) == sympy.true:
            check_empty(machine, function, args, kwargs)


def _with_sizes(facts: Facts, dims: list[sympy.Basic]) -> Facts:
    """The facts, and that no tensor has less than no elements."""
    facts = facts.copy()
    for dim in dims:
        if not dim.is_Symbol and facts.bounds(dim)[0] < 0:
            facts.learn(sympy.Ge(dim, 0), True)
    return facts


def _empty_witnesses(facts: Facts, dim: sympy.Basic, symbols: set[sympy.Symbol]) -> list[Sizes]:
    """Sizes of which this one is 0, and the others are not where what is known of them allows that."""
    facts = facts.copy()
    facts.learn(sympy.Eq(dim, 0), True)
    found = list(itertools.islice(_witnesses(facts, symbols, lowest=1), WITNESSES))
    return found or list(itertools.islice(_witnesses(facts, symbols), 2 * WITNESSES))


def _always_fails(facts: Facts, symbols: set[sympy.Symbol], function: Any, args: Any, kwargs: Any) -> bool:
    """Whether the kernel complains about the least sizes that the facts allow, those beside them, and others."""
    lows = {symbol: max(_limits(*facts.interval(symbol))[0], 0) for symbol in symbols}
    open_ones = [symbol for symbol in sorted(symbols, key=str) if facts.interval(symbol)[1] > lows[symbol]]
    steps = itertools.product((0, 1, 2), repeat=min(len(open_ones), _MAX_OPEN))
    beside = (lows | {s: lows[s] + step for s, step in zip(open_ones, some, strict=False)} for some in steps)
    found = itertools.chain(beside, itertools.islice(_witnesses(facts, symbols), 2 * WITNESSES))
    return all(
        _error_alone(function, args, kwargs, sizes) is not None for sizes in found if _is_allowed(facts, symbols, sizes)
    )


def _is_allowed(facts: Facts, symbols: set[sympy.Symbol], sizes: Sizes) -> bool:
    """Whether the facts that are about these symbols alone allow the sizes."""
    if any(not facts.interval(symbol)[0] <= sizes[symbol] <= facts.interval(symbol)[1] for symbol in symbols):
        return False
    about = [(expr, outcome) for expr, outcome in facts.relations.items() if expr.free_symbols <= symbols]
    return all(holds_at(expr, sizes) is outcome for expr, outcome in about)


def _may_be_empty(facts: Facts, size: sympy.Basic) -> bool:
    """Whether a size is 0 or not is open on this path."""
    low, high = facts.bounds(size)
    return bool(low <= 0 < high) and facts.decide(sympy.Eq(size, 0)) is None


def _is_mixed(
    facts: Facts, open_ones: list[sympy.Symbol], symbols: set[sympy.Symbol], fails_at: Callable[[Sizes], bool]
) -> bool:
    """Whether it depends on these sizes being 0 or not that the kernel complains."""
    usual = next(_witnesses(facts, symbols), None)
    if usual is None or not open_ones:
        return False
    sides = itertools.product((False, True), repeat=min(len(open_ones), _MAX_OPEN))
    tried = (
        usual | {s: max(usual[s], 1) if some else 0 for s, some in zip(open_ones, side, strict=False)} for side in sides
    )
    found = {fails_at(sizes) for sizes in tried if _is_allowed(facts, symbols, sizes)}
    return len(found) > 1


def _error_alone(function: Any, args: Any, kwargs: Any, sizes: Sizes) -> Exception | None:
    with unset_fake_temporarily(), torch._C.DisableTorchFunction():
        return _error_at(function, args, kwargs, sizes)


def _kernel_fails(machine: Natives, function: Any, args: Any, kwargs: Any, sizes: Sizes) -> bool:
    """Whether the kernel complains about these sizes and torch's meta function, which asks for itself, does not."""
    if _error_alone(function, args, kwargs, sizes) is None:
        return False
    with unset_fake_temporarily(), torch._C.DisableTorchFunction(), machine.fake:
        error = _error_at(function, args, kwargs, sizes)
    return error is None or isinstance(error, FAKE_FAILURES)


def _words(error: BaseException | None) -> list[str]:
    return re.split(r"(-?\d+)", str(error))


def _part(machine: Natives, column: tuple[str, ...], found: list[Sizes], expressions: list[sympy.Basic]) -> Any:
    """What stands at one place of the message: a text, or the expression that has these values; None if neither."""
    if not column[0].lstrip("-").isdigit():
        return column[0] if len(set(column)) == 1 else None
    values = [int(number) for number in column]
    for expr in expressions:
        at = [value_at(expr, sizes) for sizes in found]
        if expr.is_number or len(set(values)) == 1:
            continue
        factor = values[0] // at[0] if at[0] else 1
        if [factor * size for size in at] == values:
            return TextPart(machine.scalar_of_expr(factor * expr), "", "")
    return column[0] if len(set(column)) == 1 else None


def _expressions(arguments: Any) -> Iterator[sympy.Basic]:
    for leaf in leaves(arguments):
        if isinstance(leaf, torch.SymInt):
            yield leaf.node.expr
        elif isinstance(leaf, FakeTensor):
            yield from _dimensions(leaf)
        elif isinstance(leaf, Scalar) and leaf.expr is not None:
            yield leaf.expr


def _dimensions(arguments: Any) -> Iterator[sympy.Basic]:
    """The run-time sizes of the tensors among the arguments."""
    for leaf in leaves(arguments):
        if isinstance(leaf, FakeTensor):
            sizes: tuple[Any, ...] = leaf.shape
            yield from (size.node.expr for size in sizes if isinstance(size, torch.SymInt))


def _counts(arguments: Any) -> Iterator[sympy.Basic]:
    """How many elements the tensors have."""
    for leaf in leaves(arguments):
        if isinstance(leaf, FakeTensor):
            yield sympy.sympify(sympy.prod([expression(size) for size in leaf.shape]))


def _witnesses(facts: Facts, symbols: set[sympy.Symbol], lowest: int | None = None) -> Iterator[Sizes]:
    """Assignments that meet the facts about the symbols, no two alike in any symbol that is free to vary."""
    relations = [
        (expr, outcome)
        for expr, outcome in facts.relations.items()
        if expr.free_symbols & symbols and all(symbol.is_integer for symbol in expr.free_symbols)
    ]
    everything = sorted(symbols.union(*(expr.free_symbols for expr, _ in relations)), key=str)
    source = random.Random(0)

    def interval(symbol: sympy.Symbol) -> tuple[Any, Any]:
        low, high = facts.interval(symbol)
        return (low if lowest is None else max(low, min(lowest, high))), high

    equal = _solved([expr for expr, outcome in relations if outcome and isinstance(expr, sympy.Eq)])
    free = {symbol: _limits(*interval(symbol)) for symbol in everything if symbol not in equal}
    for _ in range(_TRIALS):
        sizes = {symbol: _choice(source, *limits) for symbol, limits in free.items()}
        for symbol, expr in reversed(equal.items()):
            sizes[symbol] = value_at(expr, sizes)
        within = all(facts.interval(symbol)[0] <= sizes[symbol] <= facts.interval(symbol)[1] for symbol in equal)
        if within and all(holds_at(expr, sizes) is outcome for expr, outcome in relations):
            yield sizes


def _solved(equations: list[sympy.Eq]) -> dict[sympy.Symbol, sympy.Basic]:
    """Symbols as expressions of others, each of symbols that come later; equations that are not linear are left out."""
    found: dict[sympy.Symbol, sympy.Basic] = {}
    for equation in equations:
        difference = sympy.expand((equation.lhs - equation.rhs).subs(found))
        for symbol in sorted(difference.free_symbols, key=str):
            factor = difference.coeff(symbol, 1)
            rest = sympy.expand(difference - factor * symbol)
            if abs(factor) == 1 and symbol not in rest.free_symbols:
                found = {known: expr.subs(symbol, -rest / factor) for known, expr in found.items()}
                found[symbol] = -rest / factor
                break
    return found


def _limits(low: Any, high: Any) -> tuple[int, int]:
    """The least and the greatest number that is tried for a symbol."""
    least = int(low) if low > -(10**6) else int(min(0, high)) - 9 if high < 10**6 else -9
    most = int(high) if high < 10**6 else least + _SPREAD
    return least, min(most, least + _SPREAD)


def _choice(source: random.Random, least: int, most: int) -> int:
    # sums that are small or sizes that are equal are seldom met by chance
    return (
        min(most, source.choice((max(least, 0), least, least + 1)))
        if source.random() < 0.5
        else source.randint(least, most)
    )


def _at(leaf: Any, sizes: Sizes) -> Any:
    """The leaf with the sizes of a witness."""
    if isinstance(leaf, torch.SymInt):
        return value_at(leaf.node.expr, sizes)
    if isinstance(leaf, FakeTensor):
        shape = [_at(size, sizes) for size in leaf.shape]
        return torch.zeros(shape, dtype=leaf.dtype)
    return leaf


def _error_at(function: Any, args: Any, kwargs: Any, sizes: Sizes) -> Exception | None:
    if any(value_at(dim, sizes) < 0 for dim in _dimensions((args, kwargs))):
        return None  # there are no such arguments to complain about
    real_args, real_kwargs = map_leaves(lambda leaf: _at(leaf, sizes), (args, kwargs))
    try:
        function(*real_args, **real_kwargs)
    except Exception as error:  # whatever the kernel says
        return error
    return None


def _error_with(value: int, function: Any, args: Any, kwargs: Any) -> Exception | None:
    """What the kernel raises where all tensors hold this value; None: nothing."""

    def real(leaf: Any) -> Any:
        return torch.full(tuple(leaf.shape), value, dtype=leaf.dtype) if isinstance(leaf, FakeTensor) else leaf

    with unset_fake_temporarily(), torch._C.DisableTorchFunction():
        real_args, real_kwargs = map_leaves(real, (args, kwargs))
        try:
            function(*real_args, **real_kwargs)
        except Exception as error:  # whatever the kernel says
            return error
    return None


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200]
