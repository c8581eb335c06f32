"""What each instruction of lowered code does on abstract values: one function an instruction, found by its type."""

from __future__ import annotations

import builtins
import importlib
import operator
import os
import types
from collections.abc import Callable, Iterable, KeysView
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensor

from dycl.diagnostics import UnsupportedError
from dycl.frontend import code as ir
from dycl.ir.nodes import ScalarKind
from dycl.passes.specialize import objects, pyiterators, pylists, pymodels, pytables, scalars, tables
from dycl.passes.specialize.arrayvalue import Array
from dycl.passes.specialize.builtins import Interpret, has_runtime, is_runtime_tuple
from dycl.passes.specialize.dispatch import choose, cut, edges_of, is_cut, lookup
from dycl.passes.specialize.handled import handled_exception
from dycl.passes.specialize.indexing import store_tensor_item, tensor_item
from dycl.passes.specialize.journal import CONTAINERS
from dycl.passes.specialize.listoperators import (
    are_compared,
    binary_list,
    contained,
    delete_list_item,
    repeated,
    store_list_item,
)
from dycl.passes.specialize.lists import is_long
from dycl.passes.specialize.protocols import binary_operation, own_method, setting_method, text_method, truth_method
from dycl.passes.specialize.starred import call_starred, joined_items, unpacked
from dycl.passes.specialize.state import TRUTH, Frame
from dycl.passes.specialize.textops import choose_key, compare_texts, contains_text, is_text_comparison
from dycl.passes.specialize.texts import percent_text
from dycl.passes.specialize.values import (
    UNSET,
    Closure,
    Generator,
    RangeIterator,
    RuntimeList,
    RuntimeObject,
    RuntimeRange,
    Scalar,
    SequenceIterator,
    Text,
    TextPart,
)

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine

Handler = Callable[["Machine", Frame, Any], None]
_GRADIENT_MODES = (torch.no_grad, torch.enable_grad, torch.inference_mode, torch.set_grad_enabled)


def read(frame: Frame, register: str) -> Any:
    """The content of a register; Python's own error where it has none."""
    try:
        return frame.regs[register]
    except KeyError:
        raise UnboundLocalError(
            f"cannot access local variable '{register}' where it is not associated with a value"
        ) from None


def const(machine: Machine, frame: Frame, ins: ir.Const) -> None:
    frame.regs[ins.dst] = ins.value


def move(machine: Machine, frame: Frame, ins: ir.Move) -> None:
    value = read(frame, ins.src)
    frame.regs[ins.dst] = value
    machine.name_value(value, ins.dst)


def load_global(machine: Machine, frame: Frame, ins: ir.LoadGlobal) -> None:
    if ins.name in frame.globals:
        value = frame.globals[ins.name]
    elif hasattr(builtins, ins.name):
        value = getattr(builtins, ins.name)
    else:
        raise NameError(f"name '{ins.name}' is not defined")
    if not machine.is_written_global(frame.globals, ins.name):
        machine.remember_old(value)
    machine.put(frame, ins.dst, value)


def store_global(machine: Machine, frame: Frame, ins: ir.StoreGlobal) -> None:
    machine.store_global(frame.globals, ins.name, read(frame, ins.src))


def load_cell(machine: Machine, frame: Frame, ins: ir.LoadCell) -> None:
    try:
        value = frame.cells[ins.name].cell_contents
    except ValueError:
        raise NameError(
            f"cannot access free variable '{ins.name}' where it is not associated with a value in enclosing scope"
        ) from None
    if id(frame.cells[ins.name]) in machine.known_objects:
        machine.remember_old(value)
    machine.put(frame, ins.dst, value)


def store_cell(machine: Machine, frame: Frame, ins: ir.StoreCell) -> None:
    cell = frame.cells[ins.name]
    if id(cell) in machine.known_objects:
        raise UnsupportedError(
            "DY206", machine.loc(), f"a write to {ins.name!r}, a variable of a function that made the model"
        )
    cell.cell_contents = read(frame, ins.src)
    machine.name_value(cell.cell_contents, ins.name)


