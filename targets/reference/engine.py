"""ONNX models as onnx's own reference evaluator runs them: numpy, slow, and by the letter of the standard.

A second opinion. Where a target is wrong, this one tells whether the model that was exported is wrong already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dycl.ir.copies import copied_files, copied_text
from dycl.ir.program import Program
from dycl.targets.base import Capabilities, Options, port_entry, refuse
from dycl.targets.check import first_line
from dycl.targets.onnx.engine import Built, Opened, SeparateBuilder
from dycl.targets.ports import input_ports, output_ports

if TYPE_CHECKING:
    from dycl.targets.onnx.binding import BoundProgram, BoundSubgraph


class ReferenceEngine:
    """A model is its own file; its weights lie in weights.bin."""

    name = "reference"
    title = "onnx's reference evaluator"
    devices = ("cpu",)
    tunes_as_it_builds = False
    hands_on = False
    requirements = ("numpy>=1.26", "onnx>=1.17")

    def on(self, device: str) -> ReferenceEngine:
        """Itself: there is one device."""
        return self

    def available(self) -> str | None:
        """None where onnx is installed."""
        return None if find_spec("onnx") is not None else "not installed: onnx"

    def capabilities(self) -> Capabilities:
        """Whatever the exporter writes."""
        return Capabilities()

    def builder(self, program: BoundProgram, directory: Path, options: Options) -> SeparateBuilder:
        """What builds one subgraph after the other."""
        from dycl.targets.onnx.export import bind_weights
        from dycl.targets.reference.runtime import make_call

        def build(bound: BoundSubgraph) -> Built:
            subgraph = bound.subgraph
            stored = {name: program.weights.entry(weight) for name, weight in bound.initializers}
            data: bytes = bind_weights(bound.model, stored).SerializeToString(deterministic=True)
            entry = {
                "inputs": [port_entry(port) for port in input_ports(subgraph)],
                "outputs": [port_entry(port) for port in output_ports(subgraph)],
            }
            try:
                call = make_call(data, directory, entry)
            except Exception as error:  # it raises whatever an operator raises that it does not have
                raise refuse(subgraph, f"{self.title} does not load it: {first_line(error)}") from error

            def run(arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
                returned = call(*arrays)
                return (returned,) if len(subgraph.results) == 1 else returned

            file = f"subgraphs.zip/{subgraph.name}.onnx"
            return Built(file=file, files={file: data}, run=run, open=lambda: Opened(call, np.copy))

        return SeparateBuilder(build)

    def runtime_source(self) -> str:
        """The text of the runtime module that goes into the artifact."""
        return copied_text("dycl.targets.reference.runtime")

    def runtime_files(self, program: Program) -> Mapping[str, bytes]:
        """What reads the manifest; onnx is a package."""
        return copied_files("dycl.ir.contents", "dycl.targets.onnx.graphs")
