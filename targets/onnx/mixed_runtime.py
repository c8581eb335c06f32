"""Runs the subgraphs of an artifact whose subgraphs have several runtimes. Copied into such artifacts.

Each subgraph goes to the runtime that its entry in the manifest names; values pass between them as numpy arrays, and
are not copied.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from dycl.ir.contents import read_contents


class Runtime:
    """The subgraphs and weights of one artifact, found by the manifest in its directory."""

    def __init__(
        self, directory: str | os.PathLike[str], *, threads: int | None = None, lazy: bool = False, device: str = ""
    ) -> None:
        """Open the artifact in `directory`; `threads`: how many compute, as each runtime understands it.

        `lazy`: open a subgraph when it first runs. `device`: where they run, if not where they were compiled for.
        """
        manifest = read_contents(directory)
        self._engines = {name: entry["engine"] for name, entry in manifest["subgraphs"].items()}
        self._runtimes: dict[str, Any] = {}
        for engine in dict.fromkeys(self._engines.values()):
            module = importlib.import_module(f".runtime_{engine}", __package__)
            self._runtimes[engine] = module.Runtime(
                directory, threads=threads, lazy=lazy, device=device, manifest=manifest
            )

    def subgraph(self, name: str) -> Callable[..., Any]:
        """A function of the subgraph's inputs in order: its output, or a tuple of its outputs if it has several."""
        call: Callable[..., Any] = self._runtimes[self._engines[name]].subgraph(name)
        return call

    def place(self, value: Any) -> Any:
        """An array where subgraphs take it without a copy."""
        return next(iter(self._runtimes.values())).place(value)

    def weight(self, name: str) -> np.ndarray:
        """A weight as a read-only array over the mapped file."""
        array: np.ndarray = next(iter(self._runtimes.values())).weight(name)
        return array
