"""Questions inside of one operation of torch whose answers make no difference are not asked.

Torch's rules for shapes ask whether a run-time size is 1, 0 or that of another tensor, and mostly go on to the same
result either way. So the operation is tried, on fake tensors, with each answer: where the results agree in all that can
be told of them (as expressions of the sizes, given what was answered), nothing depends on the question. Where they do
not, or one answer is an error, it is asked: the path forks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sympy
import torch
from torch.utils import _pytree as pytree
from torch.utils._sympy.functions import Max

from dycl.passes.specialize.facts import Facts
from dycl.passes.specialize.memory_order import expression, strides
from dycl.passes.specialize.results import Call, Remembered
from dycl.passes.specialize.signals import Signal

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine
    from dycl.passes.specialize.watch import Watch

Answers = list[tuple[sympy.Basic, bool]]

MAX_TRIALS = 24  # of one operation


class Probe(Signal):
    """An operation that is tried asks something that the facts do not answer."""

    def __init__(self, expr: sympy.Basic) -> None:
        super().__init__(str(expr))
        self.expr = expr


@dataclass(slots=True)
class Trial:
    """How questions are answered while an operation is tried; `is_open`: by a guess, noted, where nothing says it."""

    answers: Answers = field(default_factory=list)
    is_open: bool = False

    def answer(self, machine: Machine, expr: sympy.Basic, fallback: Any) -> sympy.Basic:
        """The truth of a condition in this world."""
        for known, outcome in self.answers:
            if known == expr:
                return sympy.sympify(outcome)
        if not self.is_open:
            raise Probe(expr)
        guess = bool(fallback) if fallback is not None else not isinstance(expr, sympy.Eq)
        self.answers.append((expr, guess))
        machine.state.facts.learn(expr, guess)
        return sympy.sympify(guess)


@dataclass(slots=True)
class _World:
    """What came of an operation under some answers."""

    answers: Answers
    facts: Facts
    watch: Any = None
    out: Any = None
    error: Exception | None = None
    is_impossible: bool = False
    shared: set[int] = field(default_factory=set)  # memory of results and arguments that is one at some sizes alone


class _AskedError(Exception):
    """A question whose answer matters."""

    def __init__(self, expr: sympy.Basic) -> None:
        self.expr = expr


class Worlds:
    """The trials of one operation. `run` executes it on the fake tensors and returns what it wrote and its result."""

    def __init__(self, machine: Machine, inputs: Any, run: Callable[[], tuple[Any, Any]]) -> None:
        self._machine = machine
        self._run = run
        self._trials = 0
        self._shared: set[Any] = set()  # results, by their number, and memory of arguments: one at some sizes alone
        leaves = [leaf for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, torch.Tensor)]
        self._inputs = {leaf.untyped_storage()._cdata: leaf for leaf in leaves}

    def settle(self) -> _World | sympy.Basic:
        """A world whose results are those of all others, or a question that has to be asked."""
        try:
            found = self._resolve([])
        except _AskedError as asked:
            return asked.expr
        shared = [self._inputs[memory] for memory in self._inputs.keys() & self._shared]
        for index, leaf in enumerate(pytree.tree_leaves(found.out)):
            if isinstance(leaf, torch.Tensor) and {index, leaf.untyped_storage()._cdata} & self._shared:
                shared.append(leaf)
        found.shared = {tensor.untyped_storage()._cdata for tensor in shared}
        self._machine.shared_at_times |= {self._machine.memory_of(tensor) for tensor in shared}
        return found

    def _resolve(self, given: Answers) -> _World:
        world = self._world(given)
        for index in range(len(world.answers) - 1, len(given) - 1, -1):
            expr, outcome = world.answers[index]
            try:
                other = self._resolve([*world.answers[:index], (expr, not outcome)])
            except _AskedError:
                raise _AskedError(expr) from None
            if not self._agree(world, other):
                raise _AskedError(expr)
        return world

    def _world(self, given: Answers) -> _World:
        machine = self._machine
        before, born = machine.state.facts, len(machine.env.var_to_range)
        self._trials += 1
        trial = Trial(list(given), is_open=True)
        machine.state.facts, machine.trial = before.copy(), trial
        for expr, outcome in given:
            machine.state.facts.learn(expr, outcome)
        world = _World(trial.answers, machine.state.facts)
        try:
            world.watch, world.out = self._run()
        except Exception as error:  # whatever a shape rule says: it has to say the same in every world
            world.error = error
        finally:
            machine.state.facts, machine.trial = before, None
        if any(low > high for low, high in world.facts.intervals.values()):
            world.is_impossible = True
        elif self._trials > MAX_TRIALS or len(machine.env.var_to_range) > born:
            raise _AskedError(trial.answers[0][0])
        return world

    # ------------------------------------------------------------ comparison

    def _agree(self, one: _World, other: _World) -> bool:
        """Whether the first world's results are, with what holds in the other, the other's."""
        if other.is_impossible:
            return True
        if one.error is not None or other.error is not None:
            return type(one.error) is type(other.error) and str(one.error) == str(other.error)
        (results, spec), (others, other_spec) = pytree.tree_flatten(one.out), pytree.tree_flatten(other.out)
        if spec != other_spec or self._written(one) != self._written(other):
            return False
        memories: tuple[dict[int, int], dict[int, int]] = ({}, {})
        for index, (left, right) in enumerate(zip(results, others, strict=True)):
            if isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor):
                if not self._alike(index, left, right, other.facts, memories):
                    return False
            elif isinstance(left, torch.SymInt) or isinstance(right, torch.SymInt):
                if not _equal(left, right, other.facts):
                    return False
            elif type(left) is not type(right) or left != right:
                return False
        return True

    def _written(self, world: _World) -> set[int]:
        """The arguments that are written; what is new is nobody's yet."""
        return set(world.watch.written) & self._inputs.keys()

    def _alike(
        self,
        index: int,
        left: torch.Tensor,
        right: torch.Tensor,
        facts: Facts,
        memories: tuple[dict[int, int], dict[int, int]],
    ) -> bool:
        places = [self._memory(tensor, seen) for tensor, seen in zip((left, right), memories, strict=True)]
        if left.dtype != right.dtype or left.dim() != right.dim():
            return False
        if not all(_equal(a, b, facts) for a, b in zip(left.shape, right.shape, strict=True)):
            return False
        sizes = [facts.decide(expression(size)) for size in left.shape]
        if any(size == 0 for size in sizes):
            return True
        if places[0] != places[1] and not self._may_share(index, left, right):
            return False
        steps = zip(strides(left), strides(right), sizes, strict=True)
        return _equal(left.storage_offset(), right.storage_offset(), facts) and all(
            size == 1 or _equal(a, b, facts) for a, b, size in steps
        )

    def _may_share(self, index: int, *results: torch.Tensor) -> bool:
        """Accept that it depends on the sizes whether a result is a view, as long as nobody writes into that memory."""
        if self._machine.hints.exact_memory:
            return False
        self._shared |= {index} | (self._inputs.keys() & {tensor.untyped_storage()._cdata for tensor in results})
        return True

    def _memory(self, tensor: torch.Tensor, seen: dict[int, int]) -> int:
        """Which memory a result lies in: an argument's, or the n-th new one."""
        storage = tensor.untyped_storage()._cdata
        return storage if storage in self._inputs else -1 - seen.setdefault(storage, len(seen))


