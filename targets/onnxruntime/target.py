"""ONNX Runtime on the CPU as a target."""

from __future__ import annotations

from importlib import resources
from importlib.util import find_spec
from pathlib import Path

from dycl.ir.environment import Environment
from dycl.ir.nodes import Program
from dycl.targets.base import Compiled, Options, Target


class OnnxRuntimeTarget:
    """Subgraphs as ONNX files that ONNX Runtime's CPU provider runs."""

    name = "onnxruntime"
    device = "cpu"
    requirements = ("numpy>=1.26", "onnxruntime>=1.24.1")

    def available(self) -> str | None:
        """None where the packages it compiles with are installed, else which are not."""
        missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
        return f"not installed: {', '.join(missing)}" if missing else None

    def compile(self, program: Program, environment: Environment, directory: Path, options: Options) -> Compiled:
        """Write the program's subgraphs and weights under the directory, each subgraph checked against torch."""
        from dycl.targets.onnxruntime.compile import compile_program  # imports the exporter, which takes seconds

        return compile_program(program, environment, directory, options)

    def runtime_source(self) -> str:
        """The text of the runtime module that goes into the artifact."""
        return resources.files("dycl.targets.onnxruntime").joinpath("runtime.py").read_text(encoding="utf-8")


TARGET: Target = OnnxRuntimeTarget()
