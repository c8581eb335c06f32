"""The list of passes, and names of subgraphs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dycl.diagnostics import InternalError
from dycl.ir.environment import Environment
from dycl.ir.parser import parse_ir
from dycl.ir.program import Program
from dycl.passes.analysis.naming import SubgraphNames
from dycl.passes.order import PASSES, Pass, run_passes

TEXT = """
program P method forward
param x: positional_or_keyword = input 0: float32[1, 4]
entry b0

b0(%0 x: float32[1, 4]):
  %1: float32[1, 4] = module {0}(%0)
  %2: float32[1, 4] = module {1}(%1)
  return %2
"""


def test_each_step_is_checked() -> None:
    program = parse_ir(TEXT.format("a", "b"))

    def breaks(program: Program, environment: Environment) -> Program:
        return replace(program, entries=())

    with pytest.raises(InternalError, match="after breaking"):
        run_passes(program, Environment(), [Pass("breaking", breaks)], lambda name, result: None)


def test_names_are_unique_and_requirements_come_before() -> None:
    names = [step.name for step in PASSES]
    assert len(set(names)) == len(names)
    for index, step in enumerate(PASSES):
        assert set(step.requires) <= set(names[:index])


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (("stem.conv", "exits.0"), "03_stem_exit0"),
        (("model.layers.2.conv1", "model.layers.2.bn1"), "03_layer2"),
        (("layer1.0.conv1", "layer1.0.conv2"), "03_layer1_0"),
        (("blocks.2", "gates.3.fc"), "03_block2_gate3"),
        (("classes", "Loss"), "03_classes_loss"),
    ],
)
def test_names_of_subgraphs(paths: tuple[str, str], expected: str) -> None:
    program = parse_ir(TEXT.format(*paths))
    assert SubgraphNames(program).name(3, program.blocks[0].ops) == expected  # type: ignore[arg-type]
