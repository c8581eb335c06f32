"""The processor that code is compiled for: its name, its vectors, and what must be there where the code runs."""

from __future__ import annotations

import functools
import platform
from dataclasses import dataclass
from typing import Any

from dycl.diagnostics import UNKNOWN, UsageError
from dycl.targets.tvm.package import import_tvm

# LLVM's names of what changes the code it writes, and what Linux calls them. Processors of one model differ in others,
# such as instructions of the system, that no compiled model has.
_FEATURES = {
    "sse3": "pni",
    "ssse3": "ssse3",
    "sse4.1": "sse4_1",
    "sse4.2": "sse4_2",
    "popcnt": "popcnt",
    "avx": "avx",
    "f16c": "f16c",
    "fma": "fma",
    "avx2": "avx2",
    "bmi": "bmi1",
    "bmi2": "bmi2",
    "lzcnt": "abm",
    "movbe": "movbe",
    "avx512f": "avx512f",
    "avx512bw": "avx512bw",
    "avx512cd": "avx512cd",
    "avx512dq": "avx512dq",
    "avx512vl": "avx512vl",
    "avx512ifma": "avx512ifma",
    "avx512vbmi": "avx512vbmi",
    "avx512vbmi2": "avx512_vbmi2",
    "avx512vnni": "avx512_vnni",
    "avx512bitalg": "avx512_bitalg",
    "avx512vpopcntdq": "avx512_vpopcntdq",
    "avx512bf16": "avx512_bf16",
    "avx512fp16": "avx512_fp16",
    "avxvnni": "avx_vnni",
    "avxifma": "avx_ifma",
    "amx-tile": "amx_tile",
    "amx-int8": "amx_int8",
    "amx-bf16": "amx_bf16",
}


@dataclass(frozen=True, slots=True)
class Processor:
    """A processor as LLVM knows it; `features` are Linux's names."""

    mcpu: str
    features: tuple[str, ...]

    @property
    def lanes(self) -> int:
        """How many float32 numbers a vector holds."""
        return 16 if "avx512f" in self.features else 8 if "avx" in self.features else 4

    @property
    def registers(self) -> int:
        """How many vectors there are registers for."""
        return 32 if "avx512vl" in self.features else 16

    def target(self) -> Any:
        """TVM's description of it."""
        import tvm

        return tvm.target.Target({"kind": "llvm", "mcpu": self.mcpu})


@functools.cache
def find_processor(mcpu: str) -> Processor:
    """The processor of that name; an empty one is this machine's."""
    import_tvm()
    from tvm.target import codegen

    triple = codegen.llvm_get_system_triple()
    name = mcpu or codegen.llvm_get_system_cpu()
    if not codegen.llvm_is_valid_cpu(name, triple):
        raise UsageError("DY505", UNKNOWN, f"--mcpu: LLVM knows no processor {name!r} for {platform.machine()}")
    import tvm

    known = set(map(str, codegen.llvm_get_cpu_features(tvm.target.Target({"kind": "llvm", "mcpu": name}))))
    return Processor(str(name), tuple(linux for llvm, linux in _FEATURES.items() if llvm in known))
