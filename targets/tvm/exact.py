"""Where TVM's functions differ from torch's for infinities and for what is no number, and how they are mended.

- Maxima and minima begin at the largest finite number: they begin at infinity. `argmax` begins at the index -1, which
  it keeps if no element is larger than what it begins with: it begins beyond the last index, and so takes the first
  of equal elements.
- `max(x, 0)` is 0 where x is no number, since LLVM compares x > 0: `max(0, x)` gives x.
"""

from __future__ import annotations

import math
from typing import Any

_LAST = (1 << 63) - 1


def mend_functions(module: Any) -> Any:
    """The module with what is said above."""
    from tvm.tirx import PrimFunc

    for name, function in list(module.functions.items()):
        if isinstance(function, PrimFunc):
            module[name] = _mend(function)
    return module


def _mend(function: Any) -> Any:
    import tvm_ffi
    from tvm import tirx
    from tvm.s_tir import SBlock

    def block(found: Any) -> Any:
        return _begin_at_infinity(found) if found.init is not None else found

    def constant_first(found: Any) -> Any:
        is_bound = isinstance(found.b, tirx.FloatImm) and not isinstance(found.a, tirx.FloatImm)
        return type(found)(found.b, found.a) if is_bound else found

    callbacks = ((SBlock, block), (tirx.Max, constant_first), (tirx.Min, constant_first))
    return tvm_ffi.structural_map(function, callbacks)


def _begin_at_infinity(block: Any) -> Any:
    import tvm_ffi
    from tvm import tirx
    from tvm.s_tir import SBlock

    def number(found: Any) -> Any:
        value = float(found.value)
        if abs(value) not in (_largest("float32"), _largest("float64")):
            return found
        return tirx.const(math.copysign(math.inf, value), _dtype(found))

    def index(found: Any) -> Any:
        return tirx.const(_LAST, "int64") if int(found.value) == -1 and _dtype(found) == "int64" else found

    callbacks = ((tirx.FloatImm, number), *(((tirx.IntImm, index),) if len(block.writes) == 2 else ()))
    return SBlock(
        block.iter_vars,
        block.reads,
        block.writes,
        block.name_hint,
        block.body,
        tvm_ffi.structural_map(block.init, callbacks),
        block.alloc_buffers,
        block.match_buffers,
        block.annotations,
    )


def _largest(dtype: str) -> float:
    import numpy as np

    return float(np.finfo(dtype).max)


def _dtype(expression: Any) -> str:
    return str(expression.ty.dtype)
