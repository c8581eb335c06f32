"""ONNX models as ONNX Runtime runs them: on the processor, or on a GPU by its CUDA provider.

The models are the same. For a GPU the artifact brings a further module, which keeps values there between subgraphs, and
each subgraph is compared with torch on the processor, where the models run as well.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch

from dycl.ir.copies import copied_files, copied_text
from dycl.ir.dataflow import op_definitions
from dycl.ir.nodes import Subgraph
from dycl.ir.program import Program
from dycl.ir.values import TensorType
from dycl.targets.base import Capabilities, Options, port_entry
from dycl.targets.onnx.archives import pack
from dycl.targets.onnx.engine import Built, Opened, SeparateBuilder, Tuned
from dycl.targets.onnxruntime.sessions import make_runner, open_session
from dycl.targets.ports import input_ports, output_ports
from dycl.targets.samples import has_run_time_sizes
from dycl.targets.weights import WeightFile
from dycl.targets.work import Work

if TYPE_CHECKING:
    from dycl.targets.onnx.binding import BoundProgram, BoundSubgraph


SMALL_BYTES = 1 << 20
SERIAL_MICROSECONDS = 60.0  # of the heaviest kernel: to wake a second thread takes as long as that would win


@dataclass(frozen=True, slots=True)
class OnnxRuntimeEngine:
    """A model is its own file; its weights lie in weights.bin."""

    device: str = "cpu"

    name: ClassVar[str] = "onnxruntime"
    title: ClassVar[str] = "ONNX Runtime"
    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda")
    tunes_as_it_builds: ClassVar[bool] = False
    hands_on: ClassVar[bool] = True

    def on(self, device: str) -> OnnxRuntimeEngine:
        """The engine for this device."""
        return replace(self, device=device)

    @property
    def requirements(self) -> tuple[str, ...]:
        """ONNX Runtime, in the build for the device."""
        package = "onnxruntime" if self.device == "cpu" else "onnxruntime-gpu"
        return ("numpy>=1.26", f"{package}>=1.24.1")

    def available(self) -> str | None:
        """None where the packages it compiles with are installed, else which are not."""
        missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
        return f"not installed: {', '.join(missing)}" if missing else None

    def capabilities(self) -> Capabilities:
        """Whatever the exporter writes: there is no list of operators to keep."""
        return Capabilities()

    def builder(self, program: BoundProgram, directory: Path, options: Options) -> SeparateBuilder:
        """What builds one subgraph after the other."""
        from dycl.targets.onnx.export import bind_weights  # the exporter takes seconds to import
        from dycl.targets.onnxruntime.sharing import SharedFiles

        weights, files = program.weights, SharedFiles()

        def build(bound: BoundSubgraph) -> Built:
            subgraph = bound.subgraph
            stored = {name: weights.entry(weight) for name, weight in bound.initializers}
            shared = files.add(f"subgraphs.zip/{subgraph.name}.onnx", bind_weights(bound.model, stored))
            model = shared.model
            session = open_session(subgraph, model, directory, optimization=options.ort_optimization)
            is_placed = shared.offsets == tuple(weight.offset for weight in stored.values())
            assert is_placed or shared.data == model, f"{subgraph.name}: its weights are not in the order of the graph"
            settings: dict[str, object] = {"placed": True} if is_placed else {}
            if options.ort_optimization != "all":
                settings["optimization"] = options.ort_optimization
            if is_small(subgraph, bound.work):
                settings["arena"] = False
            if bound.work.heaviest <= SERIAL_MICROSECONDS:
                settings["serial"] = True

            def open_call() -> Opened:
                told = {"optimization": options.ort_optimization, **settings}
                return _open_as_host(bound, model, weights, directory, told)

            return Built(
                file=shared.file,
                files={shared.file: shared.data},
                run=make_runner(subgraph, session),
                open=open_call,
                settings=settings,
            )

        return SeparateBuilder(build)

    def tune(self, program: Program, bound: BoundProgram, directory: Path) -> Mapping[str, Tuned]:
        """Every subgraph as ONNX Runtime optimises it for this machine, conversions of layout between them left out."""
        from dycl.targets.onnxruntime.tuning import tune_program

        return tune_program(program, bound, directory)

    def runtime_source(self) -> str:
        """The text of the runtime module that goes into the artifact."""
        return copied_text("dycl.targets.onnxruntime.runtime")

    def runtime_files(self, program: Program) -> Mapping[str, bytes]:
        """What reads the manifest and calls sessions, and for a GPU what keeps values there."""
        files = copied_files(
            "dycl.ir.contents",
            "dycl.targets.onnx.graphs",
            "dycl.targets.onnxruntime.dispatch",
            "dycl.targets.onnxruntime.memory",
        )
        if any(map(has_run_time_sizes, program.subgraphs)):
            files |= copied_files("dycl.targets.onnxruntime.unsized")
        if self.device != "cpu":
            files |= copied_files("dycl.targets.onnxruntime.device", "dycl.targets.devicearray")
        return files


def is_small(subgraph: Subgraph, work: Work) -> bool:
    """Whether all that a subgraph computes surely takes little memory, or where its sizes are the run's, usually."""
    values = [value for op in subgraph.ops for value in op_definitions(op)]
    types = [value.type for value in (*subgraph.params, *values) if isinstance(value.type, TensorType)]
    if any(isinstance(size, str) for type_ in types for size in type_.shape):
        return work.size <= SMALL_BYTES
    total: int = sum(math.prod(map(int, type_.shape)) * getattr(torch, type_.dtype).itemsize for type_ in types)
    return total <= SMALL_BYTES


def _open_as_host(
    bound: BoundSubgraph, data: bytes, weights: WeightFile, directory: Path, settings: Mapping[str, object]
) -> Opened:
    """As a host of this subgraph alone would have it."""
    from dycl.targets.onnxruntime.runtime import Runtime

    subgraph = bound.subgraph
    with tempfile.NamedTemporaryFile(suffix=".zip") as file:
        Path(file.name).write_bytes(pack({"model.onnx": data}))
        entry = {
            "file": f"{file.name}/model.onnx",
            "inputs": [port_entry(port) for port in input_ports(subgraph)],
            "outputs": [port_entry(port) for port in output_ports(subgraph)],
            "weights": [],
            "settings": {key: value for key, value in settings.items() if key != "placed"},
        }
        manifest = {"subgraphs": {subgraph.name: entry}, "weights": {}}
        runtime = Runtime(directory, threads=1, manifest=manifest)
        return Opened(runtime.subgraph(subgraph.name), runtime.own)
