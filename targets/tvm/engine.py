"""ONNX models as TVM compiles them: bytecode for each structure, and one library of loops for all.

For a GPU each structure has a library of its own besides. The artifact still has what runs on the processor: with it
each subgraph is compared with torch, and the whole artifact where no GPU is.
"""

from __future__ import annotations

import hashlib
import platform
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from dycl.ir.copies import copied_files, copied_text
from dycl.ir.nodes import Subgraph
from dycl.ir.program import Program
from dycl.targets.base import Capabilities, Options, port_entry, refuse, weight_entry
from dycl.targets.check import Run, first_line
from dycl.targets.onnx.engine import Built, Opened, Shared
from dycl.targets.ports import input_ports, output_ports
from dycl.targets.samples import export_inputs
from dycl.targets.tvm.failures import explain_failure
from dycl.targets.tvm.kernels import find_linker
from dycl.targets.tvm.package import LIBRARIES, import_tvm, library_folder, version
from dycl.targets.tvm.processor import find_processor
from dycl.targets.tvm.structures import Structure, Structures

if TYPE_CHECKING:
    from dycl.targets.onnx.binding import BoundProgram, BoundSubgraph
    from dycl.targets.tvm.gpu import Gpu, GpuLibrary

LIBRARY = "subgraphs/kernels.so"  # where subgraphs are tried; in the artifact its name tells its content
GPU_LIBRARY = "libtvm_runtime_cuda.so"
_DTYPES = frozenset({"float32", "float64", "int64", "int32", "int16", "int8", "uint8", "bool"})
# What TVM's importer has, but with sizes that depend on data, or with other results for infinities.
_LEFT_OUT = frozenset(
    (
        *("Compress", "NonMaxSuppression", "NonZero", "Range", "Unique"),
        *("Optional", "OptionalGetElement", "OptionalHasElement"),
        *("ReduceLogSumExp", "ThresholdedRelu"),
    )
)


@dataclass(frozen=True, slots=True)
class TvmEngine:
    """A structure is bytecode that calls kernels of one library; the weights of a subgraph are its arguments."""

    device: str = "cpu"

    name: ClassVar[str] = "tvm"
    title: ClassVar[str] = "TVM"
    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda")
    tunes_as_it_builds: ClassVar[bool] = True
    hands_on: ClassVar[bool] = False

    def on(self, device: str) -> TvmEngine:
        """The engine for this device."""
        return replace(self, device=device)

    @property
    def requirements(self) -> tuple[str, ...]:
        """The interface of the runtime; the runtime's libraries lie in the artifact."""
        gpu = () if self.device == "cpu" else ("nvidia-cuda-runtime>=13,<14",)
        return ("numpy>=2.0", "apache-tvm-ffi>=0.1.14.post0,<0.1.15", *gpu)

    def available(self) -> str | None:
        """None where TVM and a linker are installed, else which are not."""
        missing = [name for name in ("onnx", "onnxscript", "tvm", "tvm_ffi") if find_spec(name) is None]
        if missing:
            return f"not installed: {', '.join(missing)}; pip install 'dycl[tvm]'"
        return None if find_linker() else "no C++ compiler to link with"

    def capabilities(self) -> Capabilities:
        """The operators of TVM's importer, tensors of fixed sizes."""
        import_tvm()
        from tvm.relax.frontend.onnx import onnx_frontend

        operators = frozenset(onnx_frontend._get_convert_map()) - _LEFT_OUT
        return Capabilities(operators=operators, dtypes=_DTYPES, run_time_sizes=False)

    def builder(self, program: BoundProgram, directory: Path, options: Options) -> _Builder:
        """What builds one subgraph after the other, and the library of all."""
        return _Builder(program, directory, options, self.capabilities())

    def runtime_source(self) -> str:
        """The text of the runtime module that goes into the artifact."""
        return copied_text("dycl.targets.tvm.runtime")

    def runtime_files(self, program: Program) -> Mapping[str, bytes]:
        """TVM's runtime libraries, what reads the manifest, and for a GPU what runs there."""
        names = LIBRARIES if self.device == "cpu" else (*LIBRARIES, GPU_LIBRARY)
        files = {f"lib/{name}": (library_folder() / name).read_bytes() for name in names}
        files |= copied_files("dycl.ir.contents")
        if self.device == "cpu":
            return files
        return files | copied_files("dycl.targets.tvm.cuda", "dycl.targets.devicearray")