def delete(machine: Machine, frame: Frame, ins: ir.Delete) -> None:
    if ins.cell:
        del frame.cells[ins.name].cell_contents
    elif ins.name in frame.regs:
        del frame.regs[ins.name]


def load_attribute(machine: Machine, frame: Frame, ins: ir.LoadAttr) -> None:
    target = read(frame, ins.obj)
    own = machine.attribute_method(target, ins.name)
    if own is not None:
        machine.enter(own.function, own.args, {}, ins.dst)
        return
    machine.put(frame, ins.dst, machine.load_attribute(target, ins.name))


def load_special(machine: Machine, frame: Frame, ins: ir.LoadSpecial) -> None:
    target = read(frame, ins.obj)
    if isinstance(target, _GRADIENT_MODES):
        frame.regs[ins.dst] = types.MethodType(pymodels.nothing, target)
        return
    if isinstance(target, torch.autocast) and target._enabled:
        raise UnsupportedError(
            "DY203", machine.loc(), "autocast", hint="convert the model to the wanted precision instead"
        )
    if type(target).__module__.startswith("torch.autograd.profiler"):
        frame.regs[ins.dst] = types.MethodType(pymodels.nothing, target)
        return
    function = getattr(type(target), ins.name, None)
    if function is None:
        raise TypeError(f"'{type(target).__name__}' object does not support the context manager protocol")
    frame.regs[ins.dst] = function.__get__(target, type(target)) if hasattr(function, "__get__") else function


def store_attribute(machine: Machine, frame: Frame, ins: ir.StoreAttr) -> None:
    target, value = read(frame, ins.obj), read(frame, ins.src)
    machine.name_value(value, ins.name)
    if isinstance(target, RuntimeObject):
        objects.store_attribute(machine, target, ins.name, value)
        return
    if isinstance(target, FakeTensor):
        machine.native(setattr, (target, ins.name, value), {})
        return
    own = setting_method(machine, target, ins.name, value)
    if own is not None:
        machine.enter(own.function, own.args, {}, "%discarded")
        return
    machine.store_attribute(target, ins.name, value)


def delete_attribute(machine: Machine, frame: Frame, ins: ir.DeleteAttr) -> None:
    machine.delete_attribute(read(frame, ins.obj), ins.name)


# ---------------------------------------------------------------- subscripts


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
    index = machine.torch_index(target, index)
    if isinstance(index, torch.Tensor) and not isinstance(target, torch.Tensor) and index.dim() == 0:
        with machine.recorder:
            index = machine.recorder.item(index)
    if isinstance(target, RuntimeList):
        machine.put(frame, ins.dst, machine.list_get(target, index))
        return
    if isinstance(target, torch.Tensor):
        machine.put(frame, ins.dst, tensor_item(machine, target, index))
        return
    if isinstance(target, dict) and hasattr(type(target), "__missing__"):
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
    index = machine.torch_index(target, index)
    if isinstance(index, torch.Tensor) and not isinstance(target, torch.Tensor) and index.dim() == 0:
        with machine.recorder:
            index = machine.recorder.item(index)
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


# ---------------------------------------------------------------- operators


def unary(machine: Machine, frame: Frame, ins: ir.Unary) -> None:
    value = read(frame, ins.operand)
    if ins.op == "not_":
        if isinstance(value, Scalar):
            value = value if value.kind is ScalarKind.BOOL else machine.host("ne", value, 0)
            machine.put(frame, ins.dst, machine.host("not_", value))
            return
        if (method := truth_method(machine, value)) is not None:
            machine.enter(pymodels.untruth, (method, value), {}, ins.dst)
            return
        machine.put(frame, ins.dst, not machine.truth_of(value))
        return
    if (method := own_method(machine, value, f"__{ins.op}__")) is not None:
        machine.enter(method, (value,), {}, ins.dst)
        return
    machine.put(frame, ins.dst, machine.native(getattr(operator, ins.op), (value,), {}))


