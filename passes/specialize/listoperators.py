"""The operators of lists and tuples of run-time length: `+`, `*`, comparisons, `in`, and stores into them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dycl.diagnostics import UnsupportedError
from dycl.ir.trees import leaves
from dycl.ir.values import Ref, ScalarKind, Seq, SeqKind
from dycl.passes.specialize import pylists
from dycl.passes.specialize.builtins import Interpret, class_of
from dycl.passes.specialize.templates import Items, ListOf, Number, Template, describe, has_python_text, unify
from dycl.passes.specialize.values import RuntimeList, Scalar

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine

_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
_SEQUENCES = (RuntimeList, list, tuple)


def binary_list(machine: Machine, op: str, left: Any, right: Any) -> Any:
    """left + right, left * n, left == right; NotImplemented for what is no operation on run-time lists."""
    is_left, is_right = isinstance(left, _SEQUENCES), isinstance(right, _SEQUENCES)
    if op in ("add", "iadd") and is_left and is_right:
        return concatenated(machine, left, right)
    if op == "mul" and isinstance(right, RuntimeList):
        left, right, is_right = right, left, is_left
    if op in ("mul", "imul") and isinstance(left, RuntimeList) and isinstance(right, (int, Scalar)):
        times = machine.operand(machine.list_index(right))
        args = (Ref(left.vid), times)
        return machine.new_list("list_repeat", left.element, *args, origin=left.origin, kind=left.kind)
    if op in _COMPARISONS and is_left and is_right:
        return _compared(machine, op, left, right)
    other = right if isinstance(left, RuntimeList) else left
    if op in ("eq", "ne") and (other is None or isinstance(other, (Scalar, int, float, str))):
        return op == "ne"
    return NotImplemented


def are_compared(op: str, left: Any, right: Any) -> bool:
    """Whether two lists or tuples that hold lists of run-time length are compared: Python does it item by item.

    What may be equal to itself by its identity alone (a tensor) is no such item.
    """
    if op not in ("eq", "ne") or type(left) is not type(right) or type(left) not in (list, tuple):
        return False
    found = list(leaves((left, right)))
    has_list = any(isinstance(leaf, RuntimeList) for leaf in found)
    return has_list and all(leaf is None or isinstance(leaf, (RuntimeList, Scalar, int, float, str)) for leaf in found)


def _compared(machine: Machine, op: str, left: Any, right: Any) -> Any:
    if class_of(left) is not class_of(right):
        return op == "ne" if op in ("eq", "ne") else NotImplemented
    if not isinstance(left, RuntimeList) and not isinstance(right, RuntimeList):
        return Interpret(pylists.lists_equal if op == "eq" else pylists.lists_unequal, (left, right))
    if any(not isinstance(side, RuntimeList) and not side for side in (left, right)):
        return machine.host(op, _length(machine, left), _length(machine, right))
    first = left if isinstance(left, RuntimeList) else right
    a, b = machine.list_of(left, kind=first.kind), machine.list_of(right, kind=first.kind)
    are_plain = all(side is not None and has_python_text(side.element) for side in (a, b))
    if a is None or b is None or not are_plain or (op not in ("eq", "ne") and unify(a.element, b.element) is None):
        raise UnsupportedError("DY203", machine.loc(), "the comparison of run-time lists of more than numbers")
    return machine.list_number(op, ScalarKind.BOOL, Ref(a.vid), Ref(b.vid))


def _length(machine: Machine, items: Any) -> Any:
    return machine.list_length(items) if isinstance(items, RuntimeList) else len(items)


def contained(machine: Machine, element: Any, items: RuntimeList) -> Any:
    """`element in items`, where the host can tell; NotImplemented where the items are to be compared one by one.

    An item that is not a number (nan) is in a list by its identity, which is not the host's.
    """
    found = describe(element, machine.is_old)
    if found is None or not _is_exact(found) or not _is_exact(items.element):
        return NotImplemented
    return machine.list_number("element_in", ScalarKind.BOOL, machine.encoded(element, found), Ref(items.vid))


def _is_exact(template: Template) -> bool:
    match template:
        case Number(kind=kind):
            return kind is not ScalarKind.FLOAT
        case Items(cls=cls, items=items):
            return cls is tuple and all(_is_exact(item) for item in items)
        case ListOf(element=element, cls=cls):
            return cls is tuple and _is_exact(element)
    return False


def concatenated(machine: Machine, left: Any, right: Any) -> RuntimeList:
    """left + right, of which one is of run-time length."""
    runtime = left if isinstance(left, RuntimeList) else right
    if class_of(left) is not class_of(right):
        name = class_of(left).__name__
        raise TypeError(f'can only concatenate {name} (not "{class_of(right).__name__}") to {name}')
    origin = frozenset().union(*[side.origin for side in (left, right) if isinstance(side, RuntimeList)])
    sides = []
    for side in (left, right):
        if not isinstance(side, RuntimeList):
            for value in side:
                machine.template_of(runtime, value)
            side = machine.list_of(side, runtime.element, runtime.kind) if side else None
        sides.append(side)
    made = [side for side in sides if side is not None]
    if len(made) == 1:
        only: RuntimeList = made[0]
        return only.copy(origin)
    if made[0].element != made[1].element:
        raise UnsupportedError("DY204", machine.loc(), "lists of run-time length of different elements are joined")
    args = (Ref(made[0].vid), Ref(made[1].vid))
    return machine.new_list("list_concat", made[0].element, *args, origin=origin, kind=runtime.kind)


def store_list_item(machine: Machine, items: RuntimeList, index: Any, value: Any) -> None:
    """items[index] = value"""
    _check_list(items, "assignment")
    if isinstance(index, slice):
        _store_slice(machine, items, index, value)
        return
    template = machine.template_of(items, value)
    position = machine.list_position(items, index, "list assignment index out of range")
    machine.list_update(items, "list_set", machine.operand(position), machine.encoded(value, template))


def _check_list(items: RuntimeList, what: str) -> None:
    if items.kind is tuple:
        words = "doesn't support item deletion" if what == "deletion" else "does not support item assignment"
        raise TypeError(f"'tuple' object {words}")


def _store_slice(machine: Machine, items: RuntimeList, part: slice, values: RuntimeList | list[Any]) -> None:
    """items[start:stop] = values"""
    if part.step is not None:
        raise UnsupportedError("DY204", machine.loc(), "assignment to a slice with a step of a run-time list")
    bounds = [None if bound is None else machine.list_index(bound) for bound in (part.start, part.stop)]
    if not isinstance(values, RuntimeList):
        for value in values:
            machine.template_of(items, value)
    made = machine.list_of(values, items.element) if isinstance(values, RuntimeList) or values else None
    if made is not None and made.element != items.element:
        raise UnsupportedError("DY204", machine.loc(), "lists of run-time length of different elements are joined")
    new = Seq(SeqKind.LIST, ()) if made is None else Ref(made.vid)
    machine.list_update(items, "numerics.spliced", *(machine.operand(bound) for bound in bounds), new)


def repeated(machine: Machine, items: list[Any] | tuple[Any, ...], times: Scalar) -> tuple[Any, Any]:
    """The operands of items * times: the items as a list of run-time length, where they can be one."""
    number = machine.settled(times)
    found = machine.list_made_here("repeated", items) if isinstance(number, Scalar) else None
    return items if found is None else found, number


def delete_list_item(machine: Machine, items: RuntimeList, index: Any) -> None:
    """del items[index]"""
    _check_list(items, "deletion")
    if isinstance(index, slice):
        if index.step is not None:
            raise UnsupportedError("DY204", machine.loc(), "a slice with a step of a run-time list is deleted")
        _store_slice(machine, items, index, [])
        return
    position = machine.list_position(items, index, "list assignment index out of range")
    machine.list_update(items, "list_delete", machine.operand(position))