class _Builder:
    """Puts the structures of a program, and the library that they share, where the runtime finds them."""

    def __init__(self, program: BoundProgram, directory: Path, options: Options, capabilities: Capabilities) -> None:
        self._weights = {entry.name: weight_entry(entry) for entry in program.weights.entries}
        self._directory = directory
        self._processor = find_processor(options.mcpu)
        self._structures = Structures(program, options, capabilities, self._processor)
        self._folder = tempfile.TemporaryDirectory(prefix="dycl-tvm-")
        self._files: dict[int, str] = {}  # the name of a structure's bytecode by its id
        self._by_file: dict[str, Structure] = {}
        self._gpu: Gpu | None = None  # what is compiled for besides, where it is a GPU
        self._for_gpu: dict[str, GpuLibrary] = {}  # by the name of the bytecode
        if options.device != "cpu":
            from dycl.targets.tvm.gpu import find_gpu

            self._gpu = find_gpu(options.arch, self._processor)

    def build(self, bound: BoundSubgraph) -> Built:
        """The subgraph over the bytecode of its structure."""
        from dycl.targets.tvm.runtime import aligned

        structure = self._structures.find(bound)
        file = self._files.setdefault(id(structure), f"subgraphs/{bound.subgraph.name}.vm")
        if file not in self._by_file:
            self._place(bound.subgraph, structure, file)
        settings: dict[str, object] = {
            "library": LIBRARY,
            "machine": platform.machine(),
            "mcpu": self._processor.mcpu,
            "features": list(self._processor.features),
            "tvm": version(),
        }
        if not structure.kernels:
            del settings["library"]
        if structure.preparation is not None:
            settings["preparation"] = _preparation_file(file)
        if structure.guarded:
            settings["guarded"] = True
        inputs = [aligned(_harmless(tensor.numpy())) for tensor in export_inputs(bound.subgraph)]
        call = self._open(bound, file, settings)
        copied = _find_copied(bound.subgraph, call, inputs)
        if copied:
            settings["copied"] = copied
            call = self._open(bound, file, settings)
        files = _files(file, structure)
        if self._gpu is not None:
            more, settings["gpu"] = self._build_for_gpu(bound, file, self._gpu)
            files |= more
        return Built(
            file=file,
            files=files,
            run=_runner(bound.subgraph, call),
            open=lambda: Opened(call, aligned),
            settings=settings,
        )

    def _build_for_gpu(self, bound: BoundSubgraph, file: str, gpu: Gpu) -> tuple[dict[str, bytes], dict[str, object]]:
        """The files of a structure for a GPU, and what its runtime reads."""
        from dycl.targets.tvm.gpu import build_for_gpu
        from dycl.targets.tvm.model import prepare_model

        if file not in self._for_gpu:
            try:
                prepared = prepare_model(bound.model, [name for name, _ in bound.initializers])
                self._for_gpu[file] = build_for_gpu(prepared, gpu)
            except Exception as error:  # TVM raises whatever its passes raise
                message = f"TVM does not compile it for {gpu.arch}: {explain_failure(error)}"
                raise refuse(bound.subgraph, message) from error
        made, name = self._for_gpu[file], f"{file.removesuffix('.vm')}.{gpu.arch}"
        kernels = {digest: f"{name}.{digest[:8]}.fatbin" for digest in made.kernels}
        library = _named_by_content(f"{name}.so", made.library)
        files = {library: made.library} | {kernels[digest]: code for digest, code in made.kernels.items()}
        return files, {"file": library, "kernels": kernels, "arch": gpu.arch}

    def share(self, built: Sequence[Built]) -> Shared:
        """The library of the kernels that these subgraphs call.

        Its name tells its content: for a process that has opened a library once, another one of the same name is still
        the first, even where a compile has put an artifact in the place of that one's.
        """
        used = {item.file for item in built}
        library = self._structures.link(structure for file, structure in self._by_file.items() if file in used)
        if library is None:
            return Shared()
        name = _named_by_content(LIBRARY, library)
        return Shared({name: library}, {"library": name})

    def _place(self, subgraph: Subgraph, structure: Structure, file: str) -> None:
        """Write a structure's bytecode to where it is tried, and before the first one the library of all."""
        folder = Path(self._folder.name)
        if not self._by_file:
            (folder / "subgraphs").mkdir(exist_ok=True)
            try:
                (folder / LIBRARY).write_bytes(self._structures.link(self._structures.all()) or b"")
            except RuntimeError as error:
                raise refuse(subgraph, first_line(error)) from error
        for name, content in _files(file, structure).items():
            (folder / name).write_bytes(content)
        self._by_file[file] = structure

    def _open(self, bound: BoundSubgraph, file: str, settings: Mapping[str, object]) -> Callable[..., Any]:
        from dycl.targets.tvm.runtime import Runtime

        subgraph, folder = bound.subgraph, Path(self._folder.name)
        places = {key: str(folder / str(settings[key])) for key in ("library", "preparation") if key in settings}
        entry = {
            "file": str(folder / file),
            "inputs": [port_entry(port) for port in input_ports(subgraph)],
            "outputs": [port_entry(port) for port in output_ports(subgraph)],
            "weights": [weight for _, weight in bound.initializers],
            "settings": {**settings, **places},
        }
        manifest = {"subgraphs": {subgraph.name: entry}, "weights": self._weights}
        return Runtime(self._directory, threads=1, manifest=manifest).subgraph(subgraph.name)


def _named_by_content(file: str, content: bytes) -> str:
    return f"{file.removesuffix('.so')}.{hashlib.sha256(content).hexdigest()[:8]}.so"


def _preparation_file(file: str) -> str:
    """Beside a structure's bytecode: what its runtime makes of the weights."""
    return file.removesuffix(".vm") + ".json"


def _files(file: str, structure: Structure) -> dict[str, bytes]:
    """The files of a structure by name."""
    files = {file: structure.code}
    return files if structure.preparation is None else files | {_preparation_file(file): structure.preparation.encode()}


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