def binary(machine: Machine, frame: Frame, ins: ir.Binary) -> None:
    left, right = read(frame, ins.left), read(frame, ins.right)
    if ins.op in ("is_", "is_not"):
        same = _is_same(machine, left, right)
        frame.regs[ins.dst] = same if ins.op == "is_" else not same
        return
    if ins.op in ("in", "not_in"):
        _contains(machine, frame, ins, left, right)
        return
    if is_text_comparison(ins.op, left, right):
        machine.put(frame, ins.dst, compare_texts(machine, ins.op, left, right))
        return
    if _is_text_concatenation(ins.op, left, right):
        frame.regs[ins.dst] = Text.of(left, right)
        return
    if ins.op in ("mod", "imod") and type(left) is str and has_runtime(right):
        machine.put(frame, ins.dst, percent_text(machine, left, right))
        return
    own = binary_operation(machine, ins.op, left, right)
    if own is not None:
        machine.enter(own.function, own.args, {}, ins.dst)
        return
    if ins.op == "iadd" and (_is_runtime_list(left) or (type(left) is list and (is_long(right)))):
        machine.enter(pylists.list_extend, (left, right), {}, "%discarded")
        frame.regs[ins.dst] = left
        return
    if ins.op == "mul" and {type(left), type(right)} in ({list, Scalar}, {tuple, Scalar}):
        left, right = repeated(machine, *((right, left) if type(left) is Scalar else (left, right)))
    if isinstance(left, RuntimeList) or isinstance(right, RuntimeList) or are_compared(ins.op, left, right):
        result = binary_list(machine, ins.op, left, right)
        if isinstance(result, Interpret):
            machine.enter(result.function, result.args, {}, ins.dst)
            return
        if result is not NotImplemented:
            machine.put(frame, ins.dst, result)
            return
    machine.put(frame, ins.dst, machine.native(getattr(operator, ins.op), (left, right), {}))


def _is_runtime_list(value: Any) -> bool:
    return isinstance(value, RuntimeList) and value.kind is list


def _is_same(machine: Machine, left: Any, right: Any) -> bool:
    if isinstance(left, RuntimeObject) or isinstance(right, RuntimeObject):
        return objects.is_same(machine, left, right)
    if not isinstance(left, Scalar) and not isinstance(right, Scalar):
        machine.check_identity(left, right)
        return left is right
    kinds = {scalars.kind_of(left), scalars.kind_of(right)} if _is_number(left) and _is_number(right) else set()
    if kinds == {ScalarKind.BOOL}:  # there are two bools only
        return machine.truth(machine.host("eq", left, right))
    if left is right or len(kinds) != 1:
        return left is right
    raise UnsupportedError("DY204", machine.loc(), "the identity of a run-time number", hint="compare with ==")


def _is_number(value: Any) -> bool:
    return isinstance(value, (Scalar, bool, int, float))


def _is_text_concatenation(op: str, left: Any, right: Any) -> bool:
    return (
        op in ("add", "iadd")
        and isinstance(left, str)
        and isinstance(right, str)
        and (isinstance(left, Text) or isinstance(right, Text))
    )


