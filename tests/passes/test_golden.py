"""Each pass alone on IR text: `tests/golden/<pass>/<case>.txt` holds the input, a line `---` and what comes out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from dycl.diagnostics import DyclError
from dycl.ir.environment import Environment
from dycl.ir.parser import parse_ir
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
    hand_on,
    hoist,
    inline,
    partition,
    peel,
    pin_to_host,
    place,
    propagate,
    read_elements,
    read_sizes,
    simplify_cfg,
    sink_common,
    sink_work,
    speculate,
)

GOLDEN = Path(__file__).parent.parent / "golden"
RUNS: dict[str, Callable[[Program, Environment], Program]] = {
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
    "sink_common": sink_common.run,
    "copy_down": copy_down.run,
    "pin_to_host": pin_to_host.run,
    "pin_to_host_late": pin_to_host.run_late,
    "propagate": propagate.run,
    "read_elements": read_elements.run,
    "compute_elements": compute_elements.run,
    "speculate": lambda program, environment: speculate.run(program, replace(environment, calls=CALLS)),
    "partition": partition.run,
    "read_sizes": read_sizes.run,
    "hand_on": hand_on.run,
    "deduplicate": deduplicate.run,
    "place": place.run,
}
CALLS = tuple(((torch.full((1, 4), x),), {}) for x in [1.0] * 19 + [-1.0])  # what `speculate` sees
CASES = sorted(path for name in RUNS for path in (GOLDEN / name).glob("*.txt"))


@pytest.fixture(scope="module")
def environment() -> Environment:
    """What the golden programs name: small modules and weights."""
    tied = nn.Linear(4, 4)
    tied.weight = nn.Parameter(torch.zeros(4, 4))
    other = nn.Linear(4, 4)
    other.weight = tied.weight
    modules: dict[str, nn.Module] = {
        "stem": nn.Linear(4, 4),
        "head": nn.Linear(4, 4),
        "drop": nn.Dropout(0.5),
        "train_drop": nn.Dropout(0.5).train(),
        "identity": nn.Identity(),
        "relu_": nn.ReLU(inplace=True),
        "blocks.0": nn.Linear(4, 4),
        "blocks.1": nn.Linear(4, 4),
        "blocks.2": nn.Linear(4, 4, bias=False),
        "tied.0": tied,
        "tied.1": other,
        "norm.0": nn.LayerNorm(4, eps=1e-5),
        "norm.1": nn.LayerNorm(4, eps=1e-6),
    }
    for name, module in modules.items():
        module.train(name == "train_drop")
    weights = {"scale": torch.tensor(2.5), "memory": torch.zeros(1, 4)}
    seen = {id(tensor) for tensor in weights.values()}
    for path, module in modules.items():
        for name, parameter in module.named_parameters():
            if id(parameter) not in seen:
                weights[f"{path}.{name}"] = parameter
                seen.add(id(parameter))
    return Environment(weights=weights, modules=modules)


def run_case(run: Callable[[Program, Environment], Program], text: str, environment: Environment) -> str:
    program = parse_ir(text)
    verify(program, after="the golden input")
    before = print_ir(program)
    try:
        result = run(program, environment)
    except DyclError as error:
        return f"{error}\n"
    assert print_ir(program) == before, "a pass must not touch its input"
    verify(result, after=run.__module__)
    if run is not partition.run:
        assert print_ir(run(result, environment)) == print_ir(result), "a pass ends at a fixpoint"
    return print_ir(result)


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_golden(path: Path, environment: Environment, update_golden: bool) -> None:
    given, _, expected = path.read_text().partition("\n---\n")
    found = run_case(RUNS[path.parent.name], given, environment)
    if update_golden:
        path.write_text(f"{given}\n---\n{found}")
        return
    assert found == expected


def test_there_are_cases_for_every_pass() -> None:
    assert {path.parent.name for path in CASES} == set(RUNS)
