"""How times grow with the number of decisions: SkipNet with 12 to 108 gated blocks, compiled, loaded and called.

    python -m bench.compile_time [--gates N]... [--repeat N] [--json FILE] [--write-docs]

Each compile is a process of its own: one with an empty cache, then one with what that left. A third process, which has
no torch, loads what came out and calls it. Times are wall-clock medians; on a machine that does other work too, the
processor's seconds are the better measure of growth.
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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from bench.report import ROOT, describe_machine, markdown_table, median_and_spread, write_section
from bench.tables import rich_table

GATES = (12, 27, 54, 108)
SAMPLES = 16  # inputs that the host is called on
CALLS = 320
# The stages that have a column; all passes are one.
STAGES = ("specialize", "passes", "host", "target", "verify", "publish")

Measurement = dict[str, Any]


def compile_once(gates: int, place: Path) -> Measurement:
    """One compile in this process, to PLACE/skipnet: seconds by stage, and what came out. Its inputs lie beside it."""
    from dycl.loading import load_model
    from dycl.pipeline import compile_model
    from dycl.settings import Settings

    loaded = load_model(str(ROOT / "models_zoo" / "skipnet.py"))
    assert loaded.sample_inputs is not None
    model = sys.modules[type(loaded.model).__module__].build(depth=2 * gates + 4)
    artifact = place / "skipnet"
    wall, cpu = time.perf_counter(), time.process_time()
    built = compile_model(model, loaded.args, loaded.kwargs, Settings(), output=artifact, sampler=loaded.sample_inputs)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    np.savez(place / "inputs.npz", *(loaded.sample_inputs(seed)[0].numpy() for seed in range(SAMPLES)))
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
        "weight_bytes": report.weight_bytes,
        "state_dict_bytes": sum(t.numel() * t.element_size() for t in model.state_dict().values()),
        "host_lines": len((artifact / "host.py").read_text(encoding="utf-8").splitlines()),
    }


def run_once(place: Path) -> Measurement:
    """Load in this process what a compile has written, and call it: seconds, and the median of microseconds."""
    import onnxruntime  # noqa: F401  so that loading does not import it

    from dycl.benchmark import measure_host

    with np.load(place / "inputs.npz") as stored:
        calls = [((stored[name],), {}) for name in stored.files]
    report = measure_host(place / "skipnet", calls, threads=1, repeat=CALLS)
    return {"load": report.load_seconds, "latency": report.latency[1], "dispatches": report.dispatches}


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
            with tempfile.TemporaryDirectory() as folder:
                options = ("--only", str(count), "--place", folder)
                cold, warm = (_in_process(folder, *options) for _ in range(2))
                host = _in_process(folder, "--place", folder)
            found[count].append(cold | {"warm": warm, "host": host})
            seconds = f"{cold['cpu']:.1f} s, then {warm['cpu']:.1f} s of the processor"
            console.print(f"{count} gates: {seconds}; loaded in {host['load']:.2f} s", style="dim")
    return found


def _in_process(folder: str, *options: str) -> Measurement:
    """One measurement in a process of its own, whose seconds from start to end are in `process` and `process_cpu`."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    run = subprocess.run(
        [sys.executable, "-m", "bench.compile_time", *options],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "DYCL_CACHE_DIR": str(Path(folder) / "cache")},
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


HOST_HEAD = ("gated blocks", "load, s", "a call, µs", "dispatches a call")


def host_rows(found: Mapping[int, Sequence[Measurement]]) -> list[list[str]]:
    """What came out, loaded and called: a line a size."""
    lines = []
    for gates, runs in found.items():
        load = median_and_spread([run["host"]["load"] for run in runs], digits=2)
        latency = median_and_spread([run["host"]["latency"] for run in runs], digits=0)
        dispatches = statistics.median(run["host"]["dispatches"] for run in runs)
        lines.append([str(gates), load, latency, f"{dispatches:.1f}"])
    return lines


def growth(found: Mapping[int, Sequence[Measurement]]) -> str:
    """How times compare with the number of gates, in words."""
    small, large = min(found), max(found)

    def ratio(read: Callable[[Measurement], float]) -> str:
        many, few = (statistics.median(read(run) for run in found[gates]) for gates in (large, small))
        return f"{many / few:.1f}"

    return (
        f"{large / small:.0f} times the gates take {ratio(lambda run: run['wall'])} times the wall-clock time and "
        f"{ratio(lambda run: run['cpu'])} times the processor time to compile, "
        f"{ratio(lambda run: run['host']['load'])} times the time to load; a call takes "
        f"{ratio(lambda run: run['host']['latency'])} times as long."
    )


def section(machine: str, found: Mapping[int, Sequence[Measurement]]) -> str:
    """The section of the documentation."""
    note = (
        f"Medians of {len(found[min(found)])} compiles, each a process of its own; in brackets the least and the "
        "largest. The stages and the first totals are of an empty cache; `cached` takes all structures from it, `with "
        "start` begins with the process and has the import of torch in it."
    )
    host_note = (
        "What came out, on one thread in a process without torch. To load is to check the files, to open all sessions "
        f"and to make the host; ONNX Runtime is imported before. A call: the median over {CALLS} calls on {SAMPLES} "
        "sampled inputs."
    )
    tables = markdown_table(HEAD, rows(found)), markdown_table(HOST_HEAD, host_rows(found))
    return "\n\n".join(["## Compile time", f"{machine}. {note}", tables[0], host_note, tables[1], growth(found)])


def main(
    gates: Annotated[list[int] | None, typer.Option(help="Gated blocks, if not the usual numbers.")] = None,
    repeat: Annotated[int, typer.Option(min=1, help="Compiles of each size.")] = 3,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all measurements.")] = None,
    write_docs: Annotated[bool, typer.Option("--write-docs", help="Put the tables into docs/performance.md.")] = False,
    read: Annotated[Path | None, typer.Option(metavar="FILE", help="Show what --json wrote; measure nothing.")] = None,
    only: Annotated[int | None, typer.Option(hidden=True, help="Compile one size here and print JSON.")] = None,
    place: Annotated[Path | None, typer.Option(hidden=True, help="Compile to here, or call what is here.")] = None,
) -> None:
    """Measure times against the number of decisions."""
    if place is not None:
        typer.echo(json.dumps(run_once(place) if only is None else compile_once(only, place)))
        return
    console = Console()
    if read is not None:
        stored = json.loads(read.read_text(encoding="utf-8"))
        machine, found = stored["machine"], {int(count): runs for count, runs in stored["runs"].items()}
    else:
        machine, found = describe_machine(), measure(gates or GATES, repeat, console)
    if json_file is not None:
        json_file.write_text(json.dumps({"machine": machine, "runs": found}, indent=1), encoding="utf-8")
    console.print(rich_table([list(HEAD), *rows(found)], title="Compiling SkipNet"))
    console.print(rich_table([list(HOST_HEAD), *host_rows(found)], title="Its host"))
    console.print(growth(found))
    if write_docs:
        write_section("compile_time", section(machine, found))


if __name__ == "__main__":
    typer.run(main)