def _contains(machine: Machine, frame: Frame, ins: ir.Binary, element: Any, container: Any) -> None:
    is_in = ins.op == "in"
    own = own_method(machine, container, "__contains__")
    if own is not None:
        model: Any = pymodels.contains if is_in else pymodels.contains_not
        machine.enter(model, (own, container, element), {}, ins.dst)
        return
    is_iterated = not hasattr(type(container), "__contains__") and own_method(machine, container, "__iter__")
    if isinstance(container, RuntimeList) and (found := contained(machine, element, container)) is not NotImplemented:
        machine.put(frame, ins.dst, found if is_in else machine.host("not_", found))
        return
    if is_iterated or isinstance(container, (RuntimeList, RuntimeObject, Generator, SequenceIterator, RangeIterator)):
        model = pylists.list_contains if is_in else pylists.list_contains_not
        machine.enter(model, (container, element), {}, ins.dst)
        return
    if isinstance(container, str) and isinstance(element, str) and Text in (type(container), type(element)):
        held = contains_text(machine, container, element)
        machine.put(frame, ins.dst, held if is_in else machine.host("not_", held))
        return
    if isinstance(element, Text) and isinstance(container, (list, tuple, set, frozenset, dict)):
        model = pylists.list_contains if is_in else pylists.list_contains_not
        machine.enter(model, (tuple(container), element), {}, ins.dst)
        return
    if isinstance(element, Text):
        element = machine.plain(element)
    is_runtime = isinstance(element, Scalar) or is_runtime_tuple(element)
    if is_runtime and isinstance(container, (set, frozenset, dict, KeysView)):
        container = tuple(container)
    if any(
        isinstance(item, RuntimeList) or own_method(machine, item, "__eq__")
        for item in (element, *(container if type(container) in (list, tuple) else ()))
    ):
        machine.enter(pylists.list_contains if is_in else pylists.list_contains_not, (container, element), {}, ins.dst)
        return
    found = machine.native(operator.contains, (container, element), {})
    frame.regs[ins.dst] = found if is_in else not found


# ---------------------------------------------------------------- building


def _goes_through(machine: Machine, frame: Frame, items: Iterable[ir.Item]) -> bool:
    """Whether a generator that is spread is gone through first: the instruction runs again with a list in its place.

    A generator that a variable holds stays there, used up.
    """
    for item in items:
        source = read(frame, item.src)
        if item.star == "*" and isinstance(source, Generator) and item.src.startswith("%"):
            frame.ip = frame.current
            machine.enter(pylists.list_copy, (source,), {}, item.src)
            return True
    return False


def _parts(machine: Machine, frame: Frame, items: Iterable[ir.Item]) -> list[Any]:
    """What is put one after the other: lists of single values, and lists of run-time length."""
    parts: list[Any] = []
    for item in items:
        value = read(frame, item.src)
        if item.star and isinstance(value, RuntimeList):
            parts.append(value)
            continue
        if not parts or isinstance(parts[-1], RuntimeList):
            parts.append([])
        parts[-1].extend(_items(machine, value) if item.star else (value,))
    return parts


def build(machine: Machine, frame: Frame, ins: ir.Build) -> None:
    if ins.kind is not ir.Collection.SET and len(ins.items) == 1 and ins.items[0].star:  # [*range(n)]
        source = read(frame, ins.items[0].src)
        if isinstance(source, (RuntimeRange, Generator)):
            model = pylists.list_copy if ins.kind is ir.Collection.LIST else pyiterators.tuple_copy
            machine.enter(model, (source,), {}, ins.dst)
            return
    if _goes_through(machine, frame, ins.items):
        return
    parts = _parts(machine, frame, ins.items)
    if any(isinstance(part, RuntimeList) for part in parts):
        made = joined_items(machine, parts, tuple if ins.kind is ir.Collection.TUPLE else list)
        if ins.kind is ir.Collection.SET:
            machine.call(frame, ins.dst, set, (made,), {})
        else:
            frame.regs[ins.dst] = made.copy()
        return
    values = parts[0] if parts else []
    if ins.kind is ir.Collection.TUPLE:
        frame.regs[ins.dst] = tuple(values)
    elif ins.kind is ir.Collection.LIST:
        frame.regs[ins.dst] = values
    else:
        site = tables.site_here(machine)
        tables.lift_site(machine, site, values)
        if tables.is_tabled(machine, site):
            machine.enter(pytables.filled_set, (tables.new_table(machine, site, set), values), {}, ins.dst)
            return
        with machine.recorder:
            frame.regs[ins.dst] = tables.note_table(machine, {machine.hashable(value) for value in values}, site)


