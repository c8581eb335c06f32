"""Operators on abstract values: unary, binary, identity, membership."""

from __future__ import annotations

import operator
from collections.abc import KeysView
from typing import TYPE_CHECKING, Any

from dycl.diagnostics import UnsupportedError
from dycl.frontend import code as ir
from dycl.ir.values import ScalarKind
from dycl.passes.specialize import objects, pylists, pymodels, scalars
from dycl.passes.specialize.builtins import Interpret, has_runtime, is_runtime_tuple
from dycl.passes.specialize.listoperators import are_compared, binary_list, contained, repeated
from dycl.passes.specialize.lists import is_long
from dycl.passes.specialize.protocols import binary_operation, own_method, truth_method
from dycl.passes.specialize.state import Frame, read
from dycl.passes.specialize.textops import compare_texts, contains_text, is_text_comparison
from dycl.passes.specialize.texts import percent_text
from dycl.passes.specialize.values import (
    Generator,
    RangeIterator,
    RuntimeList,
    RuntimeObject,
    Scalar,
    SequenceIterator,
    Text,
)

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine


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
    if Text in (type(left), type(right)) and isinstance(left, str) and isinstance(right, str) and left is not right:
        raise UnsupportedError("DY204", machine.loc(), "the identity of a run-time text", hint="compare with ==")
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
