"""The comparison of eager, executor and host: it passes what agrees and finds each way of being wrong."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import driving
import numpy as np
import pytest
import torch
from torch import nn

from dycl.diagnostics import TargetError
from dycl.forcing import find_plans
from dycl.ir.environment import Environment
from dycl.ir.executor import Executor
from dycl.ir.parser import parse_ir
from dycl.ir.program import Program
from dycl.loading import load_model
from dycl.sampling import Sample, map_leaves, sample_calls
from dycl.trials import Decide, Subject
from dycl.verification import VerificationReport, verify_model


class ExecutorHost:
    """A host whose subgraphs torch computes: what `spoil` does to it is the only thing that is wrong with it."""

    def __init__(self, program: Program, environment: Environment, decide: Decide | None, spoil: Spoil) -> None:
        self._executor = Executor(program, environment, decide=decide)
        self._spoil = spoil

    def call(self, *args: Any, **kwargs: Any) -> Any:
        return self._spoil.result(map_leaves(self._executor.call(*args, **kwargs), to_numpy))

    @property
    def decisions(self) -> list[tuple[int, bool]]:
        return self._spoil.decisions([(int(site), side) for site, side in self._executor.decisions])

    @property
    def state(self) -> dict[str, object]:
        return self._spoil.state(dict(self._executor.state))


class Spoil:
    """Spoils nothing."""

    def result(self, value: Any) -> Any:
        return value

    def decisions(self, taken: list[tuple[int, bool]]) -> list[tuple[int, bool]]:
        return taken

    def state(self, state: dict[str, object]) -> dict[str, object]:
        return state


def to_numpy(leaf: Any) -> Any:
    return leaf.numpy() if isinstance(leaf, torch.Tensor) else leaf


@pytest.fixture
def gate(tmp_path: Path) -> nn.Module:
    return load_model(str(driving.write_gate(tmp_path))).model


def subject(
    model: nn.Module,
    text: str = driving.GATE_PROGRAM,
    spoil: Spoil | None = None,
    host_text: str = "",
    host_modules: dict[str, nn.Module] | None = None,
) -> Subject:
    program, compiled = (parse_ir(given.format(path="gate.py")) for given in (text, host_text or text))
    environment = Environment(modules=dict(model.named_children()))
    other = Environment(modules={**environment.modules, **(host_modules or {})})
    make = lambda decide: ExecutorHost(compiled, other, decide, spoil or Spoil())  # noqa: E731
    return Subject(program=program, environment=environment, model=model, make_host=make)


def samples(model: nn.Module, count: int = 6) -> list[Sample]:
    def sampler(seed: int) -> object:
        return (torch.randn(1, 3, generator=torch.Generator().manual_seed(seed)),)

    return list(sample_calls(model, (torch.ones(1, 3),), {}, method="forward", sampler=sampler, count=count))


def verify(model: nn.Module, **options: Any) -> VerificationReport:
    return verify_model(subject(model, **options), samples(model))


def refused(model: nn.Module, **options: Any) -> TargetError:
    with pytest.raises(TargetError) as found:
        verify(model, **options)
    assert found.value.code == "DY403"
    return found.value


def test_what_agrees(gate: nn.Module) -> None:
    report = verify(gate)
    assert report.calls == 7
    assert report.paths == 2
    assert report.state == ("calls",)
    assert report.exercised == ((0, True), (0, False), (2, False))
    assert report.forced == ((2, True),)
    assert report.unreached == report.ties == ()


def test_the_model_itself_is_left_alone(gate: nn.Module) -> None:
    verify(gate)
    assert gate.calls == 0


def test_a_wrong_number(gate: nn.Module) -> None:
    class Wrong(Spoil):
        def result(self, value: Any) -> Any:
            return {**value, "logits": value["logits"] + 0.01}

    error = refused(gate, spoil=Wrong())
    assert "the result['logits']: 2 of 2 values differ" in error.message
    kept = np.load(error.hint.split()[-1])
    assert np.array_equal(kept["args.0"], np.ones((1, 3), np.float32))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda value: list(value.values()), "dict expected, list found"),
        (lambda value: {**value, "more": 1}, "expected"),
        (lambda value: {**value, "logits": value["logits"].astype(np.float64)}, "float32[1, 2] expected, float64"),
        (lambda value: {**value, "logits": value["logits"][0]}, "float32[1, 2] expected, float32[2]"),
        (lambda value: {**value, "score": 3}, "expected, 3 found"),
        (lambda value: {**value, "score": np.float32(value["score"])}, "float expected"),
    ],
)
def test_another_structure(gate: nn.Module, change: Callable[[Any], Any], words: str) -> None:
    class Wrong(Spoil):
        def result(self, value: Any) -> Any:
            return change(value)

    assert words in refused(gate, spoil=Wrong()).message


def test_a_wrong_decision(gate: nn.Module) -> None:
    class Wrong(Spoil):
        def decisions(self, taken: list[tuple[int, bool]]) -> list[tuple[int, bool]]:
            return [(taken[0][0], not taken[0][1]), *taken[1:]]

    error = refused(gate, spoil=Wrong())
    assert "decision 0 at gate.py:17" in error.message
    assert error.loc.line == 17


def test_a_wrong_state(gate: nn.Module) -> None:
    class Wrong(Spoil):
        def state(self, state: dict[str, object]) -> dict[str, object]:
            return {"calls": 1}  # right after the first call only

    error = refused(gate, spoil=Wrong())
    assert error.message.startswith("call 1 (sample_inputs(0)): ")
    assert "the state calls: 2 expected, 1 found" in error.message


def test_a_program_that_is_not_the_source(gate: nn.Module) -> None:
    wrong = driving.GATE_PROGRAM.replace("host gt(%4, 0.5)", "host lt(%4, 0.5)")
    assert "the reference executor" in refused(gate, text=wrong).message


def test_a_program_that_reads_something_else(gate: nn.Module) -> None:
    """The result may be right by luck; what was read from tensors was not."""
    wrong = driving.GATE_PROGRAM.replace("call torch.Tensor.sum(%0)", "call torch.Tensor.mean(%0)").replace(
        "'score': %4", "'score': %12"
    )
    wrong = wrong.replace("host item(%3)", "host item(%3)", 1).replace(
        "  %5: bool", "  %12: float = host mul(%4, 3.0)\n  %5: bool"
    )
    model = copy.deepcopy(gate)
    error = refused(model, text=wrong)
    assert "the program reads 1.0 at gate.py:17" in error.message


def test_an_edge_only_forcing_reaches_is_compared(gate: nn.Module) -> None:
    wrong = driving.GATE_PROGRAM.replace("torch.Tensor.add(%7, 1)", "torch.Tensor.add(%7, 2)")
    error = refused(gate, host_text=wrong)
    assert "forced gate.py:19 True" in error.message


def test_an_edge_that_cannot_be_forced_is_listed(gate: nn.Module) -> None:
    """The side fits no tensor of this shape: an operation raises there, and no input comes there."""
    text = driving.GATE_PROGRAM.replace("torch.Tensor.add(%7, 1)", "torch.Tensor.reshape(%7, (7, 7))")
    report = verify(gate, text=text)
    assert [found.edge for found in report.unreached] == [(2, True)]
    assert "RuntimeError" in report.unreached[0].reason


def test_a_tie_is_no_wrong_number() -> None:
    class Near(nn.Module):
        def forward(self, x: torch.Tensor) -> int:
            return 1 if x.sum().item() > 3.0 else 0

    text = """\
