"""Kernels: the functions of scheduled loops that a library consists of. Equal ones are one, whoever calls them.

A kernel is known by what it computes: its text has the names of variables and blocks by their place, and its symbol is
a hash of that text. So what stands in an object file depends on the texts of its kernels alone, and not on what else
the process has compiled.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dycl.targets.tvm.exact import mend_functions
from dycl.targets.tvm.functions import expand_functions
from dycl.targets.tvm.pipeline import build_module
from dycl.targets.tvm.processor import Processor
from dycl.targets.tvm.rules.order import apply_rules
from dycl.targets.tvm.session import quiet

Improve = Callable[[str, Any, Any], Any]

_GROUP = 16  # kernels in an object file


@dataclass(frozen=True, slots=True)
class Kernel:
    """A function as TVM wrote it, without a schedule. `repeats`: it runs in each call, not just when it is opened.

    `text`: TVM's JSON; empty where all that is known is that an earlier compile has made an object of it.
    """

    symbol: str
    text: str
    repeats: bool

    @property
    def name(self) -> str:
        """What it does, as TVM has called it."""
        return self.symbol.rpartition("_")[0]


def name_kernel(name: str, function: Any, *, repeats: bool) -> Kernel:
    """The kernel of a function of a module."""
    import tvm

    stem = _stem(name)
    text = tvm.ir.save_json(_renamed(function.without_attr("global_symbol")))
    digest = hashlib.sha256(f"{stem} {text}".encode()).hexdigest()
    return Kernel(f"{stem}_{digest[:24]}", text, repeats)


def unite_kernels(kernels: Iterable[Kernel]) -> tuple[Kernel, ...]:
    """Each kernel once, in the order of the symbols; it repeats if one of them does, and has a text if one has."""
    united: dict[str, Kernel] = {}
    for kernel in kernels:
        other = united.get(kernel.symbol, kernel)
        united[kernel.symbol] = Kernel(kernel.symbol, kernel.text or other.text, kernel.repeats or other.repeats)
    return tuple(united[symbol] for symbol in sorted(united))


def schedule_kernel(kernel: Kernel, processor: Processor, improve: Improve | None = None) -> Any:
    """The function as the rules schedule it, or as `improve` does, which gets its symbol, itself and that schedule."""
    import tvm
    from tvm_ffi.serialization import from_json_graph_str

    # Not TVM's `load_json`: it looks for what earlier versions wrote, and writes the text anew, which takes longer.
    function = from_json_graph_str(kernel.text).with_attr("global_symbol", kernel.symbol)
    module = tvm.IRModule({kernel.symbol: function})
    with quiet(), processor.target():
        module = apply_rules(module, processor)
    module[kernel.symbol] = module[kernel.symbol].with_attr("global_symbol", kernel.symbol)
    if improve is not None and kernel.repeats:
        module[kernel.symbol] = improve(kernel.symbol, function, module[kernel.symbol])
    with quiet(), processor.target():
        return expand_functions(mend_functions(module))[kernel.symbol]


def group_kernels(structures: Iterable[Iterable[Kernel]]) -> list[tuple[Kernel, ...]]:
    """The kernels in the groups that are compiled together: those that no structure before needs, a few at a time.

    LLVM takes as long to begin as to compile something small. Groups are few enough to pay for that, and small enough
    to be divided among processes; and where a layer is changed, those of the other structures stay as they were.
    """
    lists = [tuple(kernels) for kernels in structures]
    united = {kernel.symbol: kernel for kernel in unite_kernels(kernel for kernels in lists for kernel in kernels)}
    groups: list[tuple[Kernel, ...]] = []
    for kernels in lists:
        new = [united.pop(kernel.symbol) for kernel in kernels if kernel.symbol in united]
        groups.extend(tuple(new[start : start + _GROUP]) for start in range(0, len(new), _GROUP))
    return groups


def build_object(functions: Sequence[Any], processor: Processor) -> bytes:
    """The object file of scheduled functions."""
    import tvm

    module = tvm.IRModule({str(function.attrs["global_symbol"]): function for function in functions})
    with quiet(), tempfile.TemporaryDirectory(prefix="dycl-tvm-") as folder:
        path = Path(folder) / "kernels.o"
        build_module(module, processor.target()).write_to_file(str(path), "o")
        return path.read_bytes()


def find_linker() -> str | None:
    """The compiler that links; None if there is none."""
    return shutil.which("g++") or shutil.which("clang++")


def link_objects(objects: Iterable[bytes]) -> bytes:
    """The shared library of these objects, in order, without the names and lines that a debugger wants."""
    with tempfile.TemporaryDirectory(prefix="dycl-tvm-") as folder:
        names = []
        for index, content in enumerate(objects):
            names.append(f"{index}.o")
            (Path(folder) / names[-1]).write_bytes(content)
        command = [find_linker() or "g++", "-shared", "-fPIC", "-s", "-o", "kernels.so", *names]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the linker failed: {done.stderr.strip()}")
        return (Path(folder) / "kernels.so").read_bytes()


def _stem(name: str) -> str:
    """A name without the numbers that tell it from others, and without the variable that a reduction is named after."""
    return re.sub(r"^.*?_red(?=_|$)", "red", re.sub(r"\d+(?=_|$)", "", name)).strip("_")


def _renamed(function: Any) -> Any:
    """The function with names by place; TVM names variables and blocks after what stood around it."""
    import tvm_ffi
    from tvm import tirx
    from tvm.ir import Var
    from tvm.s_tir import SBlock

    variables: dict[Any, Any] = {}
    taken: dict[str, int] = {}
    numbers: dict[tuple[str, int], Any] = {}

    def variable(found: Any) -> Any:
        if found not in variables:
            variables[found] = tirx.Var(f"v{len(variables)}", found.ty)
        return variables[found]

    def block(found: Any) -> Any:
        stem = _stem(str(found.name_hint))
        count = taken[stem] = taken.get(stem, 0) + 1
        return SBlock(
            found.iter_vars,
            found.reads,
            found.writes,
            stem if count == 1 else f"{stem}_{count}",
            found.body,
            found.init,
            found.alloc_buffers,
            found.match_buffers,
            found.annotations,
        )

    def number(found: Any) -> Any:
        return numbers.setdefault((str(found.ty.dtype), int(found.value)), found)

    callbacks = ((Var, variable), (SBlock, block), (tirx.IntImm, number))
    renamed = tvm_ffi.structural_map(function, callbacks)
    renamed = tirx.PrimFunc(renamed.params, renamed.body, renamed.ret_type, renamed.attrs)
    return renamed if tvm_ffi.structural_equal(renamed, function) else function
