"""Every command and option, and how each fails: exit codes and messages."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import driving
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

from dycl import pipeline
from dycl.cache import Cache
from dycl.cli import app
from dycl.diagnostics import InternalError, SourceRange, UnsupportedError
from dycl.targets.base import Capabilities, Compiled

RUNTIME = (
    "class Runtime:\n"
    "    def __init__(self, directory, *, threads=None, lazy=False):\n"
    "        pass\n\n"
    "    def subgraph(self, name):\n"
    "        return None\n"
)


class FakeTarget:
    """A target that writes one file: what the driver does around a target needs no real one."""

    name, device = "fake", "cpu"

    def available(self) -> str | None:
        return None

    def capabilities(self) -> Capabilities:
        return Capabilities()

    def compile(self, program: Any, environment: Any, directory: Path, options: Any) -> Compiled:
        (directory / "weights.bin").write_bytes(b"weights")
        return Compiled(
            files=("weights.bin",),
            runtime={"runtime.py": RUNTIME},
            requirements=("numpy>=1.26",),
            subgraphs=(),
            weights=(),
            structures_exported=0,
            weight_bytes=7,
        )


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The gate model's file, the hand-written program in the specializer's place, and a target that is quick."""
    path = driving.write_gate(tmp_path)
    driving.replace_specializer(monkeypatch, pipeline, path)
    monkeypatch.setattr(pipeline, "find_target", lambda name: FakeTarget())
    monkeypatch.chdir(tmp_path)
    return path


def run(*args: object) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args])


def compile_gate(gate: Path, *options: object) -> Result:
    return run("compile", gate, "-o", gate.parent / "out", "--no-verify", *options)


# ---------------------------------------------------------------- compile


def test_version() -> None:
    result = run("--version")
    assert result.exit_code == 0
    assert result.output.startswith("dycl 0.")


def test_compile_prints_a_table(gate: Path) -> None:
    result = compile_gate(gate)
    assert result.exit_code == 0, result.output
    for words in (
        "Gate for onnxruntime",
        "2 in the source",
        "blocks",
        "subgraphs",
        "unique structures",
        "verification",
    ):
        assert words in result.output
    assert (gate.parent / "out" / "host.py").is_file()


def test_compile_for_the_real_target_verifies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = driving.write_gate(tmp_path)
    driving.replace_specializer(monkeypatch, pipeline, path)
    result = run("compile", path, "-o", tmp_path / "out", "--samples", 5, "-v")
    assert result.exit_code == 0, result.output
    assert "6 calls on 2 paths agree with eager" in result.stdout
    assert "3 of 4 branch edges exercised, 1 more by force" in result.stdout
    for stage in pipeline.STAGES:
        assert stage in result.stderr


def test_the_output_is_named_after_the_model(gate: Path) -> None:
    result = run("compile", gate, "--no-verify")
    assert result.exit_code == 0, result.output
    assert (gate.parent / "gate" / "manifest.json").is_file()


def test_emit(gate: Path) -> None:
    assert compile_gate(gate, "--emit", "ir,torch").exit_code == 0
    emitted = gate.parent / "out" / "emit"
    assert "program Gate" in (emitted / "program.txt").read_text()
    assert 'model.get_submodule("widen")(x)' in (emitted / "torch" / "01_widen.py").read_text()


def test_emitted_torch_source_runs(compiled: Path) -> None:
    sys.path.insert(0, str(compiled.parent))
    try:
        import gate as module  # type: ignore[import-not-found]

        model = module.build()
    finally:
        sys.path.remove(str(compiled.parent))
        sys.modules.pop("gate", None)
    x = torch.ones(1, 3)
    expected = {"00_sum": x.sum(), "01_widen": model.widen(x), "02_head": model.head(x + 1), "03_head": model.head(x)}
    for name, value in expected.items():
        scope: dict[str, Any] = {}
        exec((compiled / "emit" / "torch" / f"{name}.py").read_text(), scope)
        (found,) = scope[f"subgraph_{name}"](model, x)
        assert torch.equal(found, value)


def test_emit_nonsense(gate: Path) -> None:
    result = compile_gate(gate, "--emit", "poetry")
    assert result.exit_code == 2
    assert "DY505" in result.stderr
    assert not (gate.parent / "out").exists()


