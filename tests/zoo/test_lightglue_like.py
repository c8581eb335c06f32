"""Depth and width decided at run time, over two sets of points of any size: the program agrees with eager."""

from __future__ import annotations

import pytest
import torch

from dycl.comparison import Comparison
from dycl.ir.executor import Executor
from dycl.passes.specialize.specializer import specialize
from models_zoo import lightglue_like


@pytest.mark.slow
def test_program_matches_as_eager_does() -> None:
    model = lightglue_like.build()
    made = specialize(model, lightglue_like.example_inputs())
    assert len(made.program.blocks) < 250
    executor = Executor(made.program, made.environment)
    stops = set()
    for seed in range(30):
        inputs = lightglue_like.sample_inputs(seed)
        with torch.no_grad():
            wanted = model(*inputs)
        comparison = Comparison()
        comparison.compare(wanted, executor.call(*inputs), f"seed {seed}: ")
        assert comparison.differences == []
        stops.add(wanted["stop"])
    assert len(stops) > 2
