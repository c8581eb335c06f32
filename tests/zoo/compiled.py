"""What holds for every row of the zoo once it is compiled; `test_<row>.py` says what is particular to it.

Each row is compiled once, by the command, in the fixture of its class.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

import pytest
import torch
from torch.utils import _pytree as pytree
from typer.testing import CliRunner

from dycl import pipeline
from dycl.cli import app
from dycl.comparison import Comparison
from dycl.eagerlog import EagerLog
from dycl.ir.executor import Executor
from dycl.ir.nodes import Branch
from dycl.loading import LoadedModel, load_model
from dycl.trials import find_attribute

ZOO = Path(__file__).parents[2] / "models_zoo"
CALLS = 200
SEQUENCE = 20


@dataclass(frozen=True)
class Call:
    """What came of one call: by eager what it read from tensors, by a host its decisions."""

    value: Any
    decided: tuple[Any, ...]
    state: dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A compiled row, with 200 calls of it by eager and by the host alone in its process."""

    loaded: LoadedModel
    built: pipeline.Built
    directory: Path
    inputs: list[tuple[Any, ...]]
    eager: list[Call]
    host: list[Call]
    again: list[Call]  # the first calls once more, after `reset`
    foreign: set[str]  # modules that have no business in the host's process


def compile_row(name: str, directory: Path, options: tuple[str, ...] = ()) -> tuple[LoadedModel, pipeline.Built]:
    """`dycl compile models_zoo/NAME.py -o DIRECTORY`, and what it built."""
    kept: list[pipeline.Built] = []
    compile_model = pipeline.compile_model

    def keep(*args: Any, **kwargs: Any) -> pipeline.Built:
        kept.append(compile_model(*args, **kwargs))
        return kept[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "compile_model", keep)
        result = CliRunner().invoke(app, ["compile", str(ZOO / f"{name}.py"), "-o", str(directory), *options])
    assert result.exit_code == 0, result.output
    return load_model(str(ZOO / f"{name}.py")), kept[0]


def run_eager(loaded: LoadedModel, inputs: list[tuple[Any, ...]], slots: list[str]) -> list[Call]:
    """The source itself, all calls on one model."""
    calls = []
    for call, args in enumerate(inputs):
        with torch.no_grad(), torch.random.fork_rng(devices=[]), EagerLog() as log:
            torch.manual_seed(call)
            value = loaded.model(*args)
        state = {name: find_attribute(loaded.model, name) for name in slots}
        calls.append(Call(value, tuple(read.value for read in log.reads), state))
    return calls


def run_host(directory: Path, inputs: list[tuple[Any, ...]], scratch: Path) -> dict[str, Any]:
    """The same calls on the artifact, in a process of its own without torch."""
    arrays = pytree.tree_map(lambda leaf: leaf.numpy() if isinstance(leaf, torch.Tensor) else leaf, inputs)
    (scratch / "inputs").write_bytes(pickle.dumps(arrays))
    script = Path(__file__).with_name("host_alone.py")
    command = [sys.executable, str(script), str(directory), str(scratch / "inputs"), str(scratch / "results")]
    run = subprocess.run(command, capture_output=True, text=True, cwd=scratch, check=False)
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = pickle.loads((scratch / "results").read_bytes())
    return found


def executed_lines(loaded: LoadedModel, name: str, inputs: tuple[Any, ...]) -> tuple[int, ...]:
    """The lines of the row's own file that a call runs, in order."""
    lines: list[int] = []

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if not frame.f_code.co_filename.endswith(f"{name}.py"):
            return None
        if event == "line":
            lines.append(frame.f_lineno)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with torch.no_grad():
            loaded.model(*inputs)
    finally:
        sys.settrace(before)
    return tuple(lines)


def agree(expected: Any, actual: Any) -> list[str]:
    """The differences between two results."""
    comparison = Comparison()
    comparison.compare(expected, actual, "the result")
    return comparison.differences


