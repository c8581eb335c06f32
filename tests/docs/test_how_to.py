"""The examples of the how-to pages do what the pages say."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

import dycl
from dycl.diagnostics import TargetError
from dycl.ir.environment import Environment
from dycl.ir.executor import Executor
from dycl.ir.parser import parse_ir
from dycl.ir.printer import print_ir
from dycl.ir.verifier import verify
from dycl.loading import load_model
from dycl.passes.order import PASSES, Pass, run_passes
from dycl.passes.specialize.specializer import specialize

HEADER = """\
program Example method forward
param x: positional_or_keyword = input 0: float32[1, 4]
entry b0

"""


def block_after(text: str, heading: str) -> str:
    """The indented block under a heading of a docstring."""
    lines = text.partition(heading)[2].lstrip("\n").splitlines()
    kept = [line for line in lines[: next(i for i, line in enumerate([*lines, "x"]) if line and line[0] != " ")]]
    return inspect.cleandoc("\n".join(kept)) + "\n"


# ---------------------------------------------------------------- a pass


@pytest.fixture(scope="module")
def example_pass(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("examples/reuse_host.py")


def test_before_becomes_after(example_pass: ModuleType) -> None:
    assert example_pass.__doc__ is not None
    before = parse_ir(HEADER + block_after(example_pass.__doc__, "Before::"))
    text = print_ir(before)
    after = example_pass.run(before, Environment())
    verify(after, after="reuse-host")
    assert print_ir(before) == text
    assert print_ir(after) == print_ir(parse_ir(HEADER + block_after(example_pass.__doc__, "After::")))


def test_what_python_calls_equal_is_not_the_same(example_pass: ModuleType) -> None:
    body = """\
b0(%0 x: float32[1, 4]):
  %1: float32[] = call torch.sum(%0)
  %2: float = host item(%1)
  %3: float = host mul(%2, 0.0)
  %4: float = host mul(%2, -0.0)
  return (%3, %4)
"""
    program = parse_ir(HEADER + body)
    assert print_ir(example_pass.run(program, Environment())) == print_ir(program)


def test_lists_stay_two_objects(example_pass: ModuleType) -> None:
    body = """\
b0(%0 x: float32[1, 4]):
  %1: int = host size(%0, 1)
  %2: list[int] = host list_append([], %1)
  %3: list[int] = host list_append([], %1)
  return (%2, %3)
"""
    program = parse_ir(HEADER + body)
    assert print_ir(example_pass.run(program, Environment())) == print_ir(program)


def test_the_pass_in_the_pipeline(example_pass: ModuleType, docs: Path) -> None:
    loaded = load_model(str(docs / "examples" / "settle.py"))
    made = specialize(loaded.model, loaded.args)
    seen: list[str] = []
    steps = (Pass("reuse-host", example_pass.run), *PASSES)
    program = run_passes(made.program, made.environment, steps, lambda name, _: seen.append(name))
    assert seen[0] == "reuse-host"
    executor = Executor(program, made.environment)
    assert loaded.sample_inputs is not None
    for seed in range(4):
        (x,) = loaded.sample_inputs(seed)  # type: ignore[misc]
        logits, steps_taken = executor.call(x)  # type: ignore[misc]
        with torch.no_grad():
            expected, expected_steps = loaded.model(x)
        torch.testing.assert_close(logits, expected)
        assert steps_taken == expected_steps


# ---------------------------------------------------------------- a target


@pytest.fixture
def registered(load: Callable[[str], ModuleType], docs: Path, tmp_path: Path) -> Iterator[ModuleType]:
    """The example target, installed as a distribution with an entry point would be."""
    module = load("examples/numpy_target.py")
    info = tmp_path / "numpy_target-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy_target\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dycl.targets]\nnumpy = numpy_target:TARGET\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        patch.syspath_prepend(str(docs / "examples"))
        yield module
    sys.modules.pop("numpy_target", None)


def test_the_target_compiles_the_example(registered: ModuleType, docs: Path, tmp_path: Path) -> None:
    loaded = load_model(str(docs / "examples" / "settle.py"))
    place = tmp_path / "settle"
    compiled = dycl.compile(
        loaded.model, loaded.args, target="numpy", sample_inputs=loaded.sample_inputs, samples=10, output=place
    )
    assert compiled.report is not None and compiled.report.verification is not None
    assert not compiled.report.verification.unreached
    program = (
        "import settle, numpy, sys; print(settle.load()(numpy.ones((1, 4), 'float32'))[1], 'torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    with torch.no_grad():
        assert run.stdout.split() == [str(loaded.model(torch.ones(1, 4))[1]), "False"]


class Cosine(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cos(x)


def test_the_target_refuses_by_name(registered: ModuleType) -> None:
    with pytest.raises(TargetError, match=r"DY401: subgraph 00_cos: numpy has no rule for aten\.cos\.default"):
        dycl.compile(Cosine().eval(), (torch.ones(1, 4),), target="numpy")


def test_the_target_finds_its_own_mistakes(registered: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy_target  # type: ignore[import-not-found]

    class Tanh(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tanh(x)

    monkeypatch.setitem(numpy_target.OPERATORS, "aten.tanh.default", "np.sin({0})")
    with pytest.raises(TargetError, match="DY402"):
        dycl.compile(Tanh().eval(), (torch.ones(1, 4),), target="numpy")
