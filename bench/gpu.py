"""Everything about a GPU on one: `python -m bench.gpu [--model NAME]...`.

First it says what is missing here, if anything, and stops. Then it runs the tests that need a GPU. Then each row is
compiled for the device, verified there, and measured, in a process of its own: the model's own source on the device,
what torch.compile makes of it with its defaults and with `reduce-overhead`, the oracle and the compiled host. All of
them get their inputs in the host's memory and hand their results back there, and take turns on the same inputs.

Results go to `bench/gpu.json`; `--write-docs` puts the table into docs/. `--device cpu` rehearses: it goes the same way
on the processor, with the host and the runtime of a GPU, tests nothing that needs one, and writes nothing.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import onnxruntime as ort  # type: ignore[import-untyped]
import torch
import typer
from rich.console import Console

from bench.__main__ import RowError, run_module
from bench.measure import summarise, take_turns
from bench.oracle import Recorder, build_graph, graph_key
from bench.peers import Peer, Peers, dycl_peer
from bench.prepare import compile_whole
from bench.report import ROOT, describe_machine, markdown_table, write_section
from bench.rows import ROWS, Call, Row, sample_calls
from bench.tables import rich_table
from dycl.artifact import load_artifact
from dycl.hostgen.support import fetch
from dycl.pipeline import compile_model
from dycl.sampling import map_tensors
from dycl.targets.devicearray import DeviceError
from dycl.targets.onnxruntime.device import Device

RESULTS = ROOT / "bench" / "gpu.json"
PEERS = ("eager", "torch_compile", "reduce_overhead", "oracle", "dycl")
_SAMPLES = 16


def find_missing() -> list[str]:
    """What a measurement on a GPU needs and this machine lacks, in words; nothing where all is there."""
    missing = []
    if not torch.cuda.is_available():
        build = torch.version.cuda
        why = "this torch is built for the processor alone" if build is None else f"torch for CUDA {build} finds no GPU"
        missing.append(f"torch: {why}; without it there is no eager and no torch.compile to compare with")
    try:
        Device("cuda")
    except DeviceError as error:
        missing.append(f"onnxruntime: {error}; {error.advice.partition(',')[0]}")
    if subprocess.run(["sh", "-c", "command -v nvidia-smi"], capture_output=True, check=False).returncode:
        missing.append("driver: there is no nvidia-smi, so there is hardly a driver")
    return missing


def measure_row(row: Row, place: Path, device: str, seconds: float) -> dict[str, Any]:
    """Compile the row for the device and let its peers take turns, in this process."""
    torch.set_num_threads(1)
    loaded = row.load()
    settings = replace(row.settings, tune=0, verify=True, device=device if device != "cpu" else "cuda")
    built = compile_model(
        loaded.model, loaded.args, loaded.kwargs, settings, output=place, sampler=loaded.sample_inputs
    )
    where = built.artifact.device
    assert where == device, built.report.device_missing
    calls = sample_calls(row.load(), _SAMPLES)
    whole = compile_whole(row, replace(settings, verify=False), place.parent / "whole")
    recorder = Recorder(whole.checked.program, whole.checked.environment)
    peers = Peers()
    with torch.inference_mode():
        for mode in ("eager", "torch_compile", "reduce_overhead"):
            model = row.load().model.to(device)
            peers.attempt(mode, lambda mode=mode, model=model: torch_peer(mode, model, calls, device))  # type: ignore[misc]
        peers.attempt("oracle", lambda: oracle_peer(recorder, calls, place.parent / "whole", device))
        peers.attempt("dycl", lambda: dycl_peer(place, calls, threads=1, device=device))
        times, _ = take_turns(peers, len(calls), seconds)
    report = built.report.verification
    assert report is not None
    return {
        "model": row.name,
        "device": describe_device(device),
        "verified": f"{report.calls} calls on {report.paths} paths",
        "elsewhere": count_elsewhere(place, device),
        "missing": peers.missing,
        **summarise(times),
    }


def describe_device(device: str) -> str:
    """Its name."""
    return torch.cuda.get_device_name() if device == "cuda" else "the processor, rehearsing"


# ---------------------------------------------------------------- peers


def torch_peer(name: str, model: torch.nn.Module, calls: Sequence[Call], device: str) -> Peer:
    """The source on the device, or what torch.compile makes of it."""
    options = {"torch_compile": {}, "reduce_overhead": {"mode": "reduce-overhead"}}
    if name in options:
        torch._dynamo.reset()
        model = torch.compile(copy.deepcopy(model), **options[name])  # type: ignore[assignment, arg-type]

    def run(sample: int) -> object:
        args, kwargs = calls[sample]
        there = [map_tensors(arg, lambda tensor: tensor.to(device)) for arg in args]
        named = {key: map_tensors(arg, lambda tensor: tensor.to(device)) for key, arg in kwargs.items()}
        return map_tensors(model(*there, **named), lambda tensor: tensor.cpu())

    if name in options:
        for sample in (*range(len(calls)), *range(len(calls))):
            run(sample)
    return Peer(name, run, torch.manual_seed)


def oracle_peer(recorder: Recorder, calls: Sequence[Call], artifact: Path, device: str) -> Peer:
    """One graph for each path, on the device; its inputs are placed and its results fetched as the host's are."""
    place = Device(device)
    sessions: dict[str, Callable[..., Any]] = {}
    runs = []
    for seed, (args, kwargs) in enumerate(calls):
        recorder.random.seed(seed)
        path = recorder.record(args, kwargs)
        key = graph_key(path)
        if key not in sessions:
            model = build_graph(path, artifact).SerializeToString()
            sessions[key] = _open_oracle(model, list(path.inputs), place, artifact)
        runs.append((sessions[key], [tensor.detach().numpy() for tensor in path.inputs.values()]))

    def run(sample: int) -> object:
        call, arrays = runs[sample]
        return fetch(call(*map(place.place, arrays)))

    return Peer("oracle", run)


