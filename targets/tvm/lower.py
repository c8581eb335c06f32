"""A prepared ONNX model by Relax: the bytecode of TVM's virtual machine, and the kernels that it calls."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dycl.targets.tvm.channels import free_channels
from dycl.targets.tvm.constants import fold_constants
from dycl.targets.tvm.kernels import Kernel, name_kernel, unite_kernels
from dycl.targets.tvm.layout import pack_weights
from dycl.targets.tvm.model import Prepared
from dycl.targets.tvm.preparation import write_preparation
from dycl.targets.tvm.processor import Processor
from dycl.targets.tvm.session import quiet

MAIN, TRANSFORM = "main", "main_transform_params"


@dataclass(frozen=True, slots=True)
class Lowered:
    """A model without its kernels: `code` has `main`.

    What depends on weights alone is `preparation`, or else `TRANSFORM` in the code.
    """

    code: bytes
    kernels: tuple[Kernel, ...]
    preparation: str | None

    @property
    def symbols(self) -> tuple[str, ...]:
        """Those of the kernels."""
        return tuple(kernel.symbol for kernel in self.kernels)


def lower_model(prepared: Prepared, processor: Processor, *, exact: bool = False) -> Lowered:
    """The model as bytecode; kernels have no schedule yet. `exact`: each is for the sizes that it is called with."""
    import tvm
    from tvm import relax
    from tvm.relax import transform

    module, has_weights = import_model(prepared, packs=True)
    first = [
        transform.DecomposeOpsForInference(),
        transform.CanonicalizeBindings(),
        *([transform.LiftTransformParams()] if has_weights else []),
    ]
    rest = [relax.get_pipeline("zero"), relax.get_pipeline("default_build")]
    with quiet(), processor.target():
        module = tvm.transform.Sequential(first)(module)
        preparation = write_preparation(module[TRANSFORM]) if has_weights else None
        if preparation is not None:
            del module[TRANSFORM]
        module, kernels = _name_kernels(tvm.transform.Sequential(rest)(module), None if exact else processor)
        return Lowered(_write_code(module), kernels, preparation)


def import_model(prepared: Prepared, *, packs: bool) -> tuple[Any, bool]:
    """The model as Relax has it, and whether some of its inputs are weights; `packs`: for our rules, in their order."""
    from tvm.relax.frontend.onnx import from_onnx

    with quiet():
        module = from_onnx(prepared.model, keep_params_in_input=False)
    module = fold_constants(module)
    module = pack_weights(module) if packs else module
    has_weights = len(prepared.model.graph.input) > prepared.inputs
    main = module[MAIN].without_attr("num_input")
    module[MAIN] = main.with_attr("num_input", prepared.inputs) if has_weights else main
    return module, has_weights


def _name_kernels(module: Any, processor: Processor | None) -> tuple[Any, tuple[Kernel, ...]]:
    """The module with the loops that are called in it under the symbols of their kernels, and these.

    `processor`: what kernels for several sizes are for; None if there are to be none.
    """
    import tvm
    import tvm_ffi
    from tvm.ir import GlobalVar
    from tvm.tirx import PrimFunc

    code = {name: function for name, function in module.functions.items() if not isinstance(function, PrimFunc)}
    called = {name.name_hint: _callees(function) for name, function in code.items()}
    loops = {name: module[name] for name in set().union(*called.values()) if isinstance(module[name], PrimFunc)}
    freed = loops if processor is None else {name: free_channels(loop, processor) for name, loop in loops.items()}
    kernels = {name: name_kernel(name, freed[name], repeats=name in called[MAIN]) for name in sorted(loops)}
    united = unite_kernels(kernels.values())
    symbols = {kernel.symbol: GlobalVar(kernel.symbol) for kernel in united}
    names = {name: symbols[kernel.symbol] for name, kernel in kernels.items()}
    functions = {
        name: tvm_ffi.structural_map(function, ((GlobalVar, lambda found: names.get(found.name_hint, found)),))
        for name, function in code.items()
    }
    functions |= {names[name]: loop.without_attr("global_symbol") for name, loop in loops.items()}
    return tvm.IRModule(functions, attrs=module.attrs), united


def _callees(function: Any) -> set[str]:
    """The names of what a function of Relax calls."""
    from tvm import relax

    return {name.name_hint for name in relax.analysis.all_global_vars(function)}


def _write_code(module: Any) -> bytes:
    """What TVM's virtual machine runs: calls of kernels by their symbols, and of the runtime's own functions."""
    from tvm import relax
    from tvm.relax import vm_build

    builder = relax.ExecBuilder()
    vm_build._vmcodegen(builder, module, "bytecode")
    with tempfile.TemporaryDirectory(prefix="dycl-tvm-") as folder:
        path = Path(folder) / "code.vm"
        vm_build._vmlink(builder, None, None).mod.write_to_file(str(path), "")
        return path.read_bytes()
