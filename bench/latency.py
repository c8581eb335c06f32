"""How long one call takes, by eager and by the compiled host, for each row of the zoo.

    python -m bench.latency [ROW]... [--calls N] [--json FILE]

One thread; batch 1; eager and host take turns call by call on the same sampled inputs, so that what else the machine
does falls on both. Medians over all calls, so over the paths as the samples take them.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from bench.report import ROOT, describe_machine
from dycl.artifact import load_artifact
from dycl.loading import load_model
from dycl.pipeline import Settings, compile_model

ROWS = ("skipnet", "shallow_deep", "branchynet", "deebert", "pabee", "caption")
WARM_UP = 20
SAMPLES = 50

Times = dict[str, list[float]]


def measure(row: str, calls: int, directory: Path) -> Times:
    """Seconds of each call by eager and by the host."""
    loaded = load_model(str(ROOT / "models_zoo" / f"{row}.py"))
    compile_model(loaded.model, loaded.args, loaded.kwargs, Settings(verify=False), output=directory)
    host = load_artifact(directory, threads=1).host
    sampler = loaded.sample_inputs
    assert sampler is not None
    inputs = [tuple(sampler(seed)) for seed in range(SAMPLES)]  # type: ignore[call-overload]
    arrays = [tuple(x.numpy() for x in args) for args in inputs]
    times: Times = {"eager": [], "host": []}
    with torch.inference_mode():
        for call in range(WARM_UP + calls):
            for name, function, args in (("eager", loaded.model, inputs), ("host", host, arrays)):
                spent = _timed(function, args[call % SAMPLES])
                if call >= WARM_UP:
                    times[name].append(spent)
    return times


def _timed(function: Callable[..., object], args: tuple[object, ...]) -> float:
    start = time.perf_counter()
    function(*args)
    return time.perf_counter() - start


def main(
    rows: Annotated[list[str] | None, typer.Argument(help="Rows of the zoo; all if none is named.")] = None,
    calls: Annotated[int, typer.Option(min=1, help="Calls of each.")] = 200,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the medians.")] = None,
) -> None:
    """Compare the latency of eager and compiled host."""
    torch.set_num_threads(1)
    table = Table("row", "eager, µs", "host, µs", "eager / host", title=f"One call, one thread. {describe_machine()}")
    found: dict[str, dict[str, float]] = {}
    for row in rows or ROWS:
        with tempfile.TemporaryDirectory() as scratch:
            times = measure(row, calls, Path(scratch) / row)
        medians = {name: statistics.median(values) * 1e6 for name, values in times.items()}
        found[row] = medians
        ratio = statistics.median(e / h for e, h in zip(times["eager"], times["host"], strict=True))
        table.add_row(row, f"{medians['eager']:.0f}", f"{medians['host']:.0f}", f"{ratio:.1f}")
    Console().print(table)
    if json_file is not None:
        json_file.write_text(json.dumps({"machine": describe_machine(), "medians": found}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
