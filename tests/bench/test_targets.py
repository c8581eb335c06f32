"""The bench of targets: what it measures when it is started again, and what it says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import targets
from bench.rows import ROWS

CORE = [row.name for row in ROWS.values() if row.core]


def row(model: str, **more: Any) -> dict[str, Any]:
    keys = ("tvm_ratio", "auto_ratio", "tvm_best_ratio", "auto_best_ratio", "auto_better_best_ratio")
    times = {f"{name}_us": 100.0 for name in targets.TARGETS}
    structures = {"00_block": {"onnxruntime": 10.0, "tvm": 35.0}, "01_rnn": {"onnxruntime": 3.0}}
    rest = {
        "left": 1,
        "subgraphs": 2,
        "onnxruntime_compile": 10.0,
        "tvm_compile_ratio": 1.4,
        "tvm_compile_spread": (1.2, 1.6),
        "load": 1.0,
    }
    found = {"model": model, "commit": "abc", "structures": structures}
    return found | dict.fromkeys(keys, 0.5) | times | rest | more


@pytest.fixture(autouse=True)
def commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "_commit", lambda: "abc")


def test_a_run_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    results = tmp_path / "targets.json"
    assert targets.find_missing(None, results, fresh=False) == CORE
    targets.keep(row("skipnet"), results)
    targets.keep(row("deq", commit="older"), results)
    assert targets.find_missing(None, results, fresh=False) == CORE[1:]
    assert targets.find_missing(["skipnet"], results, fresh=False) == []
    assert targets.find_missing(["skipnet"], results, fresh=True) == ["skipnet"]
    assert list(tmp_path.iterdir()) == [results]


def test_rows_are_in_order_and_those_of_another_form_go(tmp_path: Path) -> None:
    results = tmp_path / "targets.json"
    results.write_text(json.dumps({"rows": [{"model": "act", "tvm_us": 1.0}]}))
    for name in ("deq", "skipnet"):
        targets.keep(row(name), results)
    assert [each["model"] for each in json.loads(results.read_text())["rows"]] == ["skipnet", "deq"]


def test_the_table_names_what_is_slower() -> None:
    text = targets.section({"machine": "a machine", "rows": [row("skipnet")]})
    assert "| skipnet | 100 | 100 | 100 | 0.50 | 0.50 | 0.50 | 0.50 | 0.50 | 10.0 | 1.40 (1.20-1.60) | 1 of 2 |" in text
    assert "`skipnet/00_block` 3.5" in text
