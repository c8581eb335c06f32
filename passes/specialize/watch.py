"""The dispatch mode below recorded calls: it sees which storages a call writes and whether a kernel is random."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """What one recorded call does below Python: storages it writes and random kernels it runs.

    A write to a real tensor is told to `weight_written`, which does not return: the weight itself is never touched.
    """

    def __init__(self, weight_written: Callable[[torch.Tensor], NoReturn]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._weight_written = weight_written
        self.written: dict[int, torch.Tensor] = {}
        self.wrote = False  # anything at all
        self.random: str = ""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded in func.tags and not _is_inert_random(func, args, kwargs):
            self.random = self.random or str(func)
        if func._schema.is_mutable:
            for argument, value in _schema_values(func._schema, args, kwargs):
                if argument.alias_info is not None and argument.alias_info.is_write:
                    self.wrote = True
                    for tensor in pytree.tree_leaves(value):
                        if isinstance(tensor, FakeTensor):
                            self.written[tensor.untyped_storage()._cdata] = tensor
                        elif isinstance(tensor, torch.Tensor):
                            self._weight_written(tensor)
        return _SYMBOLIC.get(func, func)(*args, **kwargs)


def _padded(tensor: torch.Tensor, ends: Sequence[Any], value: Any = 0) -> torch.Tensor:
    """The shape of `constant_pad_nd`, for which torch itself has a kernel of known sizes only."""
    shape = list(tensor.shape)
    for place in range(0, len(ends), 2):
        dim = len(shape) - 1 - place // 2
        shape[dim] = shape[dim] + ends[place] + ends[place + 1]
        torch._check(shape[dim] >= 0)  # type: ignore[no-untyped-call]
    return tensor.new_empty(shape)


_SYMBOLIC: dict[Any, Callable[..., Any]] = {torch.ops.aten.constant_pad_nd.default: _padded}


def _schema_values(schema: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[tuple[Any, Any]]:
    pairs = list(zip(schema.arguments, args, strict=False))
    return pairs + [(argument, kwargs[argument.name]) for argument in schema.arguments if argument.name in kwargs]


def _is_inert_random(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Kernels that are random by their tag alone: dropout that is off, attention without dropout."""
    values = {argument.name: value for argument, value in _schema_values(func._schema, args, kwargs)}
    if func._schema.name in ("aten::native_dropout", "aten::dropout"):
        return values.get("train") is False or values.get("p") == 0
    if "dropout_p" in values or "scaled_dot_product" in func._schema.name:
        return not values.get("dropout_p", 0.0)
    return func._schema.name in ("aten::lstm", "aten::gru", "aten::rnn_tanh", "aten::rnn_relu") and not values.get(
        "train", False
    )
