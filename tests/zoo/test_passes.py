"""Rows of the zoo mean the same with all passes, with none, without each, with each alone, and with any of them.

The reference executor runs the partitioned programs, as a host would dispatch them; what came out of the specializer,
which no pass has touched, says what they have to mean. A profile lets `speculate` act.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dycl.ir.environment import Environment
from dycl.ir.executor import Executor
from dycl.ir.program import Program
from dycl.loading import load_model, split_call
from dycl.passes.order import OPTIONAL_PASSES, PASSES, run_passes
from dycl.pipeline import Checked, check_model
from dycl.settings import Settings
from tests.fuzz.running import remaining_passes
from tests.zoo.compiled import ZOO, agree

QUICK = ("branchynet", "pondernet", "treelstm")  # the others are slow
LARGE = ("cascade_mtcnn", "detection", "lightglue_like")  # of these each pass alone would take too long
OTHERS = sorted({path.stem for path in ZOO.glob("*.py")} - {"__init__", "demo", "demo_host", "digits", "train"})
ROWS = [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in OTHERS]
CALLS = 10


def variations(name: str) -> Iterator[frozenset[str]]:
    """The passes to leave out, one time after the other."""
    yield frozenset()
    yield OPTIONAL_PASSES
    rng = random.Random(name)
    for _ in range(3):
        yield frozenset(step for step in sorted(OPTIONAL_PASSES) if rng.random() < 0.5)
    if name not in (*QUICK, *LARGE):
        for step in sorted(OPTIONAL_PASSES):
            yield frozenset({step})
            yield OPTIONAL_PASSES - {step}


def run(program: Program, environment: Environment, calls: list[Any]) -> list[tuple[object, object]]:
    """What each call returns or raises, and the state after it."""
    executor = Executor(program, environment)
    found: list[tuple[object, object]] = []
    for seed, (args, kwargs) in enumerate(copy.deepcopy(calls)):
        executor.random.seed(seed)
        try:
            value = executor.call(*args, **kwargs)
        except Exception as error:  # the model's own
            value = f"{type(error).__name__}: {error}"
        found.append((copy.deepcopy(value), copy.deepcopy(executor.state)))
    return found


def check(name: str) -> Checked:
    loaded = load_model(str(ZOO / f"{name}.py"))
    settings = Settings(rng="host" if name == "pondernet" else "refuse", profile=8)
    return check_model(loaded.model, loaded.args, loaded.kwargs, settings, sampler=loaded.sample_inputs)


@pytest.mark.parametrize("name", ROWS)
def test_with_whatever_passes_a_row_means_the_same(name: str) -> None:
    checked = check(name)
    sample = load_model(str(Path(ZOO) / f"{name}.py")).sample_inputs
    assert sample is not None
    calls = [split_call(sample(seed)) for seed in range(CALLS)]
    expected = run(checked.specialized, checked.environment, calls)
    for skipped in variations(name):
        program = run_passes(checked.specialized, checked.environment, remaining_passes(skipped), lambda *_: None)
        for number, pair in enumerate(zip(expected, run(program, checked.environment, calls), strict=True)):
            assert not agree(*pair), f"call {number} without {sorted(skipped)}"


def test_all_passes_but_what_makes_subgraphs_can_be_left_out() -> None:
    assert {step.name for step in PASSES} - OPTIONAL_PASSES == {"partition", "deduplicate"}
    assert [step.name for step in remaining_passes(OPTIONAL_PASSES)] == ["partition", "deduplicate"]
