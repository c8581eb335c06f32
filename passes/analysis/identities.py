"""Which tensor operations return what they are given, on the target.

They return their argument itself, or another name of its memory, laid out alike, so they can always be left out; an
operation that may copy is the business of `dycl.passes.analysis.copies`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from dycl.ir.environment import Environment
from dycl.ir.nodes import CallFunction, CallModule, TensorOp
from dycl.ir.values import Lit, Operand, Ref, TensorType, TorchLit, ValueId, ValueType, Weight

# Functions that return their input when they do not train.
_DROPOUT_NAMES = (
    *("dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout"),
    *("dropout1d", "dropout2d", "dropout3d"),
)
_DROPOUTS = {f"{module}.{name}" for module in ("torch", "torch.nn.functional") for name in _DROPOUT_NAMES}
_DROPOUT_MODULES = (
    torch.nn.Dropout,
    torch.nn.Dropout1d,
    torch.nn.Dropout2d,
    torch.nn.Dropout3d,
    torch.nn.AlphaDropout,
    torch.nn.FeatureAlphaDropout,
)
_DTYPE_METHODS = {
    f"torch.Tensor.{method}": dtype
    for method, dtype in {
        "float": "float32",
        "double": "float64",
        "half": "float16",
        "bfloat16": "bfloat16",
        "int": "int32",
        "long": "int64",
        "short": "int16",
        "bool": "bool",
    }.items()
}
_ALIASES = {"torch.detach", "torch.Tensor.detach"}


def is_alias(op: TensorOp, environment: Environment, types: Mapping[ValueId, ValueType]) -> bool:
    """Whether the operation returns its first argument itself, or another name of its memory laid out alike."""
    if len(op.results) != 1 or op.mutates or not op.args or not isinstance(op.args[0], Ref | Weight):
        return False
    match op.target:
        case CallModule(path=path):
            return len(op.args) == 1 and not op.kwargs and _is_identity_module(environment.modules[path])
        case CallFunction(name=name):
            dtype = _dtype_of(op.args[0], environment, types)
            if name in _ALIASES:
                return True
            if name in _DROPOUTS:
                return _is_dropout_off(op)
            if name in _DTYPE_METHODS:
                return not op.kwargs and len(op.args) == 1 and _DTYPE_METHODS[name] == dtype
            if name in ("torch.Tensor.to", "torch.Tensor.type_as"):
                return not op.kwargs and len(op.args) > 1 and _keeps(op.args[1:], dtype, environment, types)
            return False


def _is_identity_module(module: torch.nn.Module) -> bool:
    if module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module):
        return False
    return type(module) is torch.nn.Identity or (type(module) in _DROPOUT_MODULES and not module.training)


def _is_dropout_off(op: TensorOp) -> bool:
    """Whether the call says that it does not train; the functions differ in how they are called."""
    named = dict(op.kwargs)
    training = named.get("training", named.get("train", op.args[2] if len(op.args) > 2 else None))
    inplace = named.get("inplace", op.args[3] if len(op.args) > 3 else Lit(False))
    return isinstance(training, Lit) and training.value is False and inplace == Lit(False)


def _dtype_of(operand: Operand, environment: Environment, types: Mapping[ValueId, ValueType]) -> str | None:
    if isinstance(operand, Weight):
        return str(environment.weights[operand.name].dtype).removeprefix("torch.")
    found = types.get(operand.id) if isinstance(operand, Ref) else None
    return found.dtype.removeprefix("torch.") if isinstance(found, TensorType) else None


def _keeps(
    args: tuple[Operand, ...],
    dtype: str | None,
    environment: Environment,
    types: Mapping[ValueId, ValueType],
) -> bool:
    """Whether the arguments of `.to` name the dtype and the device that the tensor already has."""
    cpu = all(weight.device.type == "cpu" for weight in environment.weights.values())
    for arg in args:
        match arg:
            case TorchLit(text=text) if text == f"torch.{dtype}":
                continue
            case TorchLit(text="torch.device('cpu')") | Lit(value="cpu"):
                if not cpu:
                    return False
            case Ref() | Weight():
                if dtype is None or _dtype_of(arg, environment, types) != dtype:
                    return False
            case _:
                return False
    return True
