"""How to compile, as the user asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dycl.ir.dimensions import STATIC, DynamicInputs

DEFAULT_TARGET = "onnxruntime"
DEFAULT_SAMPLES = 20
MOST_JOBS = 8  # that are taken unasked: each holds a compiler in memory

Sampler = Callable[[int], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherMethod:
    """A further method to compile, which shares the state of the first: an example of a call, and how to make more."""

    name: str
    args: tuple[object, ...] = ()
    kwargs: Mapping[str, object] = field(default_factory=dict)
    dynamic: DynamicInputs = STATIC
    sampler: Sampler | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to compile, as the user asked."""

    method: str = "forward"
    others: tuple[OtherMethod, ...] = ()
    target: str = DEFAULT_TARGET
    tunable: tuple[str, ...] = ()
    verify: bool = True
    samples: int = DEFAULT_SAMPLES
    emit: tuple[str, ...] = ()
    fuzz: int | None = None
    rng: str = "refuse"  # what random operations are: refused, or the "host"'s to draw
    dynamic: DynamicInputs = STATIC
    quantize: str = ""  # a scheme by which weights get fewer bits; verification then tells how far off the results are
    tune: int = 0  # above 0: make the most of this very machine, with so many trials where the target tries any
    strict: bool = False  # the target compiles every subgraph itself, and one that chooses has a choice
    plan: Path | None = None  # what an earlier compile for "auto" has chosen
    mcpu: str = ""  # the processor to compile for, where the target compiles for one
    device: str = "cpu"  # where the subgraphs shall run, as torch names devices
    arch: str = ""  # what kind of GPU to compile for, where the target compiles for one
    opset: int = 0  # the version of ONNX's operators; 0: what the exporter writes
    ort_optimization: str = "all"  # how far ONNX Runtime optimises a graph when it is opened
    profile: int = 0  # how many sampled calls show which ways through the model are usual
    jobs: int = 1  # how many processes build at the same time
    cache: bool = True  # take from the cache what earlier compiles have made, and keep there what this one makes
