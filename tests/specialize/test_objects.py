"""Objects as inputs, recursion over them, and attributes of theirs that the model writes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from dycl.ir.executor import Executor
from dycl.ir.parser import parse_ir
from dycl.ir.printer import print_ir
from dycl.ir.verifier import verify
from dycl.passes.order import PASSES, run_passes
from dycl.passes.specialize.specializer import specialize
from tests.specialize import object_programs
from tests.specialize.comparison import build, difference
from tests.specialize.programs import Case

SEEDS = range(20)


def _call(function: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    with torch.no_grad():
        return function(*args), [_written(arg) for arg in args]


def _written(node: Any) -> Any:
    """The attributes that the model has hung on a tree."""
    if not isinstance(node, object_programs.Node):
        return None
    return (getattr(node, "state", None), _written(node.left), _written(node.right))


@pytest.mark.parametrize("case", object_programs.CASES, ids=lambda case: case.name)
def test_a_program_is_right_on_objects_of_any_structure(case: Case) -> None:
    model = build(case)
    made = specialize(model, case.inputs(0), examples=[(case.inputs(seed), {}) for seed in range(1, 6)])
    verify(made.program, after="specialize")
    assert parse_ir(print_ir(made.program)) == made.program
    passed = run_passes(made.program, made.environment, PASSES, lambda name, result: None)
    for program in (made.program, passed):
        eager, executor = copy.deepcopy(model), Executor(program, made.environment)
        for seed in SEEDS:
            wanted = _call(eager, copy.deepcopy(case.inputs(seed)))
            got = _call(executor.call, copy.deepcopy(case.inputs(seed)))
            assert difference(wanted, got) is None, (seed, wanted, got)
            for name, value in executor.state.items():
                assert difference(getattr(eager, name), value) is None, (seed, name)
