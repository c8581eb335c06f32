"""The bench of compile time: what its tables say of what was measured."""

from __future__ import annotations

from typing import Any

from bench.compile_time import HEAD, HOST_HEAD, STAGES, group_seconds, growth, host_rows, rows, section


def run(factor: float) -> dict[str, Any]:
    times = {"wall": factor, "cpu": 2 * factor, "process": 3 * factor, "process_cpu": 4 * factor}
    made = {"structures": 12, "subgraphs": 27, "bytes": 2**20, "host_lines": 114}
    host = {"load": 0.1 * factor, "latency": 500 * factor, "dispatches": 13.0}
    return {**times, **made, "seconds": dict.fromkeys(STAGES, factor), "warm": times, "host": host}


FOUND = {12: [run(1.0), run(2.0), run(3.0)], 108: [run(4.0)]}


def test_a_line_for_each_size() -> None:
    (first, second), (host, _) = rows(FOUND), host_rows(FOUND)
    assert len(first) == len(second) == len(HEAD)
    assert first[:2] == ["12", "2.00"]
    assert dict(zip(HOST_HEAD, host, strict=True)) == {
        "gated blocks": "12",
        "load, s": "0.20 (0.10-0.30)",
        "a call, µs": "1000 (500-1500)",
        "dispatches a call": "13.0",
    }


def test_growth_in_words() -> None:
    assert growth(FOUND).startswith("9 times the gates take 2.0 times the wall-clock time")
    assert section("A machine", FOUND).count("\n| 12 |") == 2


def test_stages_by_column() -> None:
    found = group_seconds({"specialize": 1.0, "fuse": 2.0, "sink": 3.0, "package": 4.0, "publish": 5.0})
    assert (found["passes"], found["publish"], found["verify"]) == (5.0, 9.0, 0.0)
