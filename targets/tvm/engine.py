"""ONNX models as TVM compiles them for the CPU: one shared library for each structure."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dycl.ir.nodes import Subgraph
from dycl.targets.base import Capabilities, Options, port_entry, refuse, weight_entry
from dycl.targets.check import Run, first_line
from dycl.targets.onnx.engine import Built
from dycl.targets.ports import input_ports, output_ports
from dycl.targets.processes import try_in_processes
from dycl.targets.samples import export_inputs
from dycl.targets.tvm.processor import find_processor
from dycl.targets.tvm.runtime import aligned

if TYPE_CHECKING:
    from dycl.targets.onnx.binding import BoundProgram, BoundSubgraph
    from dycl.targets.tvm.lower import Improve
    from dycl.targets.tvm.model import Prepared
    from dycl.targets.tvm.tuning import Tuner

PACKAGE = "apache-tvm"
LIBRARIES = ("libtvm_runtime.so", "libtvm_runtime_extra.so")
_DTYPES = frozenset({"float32", "float64", "int64", "int32", "int16", "int8", "uint8", "bool"})
# What TVM's importer has, but with sizes that depend on data, or with other results for infinities.
_LEFT_OUT = frozenset(
    (
        *("Compress", "NonMaxSuppression", "NonZero", "Range", "Unique"),
        *("Optional", "OptionalGetElement", "OptionalHasElement"),
        *("ReduceLogSumExp", "ThresholdedRelu"),
    )
)


class TvmEngine:
    """A structure is a library; the weights of a subgraph are its arguments."""

    name = "tvm"
    title = "TVM"
    devices = ("cpu",)
    tunes_as_it_builds = True

    def on(self, device: str) -> TvmEngine:
        """Itself: there is one device."""
        return self

    @property
    def requirements(self) -> tuple[str, ...]:
        """The interface of the runtime; the runtime's libraries lie in the artifact."""
        return ("numpy>=2.0", "apache-tvm-ffi>=0.1.14.post0,<0.1.15")

    def available(self) -> str | None:
        """None where TVM and a linker are installed, else which are not."""
        missing = [name for name in ("onnx", "onnxscript", "tvm", "tvm_ffi") if find_spec(name) is None]
        if missing:
            return f"not installed: {', '.join(missing)}; pip install 'dycl[tvm]'"
        return None if shutil.which("g++") or shutil.which("clang++") else "no C++ compiler to link with"

    def capabilities(self) -> Capabilities:
        """The operators of TVM's importer, tensors of fixed sizes."""
        from tvm.relax.frontend.onnx import onnx_frontend

        operators = frozenset(onnx_frontend._get_convert_map()) - _LEFT_OUT
        return Capabilities(operators=operators, dtypes=_DTYPES, run_time_sizes=False)

    def builder(self, program: BoundProgram, directory: Path, options: Options) -> Callable[[BoundSubgraph], Built]:
        """A function that builds one subgraph after the other."""
        return _Builder(program, directory, options, self.capabilities()).build

    def runtime_source(self) -> str:
        """The text of the runtime module that goes into the artifact."""
        return resources.files("dycl.targets.tvm").joinpath("runtime.py").read_text(encoding="utf-8")

    def runtime_files(self) -> Mapping[str, bytes]:
        """TVM's runtime libraries."""
        folder = Path(str(importlib.metadata.distribution(PACKAGE).locate_file("tvm"))) / "lib"
        return {f"lib/{name}": (folder / name).read_bytes() for name in LIBRARIES}


@dataclass(frozen=True, slots=True)
class _Library:
    """The library of a structure: its name in the artifact, and where it lies now."""

    file: str
    content: bytes
    path: Path
    guarded: bool


