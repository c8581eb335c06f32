"""Random programs mean the same before and after each pass, and after passes in any order."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dycl.diagnostics import UnsupportedError
from dycl.ir.environment import Environment
from dycl.ir.executor import Executor
from dycl.ir.nodes import Dispatch, HostOp, TensorOp, edges
from dycl.ir.numbering import renumber
from dycl.ir.printer import print_ir
from dycl.ir.program import Program
from dycl.ir.verifier import verify
from dycl.passes import (
    compute_elements,
    copy_down,
    dead_code,
    deduplicate,
    fold_host,
    functionalise,
    fuse,
    hoist,
    inline,
    partition,
    peel,
    pin_to_host,
    propagate,
    read_elements,
    simplify_cfg,
    sink_common,
    sink_work,
    speculate,
)
from dycl.passes.common_work import find_common
from dycl.passes.host_gains import Gains
from dycl.passes.order import PASSES, run_passes
from dycl.passes.postpone import find_postponed

Generate = Callable[[int], Program]
Record = tuple[object, list[object], list[object]]  # the outcome, decisions, observations


def postpone_all(program: Program, environment: Environment) -> Program:
    """Whether it pays or not; each time the first that is found, a few times."""
    program = renumber(program)
    for _ in range(4):
        found = next(find_postponed(program, environment), None)
        if found is None:
            break
        program = found.program
    return program


def sink_all_common(program: Program, environment: Environment) -> Program:
    """Whether it pays or not, wherever a way into a join is spared a dispatch."""
    program, done = renumber(program), []
    while (found := find_common(program, environment, done)) is not None:
        program = found.program
        done.append(found.join)
    return renumber(program)


def compute_all_elements(program: Program, environment: Environment) -> Program:
    """Whether it pays or not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compute_elements, "_OPERATION", -math.inf)
        return compute_elements.run(program, environment)


TO_THE_HOST = {
    "simplify_cfg": simplify_cfg.run,
    "dead_code": dead_code.run,
    "fold_host": fold_host.run,
    "functionalise": functionalise.run,
    "hoist": hoist.run,
    "hoist_early": hoist.run_early,
    "inline": inline.run,
    "peel": peel.run,
    "fuse": fuse.run,
    "sink_work": sink_work.run,
    "copy_down": copy_down.run,
    "pin_to_host": pin_to_host.run,
    "pin_to_host_late": pin_to_host.run_late,
    "propagate": propagate.run,
    "read_elements": read_elements.run,
    "compute_elements": compute_elements.run,
    "compute_all_elements": compute_all_elements,
    "speculate": speculate.run,
    "postpone": postpone_all,
    "sink_common": sink_common.run,
    "sink_all_common": sink_all_common,
}

# ---------------------------------------------------------------- comparing


def trace(program: Program, environment: Environment) -> list[Record]:
    """What three calls in a row return (or raise), decide and read.

    A host operation that raises does not say what the state is then, so the sequence starts again after it.
    """
    executor = Executor(program, environment)
    calls: list[Record] = []
    for x, y in INPUT_VALUES:
        result: object
        try:
            result = (_plain(executor.run([x.clone(), y.clone()])), _plain(executor.state))
        except (ZeroDivisionError, ValueError, OverflowError) as error:
            result = f"{type(error).__name__}: {error}"
            executor.reset()
        decisions: list[object] = [(program.block(block).end.loc.line, side) for block, side in executor.decisions]
        observations: list[object] = [(loc.line, repr(value)) for loc, value in executor.observations]
        calls.append((result, decisions, observations))
    return calls


INPUT_VALUES = [
    (torch.tensor([[1.0, -2.0, 0.5, 0.0]]), torch.tensor([[0.0, 1.0, -1.0, 3.0]])),
    (torch.tensor([[-1.0, -2.0, -3.0, 1.0]]), torch.tensor([[2.0, 2.0, 2.0, -7.0]])),
    (torch.tensor([[4.0, 0.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 0.0, 0.0]])),
]


def _plain(value: object) -> object:
    """The bits of tensors, so that equal means equal."""
    if isinstance(value, torch.Tensor):
        return ("tensor", tuple(value.shape), value.reshape(-1).view(torch.int32).tolist())
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return repr(value)


def is_part(some: Sequence[object], every: Sequence[object]) -> bool:
    """Whether the first sequence is the second with gaps."""
    rest = iter(every)
    return all(item in rest for item in some)


def check(program: Program, changed: Program, environment: Environment, *, decides_less: bool) -> None:
    verify(changed, after="the passes")
    for before, after in zip(trace(program, environment), trace(changed, environment), strict=True):
        assert after[0] == before[0]
        assert is_part(after[1], before[1]) if decides_less else after[1] == before[1]
        if not isinstance(before[0], str):  # what is read in a dispatch may be read although an error comes before it
            assert is_part(sorted(map(repr, after[2])), sorted(map(repr, before[2])))


