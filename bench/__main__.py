"""The benchmark: `python -m bench [--model NAME]... [--threads 1,2]`, as `make bench` runs it.

First everything is prepared, as many rows at a time as there are cores: each is compiled in a process of its own, and
torch.compile has its turn for each number of threads, which takes most of the time (what inductor makes stays in
build/bench). Then each row is measured, one process after the other with nothing beside it. One process may say 0.98 of
artifacts of which the next says 1.30: where memory lies, and who else has the machine, stays for as long as a process
does. So rows are measured in several (`--processes`), all rows in turns, and the one with the median ratio counts. What
is prepared already stays: rows can be run one at a time, `--fresh` compiles again. Results go to `bench/results.json`;
`--write-docs` puts the tables and the plot of that file into docs/.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from bench.plot import draw
from bench.report import ROOT, WORK, describe_machine, markdown_table, write_section
from bench.rows import ROWS
from bench.sizes import table
from bench.tables import latency_table, overview, rich_table, section

RESULTS = ROOT / "bench" / "results.json"
PLOT = ROOT / "docs" / "performance.svg"


class RowError(Exception):
    """A row cannot be compiled or measured, and why."""


def run_module(module: str, *arguments: str, inductor: Path = WORK / "inductor") -> str:
    """What `python -m MODULE ARGUMENTS` prints last; it inherits neither threads nor memory from here."""
    command = [sys.executable, "-m", module, *arguments]
    environment = {key: value for key, value in os.environ.items() if key not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    environment.setdefault("TORCHINDUCTOR_CACHE_DIR", str(inductor))
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if run.returncode:
        lines = run.stderr.strip().splitlines() or [f"it ended with {run.returncode}"]
        raise RowError(f"{module}: {lines[-1][:200]}")
    return run.stdout.splitlines()[-1] if run.stdout.strip() else ""


def prepare_row(name: str, threads: Sequence[int], fresh: bool, work: Path, peers: str) -> str:
    """Compile a row, and let torch.compile do it; why it cannot be compiled, if so."""
    directory = work / name
    try:
        if fresh or not (directory / "prepared.json").exists():
            run_module("bench.prepare", name, str(directory))
        if "torch_compile" in peers.split(","):
            for count in threads:
                run_module("bench.measure", name, str(directory), "--threads", str(count), "--warm")
    except RowError as error:
        return str(error)
    return ""


def measure_row(name: str, threads: Sequence[int], seconds: float, work: Path, peers: str) -> list[dict[str, Any]]:
    """The measurements of one prepared row, for each number of threads."""
    directory = work / name
    prepared = json.loads((directory / "prepared.json").read_text(encoding="utf-8"))
    found = []
    for count in threads:
        options = ("--threads", str(count), "--seconds", str(seconds), "--only", peers)
        row = json.loads(run_module("bench.measure", name, str(directory), *options))
        row |= {key: value for key, value in prepared.items() if key != "graphs"}
        row["cores"] = os.cpu_count()
        row["load_average"] = round(os.getloadavg()[0], 1)
        found.append(row)
    return found


def find_middle(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of measurements of one row in several processes that with the median ratio to the oracle; and what all said."""
    told = [row for row in rows if "ratio_oracle" in row]
    if not told:
        return rows[-1]
    ordered = sorted(told, key=lambda row: row["ratio_oracle"])
    ratios = [row["ratio_oracle"] for row in ordered]
    return ordered[len(ordered) // 2] | {"ratio_oracle_processes": ratios}


def merge(rows: Sequence[dict[str, Any]], failed: Mapping[str, str], path: Path = RESULTS) -> dict[str, Any]:
    """The results on file with these rows in the place of their former selves; `failed`: rows, and why."""
    stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"rows": []}
    reasons = {name: why for name, why in stored.get("failed", {}).items() if name not in {r["model"] for r in rows}}
    reasons |= failed
    stored["rows"] = [row for row in stored["rows"] if row["model"] not in reasons]
    new = {(row["model"], row["threads"]): row for row in rows}
    old = {(row["model"], row["threads"]): row for row in stored["rows"]}
    order = list(ROWS)
    merged = sorted((old | new).values(), key=lambda row: (order.index(row["model"]), row["threads"]))
    results = {"machine": describe_machine(), "rows": merged, "failed": dict(sorted(reasons.items()))}
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return results


def main(
    model: Annotated[list[str] | None, typer.Option("--model", help="A row; all if none is named.")] = None,
    threads: Annotated[str, typer.Option(help="Numbers of threads, with commas.")] = "1,2",
    seconds: Annotated[float, typer.Option(help="How long each measurement takes, at least 32 rounds.")] = 4.0,
    processes: Annotated[int, typer.Option(help="How many processes measure each row, all rows in turns.")] = 3,
    peers: Annotated[
        str, typer.Option(help="Whom to measure, with commas; torch_compile takes longest to prepare.")
    ] = ("eager,torch_compile,torchscript,onnx_if,oracle,dycl"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Compile again what is compiled.")] = False,
    write_docs: Annotated[bool, typer.Option("--write-docs", help="Tables and plot into docs/.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Measure nothing; show the results on file.")] = False,
    work: Annotated[Path, typer.Option(help="Where rows are compiled to.")] = WORK,
) -> None:
    """Compare compiled models with their oracle and with other ways to run them."""
    console = Console()
    counts = [int(part) for part in threads.split(",")]
    results = merge([], {})
    names = [] if show else model or list(ROWS)
    start = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        problems = list(pool.map(lambda name: prepare_row(name, counts, fresh, work, peers), names))
    if names:
        console.print(f"prepared in {time.perf_counter() - start:.0f} s")
    measured: dict[tuple[str, int], list[dict[str, Any]]] = {}
    broken = {name: problem for name, problem in zip(names, problems, strict=True) if problem}
    for name in [name for _ in range(processes) for name in names if name not in broken]:
        try:
            rows = measure_row(name, counts, seconds, work, peers)
        except RowError as error:
            broken[name] = str(error)
            continue
        for row in rows:
            measured.setdefault((name, row["threads"]), []).append(row)
        middle = [find_middle(measured[name, count]) for count in counts]
        results = merge(middle, {})
        console.print(rich_table([*latency_table(middle)], title=name))
    for name, problem in broken.items():
        console.print(f"{name}: {problem}", style="red")
        results = merge([], {name: problem})
    if names:
        console.print(f"all in {time.perf_counter() - start:.0f} s")
    console.print(rich_table(latency_table(results["rows"]), title=results["machine"]))
    console.print(overview(results["rows"]))
    if write_docs:
        draw(results["rows"], PLOT)
        write_section("latency", section(results))
        if len(sizes := table(work)) > 1:
            write_section("sizes", markdown_table(sizes[0], sizes[1:]))


if __name__ == "__main__":
    typer.run(main)
