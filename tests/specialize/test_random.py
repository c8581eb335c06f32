"""Random operations under `rng="host"`, and clocks: after the same seed, program and host draw what eager draws."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from dycl.diagnostics import UnsupportedError
from dycl.ir.executor import Executor
from dycl.ir.hosteffects import DRAWS
from dycl.ir.nodes import HostOp, Program
from dycl.passes.order import PASSES, run_passes
from dycl.passes.specialize.specializer import specialize
from tests.hostgen import harness
from tests.specialize import random_programs
from tests.specialize.comparison import build, difference, find_mismatch
from tests.specialize.programs import Case


def _name(case: Case) -> str:
    return case.name


def _seed(seed: int) -> None:
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)


@pytest.mark.parametrize("case", random_programs.CASES, ids=_name)
def test_program_and_host_draw_what_eager_draws(case: Case) -> None:
    model = build(case)
    made = specialize(model, case.inputs(0), rng="host")
    program = run_passes(made.program, made.environment, PASSES, lambda name, made: None)
    executor, host = Executor(made.program, made.environment), harness.make_host(program, made.environment)
    for seed in range(12):
        _seed(seed)
        executor.random.seed(seed)
        host.seed(seed)
        for call in (2 * seed, 2 * seed + 1):  # the second goes on where the first has stopped
            inputs = case.inputs(call)
            with torch.no_grad():
                wanted = model(*inputs)
            found = executor.call(*inputs)
            assert difference(wanted, found) is None, seed
            harness.assert_close(found, host(*map(harness.to_numpy, inputs)))


@pytest.mark.parametrize("case", random_programs.CASES, ids=_name)
def test_random_operations_are_refused_by_default(case: Case) -> None:
    with pytest.raises(UnsupportedError) as caught:
        specialize(build(case), case.inputs(0))
    assert caught.value.code in ("DY202", "DY210")


@pytest.mark.parametrize("case", random_programs.CLOCKS, ids=_name)
def test_a_clock_is_read_by_the_host(case: Case) -> None:
    assert find_mismatch(case) is None
    made = specialize(build(case), case.inputs(0))
    program = run_passes(made.program, made.environment, PASSES, lambda name, made: None)
    lines = [line.partition("#")[0] for line in harness.host_text(program).splitlines() if '"' not in line]
    assert sum("time.perf_counter()" in line for line in lines) == 2
    harness.compare(program, [case.inputs(seed) for seed in range(5)], made.environment)


def test_no_draw_is_removed_or_shared() -> None:
    class Twice(torch.nn.Module):
        def forward(self, x):
            torch.rand(3)
            return torch.rand(3) - torch.rand(3)

    made = specialize(Twice(), (torch.ones(1),), rng="host")
    assert _draws(made.program) == 3
    assert _draws(run_passes(made.program, made.environment, PASSES, lambda name, made: None)) == 3


def _draws(program: Program) -> int:
    ops = [op for block in program.blocks for op in block.ops if isinstance(op, HostOp)]
    return sum(op.function.startswith(DRAWS) for op in ops)
