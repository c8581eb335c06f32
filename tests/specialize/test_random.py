"""Random operations under `rng="host"`, and clocks: after the same seed, program and host draw what eager draws."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from dycl.diagnostics import UnsupportedError
from dycl.ir.executor import Executor
from dycl.ir.hosteffects import DRAWS
from dycl.ir.nodes import HostOp
from dycl.ir.program import Program
from dycl.ir.randomness import Streams
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


def test_streams_are_torchs_however_much_is_asked_for_at_once() -> None:
    """The host asks the twister for many numbers ahead; what is left goes before what comes next."""
    order = random.Random(0)
    for seed in range(8):
        _seed(seed)
        streams = Streams(seed)
        for _ in range(50):
            count = order.choice([0, 1, 2, 3, 40, 63, 64, 65, 130, 300, 1000])
            match order.randrange(4):
                case 0:
                    found, wanted = streams.uniform((count,), "float32", 0.0, 1.0), torch.rand(count)
                case 1:
                    found = streams.uniform((count,), "float64", 0.0, 1.0)
                    wanted = torch.rand(count, dtype=torch.float64)
                case 2:
                    found, wanted = streams.integers((count,), "int64", 0, 10), torch.randint(0, 10, (count,))
                case _:
                    found, wanted = streams.permutation(count, "int64"), torch.randperm(count)
            assert np.array_equal(found, wanted.numpy())


def test_uniform_numbers_between_any_bounds_are_torchs() -> None:
    for seed, (low, high) in enumerate([(-1.0, 2.0), (-0.3, 0.7), (1e-3, 5e3)]):
        _seed(seed)
        wanted = torch.empty(1000).uniform_(low, high)
        assert np.array_equal(Streams(seed).uniform((1000,), "float32", low, high), wanted.numpy())


def test_what_is_drawn_with_given_chances_cuts_no_subgraph() -> None:
    class Flips(torch.nn.Module):
        def forward(self, x):
            chances = torch.sigmoid(x)
            return chances * torch.bernoulli(chances) + torch.empty(4).bernoulli_(chances.double())

    made = specialize(Flips(), (torch.zeros(4),), rng="host")
    program = run_passes(made.program, made.environment, PASSES, lambda name, made: None)
    assert len(program.subgraphs) == 1
    executor = Executor(program, made.environment)
    for seed in range(5):
        _seed(seed)
        executor.random.seed(seed)
        x = torch.linspace(-2, 2, 4)
        assert difference(Flips()(x), executor.call(x)) is None


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
