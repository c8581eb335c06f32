"""What each instruction of lowered code does on abstract values: one function an instruction, found by its type.

Items are in `itemaccess.py`, operators in `operators.py`, what makes lists, dicts and texts in `building.py`.
"""

from __future__ import annotations

import builtins
import importlib
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from dycl.diagnostics import UnsupportedError
from dycl.frontend import code as ir
from dycl.passes.specialize import objects, pyiterators, pymodels
from dycl.passes.specialize.building import (
    append,
    build,
    build_dict,
    build_slice,
    format_,
    goes_through,
    item_parts,
    items_of,
    join_text,
)
from dycl.passes.specialize.builtins import Interpret
from dycl.passes.specialize.handled import handled_exception
from dycl.passes.specialize.itemaccess import delete_item, load_item, store_item
from dycl.passes.specialize.operators import binary, unary
from dycl.passes.specialize.protocols import own_method, setting_method, truth_method
from dycl.passes.specialize.starred import call_starred, unpacked
from dycl.passes.specialize.state import TRUTH, Frame, read
from dycl.passes.specialize.values import (
    Closure,
    Generator,
    RuntimeList,
    RuntimeObject,
)

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine

Handler = Callable[["Machine", Frame, Any], None]
_GRADIENT_MODES = (torch.no_grad, torch.enable_grad, torch.inference_mode, torch.set_grad_enabled)


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


# ---------------------------------------------------------------- functions, imports


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
    if goes_through(machine, frame, ins.items):
        return
    kwargs: dict[str, Any] = {}
    for item in ins.items:
        if item.keyword:
            kwargs[item.keyword] = read(frame, item.src)
        elif item.star == "**":
            kwargs.update(machine.native(dict, (read(frame, item.src),), {}))
    parts = item_parts(machine, frame, (item for item in ins.items if not item.keyword and item.star != "**"))
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
        values = items_of(machine, source)
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