@pytest.mark.parametrize(
    ("stage", "words"), [("specialize", "module widen"), ("partition", "dispatch s0"), ("host", "class Gate")]
)
def test_stop_after(gate: Path, stage: str, words: str) -> None:
    result = compile_gate(gate, "--stop-after", stage)
    assert result.exit_code == 0, result.output
    assert words in result.stdout
    assert not (gate.parent / "out").exists()


def test_stop_after_no_stage(gate: Path) -> None:
    result = compile_gate(gate, "--stop-after", "lunch")
    assert result.exit_code == 2
    assert "partition" in result.stderr


def test_cache_info_and_clear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYCL_CACHE_DIR", str(tmp_path))
    Cache(tmp_path, 1 << 20).put("0" * 64, bytes(1 << 20))
    assert "1 entries, 1.0 of 256 MiB" in run("cache", "info").stdout
    assert run("cache", "clear").exit_code == 0
    assert "0 entries, 0.0 of 256 MiB" in run("cache", "info").stdout
    monkeypatch.setenv("DYCL_CACHE_SIZE", "0")
    result = run("cache", "info")
    assert (result.exit_code, "DY505" in result.stderr) == (2, True)


@pytest.mark.parametrize("option", ["--cache", "--no-cache"])
def test_no_cache_gives_the_target_none(gate: Path, monkeypatch: pytest.MonkeyPatch, option: str) -> None:
    seen = []
    compile_ = FakeTarget.compile
    monkeypatch.setattr(
        FakeTarget,
        "compile",
        lambda self, program, environment, directory, options: (
            seen.append(options.cache) or compile_(self, program, environment, directory, options)
        ),
    )
    assert compile_gate(gate, option).exit_code == 0
    assert [cache is None for cache in seen] == [option == "--no-cache"]