class _Builder:
    """Builds each structure once."""

    def __init__(self, program: BoundProgram, directory: Path, options: Options, capabilities: Capabilities) -> None:
        self._program = program
        self._weights = {entry.name: weight_entry(entry) for entry in program.weights.entries}
        self._directory = directory
        self._capabilities = capabilities
        self._processor = find_processor(options.mcpu)
        self._cache = options.cache
        self._trials = options.tune
        self._jobs = 1 if options.tune else options.jobs  # what is measured has the machine to itself
        self._report = options.report
        self._tuner: Tuner | None = None  # made when it is first needed: TVM takes seconds to import
        self._folder = tempfile.TemporaryDirectory(prefix="dycl-tvm-")
        self._libraries: dict[int, _Library] = {}  # by the id of the model, which the program keeps
        self._ahead: dict[int, tuple[bytes, bool]] | None = None  # what other processes have compiled, likewise

    def build(self, bound: BoundSubgraph) -> Built:
        """The subgraph over the library of its structure."""
        library = self._library(bound)
        settings: dict[str, object] = {
            "weights": [weight for _, weight in bound.initializers],
            "machine": platform.machine(),
            "mcpu": self._processor.mcpu,
            "features": list(self._processor.features),
            "tvm": importlib.metadata.version(PACKAGE),
        }
        if library.guarded:
            settings["guarded"] = True
        inputs = [aligned(_harmless(tensor.numpy())) for tensor in export_inputs(bound.subgraph)]
        copied = _find_copied(bound.subgraph, self._open(bound.subgraph, library, settings), inputs)
        if copied:
            settings["copied"] = copied
        call = self._open(bound.subgraph, library, settings)
        return Built(
            file=library.file,
            files={library.file: library.content},
            run=_runner(bound.subgraph, call),
            open=lambda: call,
            settings=settings,
        )

    def _library(self, bound: BoundSubgraph) -> _Library:
        model = bound.model
        if id(model) not in self._libraries:
            self._libraries[id(model)] = self._make(bound)
        return self._libraries[id(model)]

    def _make(self, bound: BoundSubgraph) -> _Library:
        if self._ahead is None:
            self._ahead = self._compile_ahead()
        content, guarded = self._ahead.get(id(bound.model)) or self._compile(bound)
        path = Path(self._folder.name) / f"{bound.subgraph.name}.so"
        path.write_bytes(content)
        return _Library(f"subgraphs/{path.name}", content, path, guarded)

    def _compile_ahead(self) -> dict[int, tuple[bytes, bool]]:
        """The libraries of all structures by model, where several processes make them; what fails is left out."""
        first = {id(bound.model): bound for bound in self._program.subgraphs}
        done = try_in_processes(self._compile, list(first.values()), self._jobs)
        return {model: each.result for model, each in zip(first, done, strict=True) if each is not None}

    def _compile(self, bound: BoundSubgraph) -> tuple[bytes, bool]:
        """The library of a model, and whether it has places that say whether an index was within."""
        from dycl.targets.onnx.capability import find_refusal
        from dycl.targets.tvm.model import find_hazard, prepare_model

        model = bound.model
        refusal = find_refusal(self._capabilities, bound) or find_hazard(model)
        if refusal is not None:
            raise refuse(bound.subgraph, refusal)
        try:
            prepared = prepare_model(model, [name for name, _ in bound.initializers])
            return self._build(prepared), prepared.guarded
        except Exception as error:  # TVM raises whatever its passes raise
            raise refuse(bound.subgraph, f"TVM does not compile it: {first_line(error)}") from error

    def _build(self, prepared: Prepared) -> bytes:
        """The library of a model, if an earlier compile has not made it."""
        from dycl.targets.tvm.lower import build_library, lower_model

        key = self._key(prepared.model.SerializeToString(deterministic=True))
        content = self._cache.get(key) if self._cache is not None else None
        if content is None:
            content = build_library(lower_model(prepared, self._processor, self._improve()), self._processor)
            if self._cache is not None:
                self._cache.put(key, content)
        return content

    def _improve(self) -> Improve | None:
        if self._trials == 0:
            return None
        if self._tuner is None:
            from dycl.targets.tvm.tuning import Tuner

            self._tuner = Tuner(self._trials, self._processor, self._cache, self._report)
        return self._tuner.improve

    def _key(self, model: bytes) -> str:
        """What a library depends on besides its model: who compiles and links it, for what, and how long it looks."""
        from dycl.targets.onnx.exports import circumstances

        linker = os.path.realpath(shutil.which("g++") or shutil.which("clang++") or "")
        about = (circumstances(), importlib.metadata.version(PACKAGE), self._processor, linker, self._trials)
        return hashlib.sha256(repr(about).encode() + model).hexdigest()

    def _open(self, subgraph: Subgraph, library: _Library, settings: Mapping[str, object]) -> Callable[..., Any]:
        from dycl.targets.tvm.runtime import Runtime

        entry = {
            "file": str(library.path),
            "inputs": [port_entry(port) for port in input_ports(subgraph)],
            "outputs": [port_entry(port) for port in output_ports(subgraph)],
            "settings": settings,
        }
        manifest = {"subgraphs": {subgraph.name: entry}, "weights": self._weights}
        return Runtime(self._directory, threads=1, manifest=manifest).subgraph(subgraph.name)


def _runner(subgraph: Subgraph, call: Callable[..., Any]) -> Run:
    scalars = [bool(port.scalar) for port in input_ports(subgraph)]

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        values = [array.item() if scalar else array for array, scalar in zip(arrays, scalars, strict=True)]
        return list(_results(subgraph, call(*values)))

    return run


def _results(subgraph: Subgraph, returned: Any) -> tuple[np.ndarray, ...]:
    return (returned,) if len(subgraph.results) == 1 else returned


def _harmless(array: np.ndarray) -> np.ndarray:
    """Zeros for integers: whatever they index, it is within."""
    return array if array.dtype.kind == "f" else np.zeros_like(array)


def _find_copied(subgraph: Subgraph, call: Callable[..., Any], inputs: Sequence[np.ndarray]) -> list[int]:
    """The results that TVM does not compute: memory of an input, of a weight, or the same in every call."""
    scalars = [bool(port.scalar) for port in input_ports(subgraph)]
    values = [array.item() if scalar else array for array, scalar in zip(inputs, scalars, strict=True)]
    first, second = (_results(subgraph, call(*values)) for _ in range(2))
    return [
        index
        for index, result in enumerate(second)
        if any(np.may_share_memory(result, other) for other in (*inputs, *first, *second[:index]))
    ]
