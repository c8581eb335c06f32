"""The targets compared: `python -m bench.targets [--model NAME]...`, one thread, all of a row in one process in turns.

Each row is compiled for ONNX Runtime, for TVM and for `auto`. Of subgraphs, the times are those that `auto` took to
decide. Of whole models, the hosts take turns on the same inputs, and ratios are of two calls of one round. Results go
to `bench/targets.json`; `--write-docs` puts the table into docs/.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from bench.__main__ import run_module
from bench.report import ROOT, describe_machine, markdown_table, write_section
from bench.rows import ROWS, Row, sample_calls
from dycl.hosting import HostModel
from dycl.pipeline import compile_model

RESULTS = ROOT / "bench" / "targets.json"
TARGETS = ("onnxruntime", "tvm", "auto")
_SAMPLES = 16
_NAMED_ABOVE = 2.0  # subgraphs that TVM computes slower than this are named


def measure_row(row: Row, seconds: float) -> dict[str, Any]:
    """Compile the row for each target and let the hosts take turns."""
    import torch

    torch.set_num_threads(1)
    loaded = row.load()
    hosts: dict[str, HostModel] = {}
    found: dict[str, Any] = {"model": row.name}
    with tempfile.TemporaryDirectory() as folder:
        for target in TARGETS:
            settings = replace(row.settings, target=target, tune=False)
            output = Path(folder) / target
            built = compile_model(
                loaded.model, loaded.args, loaded.kwargs, settings, output=output, sampler=loaded.sample_inputs
            )
            hosts[target] = HostModel(_load(output), built.checked.environment.classes)
            found[f"{target}_compile"] = round(built.report.seconds["target"], 1)
            engines = [subgraph.engine for subgraph in built.report.subgraphs]
            if target == "tvm":
                found["left"] = len(engines) - engines.count("tvm")
                found["subgraphs"] = len(engines)
            if target == "auto":
                timed = {subgraph.structure: subgraph for subgraph in reversed(built.report.subgraphs)}
                found["structures"] = {each.name: dict(each.microseconds) for each in timed.values()}
        return found | take_turns(hosts, [_arrays(call) for call in sample_calls(loaded, _SAMPLES)], seconds)


def _load(output: Path) -> Any:
    from dycl.artifact import load_artifact

    return load_artifact(output, threads=1)


def _arrays(call: Any) -> Any:
    from bench.peers import as_arrays

    return as_arrays(call)


def take_turns(hosts: Mapping[str, HostModel], calls: Sequence[Any], seconds: float) -> dict[str, float]:
    """Median microseconds of a call, the median of the ratios to ONNX Runtime's, and the ratio of the best calls.

    The medians are of calls whose caches another host has just filled; the best calls tell what is left if nothing else
    runs on the machine.
    """
    times: dict[str, list[float]] = {name: [] for name in hosts}
    for warm_up in range(2 * len(calls)):
        for host in hosts.values():
            _call(host, calls[warm_up % len(calls)])
    end = time.perf_counter() + seconds
    number = 0
    order = list(hosts)
    while number < 3 * len(calls) or time.perf_counter() < end:
        turn = number % len(order)
        for name in order[turn:] + order[:turn]:
            start = time.perf_counter()
            _call(hosts[name], calls[number % len(calls)])
            times[name].append(time.perf_counter() - start)
        number += 1
    found = {f"{name}_us": round(1e6 * statistics.median(values), 1) for name, values in times.items()}
    base = times["onnxruntime"]
    for name in ("tvm", "auto"):
        ratios = [own / other for own, other in zip(times[name], base, strict=True)]
        found[f"{name}_ratio"] = round(statistics.median(ratios), 3)
        found[f"{name}_best_ratio"] = round(_best(times[name], len(calls)) / _best(base, len(calls)), 3)
    found["load"] = round(os.getloadavg()[0], 1)
    return found


def _best(times: Sequence[float], inputs: int) -> float:
    """The mean over the inputs of the least time that each has taken."""
    return statistics.fmean(min(times[index::inputs]) for index in range(inputs))


def _call(host: HostModel, call: Any) -> None:
    args, kwargs = call
    host.reset(None)
    host.call(*args, **kwargs)


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
    head = ("row", "ORT µs", "tvm µs", "auto µs", "tvm / ORT", "auto / ORT", "tvm, best", "auto, best", "left to ORT")
    table = markdown_table(
        head,
        [
            (
                row["model"],
                *(f"{row[f'{target}_us']:,.0f}" for target in TARGETS),
                *(f"{row[key]:.2f}" for key in ("tvm_ratio", "auto_ratio", "tvm_best_ratio", "auto_best_ratio")),
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
    seconds: Annotated[float, typer.Option(help="How long the hosts of a row take turns.")] = 6.0,
    write_docs: Annotated[bool, typer.Option("--write-docs", help="The table into docs/.")] = False,
    row: Annotated[str, typer.Option("--row", hidden=True)] = "",
) -> None:
    """Compare the targets."""
    if row:
        typer.echo(json.dumps(measure_row(ROWS[row], seconds)))
        return
    stored = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"rows": []}
    found = {each["model"]: each for each in stored["rows"]}
    console = Console()
    for name in model if model is not None else [each.name for each in ROWS.values() if each.core]:
        try:
            found[name] = json.loads(run_module("bench.targets", "--row", name, "--seconds", str(seconds)))
        except subprocess.CalledProcessError as error:
            console.print(f"{name}: {error}", style="red")
            continue
        console.print({key: value for key, value in found[name].items() if key != "structures"})
        rows = [found[each] for each in ROWS if each in found]
        results = {"machine": describe_machine(), "rows": rows}
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if write_docs:
        write_section("targets", section(json.loads(RESULTS.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    sys.exit(typer.run(main))
