"""The targets compared: `python -m bench.targets [--model NAME]...`, one thread, a row after the other.

Each row is compiled for ONNX Runtime, for TVM and for `auto`, each in a process of its own, without the cache; for the
first two several times in turns, since the same compile differs by up to a third from one time to the next. Of
subgraphs, the times are those that `auto` took to decide. Of whole models, the hosts take turns on the same inputs in
one process, three times, since where a process happens to put things makes some percent: the medians are told. Ratios
are of two calls of one round. Results go to `bench/targets.json` row by row; a run that was
interrupted goes on with the rows that this commit has not measured (`--fresh`: all). `--write-docs` puts the table into
docs/.
"""

from __future__ import annotations

import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from bench.__main__ import RowError, run_module
from bench.report import ROOT, describe_machine, markdown_table, write_section
from bench.rows import ROWS, Call, Row, sample_calls
from dycl.benchmark import take_turns
from dycl.hosting import HostModel
from dycl.pipeline import compile_model

RESULTS = ROOT / "bench" / "targets.json"
TARGETS = ("onnxruntime", "tvm", "auto")
_SAMPLES = 16
_NAMED_ABOVE = 2.0  # subgraphs that TVM computes slower than this are named


def measure_row(name: str, seconds: float, pairs: int) -> dict[str, Any]:
    """Compile the row for each target, and let the hosts take turns. `pairs`: compiles for ONNX Runtime and for TVM."""
    found: dict[str, Any] = {"model": name, "commit": _commit()}
    times: dict[str, list[float]] = {target: [] for target in TARGETS}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(pairs):
            for target in TARGETS if turn == 0 else TARGETS[:2]:
                place = Path(folder) / str(turn)
                one = json.loads(run_module("bench.targets", "--row", name, "--compile", target, "--place", str(place)))
                times[target].append(one.pop("compile"))
                found |= one
        place = str(Path(folder) / "0")
        turns = [
            json.loads(run_module("bench.targets", "--row", name, "--seconds", str(seconds / 3), "--place", place))
            for _ in range(3)
        ]
        found |= {key: round(statistics.median(turn[key] for turn in turns), 3) for key in turns[0]}
    ratios = [tvm / ort for ort, tvm in zip(times["onnxruntime"], times["tvm"], strict=True)]
    found |= {f"{target}_compile": statistics.median(values) for target, values in times.items()}
    found |= {"tvm_compile_ratio": round(statistics.median(ratios), 2)}
    return found | {"tvm_compile_spread": [round(min(ratios), 2), round(max(ratios), 2)]}


def compile_row(row: Row, target: str, place: Path) -> dict[str, Any]:
    """Compile the row for a target, in this process: the processor's seconds, and what the report says."""
    loaded = row.load()
    settings = replace(row.settings, target=target, tune=0, cache=False)
    start = _processor_seconds()
    built = compile_model(
        loaded.model, loaded.args, loaded.kwargs, settings, output=place / target, sampler=loaded.sample_inputs
    )
    found: dict[str, Any] = {"compile": round(_processor_seconds() - start, 2)}
    engines = [subgraph.engine for subgraph in built.report.subgraphs]
    if target == "tvm":
        found |= {"left": len(engines) - engines.count("tvm"), "subgraphs": len(engines)}
    if target == "auto":
        timed = {subgraph.structure: subgraph for subgraph in reversed(built.report.subgraphs)}
        found["structures"] = {each.name: dict(each.microseconds) for each in timed.values()}
    return found