def _equal(left: Any, right: Any, facts: Facts) -> bool:
    """Whether two sizes are certainly one, given the facts."""
    a, b = _reduced(expression(left), facts), _reduced(expression(right), facts)
    difference = sympy.expand(a - b)
    return bool(difference == 0 or (difference.free_symbols and facts.decide(sympy.Eq(a, b)) == sympy.true))


def _reduced(expr: sympy.Basic, facts: Facts) -> sympy.Basic:
    intervals = {symbol: facts.interval(symbol) for symbol in expr.free_symbols}
    expr = expr.subs({symbol: low for symbol, (low, high) in intervals.items() if low == high})
    return expr.replace(
        lambda part: isinstance(part, Max) and part.args[0] == 1 and facts.bounds(part.args[1])[0] >= 1,
        lambda part: part.args[1],
    )


def settled(
    machine: Machine, call: Call | None, inputs: Any, run: Callable[[], tuple[Watch, Any]]
) -> tuple[Watch, Any] | Remembered:
    """What an operation writes and returns; raises `Question` where that depends on what the facts do not tell.

    `call`: what is remembered of trials is remembered under it.
    """
    results = machine.hints.results
    while True:
        if call is not None and (remembered := results.find_tried(machine, call)) is not None:
            return remembered
        question = results.find_question(machine, call) if call is not None else None
        if question is None:
            machine.trial = Trial()
            try:
                return run()
            except Probe:
                machine.trial = None
                found = Worlds(machine, inputs, run).settle()
            finally:
                machine.trial = None
            if isinstance(found, _World):
                if found.error is not None:
                    raise found.error
                if call is not None and not found.watch.random:
                    results.keep_tried(machine, call, found.out, found.watch.written, found.shared)
                return found.watch, found.out
            question = found
            if call is not None:
                results.keep_question(machine, call, question)
        machine.ask_expr(question)
