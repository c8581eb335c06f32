"""How compile time grows with the number of decisions: SkipNet with 12 to 108 gated blocks, stage by stage.

    python -m bench.compile_time [--repeat N] [--json FILE] [--write-docs]

Each compile is a process of its own: one with an empty cache, then one with what that left. Times are wall-clock
medians; on a machine that does other work too, the processor's seconds are the better measure of growth.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from bench.report import ROOT, describe_machine, markdown_table, median_and_spread, write_section

DEPTHS = {12: 28, 17: 38, 27: 58, 54: 112, 108: 220}  # layers of SkipNet by gated blocks
# The stages that have a column; all passes are one.
STAGES = ("specialize", "passes", "host", "target", "verify", "publish")

Measurement = dict[str, Any]


def compile_once(gates: int) -> Measurement:
    """One compile in this process: seconds by stage, and what came out."""
    from dycl.loading import load_model
    from dycl.pipeline import compile_model
    from dycl.settings import Settings

    loaded = load_model(str(ROOT / "models_zoo" / "skipnet.py"))
    model = sys.modules[type(loaded.model).__module__].build(depth=DEPTHS[gates])
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) / "skipnet"
        wall, cpu = time.perf_counter(), time.process_time()
        built = compile_model(model, loaded.args, loaded.kwargs, Settings(), output=place, sampler=loaded.sample_inputs)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        lines = len((place / "host.py").read_text(encoding="utf-8").splitlines())
        weights = (place / "weights.bin").stat().st_size
    report = built.report
    return {
        "gates": gates,
        "seconds": group_seconds(report.seconds),
        "wall": wall,
        "cpu": cpu,
        "blocks": report.program.blocks,
        "subgraphs": report.program.subgraphs,
        "structures": report.structures_exported,
        "reused": report.structures_reused,
        "bytes": report.size,
        "weight_bytes": weights,
        "state_dict_bytes": sum(t.numel() * t.element_size() for t in model.state_dict().values()),
        "host_lines": lines,
    }


def group_seconds(seconds: Mapping[str, float]) -> dict[str, float]:
    """Seconds by column: all passes together, packaging with publishing."""
    grouped = dict.fromkeys(STAGES, 0.0)
    for stage, spent in seconds.items():
        column = "publish" if stage == "package" else stage if stage in STAGES else "passes"
        grouped[column] += spent
    return grouped


def measure(gates: Sequence[int], repeat: int, console: Console) -> dict[int, list[Measurement]]:
    """All compiles, the sizes in turn, each in a fresh process; the second of each size finds the cache filled."""
    found: dict[int, list[Measurement]] = {count: [] for count in gates}
    for _ in range(repeat):
        for count in gates:
            with tempfile.TemporaryDirectory() as cache:
                cold, warm = (_in_process(count, cache) for _ in range(2))
            found[count].append(cold | {"warm": warm})
            console.print(f"{count} gates: {cold['cpu']:.1f} s, then {warm['cpu']:.1f} s of the processor", style="dim")
    return found


def _in_process(gates: int, cache: str) -> Measurement:
    """One compile in a process of its own, whose seconds from start to end are in `process` and `process_cpu`."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    run = subprocess.run(
        [sys.executable, "-m", "bench.compile_time", "--only", str(gates)],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "DYCL_CACHE_DIR": cache},
    )
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    measured: Measurement = json.loads(run.stdout.splitlines()[-1])
    return measured | {"process": wall, "process_cpu": cpu}


HEAD = (
    "gated blocks",
    *STAGES,
    "total, s",
    "processor, s",
    "cached: total, s",
    "processor, s",
    "with start, s",
    "processor, s",
    "structures",
    "subgraphs",
    "artifact, MiB",
    "host lines",
)


def rows(found: Mapping[int, Sequence[Measurement]]) -> list[list[str]]:
    """The table: a line a size."""
    lines = []
    for gates, runs in found.items():
        stages = [f"{statistics.median(run['seconds'][stage] for run in runs):.2f}" for stage in STAGES]
        totals = [median_and_spread([run[key] for run in runs]) for key in ("wall", "cpu")]
        cached = ("wall", "cpu", "process", "process_cpu")
        totals += [median_and_spread([run["warm"][key] for run in runs]) for key in cached]
        last = runs[-1]
        sizes = [
            str(last["structures"]),
            str(last["subgraphs"]),
            f"{last['bytes'] / 2**20:.2f}",
            str(last["host_lines"]),
        ]
        lines.append([str(gates), *stages, *totals, *sizes])
    return lines


def growth(found: Mapping[int, Sequence[Measurement]]) -> str:
    """How total times compare with the number of gates, in words."""
    small, large = min(found), max(found)
    ratios = [
        statistics.median(run[key] for run in found[large]) / statistics.median(run[key] for run in found[small])
        for key in ("wall", "cpu")
    ]
    return (
        f"{large / small:.0f} times the gates take {ratios[0]:.1f} times the wall-clock time and {ratios[1]:.1f} times "
        f"the processor time."
    )


def main(
    repeat: Annotated[int, typer.Option(min=1, help="Compiles of each size.")] = 3,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all measurements.")] = None,
    write_docs: Annotated[bool, typer.Option("--write-docs", help="Put the table into docs/performance.md.")] = False,
    read: Annotated[Path | None, typer.Option(metavar="FILE", help="Show what --json wrote; measure nothing.")] = None,
    only: Annotated[int | None, typer.Option(help="Compile one size here and print JSON.")] = None,
) -> None:
    """Measure compile time against the number of decisions."""
    if only is not None:
        typer.echo(json.dumps(compile_once(only)))
        return
    console = Console()
    if read is not None:
        stored = json.loads(read.read_text(encoding="utf-8"))
        machine, found = stored["machine"], {int(gates): runs for gates, runs in stored["runs"].items()}
    else:
        machine, found = describe_machine(), measure(tuple(DEPTHS), repeat, console)
    table = Table(*HEAD, title="Compiling SkipNet")
    for row in rows(found):
        table.add_row(*row)
    console.print(table)
    console.print(growth(found))
    if json_file is not None:
        json_file.write_text(json.dumps({"machine": machine, "runs": found}, indent=1), encoding="utf-8")
    if write_docs:
        count = len(found[min(found)])
        note = (
            f"Medians of {count} compiles, each a process of its own; in brackets the least and the largest. The "
            "stages and the first totals are of an empty cache; `cached` takes all structures from it, `with start` "
            "begins with the process and has the import of torch in it."
        )
        text = "\n\n".join(["## Compile time", f"{machine}. {note}", markdown_table(HEAD, rows(found)), growth(found)])
        write_section("compile_time", text)


if __name__ == "__main__":
    typer.run(main)
