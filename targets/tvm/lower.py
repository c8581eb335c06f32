"""A prepared ONNX model to machine code: Relax, our schedule rules, LLVM, a shared library."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dycl.targets.tvm.constants import fold_constants
from dycl.targets.tvm.exact import mend_functions
from dycl.targets.tvm.functions import expand_functions
from dycl.targets.tvm.layout import pack_weights
from dycl.targets.tvm.model import Prepared
from dycl.targets.tvm.processor import Processor

TRANSFORM = "main_transform_params"

Improve = Callable[[str, Any, Any], Any]


def lower_model(prepared: Prepared, processor: Processor, improve: Improve | None = None) -> Any:
    """The model as a scheduled module: `main`, and where something depends on weights alone `main_transform_params`.

    `improve` gets each function that runs in a call: its name, as TVM wrote it, and as the rules schedule it.
    """
    import tvm
    from tvm import relax
    from tvm.relax import transform
    from tvm.relax.frontend.onnx import from_onnx
    from tvm.tirx import PrimFunc

    from dycl.targets.tvm.rules.order import apply_rules

    with quiet():
        module = from_onnx(prepared.model, keep_params_in_input=False)
    module = pack_weights(fold_constants(module))
    has_weights = len(prepared.model.graph.input) > prepared.inputs
    main = module["main"].without_attr("num_input")
    module["main"] = main.with_attr("num_input", prepared.inputs) if has_weights else main
    steps = [
        transform.DecomposeOpsForInference(),
        transform.CanonicalizeBindings(),
        *([transform.LiftTransformParams()] if has_weights else []),
        relax.get_pipeline("zero"),
    ]
    with quiet(), processor.target():
        module = tvm.transform.Sequential(steps)(module)
        written = dict(module.functions.items())
        scheduled = apply_rules(module, processor)
        called = {name.name_hint for name in relax.analysis.all_global_vars(scheduled["main"])}
    if improve is not None:
        for name, function in written.items():
            if isinstance(function, PrimFunc) and name.name_hint in called:
                scheduled[name] = improve(name.name_hint, function, scheduled[name])
    with quiet(), processor.target():
        return expand_functions(mend_functions(scheduled))


def build_library(module: Any, processor: Processor) -> bytes:
    """The module as a shared library."""
    with quiet(), tempfile.TemporaryDirectory(prefix="dycl-tvm-") as folder:
        path = Path(folder) / "subgraph.so"
        compile_module(module, processor).export_library(str(path), workspace_dir=folder)
        return path.read_bytes()


def compile_module(module: Any, processor: Processor) -> Any:
    """The module in memory, as TVM has it."""
    import tvm

    # Without asserts: each function would check each of its arguments, in code three times as large. What the host
    # hands over is checked by `main` of the virtual machine, and the rest is of the compiler's own making.
    config = {"tirx.disable_assert": True}
    with tvm.transform.PassContext(opt_level=3, config=config), processor.target() as target:
        return tvm.compile(module, target=target)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep warnings and log records to itself, those too that C++ writes to standard error; exceptions pass."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    sys.stderr.flush()
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
        logging.disable(disabled)