def _processor_seconds() -> float:
    """What this process and those that it has waited for have spent; others on the machine do not count."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def measure_hosts(row: Row, place: Path, seconds: float) -> dict[str, float]:
    """Let the hosts of a row take turns, in this process."""
    import torch

    torch.set_num_threads(1)
    hosts = {target: HostModel(_load(place / target), {}) for target in TARGETS}
    return compare(hosts, [_arrays(call) for call in sample_calls(row.load(), _SAMPLES)], seconds)


def _commit() -> str:
    run = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return run.stdout.strip()


def _load(output: Path) -> Any:
    from dycl.artifact import load_artifact

    return load_artifact(output, threads=1)


def _arrays(call: Any) -> Any:
    from bench.peers import as_arrays

    return as_arrays(call)


def compare(hosts: Mapping[str, HostModel], calls: Sequence[Call], seconds: float) -> dict[str, float]:
    """Median microseconds of a call, the median of the ratios to ONNX Runtime's, and the ratio of the best calls.

    The medians are of calls whose caches another host has just filled; the best calls tell what is left if nothing else
    runs on the machine.
    """
    taken = take_turns([*hosts.values()], calls, seconds=seconds, least=3 * len(calls), most=100_000)
    times = dict(zip(hosts, taken, strict=True))
    found = {f"{name}_us": round(1e6 * statistics.median(values), 1) for name, values in times.items()}
    base = times["onnxruntime"]
    for name in ("tvm", "auto"):
        ratios = [own / other for own, other in zip(times[name], base, strict=True)]
        found[f"{name}_ratio"] = round(statistics.median(ratios), 3)
        found[f"{name}_best_ratio"] = round(_best(times[name], len(calls)) / _best(base, len(calls)), 3)
    better = [min(pair) for pair in zip(base, times["tvm"], strict=True)]
    found["auto_better_ratio"] = round(
        statistics.median(own / other for own, other in zip(times["auto"], better, strict=True)), 3
    )
    found["auto_better_best_ratio"] = round(
        _best(times["auto"], len(calls)) / min(_best(times[name], len(calls)) for name in ("onnxruntime", "tvm")), 3
    )
    found["load"] = round(os.getloadavg()[0], 1)
    return found


def _best(times: Sequence[float], inputs: int) -> float:
    """The mean over the inputs of the least time that each has taken."""
    return statistics.fmean(min(times[index::inputs]) for index in range(inputs))


def geometric_mean(values: Sequence[float]) -> float:
    """The geometric mean."""
    return math.exp(statistics.fmean(math.log(value) for value in values))


def section(results: Mapping[str, Any]) -> str:
    """The tables in Markdown."""
    rows = results["rows"]
    pairs = {
        f"{row['model']}/{name}": times["tvm"] / times["onnxruntime"]
        for row in rows
        for name, times in row["structures"].items()
        if {"tvm", "onnxruntime"} <= set(times)
    }
    slow = sorted(((ratio, name) for name, ratio in pairs.items() if ratio > _NAMED_ABOVE), reverse=True)
    head = (
        *("row", "ORT µs", "tvm µs", "auto µs", "tvm / ORT", "auto / ORT", "tvm, best", "auto, best"),
        *("auto / better, best", "compile, s", "compile, tvm / ORT", "left to ORT"),
    )
    keys = ("tvm_ratio", "auto_ratio", "tvm_best_ratio", "auto_best_ratio", "auto_better_best_ratio")
    table = markdown_table(
        head,
        [
            (
                row["model"],
                *(f"{row[f'{target}_us']:,.0f}" for target in TARGETS),
                *(f"{row[key]:.2f}" for key in keys),
                f"{row['onnxruntime_compile']:.1f}",
                "{:.2f} ({:.2f}-{:.2f})".format(row["tvm_compile_ratio"], *row["tvm_compile_spread"]),
                f"{row['left']} of {row['subgraphs']}",
            )
            for row in rows
        ],
    )
    ratios = list(pairs.values())
    faster = sum(ratio < 1 for ratio in ratios)
    words = [
        f"Unique subgraphs that both take: {len(ratios)}; TVM's time over ONNX Runtime's: geometric mean "
        f"{geometric_mean(ratios):.2f}, smallest {min(ratios):.2f}, largest {max(ratios):.2f}; "
        f"TVM is faster on {faster}.",
        "Whole models, geometric mean over the rows: tvm / ONNX Runtime "
        f"{geometric_mean([row['tvm_ratio'] for row in rows]):.2f}, "
        f"auto / ONNX Runtime {geometric_mean([row['auto_ratio'] for row in rows]):.2f}; of the best calls "
        f"{geometric_mean([row['tvm_best_ratio'] for row in rows]):.2f} and "
        f"{geometric_mean([row['auto_best_ratio'] for row in rows]):.2f}.",
    ]
    if slow:
        words.append(
            f"Slower than {_NAMED_ABOVE:g} times with TVM: "
            + ", ".join(f"`{name}` {ratio:.1f}" for ratio, name in slow)
            + "."
        )
    load = statistics.fmean(row["load"] for row in rows)
    return f"## Targets\n\n{results['machine']}; one thread; load average {load:.0f}.\n\n{table}\n\n" + "\n\n".join(
        words
    )


def main(
    model: Annotated[list[str] | None, typer.Option("--model", help="A row; all core rows if none is named.")] = None,
    seconds: Annotated[float, typer.Option(help="How long the hosts of a row take turns.")] = 12.0,
    pairs: Annotated[int, typer.Option(help="Compiles for ONNX Runtime and for TVM, in turns.")] = 3,
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure again what this commit has measured.")] = False,
    write_docs: Annotated[bool, typer.Option("--write-docs", help="The table into docs/.")] = False,
    results: Annotated[Path, typer.Option(help="Where the results lie.")] = RESULTS,
    row: Annotated[str, typer.Option("--row", hidden=True)] = "",
    compile_for: Annotated[str, typer.Option("--compile", hidden=True)] = "",
    place: Annotated[Path, typer.Option("--place", hidden=True)] = Path(),
) -> None:
    """Compare the targets."""
    if row:
        one = compile_row(ROWS[row], compile_for, place) if compile_for else measure_hosts(ROWS[row], place, seconds)
        typer.echo(json.dumps(one))
        return
    console = Console()
    for name in find_missing(model, results, fresh):
        try:
            found = measure_row(name, seconds, pairs)
        except RowError as error:
            console.print(f"{name}: {error}", style="red")
            continue
        console.print({key: value for key, value in found.items() if key != "structures"})
        keep(found, results)
    if write_docs:
        write_section("targets", section(json.loads(results.read_text(encoding="utf-8"))))


def find_missing(models: Sequence[str] | None, results: Path, fresh: bool) -> list[str]:
    """The rows to measure: those named, or all of the core that this commit has not measured."""
    commit = "" if fresh else _commit()
    done = {row["model"] for row in _stored(results) if commit and row.get("commit") == commit}
    wanted = models if models is not None else [each.name for each in ROWS.values() if each.core]
    return [name for name in wanted if name not in done]


def keep(found: Mapping[str, Any], results: Path) -> None:
    """Write a row beside those that were measured before; rows in another form than this one's go."""
    rows = {row["model"]: row for row in _stored(results) if set(found) <= set(row)} | {found["model"]: found}
    merged = {"machine": describe_machine(), "rows": [rows[name] for name in ROWS if name in rows]}
    part = results.with_suffix(".part")
    part.write_text(json.dumps(merged, indent=1) + "\n", encoding="utf-8")
    part.replace(results)


def _stored(results: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(results.read_text(encoding="utf-8"))["rows"] if results.exists() else []
    return rows


if __name__ == "__main__":
    sys.exit(typer.run(main))
