"""Tensors of run-time length taken apart into lists: one operation of the host, not one dispatch for each part.

Before: `list(x[mask])` is a loop that selects row by row. After: `rows = numerics.rows(kept)`, the rows as views. As
with every tensor that lies in a list of run-time length, a later write into that memory is refused.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from dycl.diagnostics import UnsupportedError
from dycl.ir.values import Lit, Ref, ScalarKind
from dycl.passes.specialize import pylists
from dycl.passes.specialize.builtins import Interpret
from dycl.passes.specialize.lists import wrap
from dycl.passes.specialize.templates import Number, Tensor, describe
from dycl.passes.specialize.textops import text_of_list
from dycl.passes.specialize.values import RuntimeList, Text

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine


def is_long_tensor(source: Any) -> bool:
    """Whether it is a tensor of as many rows as only the run knows."""
    return isinstance(source, FakeTensor) and source.dim() > 0 and not isinstance(source.shape[0], int)


def rows_of(machine: Machine, tensor: torch.Tensor, kind: type = list) -> RuntimeList:
    """`list(tensor)`: views of its rows."""
    row = _template(machine, tensor)
    made = _parts(machine, tensor, "numerics.rows", Tensor(row.dtype, row.shape[1:]))
    machine.know_length(made, tensor.shape[0])
    return machine.converted_list(made, kind)


def _template(machine: Machine, tensor: torch.Tensor) -> Tensor:
    found = describe(tensor, machine.is_old)
    assert isinstance(found, Tensor)
    return found


def _parts(machine: Machine, tensor: torch.Tensor, name: str, element: Tensor, *args: Any) -> RuntimeList:
    machine.hold(tensor)
    return machine.new_list(name, element, machine.operand(tensor), *args)


# ---------------------------------------------------------------- Python


@wrap(list, tuple)
def _sequence(machine: Machine, *args: Any, native: Any) -> Any:
    return rows_of(machine, args[0], native) if len(args) == 1 and is_long_tensor(args[0]) else NotImplemented


@wrap(list.extend)
def _extend(machine: Machine, items: Any, more: Any, *, native: Any) -> Any:
    if not is_long_tensor(more):
        return NotImplemented
    return Interpret(pylists.list_extend, (items, rows_of(machine, more)))


# ---------------------------------------------------------------- torch


@wrap(torch.unbind, torch.Tensor.unbind)
def _unbind(machine: Machine, tensor: Any, dim: int = 0, *, native: Any) -> Any:
    if not isinstance(tensor, FakeTensor) or not -tensor.dim() <= dim < tensor.dim():
        return NotImplemented
    if isinstance(tensor.shape[dim], int):
        return NotImplemented
    return rows_of(machine, tensor if dim in (0, -tensor.dim()) else torch.movedim(tensor, dim, 0), tuple)


@wrap(torch.split, torch.functional.split, torch.Tensor.split, torch.split_with_sizes, torch.Tensor.split_with_sizes)
def _split(machine: Machine, tensor: Any, sizes: Any = None, dim: Any = 0, *, native: Any, **named: Any) -> Any:
    sizes = next(iter(named.values())) if len(named) == 1 and sizes is None else sizes
    is_chunked = type(sizes) is int and sizes > 0
    if not (is_chunked or isinstance(sizes, RuntimeList)) or not isinstance(tensor, FakeTensor):
        return NotImplemented
    if not -tensor.dim() <= dim < tensor.dim() or (is_chunked and isinstance(tensor.shape[dim], int)):
        return NotImplemented
    whole = _template(machine, tensor)
    dim = operator.index(dim) + (tensor.dim() if dim < 0 else 0)
    element = Tensor(whole.dtype, (*whole.shape[:dim], None, *whole.shape[dim + 1 :]))
    if not isinstance(sizes, RuntimeList):
        return machine.converted_list(_parts(machine, tensor, "numerics.chunks", element, Lit(sizes), Lit(dim)), tuple)
    if sizes.element != Number(ScalarKind.INT):
        raise UnsupportedError("DY203", machine.loc(), "a tensor is split by a run-time list of other things than ints")
    _check_sizes(machine, tensor, sizes, dim)
    made = _parts(machine, tensor, "numerics.pieces", element, Ref(sizes.vid), Lit(dim))
    machine.know_length(made, machine.list_length(sizes))
    return machine.converted_list(made, tuple)


def _check_sizes(machine: Machine, tensor: torch.Tensor, sizes: RuntimeList, dim: int) -> None:
    """Torch's own errors: decisions."""
    least = machine.list_number("numerics.least", ScalarKind.INT, Ref(sizes.vid))
    if machine.truth(machine.host("lt", least, 0)):
        words = "split_with_sizes expects split_sizes have only non-negative entries, but got split_sizes="
        raise RuntimeError(Text.of(words, text_of_list(machine, sizes)))
    total = machine.list_number("list_sum", ScalarKind.INT, Ref(sizes.vid), Lit(0))
    size = machine.wrapped(tensor.shape[dim])
    if not machine.truth(machine.host("eq", total, size)):
        head = "split_with_sizes expects split_sizes to sum exactly to "
        words = f" (input tensor's size at dimension {dim}), but got split_sizes="
        raise RuntimeError(Text.of(head, machine.formatted(size, "", ""), words, text_of_list(machine, sizes)))
