"""How a model, its weights and its inputs are named on the command line, and what is said where they are not there."""

from __future__ import annotations

import sys
from pathlib import Path

import driving
import numpy as np
import pytest
import torch
from commanding import compile_gate, run
from safetensors.torch import save_file

from dycl.loading import load_model

BESIDE = """\
import beside
import torch


class Net(torch.nn.Identity):
    NAME = beside.NAME


def build():
    return Net()


def example_inputs():
    return (torch.zeros(1),)
"""


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("nowhere.py", "there is no such file"),
        ("no.such.module:build", "there is no module"),
        ("nonsense", "not a model"),
        ("gate.py:missing", "it has Gate, build"),
        ("gate.py:torch", "neither a module nor a callable"),
        ("gate.py:example_inputs", "not a torch.nn.Module"),
    ],
)
def test_a_model_that_is_not_there(gate: Path, spec: str, words: str) -> None:
    result = run("compile", spec, "-o", "out")
    assert result.exit_code == 2
    assert "DY501" in result.stderr
    assert words in result.stderr


@pytest.mark.parametrize("spec", ["gate.py", "gate.py:build", "gate.py:Gate", "gate:build"])
def test_ways_to_name_a_model(gate: Path, spec: str) -> None:
    result = run("compile", spec, "-o", "out", "--no-verify")
    sys.modules.pop("gate", None)
    assert result.exit_code == 0, result.output


def test_a_path_that_somebody_has_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a loaded model's folder was added to is not there any more when the next model is loaded."""
    before = list(sys.path)
    for folder in ("first", "second", "first"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "beside.py").write_text(f"NAME = {folder!r}\n")
        (tmp_path / folder / "model.py").write_text(BESIDE)
        assert folder == load_model(str(tmp_path / folder / "model.py")).model.NAME
        monkeypatch.setattr(sys, "path", list(before))


def test_an_exception_of_the_users_module(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("def helper():\n    return 1 / 0\n\n\nhelper()\n")
    result = run("compile", path)
    assert result.exit_code == 2
    assert f"{path}:2:1: error DY501" in result.stderr
    assert "ZeroDivisionError: division by zero" in result.stderr
    assert "in helper" in result.stderr
    assert "loading.py" not in result.stderr
    assert "importlib" not in result.stderr


def test_a_module_that_does_not_parse(tmp_path: Path) -> None:
    path = tmp_path / "typo.py"
    path.write_text("def build(:\n")
    result = run("compile", path)
    assert result.exit_code == 2
    assert f"{path}:1:11: error DY501" in result.stderr


def test_weights_are_loaded_strictly(gate: Path) -> None:
    save_file(
        {"widen.weight": torch.zeros(3, 3), "head.weight": torch.zeros(2, 2), "tail": torch.zeros(1)}, "w.safetensors"
    )
    result = compile_gate(gate, "--weights", "w.safetensors")
    assert result.exit_code == 2
    assert "missing: widen.bias, head.bias" in result.stderr
    assert "unexpected: tail" in result.stderr
    assert "head.weight ((2, 2) instead of (2, 3))" in result.stderr


def test_weights_that_fit(gate: Path) -> None:
    shapes = {"widen.weight": (3, 3), "widen.bias": (3,), "head.weight": (2, 3), "head.bias": (2,)}
    save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, "w.safetensors")
    assert compile_gate(gate, "--weights", "w.safetensors").exit_code == 0
    assert compile_gate(gate, "--weights", "absent.safetensors").exit_code == 2


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--inputs", "absent.npz"), "there is no such file"),
        (("--inputs", "gate.py"), "read from .npz or .safetensors"),
        (("--input", "x"), "NAME=DTYPE[SHAPE]"),
        (("--input", "x=float33[1,3]"), "not a dtype"),
        (("--input", "x=oops"), "neither DTYPE[SHAPE] nor a Python literal"),
        (("--input", "x=int64[3]:5..1"), "is empty"),
        (("--input", "y=float32[1,3]"), "do not fit Gate.forward"),
    ],
)
def test_inputs_that_are_wrong(gate: Path, option: tuple[str, str], words: str) -> None:
    result = compile_gate(gate, *option)
    assert result.exit_code == 2
    assert "DY502" in result.stderr
    assert words in result.stderr


def test_inputs_from_a_file_and_the_command_line(gate: Path) -> None:
    np.savez("in.npz", x=np.ones((1, 3), np.float32))
    save_file({"x": torch.ones(1, 3)}, "in.safetensors")
    for option in (("--inputs", "in.npz"), ("--inputs", "in.safetensors"), ("--input", "x=float32[1,3]")):
        assert compile_gate(gate, *option).exit_code == 0


def test_no_example(tmp_path: Path) -> None:
    path = tmp_path / "bare.py"
    path.write_text(driving.GATE_SOURCE.replace("example_inputs", "other_inputs"))
    result = run("compile", path)
    assert result.exit_code == 2
    assert "no example_inputs" in result.stderr
