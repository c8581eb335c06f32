"""Runs subgraphs that are Python functions. Copied into the artifact: needs numpy, nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dycl.ir.contents import read_contents


class Runtime:
    """The subgraphs and weights of one artifact."""

    def __init__(self, directory: Path, *, threads: int | None = None, lazy: bool = False) -> None:
        self._directory = directory
        self._manifest = read_contents(directory)
        self._bytes = np.memmap(directory / "weights.bin", dtype=np.uint8, mode="r")

    def subgraph(self, name: str) -> Callable[..., Any]:
        """A function of the inputs in order: the output, or a tuple of several."""
        entry = self._manifest["subgraphs"][name]
        scope: dict[str, Any] = {}
        exec(compile((self._directory / entry["file"]).read_text(encoding="utf-8"), entry["file"], "exec"), scope)
        run, weights = scope["run"], [self.weight(weight) for weight in entry["weights"]]

        def call(*inputs: Any) -> Any:
            results = run(*weights, *inputs)
            return results[0] if len(results) == 1 else results

        return call

    def weight(self, name: str) -> np.ndarray:
        """A weight, read-only."""
        entry = self._manifest["weights"][name]
        dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
        size = dtype.itemsize * int(np.prod(shape, dtype=int))
        stored: np.ndarray = np.asarray(self._bytes[entry["offset"] : entry["offset"] + size])
        return stored.view(dtype).reshape(shape)
