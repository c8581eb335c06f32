"""A random program, run by eager and by everything that is made from it: what came out."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import enum
import importlib.util
import io
import random
import re
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from dycl.diagnostics import DyclError, InternalError
from dycl.hostgen.host import class_name
from dycl.ir.executor import Executor
from dycl.ir.program import Program
from dycl.ir.verifier import verify
from dycl.passes.order import OPTIONAL_PASSES, PASSES, Pass, run_passes
from dycl.passes.specialize.signals import Signal
from dycl.passes.specialize.specializer import Specialization, specialize
from tests.hostgen.harness import fake_runtime, host_text, load_module
from tests.specialize.comparison import difference, outcome, plain_state

SAMPLES = 10
EAGER_SECONDS = 2.0
COMPILE_SECONDS = 10.0


class Verdict(enum.Enum):
    """What became of a program."""

    EQUAL = "equal"
    REFUSED = "refused"
    MISMATCH = "mismatch"
    INTERNAL = "internal error"
    SLOW = "too slow"
    INVALID = "invalid"  # the generator's fault: eager has no answer


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict, the code or the kind of the error, and the story."""

    verdict: Verdict
    reason: str = ""
    details: str = ""
    kind: str = ""  # of a mismatch: what has to stay the same while the program gets smaller


@dataclasses.dataclass(frozen=True, slots=True)
class Variation:
    """How a program is compiled: with needless forks (a seed), without some passes."""

    forks: int | None = None
    skipped: frozenset[str] = frozenset()

    @staticmethod
    def draw(rng: random.Random) -> Variation:
        """Plain mostly, and each variation now and then."""
        forks = rng.randrange(1000) if rng.random() < 0.3 else None
        skipped = frozenset(name for name in sorted(OPTIONAL_PASSES) if rng.random() < 0.5)
        return Variation(forks, skipped if rng.random() < 0.3 else frozenset())


PLAIN = Variation()


class TooSlow(BaseException):
    """The time for a step is over. Not an Exception, so that no program catches it."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TooSlow from the body after so many seconds of it, whatever torch makes of that on its way."""
    is_over = False

    def stop(*_: object) -> None:
        nonlocal is_over
        is_over = True
        raise TooSlow

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    except BaseException as error:
        if is_over:
            raise TooSlow from error
        raise
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def load(path: Path) -> ModuleType:
    """The program's module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def make_inputs(kinds: Sequence[str], seed: int) -> tuple[torch.Tensor, ...]:
    """Inputs of these kinds; every seed takes other paths."""
    draw = torch.Generator().manual_seed(seed)
    scale = (1.0, 0.3, 2.0)[seed % 3]
    return tuple(
        torch.randint(0, 4, (1, 4), generator=draw) if kind == "tokens" else torch.randn(1, 4, generator=draw) * scale
        for kind in kinds
    )


def build(module: ModuleType) -> nn.Module:
    """The program's model, with the same weights each time."""
    torch.manual_seed(0)
    model: nn.Module = module.Model().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    return model


def run_program(path: Path, inputs: Sequence[str], variation: Variation = PLAIN, samples: int = SAMPLES) -> Outcome:
    """Compile the program of a file and compare it with eager over a sequence of calls."""
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            with time_limit(EAGER_SECONDS):
                module = load(path)
                expected = eager_calls(build(module), inputs, samples)
        except TooSlow:
            return Outcome(Verdict.INVALID, "eager does not end")
        except Exception as error:
            return Outcome(Verdict.INVALID, f"{type(error).__name__}: {_head(error)}")
        if all(answer[0] == "raises" for answer, _ in expected):
            return Outcome(Verdict.INVALID, "every call raises")
        has_kernel_error = any(_is_kernel_error(answer) for answer, _ in expected)
        try:
            with time_limit(COMPILE_SECONDS):
                found = _compare(module, inputs, variation, expected)
            if found.verdict is Verdict.MISMATCH and has_kernel_error:
                return Outcome(Verdict.INVALID, "eager: RuntimeError")  # errors of kernels may go with unused work
            return found
        except TooSlow:
            return Outcome(Verdict.SLOW, "compiling")
        except DyclError as error:
            return Outcome(Verdict.REFUSED, error.code, str(error))
        except InternalError as error:
            return Outcome(Verdict.INTERNAL, f"InternalError: {_head(error)}", traceback.format_exc())
        except (Exception, Signal) as error:
            return Outcome(Verdict.INTERNAL, f"{type(error).__name__}: {_head(error)}", traceback.format_exc())
        finally:
            sys.modules.pop(path.stem, None)


Call = tuple[tuple[Any, ...], dict[str, Any]]


