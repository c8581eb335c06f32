"""The whole compiler on small models, from source to artifact: nothing is replaced here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import driving
import pytest
import torch
from typer.testing import CliRunner

import dycl
from dycl.cli import app
from dycl.loading import load_model

EXITS = '''\
"""Early exits, a counter, a dataclass as result."""

from dataclasses import dataclass

import torch
from torch import nn


@dataclass
class Output:
    logits: torch.Tensor
    exit: int


class Exits(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.heads = nn.ModuleList(nn.Linear(4, 2) for _ in range(3))
        self.threshold = 0.6
        self.early = 0

    def forward(self, x):
        for index, (layer, head) in enumerate(zip(self.layers, self.heads)):
            x = torch.tanh(layer(x))
            logits = head(x)
            if logits.softmax(-1).max().item() > self.threshold:
                self.early += 1
                return Output(logits, index)
        return Output(logits, -1)


def build():
    torch.manual_seed(3)
    return Exits().eval()


def example_inputs():
    return (torch.zeros(1, 4),)


def sample_inputs(seed):
    return (torch.randn(1, 4, generator=torch.Generator().manual_seed(seed)) * 3,)
'''

RANDOM = """\
import torch
from torch import nn


class Noisy(nn.Module):
    def forward(self, x):
        return x + torch.rand(3)


build = Noisy


def example_inputs():
    return (torch.zeros(3),)
"""


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    return path


def test_compile_verifies_and_explains(tmp_path: Path) -> None:
    path = driving.write_gate(tmp_path)
    result = CliRunner().invoke(app, ["compile", str(path), "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "agree with eager" in result.stdout
    told = CliRunner().invoke(app, ["explain", str(path)])
    assert told.exit_code == 0, told.output
    assert "gate.py:17  if score.item() > 0.5:" in told.stdout


def test_exits_by_the_api(tmp_path: Path) -> None:
    loaded = load_model(str(write(tmp_path, "exits", EXITS)))
    compiled = dycl.compile(loaded.model, loaded.args, sample_inputs=loaded.sample_inputs, output=tmp_path / "out")
    assert compiled.report is not None and compiled.report.verification is not None
    report = compiled.report.verification
    assert report.unreached == ()
    assert report.state == ("early",)
    eager = load_model(str(tmp_path / "exits.py")).model
    exits = set()
    for seed in range(20):
        (x,) = loaded.sample_inputs(seed)  # type: ignore[misc, operator]
        with torch.no_grad():
            expected = eager(x)
        found = compiled(x)
        assert type(found).__name__ == "Output"
        assert found.exit == expected.exit
        torch.testing.assert_close(found.logits, expected.logits, rtol=1e-3, atol=1e-4)
        exits.add(found.exit)
    assert compiled.state == {"early": eager.early}
    assert len(exits) >= 2


def test_the_result_is_of_the_models_class(tmp_path: Path) -> None:
    loaded = load_model(str(write(tmp_path, "exits", EXITS)))
    compiled = dycl.compile(loaded.model, loaded.args, samples=2)
    module = sys.modules[type(loaded.model).__module__]
    assert type(compiled(*loaded.args)) is module.Output


def test_a_model_that_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "noisy", RANDOM)
    result = CliRunner().invoke(app, ["compile", str(path), "-o", str(tmp_path / "out")])
    assert result.exit_code == 1, result.output
    assert f"{path}:7:" in result.stderr
    assert "error DY202" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_same_bytes_in_two_processes(tmp_path: Path) -> None:
    path = driving.write_gate(tmp_path)
    for seed in ("1", "2"):
        command = [sys.executable, "-m", "dycl.cli", "compile", str(path), "-o", str(tmp_path / seed), "--no-verify"]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": seed})
    for name in ("host.py", "manifest.json"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


@pytest.mark.parametrize("model", ["skipnet", "shallow_deep", "branchynet", "deebert", "pabee", "caption"])
def test_check_of_the_zoo(model: str) -> None:
    path = Path(__file__).parents[2] / "models_zoo" / f"{model}.py"
    result = CliRunner().invoke(app, ["check", str(path)])
    assert result.exit_code == 0, result.output
