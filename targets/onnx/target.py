"""A target over ONNX: an engine under the name by which a user asks for it, and another for what it cannot take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dycl.ir.environment import Environment
from dycl.ir.program import Program
from dycl.targets.base import Capabilities, Compiled, Options
from dycl.targets.onnx.engine import Engine


@dataclass(frozen=True, slots=True)
class OnnxTarget:
    """Subgraphs exported to ONNX and built by the engine, or by the other one where this one refuses."""

    engine: Engine
    other: Engine | None = None
    is_candidate: bool = True  # for the target `auto`

    @property
    def name(self) -> str:
        """The engine's."""
        return self.engine.name

    @property
    def devices(self) -> tuple[str, ...]:
        """The engine's, where the other one follows."""
        other = self.engine.devices if self.other is None else self.other.devices
        return tuple(device for device in self.engine.devices if device in other)

    def available(self) -> str | None:
        """None where the engine can build here, else the reason why not."""
        return self.engine.available() or (self.other.available() if self.other is not None else None)

    def capabilities(self) -> Capabilities:
        """The engine's."""
        return self.engine.capabilities()

    def compile(self, program: Program, environment: Environment, directory: Path, options: Options) -> Compiled:
        """Write the program's subgraphs and weights under the directory, each subgraph checked against torch."""
        from dycl.targets.onnx.choice import First  # these import the exporter, which takes seconds
        from dycl.targets.onnx.compile import compile_program

        wanted = (self.engine,) if self.other is None else (self.engine, self.other)
        engines = tuple(engine.on(options.device) for engine in wanted)
        return compile_program(program, environment, directory, options, First(engines, options.strict))
