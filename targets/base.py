"""What a back end offers: the target interface, what a compile gives back, and how a target is found by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Protocol

import numpy as np

from dycl.diagnostics import UNKNOWN, TargetError, UsageError
from dycl.ir.environment import Environment
from dycl.ir.nodes import Subgraph
from dycl.ir.program import Dimension, Program

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
    `engine`: the runtime that runs it, where an artifact has several; `reason`: why it is this one, and
    `microseconds` what a call took with each that was tried. `settings` are the runtime's own.
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
    engine: str = ""
    reason: str = ""
    microseconds: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """What a target has made of a program: files (relative to the directory), subgraphs and stored weights.

    `runtime`: the modules that the host needs, by file name; one is `runtime.py`. `requirements`: what pip must install
    where the artifact runs.
    """

    files: tuple[str, ...]
    runtime: Mapping[str, str]
    requirements: tuple[str, ...]
    subgraphs: tuple[CompiledSubgraph, ...]
    weights: tuple[StoredWeight, ...]
    structures_exported: int
    weight_bytes: int
    structures_reused: int = 0  # of those exported: taken from the cache
    quantized_products: int = 0  # matrix products whose weights have fewer bits

    def manifest(self) -> dict[str, object]:
        """The entries of the artifact's manifest that the runtime reads, ready for JSON."""
        return {
            "weights": {weight.name: weight_entry(weight) for weight in self.weights},
            "subgraphs": {s.name: _entry(s) for s in self.subgraphs},
        }


def _entry(subgraph: CompiledSubgraph) -> dict[str, object]:
    entry: dict[str, object] = {
        "file": subgraph.file,
        "structure": subgraph.structure,
        "inputs": [port_entry(p) for p in subgraph.inputs],
        "outputs": [port_entry(p) for p in subgraph.outputs],
        "weights": list(subgraph.weights),
    }
    optional = {
        "engine": subgraph.engine,
        "reason": subgraph.reason,
        "microseconds": dict(subgraph.microseconds),
        "settings": dict(subgraph.settings),
    }
    return entry | {key: value for key, value in optional.items() if value}


def weight_entry(weight: StoredWeight) -> dict[str, object]:
    """A weight as the manifest has it."""
    return {"dtype": weight.dtype, "shape": list(weight.shape), "offset": weight.offset}


def port_entry(port: Port) -> dict[str, object]:
    """An input or output as the manifest has it."""
    entry: dict[str, object] = {"name": port.name, "dtype": port.dtype, "shape": list(port.shape)}
    return entry | {"scalar": port.scalar} if port.scalar else entry


class Cache(Protocol):
    """What earlier compiles have made, by a key that says all that it depends on."""

    def get(self, key: str) -> bytes | None:
        """What was made, if it is there."""

    def put(self, key: str, content: bytes) -> None:
        """Keep it for later compiles."""


def _say_nothing(text: str) -> None:
    """Nobody listens."""


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
    tune: int = 0  # above 0: make the most of this very machine; so many schedules are tried where the target tries any
    quantize: str = ""  # a scheme by which weights get fewer bits, where the target has it
    is_exact: bool = True  # if not, what subgraphs compute is not held against torch, only its kind
    report: Callable[[str], None] = _say_nothing  # told what takes long, as it goes on
    strict: bool = False  # refuse what the target itself, or one that it chooses from, cannot take
    plan: Path | None = None  # what an earlier compile has chosen, where the target chooses
    jobs: int = 1  # how many processes work at the same time; the result is the same
    # The seconds of a usual call with each of several artifacts, which lie complete but for their hosts in directories.
    time_calls: Callable[[Sequence[tuple[Path, Compiled]]], Sequence[float]] | None = None
    mcpu: str = ""  # the processor to compile for, where the target compiles for one; empty: this machine's
    device: str = "cpu"  # where the subgraphs shall run, as torch names devices
    arch: str = ""  # what kind of GPU to compile for, where the target compiles for one
    opset: int = 0  # the version of ONNX's operators; 0: what the exporter writes
    ort_optimization: str = "all"  # how far ONNX Runtime optimises a graph when it is opened


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a target can take, as far as can be said without trying; None: no list is kept, it is tried."""

    operators: frozenset[str] | None = None  # of ONNX, by name
    dtypes: frozenset[str] | None = None
    run_time_sizes: bool = True


class Target(Protocol):
    """A back end: it compiles the subgraphs of a program and brings the runtime that runs them."""

    @property
    def name(self) -> str:
        """The name by which a user asks for it."""

    @property
    def devices(self) -> tuple[str, ...]:
        """What it can compile for, as torch names devices."""

    def available(self) -> str | None:
        """None where it can compile here, else the reason why not."""

    def capabilities(self) -> Capabilities:
        """What it can take."""

    def compile(self, program: Program, environment: Environment, directory: Path, options: Options) -> Compiled:
        """Write the program's subgraphs and weights under the directory, each subgraph checked against torch."""


def refuse(subgraph: Subgraph, reason: str, hint: str = "") -> TargetError:
    """The error that names the subgraph and where it comes from."""
    loc = subgraph.loc if subgraph.loc.line or not subgraph.ops else subgraph.ops[0].loc
    return TargetError("DY401", loc, f"subgraph {subgraph.name}: {reason}", hint=hint)


def find_targets() -> Mapping[str, EntryPoint]:
    """All registered targets by name, in order, not yet loaded."""
    return {point.name: point for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name)}


def find_target(name: str) -> Target:
    """The registered target of that name, ready to compile."""
    found = find_targets()
    if name not in found:
        known = ", ".join(found) or "none"
        raise UsageError("DY504", UNKNOWN, f"there is no target {name!r}", hint=f"known targets: {known}")
    target: Target = found[name].load()
    reason = target.available()
    if reason is not None:
        raise UsageError("DY504", UNKNOWN, f"target {name!r} cannot be used here: {reason}")
    return target


def check_device(target: Target, device: str) -> None:
    """Refuse a device that the target does not compile for."""
    devices = getattr(target, "devices", ("cpu",))  # a target of earlier versions does not say
    if device not in devices:
        known = ", ".join(devices)
        message = f"target {target.name!r} compiles for {known}, not for {device!r}"
        raise UsageError("DY504", UNKNOWN, message, hint="compile without --device, or for another target")
