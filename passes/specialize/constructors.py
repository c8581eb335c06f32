"""Torch's older ways to make a tensor, said in its newer ones: `torch.LongTensor(...)`, `x.new(...)`, `Variable(x)`.

Their C++ makes a tensor below the function mode, so that nothing would be recorded.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dycl.passes.specialize.builtins import model

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine

_NAMES = "Float Double Half BFloat16 Long Int Short Char Byte Bool"
TENSOR_TYPES: dict[Any, torch.dtype] = {
    kind: kind.dtype for name in _NAMES.split() if (kind := getattr(torch, f"{name}Tensor", None)) is not None
}


@model(torch.Tensor, *TENSOR_TYPES)
def _tensor_type(machine: Machine, *args: Any, native: Any, **kwargs: Any) -> Any:
    dtype = torch.get_default_dtype() if native is torch.Tensor else TENSOR_TYPES[native]
    return _made(machine, args, kwargs, dtype)


def _made(machine: Machine, args: tuple[Any, ...], kwargs: dict[str, Any], dtype: torch.dtype) -> Any:
    """What the old constructor makes: uninitialised for sizes, the numbers of a list, or another name of a tensor."""
    if len(args) == 1 and "size" not in kwargs:
        (data,) = args
        if isinstance(data, torch.Tensor) and data.dim() > 0:
            if data.dtype != dtype:
                raise TypeError(f"expected {dtype} (got {data.dtype})")
            return machine.recorder.call(torch.Tensor.detach, (data,), {})
        if isinstance(data, np.ndarray):
            return machine.tensor_of_static(torch.tensor, data, dtype)
        if isinstance(data, (list, tuple, range)) and not isinstance(data, torch.Size):
            return machine.recorder.call(torch.tensor, (list(data),), {"dtype": dtype})
    size = kwargs.get("size", args[0] if len(args) == 1 and isinstance(args[0], torch.Size) else args or (0,))
    return machine.recorder.call(torch.empty, (tuple(size),), {"dtype": dtype})


@model(copy.copy)
def _copied(machine: Machine, value: Any, *, native: Any) -> Any:
    """Of a tensor: another one on the same memory. Everything else `copy` does by itself."""
    is_plain = isinstance(value, torch.Tensor) and not isinstance(value, torch.nn.Parameter)
    return machine.recorder.call(torch.Tensor.detach, (value,), {}) if is_plain else NotImplemented


@model(torch.Tensor.new)
def _new(machine: Machine, like: torch.Tensor, *args: Any, native: Any, device: Any = None, **kwargs: Any) -> Any:
    return _made(machine, args, kwargs, like.dtype)


@model(torch.autograd.Variable)
def _variable(machine: Machine, data: Any = None, *args: Any, native: Any, **kwargs: Any) -> Any:
    """Another name of the tensor; what else is passed is about gradients."""
    if data is None:
        return machine.recorder.call(torch.empty, ((0,),), {})
    if not isinstance(data, torch.Tensor):
        raise TypeError(f"Variable data has to be a tensor, but got {type(data).__name__}")
    return machine.recorder.call(torch.Tensor.detach, (data,), {})


@model(torch.Tensor.new_tensor)
def _new_tensor(
    machine: Machine, like: torch.Tensor, data: Any, *, native: Any, dtype: Any = None, **kwargs: Any
) -> Any:
    return machine.recorder.call(torch.tensor, (data,), {"dtype": dtype or like.dtype})


@model(torch.Tensor.type)
def _typed(machine: Machine, tensor: torch.Tensor, dtype: Any = None, *args: Any, native: Any) -> Any:
    if dtype is None:
        return next(
            (f"torch.{kind.__name__}" for kind, of in TENSOR_TYPES.items() if of == tensor.dtype), str(tensor.dtype)
        )
    if isinstance(dtype, str):
        dtype = getattr(torch, dtype.removeprefix("torch."))
    if isinstance(dtype, type) and issubclass(dtype, torch.Tensor):
        dtype = torch.get_default_dtype()
    if dtype in (int, float, bool, complex):
        raise ValueError(f"invalid type: '{dtype.__name__}'")  # of all that take a dtype this one does not take these
    return machine.recorder.call(torch.Tensor.to, (tensor, TENSOR_TYPES.get(dtype, dtype)), {})
