"""What the tests of the commands share: a target that is quick, and the commands as functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from dycl.cli import app
from dycl.targets.base import Capabilities, Compiled

RUNTIME = (
    "class Runtime:\n"
    "    def __init__(self, directory, *, threads=None, lazy=False):\n"
    "        pass\n\n"
    "    def subgraph(self, name):\n"
    "        return None\n"
)


class FakeTarget:
    """A target that writes one file: what the driver does around a target needs no real one."""

    name, device = "fake", "cpu"

    def available(self) -> str | None:
        return None

    def capabilities(self) -> Capabilities:
        return Capabilities()

    def compile(self, program: Any, environment: Any, directory: Path, options: Any) -> Compiled:
        (directory / "weights.bin").write_bytes(b"weights")
        return Compiled(
            files=("weights.bin",),
            runtime={"runtime.py": RUNTIME},
            requirements=("numpy>=1.26",),
            subgraphs=(),
            weights=(),
            structures_exported=0,
            weight_bytes=7,
        )


def run(*args: object) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args])


def compile_gate(gate: Path, *options: object) -> Result:
    return run("compile", gate, "-o", gate.parent / "out", "--no-verify", *options)
