"""Which tensor operations may return a name for memory that they were given.

The question is asked where a write in place must not be seen by those who read the memory before it. "May" is the safe
answer: only what is known to return fresh memory says no.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import nn

from dycl.ir.dataflow import op_reads
from dycl.ir.environment import Environment
from dycl.ir.nodes import CallFunction, CallModule, TensorOp
from dycl.ir.values import Lit, Operand, TensorType, ValueId, ValueType, refs

_FRESH_MODULES: tuple[type[nn.Module], ...] = (
    nn.Linear,
    nn.Bilinear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.Embedding,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.Sigmoid,
    nn.Tanh,
    nn.GELU,
    nn.Softmax,
    nn.LogSoftmax,
    nn.LSTMCell,
    nn.GRUCell,
)
_MAYBE_IN_PLACE: tuple[type[nn.Module], ...] = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.ELU,
    nn.SiLU,
    nn.Hardswish,
    nn.Hardsigmoid,
)

_FRESH_TEXT = """
    add sub mul div true_divide floor_divide remainder pow neg abs exp log log2 sqrt rsqrt sin cos tanh sigmoid erf
    relu gelu silu softmax log_softmax sum mean var std amax amin argmax argmin max min prod norm all any matmul mm bmm
    addmm linear conv1d conv2d conv3d cat stack where eq ne lt le gt ge logical_and logical_or logical_not layer_norm
    batch_norm embedding cumsum topk sort max_pool2d avg_pool2d clone clamp __add__ __radd__ __sub__ __rsub__ __mul__
    __rmul__ __truediv__ __rtruediv__ __pow__ __matmul__ __neg__ __eq__ __ne__ __lt__ __le__ __gt__ __ge__ __and__
    __or__ __xor__ __invert__ zeros_like ones_like full_like zeros ones full tensor arange index_select index_put
"""
_FRESH_NAMES = frozenset(_FRESH_TEXT.split())
_OF_KEYS = ("int64", "bool")  # a tensor without dimensions counts as a number, whose key gives a view
_FUNCTION_HOMES = ("torch", "torch.nn.functional", "torch.Tensor", "torch.ops.aten")


def may_alias(op: TensorOp, environment: Environment) -> bool:
    """Whether a result of the operation may share memory with what it was given."""
    match op.target:
        case CallModule(path=path):
            return not _is_fresh_module(environment.modules.get(path))
        case CallFunction(name=name):
            home, _, bare = name.rpartition(".")
            writes = bool(op.mutates) or any(_is_written(key, value) for key, value in op.kwargs)
            return writes or bare not in _FRESH_NAMES or home not in _FUNCTION_HOMES


def takes_elements(op: TensorOp, types: Mapping[ValueId, ValueType]) -> bool:
    """Whether an operation is `x[key]` with a tensor of one or more dimensions in the key: a copy of these elements."""
    if op.target != CallFunction("torch.Tensor.__getitem__") or len(op.args) != 2:
        return False
    kinds = [types[value] for value in refs(op.args[1])]
    return any(isinstance(kind, TensorType) and kind.shape and kind.dtype in _OF_KEYS for kind in kinds)


def _is_written(option: str, value: Operand) -> bool:
    return option == "out" or (option == "inplace" and value != Lit(False))


def _is_fresh_module(module: nn.Module | None) -> bool:
    if module is None or has_own_forward(module):
        return False
    if type(module) in _MAYBE_IN_PLACE:
        return getattr(module, "inplace", False) is False
    return type(module) in _FRESH_MODULES


def has_own_forward(module: nn.Module) -> bool:
    """Whether a call of this module does something else than its class says."""
    return bool(module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))


class MemoryGroups:
    """Values that may share memory, as they become known in program order (union-find)."""

    def __init__(self, environment: Environment, types: Mapping[ValueId, ValueType]) -> None:
        self._environment = environment
        self._types = types
        self._parent: dict[ValueId, ValueId] = {}

    def add(self, op: TensorOp) -> None:
        """Learn of an operation: new names of written memory, and results that may be views."""
        for old, new in op.mutates:
            self._join(old, new.id)
        if may_alias(op, self._environment):
            given = self.tensors(op_reads(op))
            for value in (*(result.id for result in op.results), *given):
                self._join(given[0] if given else value, value)

    def join(self, values: Iterable[ValueId]) -> None:
        """Learn that values may share memory."""
        found = list(values)
        for value in found[1:]:
            self._join(found[0], value)

    def tensors(self, values: Iterable[ValueId]) -> tuple[ValueId, ...]:
        """Those of the values that are tensors."""
        return tuple(value for value in values if isinstance(self._types.get(value), TensorType))

    def group(self, value: ValueId) -> ValueId:
        """One name for all values that may share the memory of this one."""
        root = value
        while (above := self._parent.get(root, root)) != root:
            root = above
        while (above := self._parent.get(value, value)) != root:
            self._parent[value], value = root, above
        return root

    def _join(self, one: ValueId, other: ValueId) -> None:
        self._parent[self.group(other)] = self.group(one)
