"""Runs subgraphs with onnx's reference evaluator. Copied into artifacts: needs numpy and onnx, nothing else."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from dycl.ir.contents import read_contents
from dycl.targets.onnx.graphs import Graphs

Value = Any  # an array, or a Python number where the subgraph takes a scalar

_SCALARS = {"int": np.int64, "float": np.float64, "bool": np.bool_}


class Runtime:
    """The subgraphs and weights of one artifact, found by the manifest in its directory."""

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        threads: int | None = None,
        lazy: bool = False,
        device: str = "",
        manifest: dict[str, Any] | None = None,
    ) -> None:
        """Open the artifact in `directory`; `threads` is as it may be, numpy decides, and so is `device`.

        `lazy`: open a subgraph when it first runs.
        """
        self._lazy = lazy
        self._directory = Path(directory).resolve()
        self._manifest = manifest or read_contents(self._directory)
        self._graphs = Graphs(self._directory)
        self._mapped = np.memmap(self._directory / "weights.bin", dtype=np.uint8, mode="r")

    def subgraph(self, name: str) -> Callable[..., Value]:
        """A function of the subgraph's inputs in order: its output, or a tuple of its outputs if it has several."""
        entry = self._manifest["subgraphs"][name]

        @functools.cache
        def call() -> Callable[..., Value]:
            return make_call(self._graphs.read(entry["file"]), self._directory, entry)

        return (lambda *inputs: call()(*inputs)) if self._lazy else call()

    def weight(self, name: str) -> np.ndarray:
        """A weight as a read-only array over the mapped file."""
        entry = self._manifest["weights"][name]
        dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
        size = dtype.itemsize * int(np.prod(shape, dtype=int))
        stored: np.ndarray = np.asarray(self._mapped[entry["offset"] : entry["offset"] + size])
        array: np.ndarray = stored.view(dtype).reshape(shape)
        return array


def make_call(data: bytes, directory: Path, entry: dict[str, Any]) -> Callable[..., Value]:
    """The model as a function of the subgraph's inputs; its weights are read from the directory."""
    model = onnx.load_from_string(data)
    onnx.load_external_data_for_model(model, str(directory))
    evaluator = ReferenceEvaluator(model)
    inputs = [(port["name"], _SCALARS.get(port.get("scalar", ""))) for port in entry["inputs"]]
    outputs = [port["name"] for port in entry["outputs"]]
    single = len(outputs) == 1

    def call(*values: Value) -> Value:
        feed = {
            name: value if dtype is None else np.array(value, dtype)
            for (name, dtype), value in zip(inputs, values, strict=True)
        }
        # The evaluator hands out views of its inputs, and numbers where a result has no dimensions.
        results = [np.array(result) for result in evaluator.run(outputs, feed)]
        return results[0] if single else tuple(results)

    return call