def build_dict(machine: Machine, frame: Frame, ins: ir.BuildDict) -> None:
    site = tables.site_here(machine)
    tables.lift_site(machine, site, [read(frame, key) for key, _ in ins.items if key is not None])
    if tables.is_tabled(machine, site) and all(key is not None for key, _ in ins.items):
        pairs = [(read(frame, key), read(frame, value)) for key, value in ins.items if key is not None]
        machine.enter(pytables.filled, (tables.new_table(machine, site, dict), pairs), {}, ins.dst)
        return
    result: dict[Any, Any] = {}
    for key, value in ins.items:
        if key is None:
            result.update(machine.native(dict, (read(frame, value),), {}))
        else:
            result[machine.hashable(read(frame, key))] = read(frame, value)
    frame.regs[ins.dst] = tables.note_table(machine, result, site)


def build_slice(machine: Machine, frame: Frame, ins: ir.BuildSlice) -> None:
    parts = [read(frame, register) for register in (ins.start, ins.stop, ins.step)]
    with machine.recorder:
        parts = [machine.recorder.item(part) if isinstance(part, torch.Tensor) else part for part in parts]
    frame.regs[ins.dst] = slice(*parts)


def format_(machine: Machine, frame: Frame, ins: ir.Format) -> None:
    spec = machine.plain(read(frame, ins.spec)) if ins.spec is not None else ""
    value = read(frame, ins.src)
    if (own := text_method(machine, value, ins.conversion, spec)) is not None:
        machine.enter(own.function, own.args, {}, ins.dst)
        return
    with machine.recorder:
        frame.regs[ins.dst] = machine.formatted(value, ins.conversion, spec)


def join_text(machine: Machine, frame: Frame, ins: ir.JoinText) -> None:
    parts = [read(frame, part) for part in ins.parts]
    is_runtime = any(isinstance(part, Text) for part in parts)
    frame.regs[ins.dst] = Text.of(*parts) if is_runtime else "".join(parts)


def append(machine: Machine, frame: Frame, ins: ir.Append) -> None:
    target, value = read(frame, ins.target), read(frame, ins.src)
    if isinstance(target, pytables.RunDict) and ins.key is not None:
        machine.enter(type(target).__setitem__, (target, read(frame, ins.key), value), {}, "%discarded")
        return
    if isinstance(target, pytables.RunSet):
        machine.enter(type(target).add, (target, value), {}, "%discarded")
        return
    if isinstance(target, (dict, set)):
        tables.lift(machine, target, value if ins.key is None else read(frame, ins.key))
    if ins.key is not None:
        target[machine.hashable(read(frame, ins.key))] = value
    elif isinstance(target, RuntimeList):
        machine.list_append(target, value)
    elif isinstance(target, set):
        with machine.recorder:
            target.add(machine.hashable(value))
    else:
        target.append(value)


def make_function(machine: Machine, frame: Frame, ins: ir.MakeFunction) -> None:
    closure = Closure(ins.code, frame.globals)
    closure.cells = {name: frame.cells[name] for name in ins.code.free_names}
    closure.defaults = tuple(read(frame, register) for register in ins.defaults)
    closure.keyword_defaults = {name: read(frame, register) for name, register in ins.keyword_defaults}
    frame.regs[ins.dst] = closure


def import_(machine: Machine, frame: Frame, ins: ir.Import) -> None:
    value = __import__(ins.name, frame.globals, None, ins.fromlist, ins.level)
    machine.remember_old(value)
    frame.regs[ins.dst] = value


def import_from(machine: Machine, frame: Frame, ins: ir.ImportFrom) -> None:
    module = read(frame, ins.module)
    try:
        value = getattr(module, ins.name)
    except AttributeError:
        value = importlib.import_module(f"{module.__name__}.{ins.name}")
    machine.remember_old(value)
    frame.regs[ins.dst] = value


