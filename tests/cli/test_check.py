"""`dycl check` and `dycl explain`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commanding import run

from dycl import pipeline
from dycl.diagnostics import SourceRange, UnsupportedError


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
