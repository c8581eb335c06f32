"""Compile a row and write the oracles of its sampled inputs: what `bench.measure` then runs in processes of its own."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnx
import torch

from bench.compile_time import group_seconds
from bench.oracle import Recorder, build_graph, graph_key
from bench.rows import ROWS, Call, Row, sample_calls
from bench.sizes import state_dict_bytes
from dycl.knobs import WITHOUT
from dycl.pipeline import Built, compile_model
from dycl.settings import Settings
from dycl.targets.onnxruntime.tuning import TUNED_GRAPHS, TUNED_WEIGHTS

SAMPLES = 16
# A host may decide by itself what a graph has to compute; along ways that a call does not take, a graph does nothing.
NOT_OF_A_GRAPH = ("pin-to-host", "pin-to-host-late", "compute-elements", "read-sizes", "speculate")


def prepare(row: Row, directory: Path) -> dict[str, Any]:
    """Write DIRECTORY/artifact, DIRECTORY/oracles and DIRECTORY/prepared.json; what the last one says."""
    shutil.rmtree(directory, ignore_errors=True)
    oracles = directory / "oracles"
    oracles.mkdir(parents=True)
    loaded = row.load()
    torch.set_num_threads(1)
    start = time.perf_counter()
    built = compile_model(
        loaded.model,
        loaded.args,
        loaded.kwargs,
        row.settings,
        output=directory / "artifact",
        sampler=loaded.sample_inputs,
    )
    spent = time.perf_counter() - start
    whole = compile_whole(row, replace(row.settings, tune=0), oracles / "artifact")
    recorder = Recorder(whole.checked.program, whole.checked.environment)
    graphs: list[str] = []
    for seed, (args, kwargs) in enumerate(sample_calls(loaded, SAMPLES)):
        recorder.random.seed(seed)
        path = recorder.record(args, kwargs)
        key = graph_key(path)
        if key not in graphs:
            onnx.save(build_graph(path, oracles / "artifact"), oracles / f"{key}.onnx")
        np.savez(oracles / f"{seed}.npz", **{name: tensor.detach().numpy() for name, tensor in path.inputs.items()})
        if path.numpy:
            (oracles / f"{seed}.pickle").write_bytes(pickle.dumps(path.numpy))
        graphs.append(key)
    np.savez(directory / "inputs.npz", **_name_inputs(sample_calls(loaded, SAMPLES)))
    report = built.report
    found = {
        "graphs": graphs,
        "compile_seconds": group_seconds(report.seconds) | {"total": spent},
        "sites": report.program.sites,
        "subgraphs": report.program.subgraphs,
        "artifact_bytes": report.size,
        "tuned_bytes": _tuned_bytes(directory / "artifact"),
        "weight_bytes": report.weight_bytes,
        "state_dict_bytes": state_dict_bytes(loaded.model),
    }
    (directory / "prepared.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    return found


def compile_whole(row: Row, settings: Settings, directory: Path) -> Built:
    """The row with every predicate in a subgraph: what the oracles are put together from."""
    loaded = row.load()
    with mock.patch.dict(os.environ, {WITHOUT.name: ",".join(NOT_OF_A_GRAPH)}):
        return compile_model(loaded.model, loaded.args, loaded.kwargs, settings, output=directory)


def _tuned_bytes(artifact: Path) -> int:
    """The part of an artifact that is for this machine alone."""
    files = [artifact / name for name in (TUNED_WEIGHTS, TUNED_GRAPHS)]
    return sum(path.stat().st_size for path in files if path.exists())


def _name_inputs(calls: Sequence[Call]) -> dict[str, np.ndarray]:
    """The tensors among the positional arguments, for processes without torch: `SAMPLE.INDEX`."""
    return {
        f"{number}.{index}": value.numpy()
        for number, (args, _) in enumerate(calls)
        for index, value in enumerate(args)
        if isinstance(value, torch.Tensor)
    }


if __name__ == "__main__":
    prepare(ROWS[sys.argv[1]], Path(sys.argv[2]))
