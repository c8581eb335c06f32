"""CUDA on the processor, for tests: a driver that TVM's runtime can load, and kernels compiled for the processor."""

from __future__ import annotations

import re
import shutil
import subprocess
from itertools import count
from pathlib import Path

HERE = Path(__file__).parent
_KERNEL = re.compile(r'extern "C" __global__ void (?:__launch_bounds__\(\d+\) )?(\w+)\(([^)]*)\);')
_SHARED = re.compile(r"__shared__ (alignas\(\d+\))")
_numbers = count()


def build_driver(folder: Path) -> None:
    """Write CUDA's driver and runtime to a folder, under the names that they are looked for."""
    library = folder / "libcuda.so.1"
    _compile(HERE / "driver.cpp", library, folder)
    shutil.copy(library, folder / "libcudart.so.13")


def compile_kernels(source: str, folder: Path) -> bytes:
    """A library of the kernels, and what the driver takes for a module: its path."""
    path = folder / f"kernels{next(_numbers)}"
    launchers = "\n".join(map(_launcher, _KERNEL.findall(source)))
    source = _SHARED.sub(r"\1 __shared__", source)  # g++ wants them in this order
    path.with_suffix(".cpp").write_text(f"{source}\n{launchers}\n")
    _compile(path.with_suffix(".cpp"), path.with_suffix(".so"), HERE)
    return f"{path.with_suffix('.so')}\0".encode()


def _launcher(kernel: tuple[str, str]) -> str:
    """A function that runs a kernel over a grid; its parameters come as the driver gets them."""
    name, declared = kernel
    parts = [part.replace("__restrict__", "") for part in declared.split(",") if part.strip()]
    given = ", ".join(f"*({part.rsplit(maxsplit=1)[0]}*)given[{index}]" for index, part in enumerate(parts))
    return (
        f'extern "C" bool {name}__launch(const unsigned* grid, const unsigned* block, void** given) {{\n'
        f"  return emulator::launch(grid, block, [=] {{ {name}({given}); }});\n}}"
    )


def _compile(source: Path, library: Path, include: Path) -> None:
    options = ["-std=c++17", "-O1", "-fPIC", "-shared", "-w", f"-I{include}", "-o", str(library)]
    run = subprocess.run(["g++", *options, str(source), "-ldl"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[:4000]
