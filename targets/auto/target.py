"""The target `auto`: the fastest for each structure, of all targets over ONNX that can be used here."""

from __future__ import annotations

from pathlib import Path

from dycl.ir.environment import Environment
from dycl.ir.program import Program
from dycl.targets.base import Capabilities, Compiled, Options, Target, find_targets
from dycl.targets.onnx.engine import Engine
from dycl.targets.onnx.target import OnnxTarget


class AutoTarget:
    """Builds with all, measures, keeps the best; or does again what a plan says."""

    name = "auto"
    devices = ("cpu",)  # what it measures it measures here

    def available(self) -> str | None:
        """None where at least one target can be used."""
        return None if _engines() else "there is no target to choose from"

    def capabilities(self) -> Capabilities:
        """What one of them takes, it takes."""
        return Capabilities()

    def compile(self, program: Program, environment: Environment, directory: Path, options: Options) -> Compiled:
        """Write the program's subgraphs and weights under the directory, each subgraph checked against torch."""
        from dycl.targets.onnx.choice import Fastest, Planned, read_plan  # these import the exporter
        from dycl.targets.onnx.compile import compile_program

        engines = _engines()
        choice = (
            Fastest(engines, options.strict)
            if options.plan is None
            else Planned(engines, read_plan(options.plan), options.strict)
        )
        return compile_program(program, environment, directory, options, choice)


def _engines() -> tuple[Engine, ...]:
    """Those that can be used, by the names of their targets."""
    loaded = (point.load() for name, point in find_targets().items() if name != AutoTarget.name)
    candidates = (target for target in loaded if isinstance(target, OnnxTarget) and target.is_candidate)
    return tuple(target.engine for target in candidates if target.engine.available() is None)


TARGET: Target = AutoTarget()