SEEDS = st.integers(0, 2**32)
SOME = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])


@SOME
@given(seed=SEEDS)
@pytest.mark.parametrize("name", sorted(TO_THE_HOST))
def test_a_pass_alone(generate: Generate, random_environment: Environment, name: str, seed: int) -> None:
    program = generate(seed)
    before = print_ir(program)
    changed = TO_THE_HOST[name](program, random_environment)
    assert print_ir(program) == before
    check(program, changed, random_environment, decides_less=name != "dead_code")


@SOME
@given(seed=SEEDS)
def test_copies_behind_decisions_whether_they_pay_or_not(
    generate: Generate, random_environment: Environment, seed: int
) -> None:
    program = generate(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copy_down._Move, "pays", True)
        changed = copy_down.run(program, random_environment)
    check(program, changed, random_environment, decides_less=False)


@SOME
@given(seed=SEEDS)
def test_work_along_usual_ways_whether_it_pays_or_not(
    generate: Generate, random_environment: Environment, seed: int
) -> None:
    program = generate(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speculate._Trace, "pays", True)
        patch.setattr(speculate, "MOST_ROUNDS", 2)
        changed = speculate.run(program, random_environment)
    check(program, changed, random_environment, decides_less=True)


def make_all_late(program: Program, environment: Environment) -> Program:
    """Whether it pays or not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Gains, "gain", lambda *_: 1.0)
        return pin_to_host.run_late(program, environment)


@SOME
@given(seed=SEEDS)
def test_what_the_host_makes_late_whether_it_pays_or_not(
    generate: Generate, random_environment: Environment, seed: int
) -> None:
    program = generate(seed)
    changed = make_all_late(program, random_environment)
    check(program, changed, random_environment, decides_less=False)
    try:
        partitioned = partition.run(changed, random_environment)
    except UnsupportedError as error:
        assert error.code == "DY301"
        return
    check(program, partitioned, random_environment, decides_less=True)


def test_much_of_what_is_generated_the_host_makes(generate: Generate, random_environment: Environment) -> None:
    made: Counter[str] = Counter()
    for seed in range(150):
        changed = make_all_late(generate(seed), random_environment)
        functions = {op.function for block in changed.blocks for op in block.ops if isinstance(op, HostOp)}
        made.update(functions & {"cat", "stack", "slice", "numerics.take_rows"})
    assert len(made) == 4 and min(made.values()) > 2, made


def test_much_of_what_is_generated_has_a_usual_way(generate: Generate, random_environment: Environment) -> None:
    found = 0
    for seed in range(40):
        program = functionalise.run(generate(seed), random_environment)
        found += any(trace.moved for trace in speculate._find(program, random_environment))
    assert found > 5


@SOME
@given(seed=SEEDS, names=st.lists(st.sampled_from(sorted(TO_THE_HOST)), max_size=4))
def test_passes_in_any_order_then_partition(
    generate: Generate, random_environment: Environment, seed: int, names: list[str]
) -> None:
    program = changed = generate(seed)
    for name in names:
        changed = TO_THE_HOST[name](changed, random_environment)
    try:
        partitioned = partition.run(changed, random_environment)
    except UnsupportedError as error:
        assert error.code == "DY301"
        return
    check(program, partitioned, random_environment, decides_less=True)
    check(partitioned, deduplicate.run(partitioned, random_environment), random_environment, decides_less=False)


@SOME
@given(seed=SEEDS)
def test_all_passes(generate: Generate, random_environment: Environment, seed: int) -> None:
    program = generate(seed)
    seen: list[str] = []
    try:
        changed = run_passes(program, random_environment, PASSES, lambda name, _: seen.append(name))
    except UnsupportedError as error:
        assert error.code == "DY301"
        return
    assert seen == [step.name for step in PASSES]
    check(program, changed, random_environment, decides_less=True)


def test_the_generator_covers_what_the_passes_do(generate: Generate, random_environment: Environment) -> None:
    """Most programs can be partitioned, and writes, loops, branches, exceptions and cuts all occur."""
    refused, writes, loops, raises, cuts = 0, 0, 0, 0, 0
    for seed in range(60):
        program = generate(seed)
        ops = [op for block in program.blocks for op in block.ops]
        writes += any(isinstance(op, TensorOp) and len(op.mutates) > 1 for op in ops)
        loops += any(edge.target <= block.id for block in program.blocks for edge in edges(block.end))
        raises += any("Error: " in repr(outcome) for outcome, *_ in trace(program, random_environment))
        try:
            partitioned = partition.run(program, random_environment)
        except UnsupportedError:
            refused += 1
            continue
        cuts += any(sum(isinstance(op, Dispatch) for op in block.ops) > 1 for block in partitioned.blocks)
    assert refused < 30
    assert min(writes, loops, raises, cuts) > 3, (writes, loops, raises, cuts)
