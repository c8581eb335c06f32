"""Measure one prepared row in this process: `python -m bench.measure NAME DIRECTORY --threads N`; prints JSON.

The peers take turns, in random order within each round, so that what else the machine does falls on all alike, and so
does what the one before leaves in the caches. Ratios are of two calls of one round on one input; reported is the median
over the rounds, with the quartiles as the spread.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from bench.peers import (
    Peers,
    as_arrays,
    dycl_peer,
    eager_peer,
    onnx_if_peer,
    oracle_peer,
    torch_compile_peer,
    torchscript_peer,
)
from bench.report import ROOT
from bench.rows import ROWS, Row, sample_calls
from dycl.benchmark import measure_host

Times = dict[str, list[float]]
MIN_ROUNDS, MAX_ROUNDS = 32, 400
PEERS = ("eager", "torch_compile", "torchscript", "onnx_if", "oracle", "dycl")


def find_peers(row: Row, directory: Path, graphs: Sequence[str], threads: int, wanted: Sequence[str]) -> Peers:
    """All that can run the row; who cannot is told with the reason."""
    torch.set_num_threads(threads)
    peers = Peers()
    model = row.load().model
    calls = sample_calls(row.load(), len(graphs))
    makers = {
        "eager": lambda: eager_peer(model, calls),
        "torch_compile": lambda: torch_compile_peer(model, calls),
        "torchscript": lambda: torchscript_peer(model, calls),
        "onnx_if": lambda: onnx_if_peer(model, calls, threads),
        "oracle": lambda: oracle_peer(directory, graphs, threads),
        "dycl": lambda: dycl_peer(directory / "artifact", calls, threads),
    }
    for name, make in makers.items():
        if name in wanted:
            peers.attempt(name, make)
        else:
            peers.missing[name] = "not measured"
    return peers


def take_turns(peers: Peers, samples: int, seconds: float) -> tuple[Times, Times]:
    """Seconds of each call on the wall's clock, and of the process; the n-th of every peer is on one input."""
    wall: Times = {peer.name: [] for peer in peers.found}
    spent: Times = {peer.name: [] for peer in peers.found}
    for warm_up in range(3 * samples):
        for peer in peers.found:
            peer.reset(warm_up % samples)
            peer.run(warm_up % samples)
    end = time.perf_counter() + seconds
    order = random.Random(0)
    number = 0
    while number < MIN_ROUNDS or (number < MAX_ROUNDS and time.perf_counter() < end):
        sample = number % samples
        for peer in order.sample(peers.found, len(peers.found)):
            peer.reset(sample)
            start, before = time.perf_counter(), time.process_time()
            peer.run(sample)
            after, end_ = time.process_time(), time.perf_counter()
            wall[peer.name].append(end_ - start)
            spent[peer.name].append(after - before)
        number += 1
    return wall, spent


def quartiles(values: Sequence[float]) -> list[float]:
    """The quartiles of many numbers: least to largest of the middle half, with the median between."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return [round(float(value), 4) for value in (low, middle, high)]


def summarise(times: Times) -> dict[str, Any]:
    """Medians in microseconds, and the ratios that the targets speak of."""
    found: dict[str, Any] = {f"{name}_us": round(statistics.median(values) * 1e6, 1) for name, values in times.items()}
    if "dycl" not in times:
        return found
    own = times["dycl"]
    for name, values in times.items():
        if name != "dycl":
            up, down = (own, values) if name == "oracle" else (values, own)
            ratios = quartiles([a / b for a, b in zip(up, down, strict=True)])
            key = "ratio_oracle" if name == "oracle" else f"ratio_{name}"
            found[key], found[f"{key}_quartiles"] = ratios[1], [ratios[0], ratios[2]]
    real = [name for name in times if name not in ("dycl", "oracle")]
    if real:
        found["best_peer"] = min(real, key=lambda name: found[f"{name}_us"])
        found["ratio_best_peer"] = found[f"ratio_{found['best_peer']}"]
    return found


def _inside(directory: Path, row: Row, threads: int) -> dict[str, Any]:
    """What the host's calls are made of."""
    calls = [as_arrays(call) for call in sample_calls(row.load(), 16)]
    report = measure_host(directory / "artifact", calls, threads=threads, repeat=64)
    return {
        "dispatches": round(report.dispatches, 2),
        "decisions": round(report.decisions, 2),
        "host_share": round(report.host_share, 4),
        "load_seconds": round(report.load_seconds, 3),
    }


def peak_memory(directory: Path, what: str) -> float:
    """MiB of a process that has nothing but numpy, ONNX Runtime and one of host and oracle."""
    command = [sys.executable, str(ROOT / "bench" / "alone.py"), str(directory), what]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(run.stdout)


def main(
    name: Annotated[str, typer.Argument(help="A row.")],
    directory: Annotated[Path, typer.Argument(help="What `bench.prepare` wrote.")],
    threads: Annotated[int, typer.Option(min=1)] = 1,
    seconds: Annotated[float, typer.Option(help="How long to measure, if the fewest rounds take less.")] = 10.0,
    only: Annotated[str, typer.Option(help="Peers, with commas.")] = ",".join(PEERS),
    warm: Annotated[
        bool, typer.Option("--warm", help="Let torch.compile fill its cache, and measure nothing.")
    ] = False,
) -> None:
    """Print the measurements of one row."""
    prepared = json.loads((directory / "prepared.json").read_text(encoding="utf-8"))
    graphs = prepared["graphs"]
    if warm:
        with torch.inference_mode():
            find_peers(ROWS[name], directory, graphs, threads, ["torch_compile"])
        return
    with torch.inference_mode():
        peers = find_peers(ROWS[name], directory, graphs, threads, only.split(","))
        times, spent = take_turns(peers, len(graphs), seconds)
    found: dict[str, Any] = {"model": name, "core": ROWS[name].core, "threads": threads, "samples": len(graphs)}
    found |= {"paths": len(set(graphs)), "rounds": len(next(iter(times.values()))), **summarise(times)}
    found["cpu"] = summarise(spent)
    found["missing"] = peers.missing
    if "dycl" in times:
        found |= _inside(directory, ROWS[name], threads)
        try:
            found["rss_dycl_mib"], found["rss_oracle_mib"] = (peak_memory(directory, w) for w in ("dycl", "oracle"))
        except subprocess.CalledProcessError as error:  # inputs that are objects need the model's own classes
            found["missing"]["memory"] = str(error)[-160:]
    typer.echo(json.dumps(found))


if __name__ == "__main__":
    typer.run(main)
