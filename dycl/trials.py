"""One call of a model by each of its three forms (eager, executor, host), and whether what came of it agrees.

An exception is an outcome like a value: it is kept, and compared.
"""

from __future__ import annotations

import ast
import collections
import copy
import random
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from dycl.comparison import ATOL, RTOL, Comparison
from dycl.diagnostics import SourceRange
from dycl.eagerlog import EagerLog, Read
from dycl.ir.clocks import find_timed_places
from dycl.ir.dataflow import value_types
from dycl.ir.environment import Environment
from dycl.ir.executor import Executor
from dycl.ir.hosteffects import DRAWS
from dycl.ir.nodes import HostOp, Raise
from dycl.ir.objects import bind_arguments, bind_inputs
from dycl.ir.program import Param, Program
from dycl.ir.schemas import find_written
from dycl.ir.structures import find_structures
from dycl.ir.values import BlockId, InputLeaf, ObjectType, TensorType, operand_parts
from dycl.ir.writes import all_writes
from dycl.sampling import Sample, map_leaves

Decide = Callable[[BlockId, bool], bool]


class Runner(Protocol):
    """A host, as it is compared: torch or numpy in, numpy out; state from one call to the next."""

    def call(self, *args: object, **kwargs: object) -> object:
        """Call the compiled model."""

    def call_method(self, method: str, /, *args: object, **kwargs: object) -> object:
        """Call one of its further methods."""

    def seed(self, seed: int) -> None:
        """Begin the random numbers anew."""

    @property
    def decisions(self) -> Sequence[tuple[int, bool]]:
        """The decisions of the last call: block and side."""

    @property
    def state(self) -> Mapping[str, object]:
        """The attributes that the model writes, by their paths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is verified. `make_host` gives a host in its first state, its decisions forced by `decide` if given.

    `timed` are the places of results and state that a clock has a part in: no two runs agree about them.
    """

    program: Program
    environment: Environment
    model: nn.Module
    make_host: Callable[[Decide | None], Runner]
    rtol: float = RTOL
    atol: float = ATOL
    timed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one call."""

    value: object = None
    error: Exception | None = None
    decisions: tuple[tuple[int, bool], ...] = ()
    state: Mapping[str, object] = field(default_factory=dict)
    untouched: frozenset[str] = frozenset()  # of eager: tensors of the state that are the model's own, as they were


def find_tolerance(program: Program) -> tuple[float, float]:
    """The relative and absolute error that counts as rounding; half precision anywhere rounds a thousand times more."""
    halves = {"float16", "bfloat16"}
    outside = value_types(program).values()
    inside = (value.type for subgraph in program.subgraphs for op in subgraph.ops for value in op.results)
    if any(isinstance(type_, TensorType) and type_.dtype in halves for type_ in (*outside, *inside)):
        return 1e-2, 1e-2
    return RTOL, ATOL


class EagerTrial:
    """The source itself, on copies of the model: one computes undisturbed, one is watched while it reads."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._method = subject.program.method
        self._slots = sorted({slot.name for entry in subject.program.entries for slot in entry.slots})
        self._model = copy.deepcopy(subject.model)
        self._watched = copy.deepcopy(subject.model)
        found = {name: find_attribute(self._model, name) for name in self._slots}
        self._first = {name: (held, held._version) for name, held in found.items() if isinstance(held, torch.Tensor)}
        self._globals = {id(model): _read_globals(self._slots) for model in (self._model, self._watched)}
        self._draws = draws(subject.program)
        self._calls: collections.Counter[int] = collections.Counter()  # of each copy: the next one's seed

    def run(self, sample: Sample) -> Outcome:
        """The outcome of one call; decisions are not known of the source, `reads` has what it read."""
        args, kwargs = copy_inputs(self._subject.program, sample)
        value, error = self._call(self._model, sample.method, args, kwargs)
        found = {name: find_attribute(self._model, name, _MISSING) for name in self._slots if ":" not in name}
        found |= self._globals[id(self._model)]
        state = {name: _shown(held) for name, held in found.items() if held is not _MISSING}
        untouched = frozenset(name for name, held in found.items() if self._is_untouched(name, held))
        state |= written_inputs(self._subject, sample.method, args, kwargs)
        return Outcome(value=value, error=error, state=snapshot(state), untouched=untouched)

    def _is_untouched(self, name: str, held: object) -> bool:
        if name not in self._first or not isinstance(held, torch.Tensor):
            return False
        first, version = self._first[name]
        return held is first and held._version == version

    def reads(self, sample: Sample) -> list[Read]:
        """What the source reads from its tensors in the same call, made once more on the other copy."""
        with EagerLog() as log:
            self._call(self._watched, sample.method, *copy_inputs(self._subject.program, sample))
        return log.reads

    def _call(
        self, model: nn.Module, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[object, Exception | None]:
        name = name or self._method
        method = model if name == "forward" else getattr(model, name)
        before = _read_globals(self._slots)
        _write_globals(self._globals[id(model)])  # each copy of the model has its own
        try:
            with torch.no_grad(), _seeded(self._calls[id(model)]) if self._draws else nullcontext():
                self._calls[id(model)] += 1
                return attempt(lambda: method(*args, **kwargs))
        finally:
            self._globals[id(model)] = _read_globals(self._slots)
            _write_globals(before)


class ExecutorTrial:
    """The program, run by the reference executor."""

    def __init__(self, subject: Subject, decide: Decide | None = None, environment: Environment | None = None) -> None:
        self._subject = subject
        self.executor = Executor(subject.program, environment or subject.environment, decide=decide)
        self._calls = 0

    def run(self, sample: Sample) -> Outcome:
        """The outcome of one call."""
        args, kwargs = copy_inputs(self._subject.program, sample)
        self.executor.random.seed(self._calls)
        self._calls += 1
        name = sample.method or self._subject.program.method
        value, error = attempt(lambda: self.executor.call_method(name, *args, **kwargs))
        decisions = tuple((int(site), side) for site, side in self.executor.decisions)
        state = {**self.executor.state, **written_inputs(self._subject, sample.method, args, kwargs)}
        return Outcome(value=value, error=error, decisions=decisions, state=snapshot(state))

    @property
    def observations(self) -> list[tuple[SourceRange, object]]:
        """What the last call read from tensors."""
        return self.executor.observations


class HostTrial:
    """The compiled model."""

    def __init__(self, subject: Subject, decide: Decide | None = None) -> None:
        self.host = subject.make_host(decide)
        self._draws = draws(subject.program)
        self._calls = 0
        self._subject = subject

    def run(self, sample: Sample) -> Outcome:
        """The outcome of one call."""
        args, kwargs = copy_inputs(self._subject.program, sample)
        if self._draws:
            self.host.seed(self._calls)
        self._calls += 1
        call = partial(self.host.call_method, sample.method) if sample.method else self.host.call
        value, error = attempt(lambda: call(*args, **kwargs))
        decisions = tuple((int(site), side) for site, side in self.host.decisions)
        state = {**self.host.state, **written_inputs(self._subject, sample.method, args, kwargs)}
        return Outcome(value=snapshot(value), error=error, decisions=decisions, state=snapshot(state))


def draws(program: Program) -> bool:
    """Whether a program draws random numbers."""
    ops = (op for block in program.blocks for op in block.ops)
    return any(isinstance(op, HostOp) and op.function.startswith(DRAWS) for op in ops)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Inside, eager draws what executor and host draw after this seed; outside, nothing is changed."""
    before = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])


def attempt(call: Callable[[], object]) -> tuple[object, Exception | None]:
    """The call's value or the exception it raised: both are outcomes, and both are compared."""
    try:
        return call(), None
    except Exception as error:
        return None, error


def copy_inputs(program: Program, sample: Sample) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Inputs of its own for a call that may write into them."""
    given = (*sample.args, *sample.kwargs.values())
    if any(True for _ in all_writes(program)) or any(True for value in given for _ in find_structures(value, "")):
        return copy.deepcopy((sample.args, dict(sample.kwargs)))
    return snapshot(sample.args), snapshot(dict(sample.kwargs))


def written_inputs(subject: Subject, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, object]:
    """What the arguments are after a call, written or not; of objects, what the written fields hold."""
    program = subject.program
    given = bind_arguments(program, args, kwargs, method)
    found = {
        f"the argument {param.name}": given.get(param.name)
        for param in program.signature_of(method)
        if not any(isinstance(leaf.type, ObjectType) for leaf in _leaves(param))
    }
    if not any(field.is_written for schema in program.schemas for field in schema.fields):
        return found
    inputs = bind_inputs(program, args, kwargs, subject.environment, method)
    leaves = [leaf for param in program.signature_of(method) for leaf in _leaves(param)]
    leaves.sort(key=lambda leaf: leaf.index)
    for leaf, value in zip(leaves, inputs, strict=True):
        if isinstance(leaf.type, ObjectType):
            found |= find_written(f"input {leaf.index}", leaf.type.schema, value, program.schemas)
    return found


def _leaves(param: Param) -> list[InputLeaf]:
    return [part for part in operand_parts(param.spec) if isinstance(part, InputLeaf)]


def snapshot(value: Any) -> Any:
    """The value as it is now, later writes into its tensors and arrays notwithstanding."""
    return map_leaves(value, _copy_leaf)


def _copy_leaf(leaf: Any) -> Any:
    if isinstance(leaf, torch.Tensor):
        return leaf.detach().clone()
    return leaf.copy() if isinstance(leaf, np.ndarray) else leaf


_MISSING = object()
_RESULT, _STATE = "the result", "the state "  # how the places begin that a comparison names


def find_attribute(model: nn.Module, path: str, default: object = None) -> object:
    """What the model holds at a path: `layers.3.cache['key'][0]`; `default` if there is nothing."""
    if ":" in path:
        return _read_globals([path]).get(path, default)
    found: Any = model
    try:
        for name, item in re.findall(r"([^.\[\]]+)|\[([^\]]*)\]", path):
            found = _part(found, ast.literal_eval(item) if item else name)
    except (AttributeError, IndexError, KeyError):
        return default
    return found


def _read_globals(slots: Sequence[str]) -> dict[str, Any]:
    """The global variables (`module:name`) among the slots of a state, as they are."""
    found = {}
    for slot in slots:
        module, colon, name = slot.partition(":")
        if colon and module in sys.modules:
            found[slot] = vars(sys.modules[module]).get(name, _MISSING)
    return found


def _write_globals(values: Mapping[str, Any]) -> None:
    for slot, value in values.items():
        module, _, name = slot.partition(":")
        if value is _MISSING:
            vars(sys.modules[module]).pop(name, None)
        else:
            vars(sys.modules[module])[name] = value


def _part(whole: Any, name: Any) -> Any:
    if isinstance(whole, dict) and name in whole:
        return whole[name]
    if isinstance(whole, dict) and name in ("keys()", "values()"):  # so a state shows a dict of run-time keys
        return list(whole if name == "keys()" else whole.values())
    if isinstance(whole, (list, tuple, collections.deque)) and (isinstance(name, int) or name.isdecimal()):
        return whole[int(name)]
    return getattr(whole, name)


def _is_in_parts(name: str, state: Mapping[str, object]) -> bool:
    """Whether a state shows an object by its attributes."""
    return any(other.startswith((f"{name}.", f"{name}[")) for other in state)


def _shown(value: Any) -> Any:
    """Collections of the standard library as the lists and dicts that a state shows."""
    if isinstance(value, (list, collections.deque)):
        return [_shown(item) for item in value]
    if isinstance(value, dict) and type(value).__module__ in ("builtins", "collections"):
        return {key: _shown(item) for key, item in value.items()}
    return value


def find_timed(program: Program) -> frozenset[str]:
    """The places that a comparison of outcomes leaves out, because a clock has a part in them."""
    return find_timed_places(program, _RESULT, _STATE)


def compare_outcomes(expected: Outcome, actual: Outcome, subject: Subject, comparison: Comparison) -> bool:
    """Compare values, exceptions and state of two outcomes; the comparison learns every difference."""
    comparison.ignored = subject.timed
    before = len(comparison.differences)
    if expected.error is not None or actual.error is not None:
        _compare_errors(expected.error, actual.error, subject.program, comparison)
    else:
        comparison.compare(expected.value, actual.value, _RESULT)
    for name, value in expected.state.items():
        if name in actual.state:
            comparison.compare(value, actual.state[name], f"{_STATE}{name}")
        elif name not in expected.untouched and not _is_in_parts(name, actual.state):
            comparison.differences.append(f"the state {name} is missing")
    for name in actual.state.keys() - expected.state.keys():
        comparison.differences.append(f"the state {name} is not expected")
    return len(comparison.differences) == before


def _compare_errors(
    expected: Exception | None, actual: Exception | None, program: Program, comparison: Comparison
) -> None:
    if expected is None or actual is None:
        comparison.differences.append(f"{_describe(expected)} expected, {_describe(actual)} found")
        return
    if _is_of_kernel(expected) or _is_of_kernel(actual):
        return  # a forced decision led to values that no call would have
    own = {b.end.class_name.split(":")[-1].split(".")[-1] for b in program.blocks if isinstance(b.end, Raise)}
    name, other = type(expected).__name__, type(actual).__name__
    if name not in own and other not in own:
        return  # an operation refused these values: each back end has words of its own for that
    if name != other:
        comparison.differences.append(f"{_describe(expected)} expected, {_describe(actual)} found")
    else:
        comparison.compare(expected.args, actual.args, f"the arguments of {name}")


def _is_of_kernel(error: Exception) -> bool:
    """Whether the executor got the error from an operation on tensors: its notes show the operation."""
    notes: list[str] = getattr(error, "__notes__", [])
    return any(": " in note and " = host " not in note and "%" in note for note in notes)


def _describe(error: Exception | None) -> str:
    return "a value" if error is None else f"{type(error).__name__}({', '.join(map(repr, error.args))})"
