"""Sessions as the compiler opens them: to compare a subgraph with torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dycl.ir.nodes import Subgraph
from dycl.targets.base import refuse
from dycl.targets.check import first_line


def make_runner(
    subgraph: Subgraph,
    session: Any,
    given: Mapping[str, np.ndarray] | None = None,
    names: Mapping[str, str] | None = None,
) -> Callable[[Sequence[np.ndarray]], list[np.ndarray]]:
    """The session as a function of all inputs in order.

    `given`: inputs besides, the same in each call. `names`: those of the inputs that have others than by their number.
    """
    taken = {port.name for port in session.get_inputs()}
    inputs = [(names or {}).get(f"in{i}", f"in{i}") for i in range(len(subgraph.params))]
    outputs = [f"out{i}" for i in range(len(subgraph.results))]

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        feed = {name: array for name, array in zip(inputs, arrays, strict=True) if name in taken}
        feed.update(given or {})
        results: list[np.ndarray] = session.run(outputs, feed)
        return results

    return run


def open_session(subgraph: Subgraph, model: bytes, directory: Path, *, optimization: str = "all") -> Any:
    """The session to check with; what ONNX Runtime cannot load is a `TargetError`."""
    try:
        return _open(model, directory, optimization, own_threads=True)
    except Exception as error:  # ONNX Runtime has a class for each of its status codes and no base of its own
        if "global thread pool" in str(error):  # an artifact that runs in this process has made one
            return _open(model, directory, optimization, own_threads=False)
        raise refuse(subgraph, f"ONNX Runtime does not load it: {first_line(error)}") from error


def _open(model: bytes, directory: Path, optimization: str, *, own_threads: bool) -> Any:
    import onnxruntime as ort  # type: ignore[import-untyped]

    from dycl.targets.onnxruntime.runtime import LEVELS

    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, LEVELS[optimization])
    options.log_severity_level = 4
    options.use_per_session_threads = own_threads
    if own_threads:
        options.intra_op_num_threads = 1
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(directory.resolve()))
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"], enable_fallback=False)
