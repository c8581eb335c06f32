"""`dycl run` and `dycl bench`: a compiled model where there is no torch, and calls that do not fit."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commanding import run


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    path = tmp_path / "in.npz"
    np.savez(path, x=np.ones((1, 3), np.float32))
    return path


def test_run(compiled: Path, inputs: Path, tmp_path: Path) -> None:
    output = tmp_path / "result.npz"
    result = run("run", compiled, "--inputs", inputs, "--output", output, "--trace")
    assert result.exit_code == 0, result.output
    assert "output.logits: float32[1, 2]" in result.stdout
    assert "output.score: 3.0" in result.stdout
    assert "gate.py:17: true   if score.item() > 0.5:" in result.stdout
    assert "gate.py:19: false  if self.calls > 1000:" in result.stdout
    written = np.load(output)
    assert written["output.logits"].shape == (1, 2)
    assert written["output.score"] == 3.0


def test_run_without_a_trace(compiled: Path, inputs: Path) -> None:
    assert "gate.py:17" not in run("run", compiled, "--inputs", inputs).stdout


def test_run_where_torch_cannot_be_imported(compiled: Path, inputs: Path) -> None:
    program = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name.split('.')[0] in ('torch', 'onnx', 'onnxscript', 'libcst'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "from dycl.cli import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", program, "run", str(compiled), "--inputs", str(inputs), "--trace"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "gate.py:17: true" in done.stdout


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": np.ones((2, 3), np.float32)}, "expected float32[1, 3], got float32[2, 3]"),
        ({"x": np.ones((1, 3))}, "float64[1, 3]"),
        ({"y": np.ones((1, 3), np.float32)}, "takes no y"),
        ({}, "x is missing"),
    ],
)
def test_run_with_wrong_inputs(compiled: Path, tmp_path: Path, arrays: dict[str, Any], words: str) -> None:
    np.savez(tmp_path / "wrong.npz", **arrays)
    result = run("run", compiled, "--inputs", tmp_path / "wrong.npz")
    assert result.exit_code == 2
    assert "DY502" in result.stderr
    assert words in result.stderr
    assert "x: float32[1, 3]" in result.stderr


PAIR = """
import torch
from torch import nn


class Pair(nn.Module):
    def forward(self, data, count):
        return data["a"] + data["b"] * count


def build():
    return Pair()


def example_inputs():
    return {"a": torch.zeros(3), "b": torch.zeros(3)}, 2
"""


def test_a_dict_or_a_number_that_does_not_fit_is_a_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "pair.py").write_text(PAIR)
    assert run("compile", tmp_path / "pair.py", "-o", tmp_path / "out").exit_code == 0
    ones = np.ones(3, np.float32)
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("expected the keys ['a', 'b']", {"data.a": ones, "count": 2}),
        ("count: compiled for 2, got 2.5", {"data.a": ones, "data.b": ones, "count": 2.5}),
    ]
    for words, arrays in wrong:
        np.savez(tmp_path / "wrong.npz", **arrays)
        result = run("run", tmp_path / "out", "--inputs", tmp_path / "wrong.npz")
        assert result.exit_code == 2
        assert "DY502" in result.stderr and words in " ".join(result.stderr.split())


BACKWARDS = """
import torch
from torch import nn


class Backwards(nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            return torch.from_numpy(x.numpy()[::-1])
        return x * 2


def build():
    return Backwards()


def example_inputs():
    return (torch.zeros(3),)
"""


def test_an_error_of_the_models_own_is_none_of_the_call(tmp_path: Path) -> None:
    """What raises it lies beside what checks the call."""
    (tmp_path / "backwards.py").write_text(BACKWARDS)
    assert run("compile", tmp_path / "backwards.py", "-o", tmp_path / "out").exit_code == 0
    np.savez(tmp_path / "x.npz", x=np.ones(3, np.float32))
    result = run("run", tmp_path / "out", "--inputs", tmp_path / "x.npz")
    assert result.exit_code == 1
    assert "the model raises ValueError: At least one stride" in " ".join(result.stderr.split())
    assert "DY502" not in result.stderr


def test_bench(compiled: Path, inputs: Path) -> None:
    result = run("bench", compiled, "--inputs", inputs, "--repeat", "30")
    assert result.exit_code == 0, result.output
    assert "µs a call" in result.stdout and "in the host itself" in result.stdout


def test_run_a_damaged_artifact(compiled: Path, inputs: Path, tmp_path: Path) -> None:
    shutil.copytree(compiled, tmp_path / "broken")
    (tmp_path / "broken" / "weights.bin").write_bytes(b"")
    result = run("run", tmp_path / "broken", "--inputs", inputs)
    assert result.exit_code == 2
    assert "DY404" in result.stderr
    assert "weights.bin" in result.stderr


def test_run_nothing(tmp_path: Path, inputs: Path) -> None:
    result = run("run", tmp_path / "absent", "--inputs", inputs)
    assert result.exit_code == 2
    assert "DY404" in result.stderr
