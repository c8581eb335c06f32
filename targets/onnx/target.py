"""A target over ONNX: an engine under the name by which a user asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dycl.ir.environment import Environment
from dycl.ir.nodes import Program
from dycl.targets.base import Capabilities, Compiled, Options
from dycl.targets.onnx.engine import Engine


@dataclass(frozen=True, slots=True)
class OnnxTarget:
    """Subgraphs exported to ONNX and built by one engine."""

    engine: Engine

    @property
    def name(self) -> str:
        """The engine's."""
        return self.engine.name

    @property
    def device(self) -> str:
        """The engine's."""
        return self.engine.device

    def available(self) -> str | None:
        """None where the engine can build here, else the reason why not."""
        return self.engine.available()

    def capabilities(self) -> Capabilities:
        """The engine's."""
        return self.engine.capabilities()

    def compile(self, program: Program, environment: Environment, directory: Path, options: Options) -> Compiled:
        """Write the program's subgraphs and weights under the directory, each subgraph checked against torch."""
        from dycl.targets.onnx.compile import compile_program  # imports the exporter, which takes seconds

        return compile_program(program, environment, directory, options, self.engine)
