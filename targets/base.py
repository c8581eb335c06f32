"""What a back end offers: the target interface, what a compile gives back, and how a target is found by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

import numpy as np

from dycl.diagnostics import UNKNOWN, UsageError
from dycl.ir.environment import Environment
from dycl.ir.nodes import Dimension, Program

ENTRY_POINT_GROUP = "dycl.targets"

# The value of one input of a subgraph: an array, or the Python number that a host scalar holds.
InputValue = np.ndarray | bool | int | float


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a compiled subgraph; `scalar` names the Python type where the host passes a number."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    scalar: str = ""


@dataclass(frozen=True, slots=True)
class StoredWeight:
    """Where a weight lies in `weights.bin`: C order, little endian."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledSubgraph:
    """One subgraph as the target has written it, and how far it was from torch when it was checked.

    `samples` counts the inputs it was compared on; 0: torch itself accepted none of the inputs that were tried.
    """

    name: str
    file: str
    structure: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    weights: tuple[str, ...]
    samples: int
    max_abs_error: float
    max_rel_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """What a target has made of a program: files (relative to the directory), subgraphs and stored weights."""

    files: tuple[str, ...]
    subgraphs: tuple[CompiledSubgraph, ...]
    weights: tuple[StoredWeight, ...]
    structures_exported: int
    weight_bytes: int
    structures_reused: int = 0  # of those exported: taken from the cache

    def manifest(self) -> dict[str, object]:
        """The entries of the artifact's manifest that the runtime reads, ready for JSON."""
        return {
            "weights": {w.name: {"dtype": w.dtype, "shape": list(w.shape), "offset": w.offset} for w in self.weights},
            "subgraphs": {
                s.name: {
                    "file": s.file,
                    "structure": s.structure,
                    "inputs": [_port(p) for p in s.inputs],
                    "outputs": [_port(p) for p in s.outputs],
                    "weights": list(s.weights),
                }
                for s in self.subgraphs
            },
        }


def _port(port: Port) -> dict[str, object]:
    entry: dict[str, object] = {"name": port.name, "dtype": port.dtype, "shape": list(port.shape)}
    return entry | {"scalar": port.scalar} if port.scalar else entry


class Cache(Protocol):
    """What earlier compiles have made, by a key that says all that it depends on."""

    def get(self, key: str) -> bytes | None:
        """What was made, if it is there."""

    def put(self, key: str, content: bytes) -> None:
        """Keep it for later compiles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to compile: what to check each subgraph on besides random inputs, by the subgraph's name, and how closely."""

    samples: Mapping[str, Sequence[tuple[InputValue, ...]]] = field(default_factory=dict)
    dimensions: tuple[Dimension, ...] = ()  # the program's: sizes to check with lie within their bounds
    random_samples: int = 2
    seed: int = 0
    cache: Cache | None = None
    rtol: float = 1e-3
    atol: float = 1e-4


class Target(Protocol):
    """A back end: it compiles the subgraphs of a program and brings the runtime that runs them."""

    @property
    def name(self) -> str:
        """The name by which a user asks for it."""

    @property
    def device(self) -> str:
        """Where it computes, as torch names devices."""

    @property
    def requirements(self) -> tuple[str, ...]:
        """What pip must install where the artifact runs."""

    def available(self) -> str | None:
        """None where it can compile here, else the reason why not."""

    def compile(self, program: Program, environment: Environment, directory: Path, options: Options) -> Compiled:
        """Write the program's subgraphs and weights under the directory, each subgraph checked against torch."""

    def runtime_source(self) -> str:
        """The text of the runtime module that goes into the artifact."""


def find_target(name: str) -> Target:
    """The registered target of that name, ready to compile."""
    found = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if name not in found:
        known = ", ".join(sorted(found)) or "none"
        raise UsageError("DY504", UNKNOWN, f"there is no target {name!r}", hint=f"known targets: {known}")
    target: Target = found[name].load()
    reason = target.available()
    if reason is not None:
        raise UsageError("DY504", UNKNOWN, f"target {name!r} cannot be used here: {reason}")
    return target
