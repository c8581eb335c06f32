"""Several methods of one model: compiled by the command line and by the interface, called on the host."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import dycl
from dycl.artifact import load_artifact
from dycl.cli import app
from dycl.diagnostics import UsageError
from dycl.loading import load_model

SOURCE = '''\
"""A leaky sum that fires, with a way to look at it and a way to begin again."""

import torch
from torch import nn


class Leaky(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mem", torch.zeros(3))
        self.fired = 0
        self.last = None

    def forward(self, x):
        self.mem = 0.5 * self.mem + x
        if self.mem.sum() > 2:
            self.fired += 1
            self.last = x
        return self.mem * 2, self.fired

    def reset(self):
        self.mem = torch.zeros(3)
        self.fired, self.last = 0, None

    def peek(self, k):
        return None if self.last is None else self.last * k


def build():
    return Leaky().eval()


def example_inputs():
    return (torch.ones(3),)


def example_inputs_peek():
    return (torch.ones(3),)
'''


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("leaky") / "leaky.py"
    path.write_text(SOURCE, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def artifact(source: Path) -> Path:
    """Compiled and verified by the command line."""
    place = source.parent / "out"
    options = ["--method", "forward", "--method", "reset", "--method", "peek", "--samples", "10"]
    result = CliRunner().invoke(app, ["compile", str(source), "-o", str(place), *options])
    assert result.exit_code == 0, result.output
    assert "state compared after every call" in result.output
    return place


def calls() -> list[tuple[str, tuple[torch.Tensor, ...]]]:
    made = torch.Generator().manual_seed(0)
    names = ["peek", "forward", "forward", "peek", "reset", "peek", "forward", "forward", "peek", "forward", "reset"]
    return [(name, () if name == "reset" else (torch.rand(3, generator=made) * 2,)) for name in names * 3]


def test_methods_of_the_host_share_its_state(source: Path, artifact: Path) -> None:
    eager, compiled = load_model(str(source)).model, dycl.load(artifact)
    assert compiled.methods == ("reset", "peek")
    results = []
    for name, args in calls():
        with torch.no_grad():
            wanted = eager(*args) if name == "forward" else getattr(eager, name)(*args)
        got = compiled(*args) if name == "forward" else getattr(compiled, name)(*args)
        torch.testing.assert_close(got, wanted)
        np.testing.assert_allclose(compiled.state["mem"], eager.mem.numpy(), rtol=1e-5)
        assert compiled.state["fired"] == eager.fired
        results.append(got)
    assert any(found is None for found in results)
    assert {name for name, _ in calls()} == {"forward", "reset", "peek"}


def test_two_instances_share_nothing(artifact: Path) -> None:
    one, other = dycl.load(artifact), dycl.load(artifact)
    for _ in range(3):
        one(np.ones(3, np.float32))
    assert (one.state["fired"], other.state["fired"]) == (3, 0)
    assert other.peek(np.ones(3, np.float32)) is None
    other.load_state(one.state)
    other.reset()
    assert (one.state["fired"], other.state["fired"]) == (3, 0)
    np.testing.assert_array_equal(one.peek(np.ones(3, np.float32)), np.ones(3, np.float32))
    one.restart()
    assert one.state["fired"] == 0


def test_the_manifest_and_the_generated_class_name_the_methods(artifact: Path) -> None:
    loaded = load_artifact(artifact)
    found = {method.name: method.signature for method in loaded.manifest.methods}
    assert found == {"reset": "reset()", "peek": "peek(k: float32[3])"}
    assert loaded.host.reset() is None
    with pytest.raises(TypeError, match="k"):
        loaded.host.peek(3)


def test_run_calls_the_method_that_is_named(artifact: Path) -> None:
    run: list[Any] = ["run", str(artifact), "--method"]
    result = CliRunner().invoke(app, [*run, "peek", "--input", "k=float32[3]"])
    assert (result.exit_code, result.output.strip()) == (0, "")  # None has no parts to show
    assert "output.0: float32[3]" in CliRunner().invoke(app, [*run, "forward", "--input", "x=float32[3]"]).output
    assert CliRunner().invoke(app, [*run, "nothing"]).exit_code == 2


def test_further_methods_are_named_once_and_exist(source: Path) -> None:
    model = load_model(str(source)).model
    for methods in ({"forward": (torch.ones(3),)}, {"nothing": ()}):
        with pytest.raises(UsageError) as refused:
            dycl.compile(model, torch.ones(3), methods=methods)
        assert refused.value.code == "DY505"
    with pytest.raises(UsageError) as refused:
        dycl.compile(model, torch.ones(3), methods={"peek": ()})
    assert refused.value.code == "DY502"


def test_inputs_of_a_further_method_by_name(source: Path) -> None:
    given = {"x": np.ones(3, np.float32), "peek": {"k": np.zeros(3, np.float32)}}
    loaded = load_model(str(source), inputs=given, methods=("forward", "peek"))
    assert loaded.others[0].method == "peek"
    assert torch.equal(loaded.others[0].args[0], torch.zeros(3))
    sys.modules.pop("leaky", None)