class CompiledRow:
    """The tests of a row; a subclass names it."""

    name: ClassVar[str]
    paths: ClassVar[int]  # how many distinct ones 200 inputs take at least
    unreachable: ClassVar[int] = 0  # edges that no input takes, because torch itself raises before
    state: ClassVar[tuple[str, ...]] = ()
    options: ClassVar[tuple[str, ...]] = ()  # of the command

    @pytest.fixture(scope="class")
    @classmethod
    def row(cls, tmp_path_factory: pytest.TempPathFactory) -> Row:
        scratch = tmp_path_factory.mktemp(cls.name)
        loaded, built = compile_row(cls.name, scratch / cls.name, cls.options)
        assert loaded.sample_inputs is not None
        inputs: list[Any] = [loaded.sample_inputs(seed) for seed in range(CALLS)]
        slots = sorted({slot.name for entry in built.checked.program.entries for slot in entry.slots})
        eager = run_eager(loaded, inputs, slots)
        found = run_host(scratch / cls.name, inputs, scratch)
        host, again = ([Call(v, tuple(d), s) for v, d, s in found[key]] for key in ("calls", "again"))
        return Row(loaded, built, scratch / cls.name, inputs, eager, host, again, found["foreign"])

    def test_the_host_needs_numpy_and_onnxruntime_only(self, row: Row) -> None:
        assert row.foreign == set()
        assert len(row.host) == CALLS

    def test_outputs_agree_with_eager(self, row: Row) -> None:
        for call, (expected, actual) in enumerate(zip(row.eager, row.host, strict=True)):
            assert agree(expected.value, actual.value) == [], call

    def test_decisions_agree_with_the_reference(self, row: Row) -> None:
        """The executor decides on torch's numbers, and reads from its tensors what the source reads."""
        executor = Executor(row.built.checked.program, row.built.checked.environment)
        for call, args in enumerate(row.inputs):
            executor.random.seed(call)
            with torch.no_grad():
                executor.call(*args)
            assert tuple(executor.decisions) == row.host[call].decided, call

    def test_paths_are_those_of_eager(self, row: Row) -> None:
        """Calls that the source decides alike take one path of the host, calls that it decides otherwise another."""
        pairs = {(self.eager_path(row, call), actual.decided) for call, actual in zip(row.eager, row.host, strict=True)}
        assert len(pairs) == len({path for path, _ in pairs}) == len({decided for _, decided in pairs})
        assert len(pairs) >= self.paths

    def eager_path(self, row: Row, call: Call) -> object:
        """What the source decided in a call."""
        return call.decided

    def test_every_edge_is_exercised(self, row: Row) -> None:
        report = row.built.report.verification
        assert report is not None
        program = row.built.checked.program
        sites = {int(block.id) for block in program.blocks if isinstance(block.end, Branch)}
        assert len(report.unreached) == self.unreachable, report.unreached
        unreached = {found.edge for found in report.unreached}
        assert {*report.exercised, *report.forced, *unreached} == {
            (site, side) for site in sites for side in (True, False)
        }
        assert report.ties == ()

    def test_state_is_carried_from_call_to_call(self, row: Row) -> None:
        assert set(row.host[0].state) == set(self.state)
        for expected, actual in zip(row.eager[:SEQUENCE], row.host[:SEQUENCE], strict=True):
            assert agree(expected.state, actual.state) == []
        if self.state:
            assert agree(row.host[0].state, row.host[SEQUENCE - 1].state) != []

    def test_a_reset_host_starts_over(self, row: Row) -> None:
        for first, second in zip(row.host, row.again, strict=False):
            assert second.decided == first.decided
            assert agree(first.value, second.value) == []
            assert agree(first.state, second.state) == []


class RowOfLines(CompiledRow):
    """A row that decides on numbers which differ in every call: its paths are told by the source's lines."""

    def test_paths_are_those_of_eager(self, row: Row) -> None:
        """A path of the host is one path through the source's lines.

        Not the other way round: the host also decides what is no line of the source.
        """
        lines = [executed_lines(row.loaded, self.name, inputs) for inputs in row.inputs]
        pairs = {(path, call.decided) for path, call in zip(lines, row.host, strict=True)}
        assert len(pairs) == len({decided for _, decided in pairs})
        assert len(set(lines)) >= self.paths
