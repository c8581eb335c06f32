"""`dycl compile` and `dycl cache`: tables, options, errors, and nothing half written."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import driving
import pytest
import torch
from commanding import FakeTarget, compile_gate, run

from dycl import pipeline
from dycl.cache import Cache
from dycl.diagnostics import InternalError, SourceRange, UnsupportedError


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