program Near method forward
param x: positional_or_keyword = input 0: float32[1, 3]
entry b0

b0(%0 x: float32[1, 3]):
  %1: float32[] = call torch.Tensor.sum(%0)
  %2: float = host item(%1)
  %3: bool = host gt(%2, LIMIT)
  branch %3 ? b1 : b2

b1:
  return 1

b2:
  return 0
"""
    exact, rounded = (text.replace("LIMIT", limit) for limit in ("3.0", "2.9999995"))
    report = verify_model(subject(Near(), exact, host_text=rounded), samples(Near(), 3))
    assert [tie.origin for tie in report.ties] == ["the example"]
    assert "decision 0" in report.ties[0].difference
    below = [Sample("the example", (torch.full((1, 3), 0.99),), {})]
    with pytest.raises(TargetError, match="decision 0"):
        verify_model(subject(Near(), exact, host_text=text.replace("LIMIT", "2.9")), below)


def test_a_number_that_is_all_rounding_is_no_wrong_number() -> None:
    """What is left of a sum after its parts are taken away again: no two implementations agree on it."""

    class Left(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return ((x + 1000.0) - 1000.0 - x) * 1000.0

    text = """\
program Left method forward
param x: positional_or_keyword = input 0: float32[1, 3]
entry b0

b0(%0 x: float32[1, 3]):
  %1: float32[1, 3] = call torch.Tensor.add(%0, 1000.0)
  %2: float32[1, 3] = call torch.Tensor.sub(%1, 1000.0)
  %3: float32[1, 3] = call torch.Tensor.sub(%2, %0)
  %4: float32[1, 3] = call torch.Tensor.mul(%3, 1000.0)
  %5: float32[1, 3] = call torch.Tensor.add(%4, OFF)
  return %5
