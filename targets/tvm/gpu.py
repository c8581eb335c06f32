"""The GPU that code is compiled for, and how: TVM's schedules for GPUs (dlight), CUDA's source, nvcc.

No GPU is needed to compile for one. TVM writes the kernels of a structure as one file of CUDA's C++, and keeps it in
the structure's library; nvcc makes machine code of it, and PTX for later GPUs, which lie beside the library. `cuda.py`
gives them to TVM where the library is opened, so that no compiler is needed there.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dycl.diagnostics import UNKNOWN, UsageError
from dycl.targets.tvm.exact import mend_functions
from dycl.targets.tvm.lower import import_model
from dycl.targets.tvm.model import Prepared
from dycl.targets.tvm.package import load_cuda_support
from dycl.targets.tvm.processor import Processor
from dycl.targets.tvm.session import quiet, tvm_options

_ARCH = re.compile(r"sm_(\d{2,3})")
_NVCC = Path("/usr/local/cuda/bin/nvcc")


@dataclass(frozen=True, slots=True)
class Gpu:
    """A kind of GPU, and the processor of the host beside it."""

    arch: str  # as CUDA names it: sm_90
    processor: Processor
    nvcc: str

    def target(self) -> Any:
        """TVM's description of it."""
        import tvm

        host = {"kind": "llvm", "mcpu": self.processor.mcpu}
        return tvm.target.Target({"kind": "cuda", "arch": self.arch}, host=host)


@dataclass(frozen=True, slots=True)
class GpuLibrary:
    """The library of a structure, and the machine code of its kernels by the sha256 of their source."""

    library: bytes
    kernels: Mapping[str, bytes]


def find_gpu(arch: str, processor: Processor) -> Gpu:
    """The GPU of that name; an empty one is this machine's."""
    if arch and not _ARCH.fullmatch(arch):
        raise UsageError("DY505", UNKNOWN, f"--arch: {arch!r} names no GPU", hint="as CUDA does: sm_80, sm_90")
    nvcc = find_nvcc()
    if not nvcc:
        raise UsageError("DY504", UNKNOWN, "TVM needs nvcc to compile for a GPU", hint="install CUDA's toolkit")
    load_cuda_support()
    return Gpu(arch or _this_machines(), processor, nvcc)


def find_nvcc() -> str:
    """CUDA's compiler; empty where there is none."""
    return shutil.which("nvcc") or (str(_NVCC) if _NVCC.is_file() else "")


def _this_machines() -> str:
    import tvm

    device = tvm.cuda(0)
    if not device.exist:
        raise UsageError(
            "DY505", UNKNOWN, "--arch: there is no GPU here to take it from", hint="name one: --arch sm_90"
        )
    return "sm_" + str(device.compute_version).replace(".", "")


def build_for_gpu(prepared: Prepared, gpu: Gpu) -> GpuLibrary:
    """The model's library for a GPU, with its kernels."""
    import tvm

    module = _schedule(_fuse(prepared, gpu), gpu)
    with quiet(), tvm_options(), gpu.target() as target, tempfile.TemporaryDirectory(prefix="dycl-tvm-") as folder:
        built = tvm.compile(module, target=target)
        path = Path(folder) / "subgraph.so"
        built.export_library(str(path), workspace_dir=folder)
        sources = [each.inspect_source() for each in _parts(built.mod) if each.kind == "cuda"]
        kernels = {hash_source(source): _compile_kernels(source, gpu, Path(folder)) for source in sources}
        return GpuLibrary(path.read_bytes(), kernels)


def hash_source(source: str) -> str:
    """By what kernels are found where a library is opened."""
    return hashlib.sha256(source.encode()).hexdigest()


def _parts(module: Any) -> Iterator[Any]:
    yield module
    for part in module.imports:
        yield from _parts(part)


def _fuse(prepared: Prepared, gpu: Gpu) -> Any:
    """The model as functions that are not scheduled yet."""
    import tvm
    from tvm import relax
    from tvm.relax import transform

    module, has_weights = import_model(prepared, packs=False)
    steps = [
        transform.DecomposeOpsForInference(),
        transform.CanonicalizeBindings(),
        *([transform.LiftTransformParams()] if has_weights else []),
        relax.backend.DispatchSortScan(),
        transform.LegalizeOps(),
        transform.AnnotateTIROpPattern(),
        transform.FoldConstant(),
        transform.FuseOps(),
        transform.FuseTIR(),
    ]
    with quiet(), tvm_options(), gpu.target():
        return mend_functions(tvm.transform.Sequential(steps)(module))


def _schedule(module: Any, gpu: Gpu) -> Any:
    """The module with dlight's schedules; what a rule makes that cannot be compiled gets the plainest one."""
    from tvm.s_tir import dlight
    from tvm.tirx import PrimFunc

    rules = (dlight.gpu.Matmul(), dlight.gpu.GEMV(), dlight.gpu.Reduction(), dlight.gpu.GeneralReduction())
    scheduled = {}
    for name, function in module.functions.items():
        if not isinstance(function, PrimFunc):
            continue
        tried = (_one(function, (*rules, dlight.gpu.Fallback()), gpu), _one(function, (dlight.gpu.Fallback(),), gpu))
        scheduled[name] = next((each for each in tried if each is not None), function)
    for name, function in scheduled.items():
        module[name] = function
    return module


def _one(function: Any, rules: tuple[Any, ...], gpu: Gpu) -> Any:
    """The function with the first of the rules that takes it; None where the compiler does not take the result."""
    import tvm
    from tvm.s_tir import dlight

    alone = tvm.IRModule({"function": function.with_attr("global_symbol", "function")})
    with quiet(), tvm_options(), gpu.target() as target:
        try:
            made = dlight.ApplyDefaultSchedule(*rules)(alone)
            tvm.compile(made, target=target)
        except Exception:  # passes raise whatever they raise; the next schedule is tried, or TVM refuses the model
            return None
    (result,) = made.functions.values()
    symbol = function.attrs.get("global_symbol") if function.attrs else None
    return result.with_attr("global_symbol", symbol) if symbol else result.without_attr("global_symbol")


def _compile_kernels(source: str, gpu: Gpu, folder: Path) -> bytes:
    """Machine code for the GPU, and PTX for later ones; arithmetic as it is written, not the fast kind."""
    found = _ARCH.fullmatch(gpu.arch)
    assert found is not None
    code, result = folder / "kernels.cu", folder / "kernels.fatbin"
    code.write_text(source, encoding="utf-8")
    generate = f"arch=compute_{found[1]},code=[{gpu.arch},compute_{found[1]}]"
    command = [gpu.nvcc, "-fatbin", "-O3", "-gencode", generate, "-o", str(result), str(code)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        lines = [line for line in run.stderr.splitlines() if "error" in line] or [run.stderr]
        raise RuntimeError(f"nvcc: {lines[0][:200]}")
    return result.read_bytes()