def eager_calls(model: nn.Module, inputs: Sequence[str], samples: int) -> list[Call]:
    """What the model answers to each input in turn, and what it has on itself afterwards."""
    calls: list[Call] = []
    for seed in range(samples):
        answer = outcome(model, make_inputs(inputs, seed))
        calls.append(copy.deepcopy((answer, plain_state(model))))
    return calls


def _head(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:120]


# ---------------------------------------------------------------- comparing


def _compare(module: ModuleType, inputs: Sequence[str], variation: Variation, expected: list[Call]) -> Outcome:
    model = build(module)
    made = specialize(model, make_inputs(inputs, 0), fuzz=variation.forks)
    verify(made.program, after="specialize")
    if (found := difference(plain_state(build(module)), plain_state(model))) is not None:
        return Outcome(Verdict.MISMATCH, "specialize changed the model", found)
    steps = remaining_passes(variation.skipped)
    final = run_passes(made.program, made.environment, steps, lambda *_: None)
    runs = (
        ("specialized", _executed(made.program, made, inputs, len(expected))),
        ("after all passes", _executed(final, made, inputs, len(expected))),
        ("host", _hosted(final, made, inputs, len(expected))),
    )
    for stage, calls in runs:
        for seed, ((wanted, kept), (got, state)) in enumerate(zip(expected, calls, strict=True)):
            if (found := difference(wanted, got)) is not None:
                story = f"call {seed}: {found}\n  eager:   {wanted}\n  program: {got}"
                return Outcome(Verdict.MISMATCH, stage, story, _kind(wanted, got, found))
            for name, value in state.items():
                if name in kept and (found := difference(kept[name], value)) is not None:
                    return Outcome(Verdict.MISMATCH, f"{stage}, state", f"call {seed}: {name}: {found}")
            if str(wanted[0]) == "raises" and not _is_own(wanted[1]):
                break  # what Python raises by itself says nothing about the state that it leaves
    return Outcome(Verdict.EQUAL)


def remaining_passes(skipped: frozenset[str]) -> list[Pass]:
    """The passes without some, and without those that build on these."""
    kept: list[Pass] = []
    for step in PASSES:
        names = {other.name for other in kept}
        if step.name not in skipped and all(name in names for name in step.requires):
            kept.append(step)
    return kept


def _is_kernel_error(answer: tuple[Any, ...]) -> bool:
    """Whether a call ends in an error of torch's: such an error may go with unused work."""
    if answer[0] != "raises":
        return False
    words = str(answer[2])
    return answer[1] is RuntimeError or (answer[1] is IndexError and "list" not in words and "deque" not in words)


def _kind(wanted: tuple[Any, ...], got: tuple[Any, ...], found: str) -> str:
    """How two answers differ, without numbers."""
    ways = [str(answer[1]) if answer[0] == "raises" else "returns" for answer in (wanted, got)]
    return re.sub(r"[-\d.]+", "0", " ".join([*ways, found]))


def _is_own(error: type) -> bool:
    return error.__name__ in ("Stop", "Halt", "AssertionError")


def _executed(program: Program, made: Specialization, inputs: Sequence[str], samples: int) -> Iterator[Call]:
    executor = Executor(program, made.environment)
    for seed in range(samples):
        yield outcome(executor.call, make_inputs(inputs, seed)), executor.state


def _hosted(program: Program, made: Specialization, inputs: Sequence[str], samples: int) -> Iterator[Call]:
    module = load_module(host_text(program), fake_runtime(program, made.environment))
    host = getattr(module, class_name(program))()
    classes = {**vars(module)}
    for seed in range(samples):
        arrays = tuple(tensor.numpy() for tensor in make_inputs(inputs, seed))
        answer = outcome(host, arrays)
        yield _as_torch(answer, made, classes), _as_torch(host.state_dict(), made, classes)


def _as_torch(value: Any, made: Specialization, classes: dict[str, Any]) -> Any:
    """A host's value as the model would have given it: tensors for arrays, its classes for the stand-ins."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.array(value))
    if isinstance(value, type):
        return next((cls for cls in made.environment.classes.values() if cls.__name__ == value.__name__), value)
    if isinstance(value, dict):
        return {key: _as_torch(item, made, classes) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        own = _as_torch(type(value), made, classes)
        return own(*(_as_torch(item, made, classes) for item in value))
    if isinstance(value, (list, tuple)):
        return type(value)(_as_torch(item, made, classes) for item in value)
    if dataclasses.is_dataclass(value):
        own = _as_torch(type(value), made, classes)
        return own(**{f.name: _as_torch(getattr(value, f.name), made, classes) for f in dataclasses.fields(value)})
    return value