"""
    exact = text.replace("OFF", "0.0")
    report = verify_model(subject(Left(), exact, host_text=text.replace("OFF", "0.01")), samples(Left(), 3))
    assert report.ties
    with pytest.raises(TargetError, match="values differ"):
        verify_model(subject(Left(), exact, host_text=text.replace("OFF", "1000.0")), samples(Left(), 3))
    wider = text.replace("OFF", "0.0").replace("return %5", "return (%5, 1)")
    with pytest.raises(TargetError, match="expected"):
        verify_model(subject(Left(), exact, host_text=wider), samples(Left(), 3))


RAISING = """\
program Strict method forward
param x: positional_or_keyword = input 0: float32[1, 3]
entry b0

b0(%0 x: float32[1, 3]):
  %1: float32[] = call torch.Tensor.sum(%0)
  %2: float = host item(%1)
  %3: bool = host gt(%2, 0.0)
  branch %3 ? b1 : b2

b1:
  return %0

b2:
  raise builtins:ValueError('negative')
"""


class Strict(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum().item() > 0.0:
            return x
        raise ValueError("negative")


def test_equal_exceptions() -> None:
    report = verify_model(subject(Strict(), RAISING), samples(Strict()))
    assert report.exercised == ((0, True), (0, False))


@pytest.mark.parametrize("other", ["builtins:KeyError('negative')", "builtins:ValueError('below zero')"])
def test_another_exception(other: str) -> None:
    wrong = RAISING.replace("builtins:ValueError('negative')", other)
    with pytest.raises(TargetError, match="negative"):
        verify_model(subject(Strict(), RAISING, host_text=wrong), samples(Strict()))


def test_samples_of_another_shape_are_left_out(gate: nn.Module) -> None:
    more = [*samples(gate, 2), Sample("sample_inputs(2)", (torch.ones(2, 3),), {})]
    report = verify_model(subject(gate), more)
    assert (report.calls, report.skipped) == (3, 1)


def test_a_host_that_refuses_its_example(gate: nn.Module) -> None:
    text = driving.GATE_PROGRAM.replace("float32[1, 3]", "float32[5, 3]").replace("float32[1, 2]", "float32[5, 2]")
    with pytest.raises(TargetError, match="refuses its own example"):
        verify_model(subject(gate, text), samples(gate))


LOOP = """\
program Loop method forward
param x: positional_or_keyword = input 0: float32[1]
entry b0

b0(%0 x: float32[1]):
  jump b1(%0)

b1(%1 x: float32[1]):
  %2: float = host item(%1)
  %3: bool = host lt(%2, 8.0)
  branch %3 ? b2 : b3

b2:
  %4: float32[1] = call torch.Tensor.mul(%1, 2)
  jump b1(%4)

b3:
  %5: float = host item(%1)
  %6: bool = host gt(%5, 100.0)
  branch %6 ? b4 : b5

b4:
  return 1

b5:
  return 0
"""


class Loop(nn.Module):
    def forward(self, x: torch.Tensor) -> int:
        while x.item() < 8.0:
            x = x * 2
        return 1 if x.item() > 100.0 else 0


def loop_samples() -> list[Sample]:
    return [Sample(name, (torch.tensor([value]),), {}) for name, value in (("the example", 1.0), ("two", 3.0))]


def test_a_loop_and_an_edge_behind_it() -> None:
    report = verify_model(subject(Loop(), LOOP), loop_samples())
    assert report.forced == ((3, True),)
    assert report.paths == 2


def test_an_endless_forced_run_is_stopped() -> None:
    """Behind the edge stands a loop that ends by force alone."""
    text = (
        LOOP.replace("return 1\n", "jump b6(%1)\n")
        + """
b6(%7 x: float32[1]):
  %8: float = host item(%7)
  %9: bool = host ne(%8, 0.5)
  branch %9 ? b7 : b4x
"""
    )
    text = text.replace("b4x", "b8") + "\nb7:\n  jump b6(%7)\n\nb8:\n  return 1\n"
    report = verify_model(subject(Loop(), text), loop_samples())
    reasons = {found.edge: found.reason for found in report.unreached}
    assert report.forced == ((3, True), (6, False))
    assert "EndlessRun" in reasons[(6, True)]


def test_plans_prefer_the_shortest_way() -> None:
    program = parse_ir(LOOP)
    visited: dict[int, Any] = {1: "visit"}
    plans: Iterator[Any] = find_plans(program, (3, True), visited)
    assert next(plans) == ("visit", [(1, False), (3, True)])
