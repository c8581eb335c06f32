"""Which tensor operations may be done although nobody may need their results: they cannot fail, and write nothing."""

from __future__ import annotations

from collections.abc import Mapping, Set
from types import MappingProxyType

from torch import nn

from dycl.ir.dataflow import op_operands, op_uses
from dycl.ir.environment import Environment
from dycl.ir.nodes import CallFunction, CallModule, TensorOp
from dycl.ir.values import Operand, TensorType, ValueId, ValueType, refs
from dycl.passes.analysis.aliasing import has_own_forward, may_alias
from dycl.passes.analysis.places import Places, are_there

_VIEWS_TEXT = """
    __getitem__ view reshape flatten squeeze unsqueeze transpose permute t T mT data detach contiguous float double long
    int bool expand expand_as select narrow
"""
_VIEWS = frozenset(_VIEWS_TEXT.split())
_SURE_TEXT = """
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool2d avg_pool1d max_pool1d group_norm instance_norm log1p
    expm1 hardtanh hardswish hardsigmoid relu6 elu leaky_relu selu mish softplus square sign floor ceil round minimum
    maximum flip roll new_zeros new_ones new_full pad tril triu masked_fill isnan isinf isfinite logsumexp einsum lerp
    addcmul scaled_dot_product_attention clamp_min clamp_max log_sigmoid logsigmoid normalize
"""
_SURE = frozenset(_SURE_TEXT.split())
_SURE_MODULES: tuple[type[nn.Module], ...] = (
    nn.Identity,
    nn.Flatten,
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.Dropout,
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Tanh,
    nn.Sigmoid,
    nn.Softmax,
    nn.LogSoftmax,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.LSTM,
    nn.GRU,
    nn.RNN,
    nn.LSTMCell,
    nn.GRUCell,
    nn.MultiheadAttention,
)
# What finds places, and what cannot fail whatever size its operands have: their types say that they fit.
_FINDING = frozenset({"where", "nonzero"})
_OF_ANY_SIZE_TEXT = """
    add sub mul neg abs exp sigmoid tanh relu eq ne lt le gt ge logical_and logical_or logical_not __add__ __radd__
    __sub__ __rsub__ __mul__ __rmul__ __neg__ __eq__ __ne__ __lt__ __le__ __gt__ __ge__ __and__ __or__ __xor__
    __invert__ clone sum any all
"""
_OF_ANY_SIZE = frozenset(_OF_ANY_SIZE_TEXT.split())
_MAY_FAIL = frozenset(["tensor", "arange", "full", "embedding"])
_DIVISIONS = frozenset(
    ["div", "true_divide", "floor_divide", "remainder", "__truediv__", "__rtruediv__", "pow", "__pow__"]
)


def is_harmless(
    op: TensorOp,
    types: Mapping[ValueId, ValueType],
    written: Set[ValueId],
    environment: Environment,
    places: Places = MappingProxyType({}),
) -> bool:
    """Whether an operation takes no index or divisor from a tensor but such as are there, and cannot fail otherwise.

    Where sizes are the run's, few operations are known not to. `written`: the values whose memory is written somewhere;
    `places`: what `find_places` found.
    """
    if op.mutates or {value.id for value in op.results} & written:
        return False
    kinds = [types[value] for value in (*op_uses(op), *(result.id for result in op.results))]
    if not all(isinstance(kind, TensorType) for kind in kinds):
        return False
    if are_there(op, types, places):
        return True
    if not all(isinstance(kind, TensorType) and all(isinstance(n, int) for n in kind.shape) for kind in kinds):
        return _is_harmless_of_any_size(op)
    hides_nothing = not (written and may_alias(op, environment))
    match op.target:
        case CallModule(path=path):
            return hides_nothing and _is_harmless_module(environment.modules.get(path))
        case CallFunction(name=name):
            bare = name.rpartition(".")[2]
            if bare in _VIEWS:
                return all(_is_static(part) for part in op_operands(op)[1:])
            whole = any(isinstance(kind, TensorType) and "int" in kind.dtype for kind in kinds)
            if bare in _MAY_FAIL or (whole and bare in _DIVISIONS):
                return False
            return hides_nothing if bare in _SURE else not may_alias(op, environment)


def _is_harmless_of_any_size(op: TensorOp) -> bool:
    if not isinstance(op.target, CallFunction) or op.sizes:  # that sizes are equal may be known there alone
        return False
    home, _, bare = op.target.name.rpartition(".")
    if home not in ("torch", "torch.Tensor"):
        return False
    return (bare in _OF_ANY_SIZE and not op.kwargs) or (bare in _FINDING and len(op.args) == 1)


def _is_harmless_module(module: nn.Module | None) -> bool:
    """Whether a layer cannot fail; what it writes in place is memory of its own, or the operation would say so."""
    if module is None or has_own_forward(module) or module.training:
        return False
    if type(module) is nn.Sequential:
        return all(map(_is_harmless_module, module))
    return type(module) in _SURE_MODULES


def _is_static(operand: Operand) -> bool:
    """Whether an operand is known now: no tensor and no number of the host's is in it."""
    return not refs(operand)
