"""From scheduled loops to a module of machine code: TVM's passes, those that a processor needs.

TVM's own pipeline is for all its targets. Half of its passes look for what GPUs have; another looks for common
expressions, which LLVM does too; and it moves conditions out of loops, which our rules do not put there: together a
third of the time. And tiles that a kernel sums in are asked for from the runtime, in each round of the loop around
them, though they are meant for registers: here they are on the stack, where LLVM takes them from.
"""

from __future__ import annotations

import functools
from math import prod
from typing import Any

from dycl.targets.tvm.session import tvm_options

_NAME = "dycl"
_STACK = 1024  # bytes; what is larger is not meant for registers


def build_module(module: Any, target: Any) -> Any:
    """The runtime's module of scheduled functions, not linked."""
    import tvm

    _register()
    with tvm_options(), target:
        return tvm.tirx.build(module, target=target, pipeline=_NAME)


@functools.cache
def _register() -> None:
    from tvm.tirx import compilation_pipeline

    compilation_pipeline.register_tir_pipeline(_NAME, _pipeline)


def _pipeline() -> tuple[Any, Any, Any]:
    """The passes before functions are divided between host and device, and those of either after that."""
    from tvm.ir.transform import Sequential
    from tvm.s_tir import transform as blocks
    from tvm.tirx import compilation_pipeline
    from tvm.tirx import transform as loops

    passes = [
        blocks.CanonicalizeLoop(),
        blocks.LowerInitBlock(),
        blocks.PlanAndUpdateBufferAllocationLocation(),
        blocks.ConvertBlocksToOpaque(),
        blocks.CompactBufferAllocation(),
        blocks.LowerMatchBuffer(),
        blocks.StmtSimplify(),
        blocks.LowerOpaqueBlock(),
        loops.FlattenBuffer(),
        loops.NarrowDataType(32),
        blocks.LoopPartition(),
        loops.VectorizeLoop(True),
        loops.StorageRewrite(),
        loops.UnrollLoop(),
        blocks.RenormalizeSplitPattern(),
        loops.StmtSimplify(),
        loops.RemoveNoOp(),
        blocks.RewriteUnsafeSelect(),
        loops.AnnotateEntryFunc(),
        loops.SplitHostDevice(),
        loops.MakePackedAPI(),
    ]

    def finish_host() -> Any:
        return Sequential([_keep_on_stack(), loops.LowerTVMBuiltin(), loops.LowerIntrin()])

    return Sequential(passes), finish_host, compilation_pipeline.finalize_device_passes


def _keep_on_stack() -> Any:
    """The pass that marks small buffers of known sizes, so that the next one leaves them where they are."""
    import tvm_ffi
    from tvm import tirx

    def mark(found: Any) -> Any:
        shape = found.buffer.shape
        if not all(isinstance(size, tirx.IntImm) for size in shape):
            return found
        if prod(int(size) for size in shape) * tvm_ffi.dtype(str(found.buffer.dtype)).itemsize > _STACK:
            return found
        return tirx.AllocBuffer(found.buffer, {"disable_lower_builtin": tirx.IntImm("bool", 1)})

    def transform(function: Any, _module: Any, _context: Any) -> Any:
        return tvm_ffi.structural_map(function, ((tirx.AllocBuffer, mark),))

    return tirx.transform.prim_func_pass(transform, opt_level=0, name="dycl.keep_on_stack")