# ---------------------------------------------------------------- calls, iteration


def call(machine: Machine, frame: Frame, ins: ir.Call) -> None:
    if _goes_through(machine, frame, ins.items):
        return
    kwargs: dict[str, Any] = {}
    for item in ins.items:
        if item.keyword:
            kwargs[item.keyword] = read(frame, item.src)
        elif item.star == "**":
            kwargs.update(machine.native(dict, (read(frame, item.src),), {}))
    parts = _parts(machine, frame, (item for item in ins.items if not item.keyword and item.star != "**"))
    if any(isinstance(part, RuntimeList) for part in parts):
        call_starred(machine, frame, ins.dst, read(frame, ins.func), parts, kwargs)
        return
    machine.call(frame, ins.dst, read(frame, ins.func), tuple(parts[0]) if parts else (), kwargs)


def zero_super(machine: Machine, frame: Frame, ins: ir.ZeroSuper) -> None:
    function = read(frame, ins.func)
    if function is not super:
        machine.call(frame, ins.dst, function, (), {})
        return
    frame.regs[ins.dst] = super(frame.cells["__class__"].cell_contents, read(frame, ins.self))


def _items(machine: Machine, source: Any) -> list[Any]:
    """The items of something that is unpacked; what they are themselves does not matter."""
    return list(source) if type(source) in (list, tuple) else machine.native(list, (source,), {})


def unpack(machine: Machine, frame: Frame, ins: ir.Unpack) -> None:
    source = read(frame, ins.src)
    wanted = len(ins.dsts)
    if isinstance(source, RuntimeList):
        for register, value in zip(ins.dsts, unpacked(machine, source, wanted, ins.star), strict=True):
            machine.put(frame, register, value)
            machine.name_value(value, register)
        return
    if own_method(machine, source, "__iter__") is not None:
        if TRUTH not in frame.regs:
            frame.ip = frame.current  # once its items are there, this instruction runs again
            machine.enter(pyiterators.unpacked, (source, None if ins.star >= 0 else wanted + 1), {}, TRUTH)
            return
        source = frame.regs.pop(TRUTH)
    if isinstance(source, RuntimeObject) and ins.star < 0:
        values = objects.unpacked(machine, source, wanted)
    else:
        values = _items(machine, source)
    if ins.star < 0:
        if len(values) < wanted:
            raise ValueError(f"not enough values to unpack (expected {wanted}, got {len(values)})")
        if len(values) > wanted:
            raise ValueError(f"too many values to unpack (expected {wanted})")
    else:
        if len(values) < wanted - 1:
            raise ValueError(f"not enough values to unpack (expected at least {wanted - 1}, got {len(values)})")
        after = wanted - ins.star - 1
        end = len(values) - after
        values = [*values[: ins.star], values[ins.star : end], *values[end:]]
    for register, value in zip(ins.dsts, values, strict=True):
        machine.put(frame, register, value)
        machine.name_value(value, register)


def get_iter(machine: Machine, frame: Frame, ins: ir.GetIter) -> None:
    found = machine.iterator(read(frame, ins.src))
    if isinstance(found, Interpret):
        machine.enter(found.function, found.args, {}, ins.dst)
    else:
        frame.regs[ins.dst] = found


def for_iter(machine: Machine, frame: Frame, ins: ir.ForIter) -> None:
    iterator = read(frame, ins.iterator)
    if isinstance(iterator, Generator) and iterator.buffer is None:
        if iterator.is_done:
            frame.ip = ins.exhausted
        else:
            machine.resume_generator(iterator, ins.dst)
        return
    own = getattr(type(iterator), "__next__", None)
    if machine.is_steppable(own):
        machine.enter(own, (iterator,), {}, ins.dst)
        return
    try:
        with machine.recorder:
            value = next(iterator)
    except StopIteration:
        frame.ip = ins.exhausted
        return
    machine.put(frame, ins.dst, value)


