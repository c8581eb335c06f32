"""Programs in the style of public research code: the program that is made of each agrees with eager, path by path.

`programs/` holds them as their authors would write them, one for each family of dynamic networks. They run after all
passes, by the reference executor; `tests/zoo` and `tests/wild` go through the target.
"""

from __future__ import annotations

import copy
import importlib
from pathlib import Path
from typing import Any

import pytest
import torch

from dycl.comparison import Comparison
from dycl.ir.executor import Executor
from dycl.pipeline import check_model
from dycl.settings import Settings
from dycl.trials import find_attribute

PROGRAMS = sorted(path.stem for path in (Path(__file__).parent / "programs").glob("*.py"))
CALLS = 12


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_probe_agrees_with_eager_on_several_paths(name: str) -> None:
    probe = importlib.import_module(f"tests.probes.programs.{name}")
    model = probe.build()
    eager = copy.deepcopy(model)
    checked = check_model(model, probe.sample_inputs(0), {}, Settings())
    executor = Executor(checked.program, checked.environment)
    comparison = Comparison(rtol=1e-3, atol=1e-5)
    paths = set()
    for seed in range(CALLS):
        wanted, got = _outcome(eager, probe.sample_inputs(seed)), _outcome(executor.call, probe.sample_inputs(seed))
        comparison.compare(wanted, got, f"seed {seed}: ")
        kept = {slot: find_attribute(eager, slot) for slot in executor.state}
        comparison.compare(kept, executor.state, f"seed {seed}: state ")
        paths.add(tuple(executor.decisions))
    assert not comparison.differences
    assert len(paths) > 1


def _outcome(function: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    try:
        with torch.no_grad():
            return "returns", function(*copy.deepcopy(args))
    except Exception as error:  # whatever the model raises is its answer
        return "raises", type(error).__name__, str(error)