def _open_oracle(model: bytes, names: Sequence[str], place: Device, artifact: Path) -> Callable[..., Any]:
    session = place.open(model, _options(artifact))
    outputs = [{"name": port.name} for port in session.get_outputs()]
    entry = {"inputs": [{"name": name} for name in names], "outputs": outputs}
    return place.call(session, {**entry, "settings": {"host": list(range(len(outputs)))}}, lambda value: value)


def _options(artifact: Path) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(artifact.resolve()))
    return options


def count_elsewhere(artifact: Path, device: str) -> dict[str, int]:
    """The operators that ONNX Runtime runs on the processor although the session is on the device, and how often."""
    place = Device(device)
    found: Counter[str] = Counter()
    runtime: Any = load_artifact(artifact, device=device, lazy=True).host
    for name in load_artifact(artifact, device=device, lazy=True).manifest.subgraphs:
        options = _options(artifact)
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        session = place.open(runtime.runtime.model(name), options)
        for part in session.get_provider_graph_assignment_info():
            if part.ep_name != place.provider:
                found.update(node.op_type for node in part.get_nodes())
    return dict(sorted(found.items()))


# ---------------------------------------------------------------- tables


def table(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """A head and a line for each row: microseconds, dycl to the oracle, the best of torch to dycl, nodes elsewhere."""
    head = ("row", *(f"{name}, µs".replace("_", " ") for name in PEERS), "to oracle", "torch / dycl", "elsewhere")
    lines: list[tuple[str, ...]] = [head]
    for row in rows:
        times = [f"{row[f'{name}_us']:,.0f}" if f"{name}_us" in row else "-" for name in PEERS]
        torchs = [row[f"ratio_{name}"] for name in PEERS[:3] if f"ratio_{name}" in row]
        ratios = [f"{row['ratio_oracle']:.2f}" if "ratio_oracle" in row else "-"]
        ratios.append(f"{min(torchs):.2f}" if torchs else "-")
        lines.append((row["model"], *times, *ratios, str(sum(row["elsewhere"].values()))))
    return lines


def section(rows: Sequence[Mapping[str, Any]], machine: str) -> str:
    """The section of the documentation."""
    head, *lines = table(rows)
    device = rows[0]["device"]
    return (
        f"## On a GPU\n\n{device}; {machine}. Medians; inputs come from the host's memory and results go there.\n\n"
        f"{markdown_table(head, lines)}"
    )


def run_tests() -> str:
    """The last line of what pytest says of the tests that need a GPU."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return f"{'passed' if run.returncode == 0 else 'FAILED'}: {(run.stdout.strip().splitlines() or ['nothing'])[-1]}"


def main(
    model: Annotated[list[str] | None, typer.Option("--model", help="A row; the core ones if none is named.")] = None,
    device: Annotated[str, typer.Option(help="cuda; cpu: rehearse where no GPU is.")] = "cuda",
    seconds: Annotated[float, typer.Option(help="How long each row is measured, at least 32 rounds.")] = 4.0,
    write_docs: Annotated[bool, typer.Option("--write-docs", help="The table into docs/.")] = False,
    row: Annotated[str, typer.Option(hidden=True, help="Measure this row in this process; prints JSON.")] = "",
) -> None:
    """Check and time everything on a GPU."""
    if row:
        with tempfile.TemporaryDirectory() as folder:
            found = measure_row(ROWS[row], Path(folder) / "artifact", device, seconds)
        typer.echo(json.dumps(found))
        return
    console = Console()
    missing = find_missing() if device == "cuda" else []
    if missing:
        console.print("Nothing is measured: this machine lacks")
        for text in missing:
            console.print(f"- {text}", markup=False, soft_wrap=True)
        raise typer.Exit(1)
    if device == "cuda":
        console.print(f"tests that need a GPU {run_tests()}", markup=False)
    rows = []
    for name in model or [each.name for each in ROWS.values() if each.core]:
        try:
            options = ("--row", name, "--device", device, "--seconds", str(seconds))
            rows.append(json.loads(run_module("bench.gpu", *options)))
        except RowError as error:
            console.print(f"{name}: {error}", style="red", markup=False)
            continue
        for peer, why in rows[-1]["missing"].items():
            console.print(f"{name}, {peer}: {why}", style="dim", markup=False)
    if not rows:
        raise typer.Exit(1)
    console.print(rich_table(table(rows), title=f"{rows[0]['device']}; {describe_machine()}"))
    if device == "cuda":
        RESULTS.write_text(json.dumps({"machine": describe_machine(), "rows": rows}, indent=1) + "\n", encoding="utf-8")
        if write_docs:
            write_section("gpu", section(rows, describe_machine()))


if __name__ == "__main__":
    typer.run(main)
