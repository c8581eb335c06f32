"""One subgraph of a program, built by whatever engine is asked for and compared with torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dycl.ir.environment import Environment
from dycl.targets.base import CompiledSubgraph, Options
from dycl.targets.check import Example, check
from dycl.targets.module import SubgraphModule
from dycl.targets.onnx.binding import BoundProgram, BoundSubgraph
from dycl.targets.onnx.engine import Builder, Built, Engine, Shared
from dycl.targets.ports import input_ports, output_ports


@dataclass(frozen=True, slots=True)
class Finished:
    """A subgraph that was built and agrees with torch, on the example for one if torch accepted any."""

    engine: Engine
    built: Built
    compiled: CompiledSubgraph
    example: Example | None = None


class Maker:
    """Builds the subgraphs of one program."""

    def __init__(self, environment: Environment, program: BoundProgram, directory: Path, options: Options) -> None:
        self.options = options
        self._environment = environment
        self._program = program
        self._directory = directory
        self._builders: dict[str, Builder] = {}

    def make(self, bound: BoundSubgraph, engine: Engine) -> Finished:
        """The subgraph as this engine builds it; a `TargetError` if it cannot, or if the results are not torch's."""
        if engine.name not in self._builders:
            self._builders[engine.name] = engine.builder(self._program, self._directory, self.options)
        subgraph = bound.subgraph
        built = self._builders[engine.name].build(bound)
        module = SubgraphModule(subgraph, self._environment)
        deviation = check(subgraph, module, built.run, self.options, engine.title)
        compiled = CompiledSubgraph(
            name=subgraph.name,
            file=built.file,
            structure=subgraph.structure,
            inputs=input_ports(subgraph),
            outputs=output_ports(subgraph),
            weights=tuple(weight for _, weight in bound.initializers),
            samples=deviation.samples,
            max_abs_error=deviation.max_abs,
            max_rel_error=deviation.max_rel,
            settings=built.settings,
        )
        return Finished(engine, built, compiled, deviation.example)

    def share(self, engine: Engine, finished: Sequence[Finished]) -> Shared:
        """What those of the finished subgraphs that this engine has built need besides their own files."""
        built = [item.built for item in finished if item.engine is engine]
        return self._builders[engine.name].share(built) if built else Shared()