# ---------------------------------------------------------------- control


def jump(machine: Machine, frame: Frame, ins: ir.Jump) -> None:
    frame.ip = ins.target


def jump_if(machine: Machine, frame: Frame, ins: ir.JumpIf) -> None:
    value = read(frame, ins.cond)
    if (method := truth_method(machine, value)) is not None:
        if TRUTH not in frame.regs:
            frame.ip = frame.current  # once the method has answered, this instruction runs again
            machine.enter(pymodels.truth, (method, value), {}, TRUTH)
            return
        value = frame.regs[TRUTH]
    if machine.truth_of(value) == ins.want:
        frame.ip = ins.target
    frame.regs.pop(TRUTH, None)


def return_(machine: Machine, frame: Frame, ins: ir.Return) -> None:
    machine.leave(frame, read(frame, ins.src))


def yield_(machine: Machine, frame: Frame, ins: ir.Yield) -> None:
    machine.yield_value(frame, read(frame, ins.src), ins.dst)


def raise_(machine: Machine, frame: Frame, ins: ir.Raise) -> None:
    if ins.exc is None:
        handled = handled_exception(machine)
        if handled is None:
            raise RuntimeError("No active exception to reraise")
        raise handled
    exc = read(frame, ins.exc)
    error = exc() if isinstance(exc, type) else exc
    if not isinstance(error, BaseException):
        raise TypeError("exceptions must derive from BaseException")
    if ins.cause is not None:
        cause = read(frame, ins.cause)
        error.__cause__ = cause() if isinstance(cause, type) else cause
    raise error


def catch(machine: Machine, frame: Frame, ins: ir.Catch) -> None:
    frame.regs[ins.saved] = frame.exc
    frame.regs[ins.dst] = frame.exc = frame.pending
    frame.pending = None


def end_catch(machine: Machine, frame: Frame, ins: ir.EndCatch) -> None:
    frame.exc = read(frame, ins.saved)


def reraise(machine: Machine, frame: Frame, ins: ir.Reraise) -> None:
    raise read(frame, ins.src)


def match_exception(machine: Machine, frame: Frame, ins: ir.MatchException) -> None:
    frame.regs[ins.dst] = isinstance(read(frame, ins.exc), read(frame, ins.type))


HANDLERS: dict[type, Handler] = {
    ir.Const: const,
    ir.Move: move,
    ir.LoadGlobal: load_global,
    ir.StoreGlobal: store_global,
    ir.LoadCell: load_cell,
    ir.StoreCell: store_cell,
    ir.Delete: delete,
    ir.LoadAttr: load_attribute,
    ir.LoadSpecial: load_special,
    ir.StoreAttr: store_attribute,
    ir.DeleteAttr: delete_attribute,
    ir.LoadItem: load_item,
    ir.StoreItem: store_item,
    ir.DeleteItem: delete_item,
    ir.Unary: unary,
    ir.Binary: binary,
    ir.Build: build,
    ir.BuildDict: build_dict,
    ir.BuildSlice: build_slice,
    ir.Format: format_,
    ir.JoinText: join_text,
    ir.Append: append,
    ir.MakeFunction: make_function,
    ir.Import: import_,
    ir.ImportFrom: import_from,
    ir.Call: call,
    ir.ZeroSuper: zero_super,
    ir.Unpack: unpack,
    ir.GetIter: get_iter,
    ir.ForIter: for_iter,
    ir.Jump: jump,
    ir.JumpIf: jump_if,
    ir.Return: return_,
    ir.Yield: yield_,
    ir.Raise: raise_,
    ir.Catch: catch,
    ir.EndCatch: end_catch,
    ir.Reraise: reraise,
    ir.MatchException: match_exception,
}

__all__ = ["CONTAINERS", "HANDLERS", "UNSET", "read"]
