"""What turns the ONNX model of a subgraph into something that runs: all that differs from one target to another.

The export to ONNX, weights, checks and files are the same for every target over ONNX (`targets/onnx/compile.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from dycl.ir.program import Program
from dycl.targets.base import Capabilities, Options
from dycl.targets.check import Run

if TYPE_CHECKING:  # it imports torch's exporter, which takes seconds
    from dycl.targets.onnx.binding import BoundProgram, BoundSubgraph


@dataclass(frozen=True, slots=True)
class Opened:
    """The function that a host will call, and what puts an array where results of this engine's subgraphs lie."""

    call: Callable[..., Any]
    own: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A subgraph that can run: its file, the files to write by name, and a function to check it with.

    Subgraphs of one structure may share a file. `open`: as a host will have it, on one thread. `settings` are what the
    runtime reads besides, ready for JSON.
    """

    file: str
    files: Mapping[str, bytes]
    run: Run
    open: Callable[[], Opened]
    settings: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """A subgraph built once more, for the machine that compiles alone: files, settings, a function to check it with."""

    files: Mapping[str, bytes]
    run: Run
    settings: Mapping[str, object]


@runtime_checkable
class Tuner(Protocol):
    """An engine that can do better where it knows the machine and the whole program."""

    def tune(self, program: Program, bound: BoundProgram, directory: Path) -> Mapping[str, Tuned]:
        """All subgraphs by name; the weights are in the directory already."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What subgraphs have together: files by name, and what replaces the settings that name them."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)


class Builder(Protocol):
    """Builds the subgraphs of one program."""

    def build(self, bound: BoundSubgraph) -> Built:
        """One subgraph after the other; a `TargetError` where it is refused."""

    def share(self, built: Sequence[Built]) -> Shared:
        """What these subgraphs, which are all that the artifact has of it, need besides their own files."""


@dataclass(frozen=True, slots=True)
class SeparateBuilder:
    """A builder whose subgraphs need no file besides their own."""

    build: Callable[[BoundSubgraph], Built]

    def share(self, built: Sequence[Built]) -> Shared:
        """Nothing."""
        return Shared()


class Engine(Protocol):
    """Builds subgraphs from ONNX models and brings the runtime module that runs them."""

    @property
    def name(self) -> str:
        """An identifier; the manifest names the engine of a subgraph by it."""

    @property
    def title(self) -> str:
        """Its name in messages."""

    @property
    def devices(self) -> tuple[str, ...]:
        """What it can compile for, as torch names devices."""

    def on(self, device: str) -> Engine:
        """The engine that compiles for this device, one of `devices`."""

    @property
    def requirements(self) -> tuple[str, ...]:
        """What pip must install where an artifact of it runs."""

    @property
    def hands_on(self) -> bool:
        """Whether its runtime takes from other subgraphs, and gives to them, what it has made as it is (`cuts.py`)."""

    @property
    def tunes_as_it_builds(self) -> bool:
        """Whether its builder heeds `Options.tune`."""

    def available(self) -> str | None:
        """None where it can build here, else the reason why not."""

    def capabilities(self) -> Capabilities:
        """What it can take."""

    def builder(self, program: BoundProgram, directory: Path, options: Options) -> Builder:
        """What builds the subgraphs of the program; the weights are in the directory already."""

    def runtime_source(self) -> str:
        """The text of its runtime module: a class `Runtime(directory, threads=)` with `subgraph` and `weight`."""

    def runtime_files(self, program: Program) -> Mapping[str, bytes]:
        """Further files that its runtime module needs for this program, by their place in the artifact."""
