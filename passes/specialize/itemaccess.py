"""`target[index]` of abstract values: read, written, deleted."""

from __future__ import annotations

import operator
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dycl.frontend import code as ir
from dycl.ir.values import ScalarKind
from dycl.passes.specialize import objects, pylists, pymodels, tables
from dycl.passes.specialize.arrayvalue import Array
from dycl.passes.specialize.builtins import is_runtime_tuple
from dycl.passes.specialize.dispatch import choose, cut, edges_of, is_cut, lookup
from dycl.passes.specialize.indexing import store_tensor_item, tensor_item
from dycl.passes.specialize.listoperators import delete_list_item, store_list_item
from dycl.passes.specialize.protocols import own_method
from dycl.passes.specialize.state import Frame, read
from dycl.passes.specialize.textops import choose_key, item_of_text
from dycl.passes.specialize.values import UNSET, RuntimeList, RuntimeObject, Scalar, Text, TextPart

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine


def load_item(machine: Machine, frame: Frame, ins: ir.LoadItem) -> None:
    target, index = read(frame, ins.obj), read(frame, ins.index)
    if isinstance(target, RuntimeObject):
        _load_object_item(machine, frame, ins, target, index)
        return
    if target is os.environ:
        machine.enter(pymodels.environment_item, (index,), {}, ins.dst)
        return
    own = getattr(type(target), "__getitem__", None)
    if machine.is_steppable(own):
        machine.enter(own, (target, index), {}, ins.dst)
        return
    if isinstance(target, (Array, np.ndarray)):
        machine.put(frame, ins.dst, machine.native(operator.getitem, (target, index), {}))
        return
    index = _index_of(machine, target, index)
    if isinstance(target, RuntimeList):
        machine.put(frame, ins.dst, machine.list_get(target, index))
        return
    if isinstance(target, torch.Tensor):
        machine.put(frame, ins.dst, tensor_item(machine, target, index))
        return
    if isinstance(target, Text):
        machine.put(frame, ins.dst, item_of_text(machine, target, index))
        return
    if isinstance(target, dict) and hasattr(type(target), "__missing__"):
        machine.adopt_table(target, index)
        tables.lift(machine, target, index)
        if tables.makes_own_default(target):
            machine.enter(pymodels.default_item, (target, index), {}, ins.dst)
            return
    if isinstance(index, Scalar):
        found = lookup(machine, target, index)
        machine.put(frame, ins.dst, target[choose(machine, target, index)] if found is UNSET else found)
        return
    if is_cut(target, index):
        machine.put(frame, ins.dst, cut(machine, target, index))
        return
    if type(target) is dict and is_runtime_tuple(index):
        keys = tuple(key for key in target if type(key) is tuple)
        machine.enter(pymodels.table_item, (keys, target, index), {}, ins.dst)
        return
    is_open = isinstance(index, Text) and (_has_run_time_text(index) or tables.is_open(machine, index))
    table = target._modules if is_open and _is_module_table(target) else target
    if is_open and type(table) is dict:
        index = choose_key(machine, table, index)
    if isinstance(index, Text):
        index = machine.plain(index)
    machine.put(frame, ins.dst, machine.native(operator.getitem, (target, index), {}))


def _load_object_item(machine: Machine, frame: Frame, ins: ir.LoadItem, target: RuntimeObject, index: Any) -> None:
    if (own := own_method(machine, target, "__getitem__")) is not None:
        machine.enter(own, (target, index), {}, ins.dst)
        return
    machine.put(frame, ins.dst, objects.load_item(machine, target, index))


def _index_of(machine: Machine, target: Any, index: Any) -> Any:
    """The index as the target reads it: what is no tensor of torch's reads the number in one."""
    index = machine.torch_index(target, index)
    if isinstance(index, torch.Tensor) and not isinstance(target, torch.Tensor) and index.dim() == 0:
        with machine.recorder:
            return machine.recorder.item(index)
    return index


def _is_module_table(target: Any) -> bool:
    return isinstance(target, torch.nn.ModuleDict) and type(target).__getitem__ is torch.nn.ModuleDict.__getitem__


def _has_run_time_text(text: Text) -> bool:
    return any(isinstance(part, TextPart) and part.value.kind is ScalarKind.STR for part in text.parts)


def store_item(machine: Machine, frame: Frame, ins: ir.StoreItem) -> None:
    target, index, value = read(frame, ins.obj), read(frame, ins.index), read(frame, ins.src)
    own = getattr(type(target), "__setitem__", None)
    if machine.is_steppable(own):
        machine.enter(own, (target, index, value), {}, "%discarded")
        return
    if isinstance(target, (Array, np.ndarray)):
        machine.native(operator.setitem, (target, index, value), {})
        return
    index = _index_of(machine, target, index)
    if isinstance(target, RuntimeList):
        if isinstance(index, slice) and type(value) not in (list, tuple, RuntimeList):
            machine.enter(pylists.store_slice, (target, index, value), {}, "%discarded")
            return
        store_list_item(machine, target, index, value)
        return
    if isinstance(target, torch.Tensor):
        store_tensor_item(machine, target, index, value)
        return
    if isinstance(target, dict):
        machine.adopt_table(target, index)
        tables.lift(machine, target, index)
    if isinstance(index, Scalar) and not isinstance(target, torch.Tensor):
        index = machine.concrete(index) if isinstance(target, dict) else choose(machine, target, index)
    if isinstance(index, Text):
        index = machine.plain(index)
    if is_cut(target, index):
        index = edges_of(machine, target, index)
    machine.native(operator.setitem, (target, index, value), {})


def delete_item(machine: Machine, frame: Frame, ins: ir.DeleteItem) -> None:
    target, index = read(frame, ins.obj), read(frame, ins.index)
    if (own := own_method(machine, target, "__delitem__")) is not None:
        machine.enter(own, (target, index), {}, "%discarded")
        return
    if isinstance(target, RuntimeList):
        delete_list_item(machine, target, index)
        return
    if isinstance(index, Scalar):
        index = choose(machine, target, index)
    if is_cut(target, index):
        index = edges_of(machine, target, index)
    machine.native(operator.delitem, (target, index), {})
