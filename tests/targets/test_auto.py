"""The target `auto`: the faster engine for each structure, and the same again from a plan."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import dycl
from dycl import pipeline
from dycl.artifact import load_artifact
from dycl.calls import USUAL_CALLS
from dycl.cli import app
from dycl.diagnostics import TargetError, UsageError
from dycl.hosting import HostModel
from dycl.ir.contents import read_contents
from dycl.targets.base import refuse
from dycl.targets.onnx import choice
from dycl.targets.onnx.binding import BoundSubgraph
from dycl.targets.onnx.engine import Engine
from dycl.targets.onnx.maker import Finished, Maker

pytest.importorskip("tvm")


class Steps(nn.Module):
    """Three layers, a decision after each; the last has an operator that TVM lacks."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))
        self.rnn = nn.GRU(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            if x.sum().item() > 0:
                x = torch.tanh(layer(x))
        if x.sum().item() > 0:
            x = self.rnn(x)[0]
        return x


class Gates(nn.Module):
    """A decision after each of some layers that are alike."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
            if x.sum().item() > 0:
                return x
        return x


class Rows(nn.Module):
    """Rows of a table by numbers of the call: some that are drawn at random are beyond it."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(2, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        row = x.sum(0)[:2].argmax().item()
        if x.sum().item() > 0:
            return x + self.table[row]
        return x - self.table[1 - row]


def samples(seed: int) -> torch.Tensor:
    return torch.randn(4, 8, generator=torch.Generator().manual_seed(seed)) + 0.1


def compile_steps(place: Path | None, plan: Path | None = None, strict: bool = False) -> Any:
    torch.manual_seed(3)
    return dycl.compile(
        Steps().eval(),
        (samples(0),),
        target="auto",
        target_plan=plan,
        strict=strict,
        sample_inputs=samples,
        samples=12,
        output=place,
    )


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("auto") / "steps"
    assert not compile_steps(place).report.verification.unreached
    return place


def test_what_was_measured_decides(artifact: Path) -> None:
    entries = read_contents(artifact)["subgraphs"].values()
    for entry in entries:
        times = entry["microseconds"]
        assert entry["engine"] in times
        assert (set(times) == {"onnxruntime", "tvm"}) == ("reason" not in entry)
    assert [entry["reason"] for entry in entries if "reason" in entry] == ["not TVM: it has the operator GRU"]
    shown = CliRunner().invoke(app, ["explain", str(artifact)])
    assert shown.exit_code == 0
    assert shown.stdout.count(" µs") == sum(len(entry["microseconds"]) for entry in entries)


def test_a_plan_gives_the_same_files(artifact: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    compile_steps(again, artifact / "plan.json")
    for path in sorted(artifact.rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            assert (again / path.relative_to(artifact)).read_bytes() == path.read_bytes(), path.name


def test_values_go_from_one_runtime_to_the_other_without_a_copy(artifact: Path, tmp_path: Path) -> None:
    """Every other subgraph by another runtime than before it."""
    plan = json.loads((artifact / "plan.json").read_text())
    for index, entry in enumerate(plan["subgraphs"].values()):
        entry["engine"] = "tvm" if index % 2 == 0 and "tvm" in entry["microseconds"] else "onnxruntime"
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    compiled = compile_steps(tmp_path / "mixed", tmp_path / "plan.json")
    assert not compiled.report.verification.unreached
    loaded = load_artifact(tmp_path / "mixed", threads=1)
    runtime = sys.modules[f"{loaded.package.__name__}.runtime_tvm"]
    x = runtime.aligned(samples(5).numpy())
    expected = compiled(x)

    def fail(array: np.ndarray) -> np.ndarray:
        raise AssertionError(f"{array.shape} was copied")

    runtime.aligned = fail
    np.testing.assert_array_equal(loaded.host.forward(x), expected)


def test_strict_refuses_what_was_no_choice(artifact: Path) -> None:
    """Whether it is found now or a plan remembers it; what every engine takes is chosen as ever."""
    refusal = r"DY405: .*subgraph \d\d_rnn: not TVM: it has the operator GRU"
    with pytest.raises(TargetError, match=refusal):
        compile_steps(None, strict=True)
    with pytest.raises(TargetError, match=refusal):
        compile_steps(None, artifact / "plan.json", strict=True)
    compiled = dycl.compile(nn.Linear(8, 8), (samples(0),), target="auto", strict=True, samples=2)
    assert all(set(each.microseconds) == {"onnxruntime", "tvm"} for each in compiled.report.subgraphs)


def test_strict_refuses_the_second_of_a_structure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fastest of a structure may refuse another subgraph of it, by its check: that is left to the next one too."""
    make, made = Maker.make, list[str]()

    def refuse_second(maker: Maker, bound: BoundSubgraph, engine: Engine) -> Finished:
        made.append(bound.subgraph.name)
        if len(made) == 3:  # two engines have built the first
            raise refuse(bound.subgraph, "it is the second")
        return make(maker, bound, engine)

    monkeypatch.setattr(Maker, "make", refuse_second)
    layers = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    with pytest.raises(TargetError, match=r"DY405: .*it is the second"):
        dycl.compile(Gates(layers), (samples(0),), target="auto", strict=True, verify=False)
    made.clear()
    compiled = dycl.compile(Gates(layers), (samples(0),), target="auto", verify=False)
    assert any("it is the second" in each.reason for each in compiled.report.subgraphs)


@pytest.mark.parametrize(
    ("together", "engines"),
    [
        ([9.0, 10.0, 11.0], ["tvm", "tvm"]),
        ([10.0, 9.0, 11.0], ["tvm", "onnxruntime"]),
        ([10.0, 9.85, 11.0], ["tvm", "tvm"]),  # not worth two runtimes
        ([10.0, 10.0, 9.9], ["onnxruntime", "onnxruntime"]),
    ],
)
def test_the_host_that_is_fastest_is_taken(
    monkeypatch: pytest.MonkeyPatch, together: list[float], engines: list[str]
) -> None:
    """The first is much faster with TVM, the second somewhat with ONNX Runtime; what counts is the whole."""
    times = iter([(20.0, 10.0), (8.0, 10.0)])
    compared: list[list[str]] = []

    def note(hosts: Sequence[HostModel], calls: Sequence[Any], **limits: Any) -> list[list[float]]:
        entries = [host.artifact.manifest.subgraphs.values() for host in hosts]
        compared.extend([entry.engine for entry in found] for found in entries)
        assert len(calls) == USUAL_CALLS
        assert all(np.isfinite(np.asarray(host.call(*args))).all() for host in hosts for args, _ in calls)
        return [[seconds] * len(calls) for seconds in together]

    monkeypatch.setattr(choice, "time_calls", lambda calls: dict(zip(calls, next(times), strict=True)))
    monkeypatch.setattr(pipeline, "take_turns", note)
    layers = nn.Sequential(nn.Linear(8, 8), nn.Sequential(nn.Linear(8, 8), nn.Tanh()))
    compiled = dycl.compile(Gates(layers).eval(), (samples(0),), target="auto", sample_inputs=samples, samples=4)
    assert compared == [["tvm", "tvm"], ["tvm", "onnxruntime"], ["onnxruntime", "onnxruntime"]]
    assert [each.engine for each in compiled.report.subgraphs] == engines
    assert [each.microseconds["onnxruntime"] for each in compiled.report.subgraphs] == [20.0, 8.0]
    assert not list(compiled.directory.glob("alternative-*"))


@pytest.mark.parametrize(
    ("broken", "wanted"),
    [({"tvm"}, [{"onnxruntime"}]), ({"onnxruntime"}, [{"tvm"}]), ({"tvm", "onnxruntime"}, [{"onnxruntime"}, {"tvm"}])],
)
def test_a_host_that_raises_is_not_the_fastest(
    monkeypatch: pytest.MonkeyPatch, broken: set[str], wanted: list[set[str]]
) -> None:
    """It would be, by the clock. Where nothing returns, one runtime alone is taken."""
    call = HostModel.call

    def fail(host: HostModel, *args: Any, **kwargs: Any) -> Any:
        if broken & {entry.engine for entry in host.artifact.manifest.subgraphs.values()}:
            raise RuntimeError("it is broken")
        return call(host, *args, **kwargs)

    monkeypatch.setattr(HostModel, "call", fail)
    layers = nn.Sequential(nn.Linear(8, 8), nn.Sequential(nn.Linear(8, 8), nn.Tanh()))
    compiled = dycl.compile(Gates(layers).eval(), (samples(0),), target="auto", sample_inputs=samples, verify=False)
    assert {each.engine for each in compiled.report.subgraphs} in wanted


def test_what_is_timed_is_what_torch_accepts() -> None:
    """Some of the numbers that are drawn to check with are beyond the table."""
    compiled = dycl.compile(Rows().eval(), (samples(0),), target="auto", sample_inputs=samples, samples=4)
    found = compiled.report.subgraphs
    assert any(port.scalar for each in found for port in each.inputs)
    assert all(each.samples > 0 and set(each.microseconds) == {"onnxruntime", "tvm"} for each in found)


def test_what_nobody_can_run_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch accepted no inputs that were tried: the first engine that builds it is as good as any."""
    make = Maker.make
    monkeypatch.setattr(Maker, "make", lambda *args: replace(make(*args), example=None))
    compiled = dycl.compile(nn.Linear(8, 8), (samples(0),), target="auto", samples=2)
    assert [(each.engine, each.microseconds) for each in compiled.report.subgraphs] == [("onnxruntime", {})]


def test_a_plan_of_another_model_is_refused(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text('{"subgraphs": {}}')
    with pytest.raises(UsageError, match="DY505: --target-plan: it names no engine that is here for the subgraph 00_"):
        compile_steps(tmp_path / "steps", tmp_path / "plan.json")
    with pytest.raises(UsageError, match="cannot be read"):
        compile_steps(tmp_path / "steps", tmp_path / "no.json")