def test_dump(gate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYCL_DUMP", str(gate.parent / "dump"))
    assert compile_gate(gate).exit_code == 0
    names = sorted(path.name for path in (gate.parent / "dump").glob("*.txt"))
    assert names[0] == "00-specialize.txt"
    assert names[-1].endswith("-host.txt")
    assert len(names) == len(pipeline.PASSES) + 2
    (partition,) = (gate.parent / "dump").glob("*-partition.diff")
    assert any(line.startswith("+") and "dispatch" in line for line in partition.read_text().splitlines())


def test_passes_are_left_out(gate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYCL_DUMP", str(gate.parent / "dump"))
    monkeypatch.setenv("DYCL_WITHOUT", "pin-to-host,fuse")
    assert compile_gate(gate).exit_code == 0
    names = {path.stem.partition("-")[2] for path in (gate.parent / "dump").glob("*.txt")}
    assert {step.name for step in pipeline.PASSES} - names == {"pin-to-host", "fuse"}


def test_a_pass_that_cannot_be_left_out(gate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYCL_WITHOUT", "partition")
    result = compile_gate(gate)
    assert result.exit_code != 0
    assert "DY505" in result.output
    assert "DYCL_WITHOUT: there is no pass 'partition' that can be left out" in " ".join(result.output.split())


# Passes write nothing: that one is as good a place to be killed at as another is for the slow tests.
PASS_NAMES = [step.name for step in pipeline.PASSES]
STAGES = [pytest.param(stage, marks=[pytest.mark.slow] if stage in PASS_NAMES[1:] else []) for stage in pipeline.STAGES]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("replaces", [False, True])
def test_a_kill_leaves_no_partial_artifact(
    gate: Path, monkeypatch: pytest.MonkeyPatch, stage: str, replaces: bool
) -> None:
    out = gate.parent / "out"
    if replaces:
        assert compile_gate(gate).exit_code == 0
    before = (out / "manifest.json").read_bytes() if replaces else None
    monkeypatch.setattr(pipeline, "_compare", lambda *args: None)
    monkeypatch.setenv("DYCL_KILL_AT", stage)
    child = os.fork()
    if child == 0:
        run("compile", gate, "-o", out)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 137
    assert ((out / "manifest.json").read_bytes() if replaces else None) == before
    assert out.exists() == replaces
    monkeypatch.delenv("DYCL_KILL_AT")
    assert compile_gate(gate).exit_code == 0
    assert [path.name for path in gate.parent.iterdir() if path.name.startswith(".")] == []


def test_an_output_that_is_not_ours(gate: Path) -> None:
    (gate.parent / "out").mkdir()
    (gate.parent / "out" / "thesis.tex").write_text("precious")
    result = compile_gate(gate)
    assert result.exit_code == 2
    assert "DY503" in result.stderr
    assert (gate.parent / "out" / "thesis.tex").read_text() == "precious"


def test_an_unknown_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = driving.write_gate(tmp_path)
    result = run("compile", path, "-o", tmp_path / "out", "--target", "abacus")
    assert result.exit_code == 2
    assert "DY504" in result.stderr
    assert "onnxruntime" in result.stderr


def test_an_unknown_option(gate: Path) -> None:
    assert run("compile", gate, "--frobnicate").exit_code == 2


def test_a_model_that_cannot_be_compiled(gate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        loc = SourceRange(str(gate), 16, 16, 16, 23, "Gate.forward")
        raise UnsupportedError("DY202", loc, "a random operation", hint="call eval()")

    monkeypatch.setattr(pipeline, "specialize", refuse)
    result = compile_gate(gate)
    assert result.exit_code == 1
    assert f"{gate}:16:17: error DY202: a random operation" in result.stderr
    assert "        score = x.sum()\n                    ^^^^^^^" in result.stderr
    assert "hint: call eval()" in result.stderr
    assert not (gate.parent / "out").exists()


def test_grouped_errors_are_all_shown(gate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        loc = SourceRange(str(gate), 16)
        found = [UnsupportedError(code, loc, f"reason {code}") for code in ("DY202", "DY210")]
        raise ExceptionGroup("several", found)

    monkeypatch.setattr(pipeline, "specialize", refuse)
    result = compile_gate(gate)
    assert result.exit_code == 1
    assert "reason DY202" in result.stderr
    assert "reason DY210" in result.stderr


@pytest.mark.parametrize("bug", [InternalError("partition: lost a value"), KeyError("lost")])
def test_a_bug_of_ours(gate: Path, monkeypatch: pytest.MonkeyPatch, bug: Exception) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise bug

    monkeypatch.setattr(pipeline, "specialize", fail)
    result = compile_gate(gate)
    assert result.exit_code == 3
    assert "Traceback" not in result.stderr
    report = Path(result.stderr.split("The report is in ")[1].strip())
    assert "Traceback" in report.read_text()
    assert "lost" in report.read_text()
    assert "Traceback" in compile_gate(gate, "-v").stderr


# ---------------------------------------------------------------- loading


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


# ---------------------------------------------------------------- run


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


# ---------------------------------------------------------------- check, explain


def test_check(gate: Path) -> None:
    result = run("check", gate)
    assert result.exit_code == 0, result.output
    assert f"ok   {gate}: 2 branches, 6 blocks, 4 subgraphs, 4 structures" in result.stdout
    assert not (gate.parent / "gate").exists()


def test_check_as_json_goes_on_after_a_failure(gate: Path) -> None:
    result = run("check", "nowhere.py", gate, "--format", "json")
    assert result.exit_code == 2
    broken, whole = json.loads(result.stdout)
    assert (broken["ok"], broken["errors"][0]["code"]) == (False, "DY501")
    assert (whole["ok"], whole["branches"], whole["errors"]) == (True, 2, [])


def test_check_tells_what_cannot_be_compiled(gate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise UnsupportedError("DY202", SourceRange(str(gate), 16, 16), "a random operation", hint="call eval()")

    monkeypatch.setattr(pipeline, "specialize", refuse)
    text = run("check", gate)
    assert text.exit_code == 1
    assert f"FAIL {gate}: DY202" in text.stdout
    assert "a random operation" in text.stderr
    (row,) = json.loads(run("check", gate, "--format", "json").stdout)
    expected = {"code": "DY202", "file": str(gate), "line": 16, "column": 17}
    assert row["errors"] == [{**expected, "message": "a random operation", "hint": "call eval()"}]


def test_check_reports_a_bug_as_one(gate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise KeyError("lost")

    monkeypatch.setattr(pipeline, "specialize", fail)
    result = run("check", gate)
    assert result.exit_code == 3
    assert "internal error" in result.stderr


def test_explain(gate: Path) -> None:
    result = run("explain", gate)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "gate.py:17  if score.item() > 0.5:  (1 variant)"
    assert lines[1].split() == ["true:", "widen"]
    assert lines[2].split() == ["false:", "nothing"]
    assert lines[4].split() == ["true:", "add"]
