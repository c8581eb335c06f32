"""The methods of a list of run-time length, and the builtins and functions of torch that take one."""

from __future__ import annotations

import bisect
import heapq
import operator
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from dycl.diagnostics import UnsupportedError
from dycl.ir.program import SchemaKind
from dycl.ir.values import Lit, Ref, ScalarKind
from dycl.passes.specialize import (
    iteratormodels,  # noqa: F401  (registers models that are wrapped here)
    pyiterators,
    pylists,
    pyorders,
)
from dycl.passes.specialize.builtins import MODELS, Interpret, model
from dycl.passes.specialize.ordering import columns_of
from dycl.passes.specialize.templates import Constant, Items, ListOf, Number, Template, Tensor
from dycl.passes.specialize.values import (
    KIND_TYPES,
    Generator,
    RuntimeList,
    RuntimeObject,
    RuntimeRange,
    Scalar,
    SequenceIterator,
    Text,
)

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine

MIN_SORTED = 4  # static items with run-time keys from which on the host sorts them: n! paths otherwise
LIST_METHODS: dict[str, Any] = {}


def method(function: Callable[..., Any]) -> Callable[..., Any]:
    """Register a method of run-time lists under the function's name."""
    name = function.__name__.strip("_")

    def stand_in(items: RuntimeList, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a method of a run-time list runs in the machine alone")

    stand_in.__name__ = name
    LIST_METHODS[name] = stand_in
    MODELS[stand_in] = lambda machine, items, *args, native, **kwargs: function(machine, items, *args, **kwargs)
    return function


@method
def _append(machine: Machine, items: RuntimeList, value: Any) -> None:
    machine.list_append(items, value)


@method
def _extend(machine: Machine, items: RuntimeList, more: Any) -> Any:
    if isinstance(more, (list, tuple)) and not more:
        return None
    other = machine.list_of(more, items.element) if isinstance(more, (list, tuple, RuntimeList)) else None
    if other is None or other.element != items.element:
        return Interpret(pylists.list_extend, (items, more))
    machine.list_update(items, "list_concat", Ref(other.vid))
    return None


@method
def _copy(machine: Machine, items: RuntimeList) -> Any:
    return items.copy()


@method
def _insert(machine: Machine, items: RuntimeList, index: Any, value: Any) -> None:
    template = machine.template_of(items, value)
    at = machine.operand(machine.list_index(index))
    machine.list_update(items, "list_insert", at, machine.encoded(value, template))


@method
def _pop(machine: Machine, items: RuntimeList, index: Any = -1) -> Any:
    if not machine.truth(machine.host("gt", machine.list_length(items), 0)):
        raise IndexError("pop from empty list")
    position = machine.list_position(items, index, "pop index out of range")
    value = machine.list_element_at(items, position)
    machine.list_update(items, "list_delete", machine.operand(position))
    return value


@method
def _clear(machine: Machine, items: RuntimeList) -> None:
    machine.list_update(items, "list_slice", Lit(0), Lit(0))


@method
def _reverse(machine: Machine, items: RuntimeList) -> None:
    machine.list_update(items, "list_reversed")


@method
def _index(machine: Machine, items: RuntimeList, value: Any) -> Any:
    return Interpret(pylists.list_index, (items, value))


@method
def _count(machine: Machine, items: RuntimeList, value: Any) -> Any:
    return Interpret(pylists.list_count, (items, value))


@method
def _remove(machine: Machine, items: RuntimeList, value: Any) -> Any:
    return Interpret(pylists.list_remove, (items, value))


@method
def _sort(machine: Machine, items: RuntimeList, *, key: Any = None, reverse: Any = False) -> Any:
    if key is not None:
        return Interpret(pyorders.runtime_list_sort, (items, key, reverse))
    _check_sortable(machine, items.element)
    machine.list_update(items, "list_sorted", machine.operand(bool(machine.truth(reverse))))
    return None


def become(items: RuntimeList, other: RuntimeList) -> None:
    """items[:] = other"""


@model(become)
def _become(machine: Machine, items: RuntimeList, other: RuntimeList, *, native: Any) -> None:
    machine.check_not_frozen(items)
    items.vid = other.vid


def _check_sortable(machine: Machine, template: Template) -> None:
    match template:
        case Number() | Tensor(shape=()):
            return
        case Items(items=items):
            for item in items:
                _check_sortable(machine, item)
        case ListOf(element=element):
            _check_sortable(machine, element)
        case _:
            raise UnsupportedError(
                "DY203",
                machine.loc(),
                "sorting a list of run-time length by more than numbers and text",
                hint="sort by a key that is a number",
            )


# ---------------------------------------------------------------- builtins


def _numbers(machine: Machine, native: Any, items: RuntimeList) -> Any:
    """The least or greatest number of a list."""
    kind = machine.kind_of_elements(items)
    if kind is None:
        return None
    if not machine.truth(machine.host("gt", machine.list_length(items), 0)):
        raise ValueError(f"{native.__name__}() iterable argument is empty")
    return machine.list_number(f"list_{native.__name__}", kind, Ref(items.vid))


def wrap(*functions: Any) -> Callable[[Any], Any]:
    """A model that is asked before the one there is."""

    def register(function: Any) -> Any:
        for native in functions:
            before = MODELS.get(native)

            def asked(machine: Machine, *args: Any, native: Any, _before: Any = before, **kwargs: Any) -> Any:
                result = function(machine, *args, native=native, **kwargs)
                if result is not NotImplemented or _before is None:
                    return result
                return _before(machine, *args, native=native, **kwargs)

            MODELS[native] = asked
        return function

    return register


@wrap(min, max)
def _extremum(machine: Machine, *args: Any, native: Any, key: Any = None, **kwargs: Any) -> Any:
    if len(args) == 1 and isinstance(args[0], Scalar):
        raise TypeError(f"{KIND_TYPES[args[0].kind].__name__!r} object is not iterable")
    if len(args) != 1 or not isinstance(args[0], RuntimeList):
        return NotImplemented
    if key is None and not kwargs and (found := _numbers(machine, native, args[0])) is not None:
        return found
    default = (kwargs["default"],) if "default" in kwargs else ()
    return Interpret(pyorders.extremum_of_list, (args[0], key or pyorders.identity, default, native is max))


@wrap(sum)
def _sum(machine: Machine, items: Any, start: Any = 0, *, native: Any) -> Any:
    if isinstance(items, (Generator, RuntimeObject)) and sys.version_info < (3, 12):  # later ones compensate rounding
        return Interpret(pyiterators.sum_, (items, start))
    if not isinstance(items, RuntimeList):
        return NotImplemented
    kind = machine.kind_of_elements(items)
    if kind is ScalarKind.INT and type(start) is int:
        return machine.list_number("list_sum", kind, Ref(items.vid), Lit(start))
    return Interpret(pyiterators.sum_, (items, start))


@wrap(sorted)
def _sorted(machine: Machine, items: Any, *, native: Any, key: Any = None, reverse: Any = False) -> Any:
    if isinstance(items, RuntimeList):
        if key is not None:
            return Interpret(pyorders.runtime_sorted, (items, key, reverse))
        _check_sortable(machine, items.element)
        flag = machine.operand(bool(machine.truth(reverse)))
        return machine.new_list("list_sorted", items.element, Ref(items.vid), flag, origin=items.origin)
    return NotImplemented


def _has_keys(keys: Any) -> bool:
    is_static = type(keys) in (list, tuple) and len(keys) >= MIN_SORTED
    return is_static and any(isinstance(key, Scalar) for key in keys)


@wrap(pyorders.permuted)
def _permuted(machine: Machine, items: Any, keys: Any, reverse: Any, *, native: Any) -> Any:
    if isinstance(items, RuntimeList):
        if not isinstance(keys, RuntimeList):
            made = machine.list_of(keys) if keys else None
            if made is None:
                return machine.converted_list(items, list).copy()
            keys = made
        _check_sortable(machine, keys.element)
        return _taken(machine, items, keys, reverse)
    if isinstance(keys, RuntimeList):  # there are as many as there are items, whose number is known
        machine.keep_static(keys)
        found = _sorted_static(machine, items, keys, reverse)
        if found is NotImplemented:
            raise UnsupportedError("DY204", machine.loc(), "a list sorted by keys of run-time number")
        return found
    is_long = _has_keys(keys) and not columns_of(items)
    return _sorted_static(machine, items, keys, reverse) if is_long else NotImplemented


@wrap(pyorders.best)
def _best(machine: Machine, items: Any, keys: Any, is_max: Any, *, native: Any) -> Any:
    if not isinstance(items, RuntimeList) and not isinstance(keys, RuntimeList):
        return NotImplemented
    made = items if isinstance(items, RuntimeList) else machine.list_of(list(items))
    return Interpret(pyorders.best_by_comparison, (items if made is None else made, keys, is_max))


def _taken(machine: Machine, items: RuntimeList, keys: RuntimeList, reverse: Any) -> RuntimeList:
    flag = machine.operand(bool(machine.truth(reverse)))
    order = machine.new_list("list_order", Number(ScalarKind.INT), Ref(keys.vid), flag)
    return machine.new_list("list_take", items.element, Ref(items.vid), Ref(order.vid), origin=items.origin)


def _sorted_static(machine: Machine, items: Any, keys: Any, reverse: Any) -> Any:
    """Static items in an order that only the run knows: a list of the same length."""
    made, made_keys = machine.list_of(list(items)), machine.list_of(keys)
    if made is None or made_keys is None:
        return NotImplemented
    _check_sortable(machine, made_keys.element)
    taken = _taken(machine, made, made_keys, reverse)
    return [machine.list_element_at(taken, index) for index in range(len(items))]


@wrap(any, all)
def _quantifier(machine: Machine, items: Any, *, native: Any) -> Any:
    if not isinstance(items, RuntimeList):
        return NotImplemented
    return Interpret(pyiterators.any_ if native is any else pyiterators.all_, (items,))


@wrap(reversed)
def _reversed(machine: Machine, items: Any, *, native: Any) -> Any:
    if not isinstance(items, RuntimeList):
        return NotImplemented
    return Interpret(pyiterators.reversed_list, (items,))


@wrap(sorted, min, max)
def _of_generator(machine: Machine, *args: Any, native: Any, **named: Any) -> Any:
    if len(args) != 1 or not _is_open(machine, args[0]):
        return NotImplemented
    return Interpret(pyiterators.listed, (native, args[0], named))


def _is_open(machine: Machine, source: Any) -> bool:
    """Whether it is a list of the caller's, or an iterator that may go through a list of run-time length."""
    if isinstance(source, RuntimeObject):
        return machine.schemas[source.schema].kind is SchemaKind.LIST
    is_list = isinstance(source, SequenceIterator) and isinstance(source.items, RuntimeList)
    return is_list or isinstance(source, Generator)


@wrap(list, tuple)
def _sequence(machine: Machine, *args: Any, native: Any) -> Any:
    if len(args) != 1:
        return NotImplemented
    source = args[0]
    if isinstance(source, RuntimeList):
        made = machine.converted_list(source, native)
        return made if native is tuple else made.copy()
    if isinstance(source, SequenceIterator) and isinstance(source.items, RuntimeList):
        rest = machine.list_slice(source.items, slice(source.index, None)) if source.index != 0 else source.items
        source.index = machine.list_length(source.items)
        return machine.converted_list(rest, native).copy()
    if not (_is_open(machine, source) or is_long(source)):
        return NotImplemented
    return Interpret(pylists.list_copy if native is list else pyiterators.tuple_copy, args)


@wrap(list.extend)
def _extend_static(machine: Machine, items: Any, more: Any, *, native: Any) -> Any:
    is_open = is_long(more) or _is_open(machine, more)
    return Interpret(pylists.list_extend, (items, more)) if is_open else NotImplemented


def is_long(rows: Any) -> bool:
    """Whether it is a tensor of as many rows as only the run knows, or a range of as many numbers."""
    is_tensor = isinstance(rows, torch.Tensor) and rows.dim() > 0
    return isinstance(rows, RuntimeRange) or (is_tensor and not isinstance(rows.shape[0], int))


def _bisect(machine: Machine, items: Any, value: Any, *rest: Any, native: Any, **kwargs: Any) -> Any:
    if not isinstance(items, RuntimeList) or rest or kwargs:
        return NotImplemented
    is_left = native is bisect.bisect_left
    return Interpret(pyorders.bisect_left if is_left else pyorders.bisect_right, (items, value))


for _native in (bisect.bisect, bisect.bisect_left, bisect.bisect_right):
    MODELS[_native] = _bisect


@wrap(heapq.nlargest, heapq.nsmallest)
def _largest(machine: Machine, n: Any, items: Any, key: Any = None, *, native: Any) -> Any:
    return Interpret(pyorders.largest, (n, items, key, native is heapq.nlargest))


@wrap(heapq.heappush)
def _heappush(machine: Machine, heap: Any, item: Any, *, native: Any) -> Any:
    return Interpret(pyorders.heappush, (heap, item))


@wrap(heapq.heappop)
def _heappop(machine: Machine, heap: Any, *, native: Any) -> Any:
    return Interpret(pyorders.heappop, (heap,))


# ---------------------------------------------------------------- torch


def _elements(machine: Machine, items: Any, what: str) -> Tensor | None:
    if not isinstance(items, RuntimeList):
        return None
    if not isinstance(items.element, Tensor):
        raise UnsupportedError("DY203", machine.loc(), f"{what} of a list of run-time length that holds no tensors")
    return items.element


@wrap(torch.stack)
def _stack(machine: Machine, tensors: Any, dim: int = 0, *, native: Any, **kwargs: Any) -> Any:
    if type(tensors) in (list, tuple) and not tensors:
        raise RuntimeError("stack expects a non-empty TensorList")
    element = _elements(machine, tensors, "torch.stack")
    if element is None or kwargs:
        return NotImplemented
    if not machine.truth(machine.host("gt", machine.list_length(tensors), 0)):
        raise RuntimeError("stack expects a non-empty TensorList")
    dim = operator.index(dim) + (len(element.shape) + 1 if dim < 0 else 0)
    shape = (*element.shape[:dim], None, *element.shape[dim:])
    return machine.tensor_from_host("stack", (Ref(tensors.vid), Lit(dim)), element.dtype, shape)


@wrap(torch.cat, torch.concat, torch.concatenate)
def _cat(machine: Machine, tensors: Any, dim: int = 0, *, native: Any, **kwargs: Any) -> Any:
    if type(tensors) in (list, tuple) and not tensors:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    element = _elements(machine, tensors, "torch.cat")
    if element is None or kwargs:
        return NotImplemented
    if not machine.truth(machine.host("gt", machine.list_length(tensors), 0)):
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    if not element.shape:
        raise RuntimeError("zero-dimensional tensor (at position 0) cannot be concatenated")
    dim = operator.index(dim) + (len(element.shape) if dim < 0 else 0)
    shape = (*element.shape[:dim], None, *element.shape[dim + 1 :])
    return machine.tensor_from_host("cat", (Ref(tensors.vid), Lit(dim)), element.dtype, shape)


@wrap(torch.tensor, torch.as_tensor)
def _tensor(machine: Machine, data: Any = None, *args: Any, native: Any, dtype: Any = None, **kwargs: Any) -> Any:
    if not isinstance(data, RuntimeList):
        return NotImplemented
    if not machine.truth(machine.host("gt", machine.list_length(data), 0)):
        return native([], *args, **kwargs) if dtype is None else native([], *args, dtype=dtype, **kwargs)
    if args:
        raise UnsupportedError("DY203", machine.loc(), "a tensor of a list of run-time length that holds no numbers")
    return tensor_of_list(machine, data, dtype)


def tensor_of_list(machine: Machine, data: RuntimeList, dtype: torch.dtype | None = None) -> Any:
    """The numbers of a list in a tensor; without numbers in it, an empty one of the type that these would have."""
    found = _row(data.element)
    if found is None:
        raise UnsupportedError("DY203", machine.loc(), "a tensor of a list of run-time length that holds no numbers")
    kind, shape = found
    defaults = {ScalarKind.FLOAT: torch.get_default_dtype(), ScalarKind.INT: torch.int64, ScalarKind.BOOL: torch.bool}
    name = str(dtype or defaults[kind]).removeprefix("torch.")
    return machine.tensor_from_host("tensor_of", (Ref(data.vid), Lit(name)), name, (None, *shape))


def _row(template: Template) -> tuple[ScalarKind, tuple[int, ...]] | None:
    """The kind of number and the shape of an element that is a nest of numbers."""
    match template:
        case Number(kind=kind) if kind is not ScalarKind.STR:
            return kind, ()
        case Tensor(dtype=dtype, shape=()):
            return (ScalarKind.FLOAT, ()) if dtype == "float32" else (ScalarKind.INT, ()) if dtype == "int64" else None
        case Items(items=items) if items:
            rows = [_row(item) for item in items]
            first = rows[0]
            return (first[0], (len(rows), *first[1])) if first and all(row == first for row in rows) else None
    return None


def is_join(function: Any, args: tuple[Any, ...]) -> bool:
    """Whether a call is `separator.join(items)` of a list of run-time length."""
    is_method = isinstance(getattr(function, "__self__", None), str) and function.__name__ == "join"
    return is_method and len(args) == 1 and isinstance(args[0], RuntimeList)


def joined(machine: Machine, separator: str, items: RuntimeList) -> Any:
    """separator.join(items)"""
    if machine.kind_of_elements(items) is ScalarKind.STR:
        operand = machine.text_operand(separator) if isinstance(separator, Text) else Lit(separator)
        return machine.text_of(machine.list_number("list_join", ScalarKind.STR, Ref(items.vid), operand))
    if isinstance(items.element, Constant):
        raise UnsupportedError("DY203", machine.loc(), "joining a list of run-time length of one and the same object")
    if machine.truth(machine.host("gt", machine.list_length(items), 0)):
        raise TypeError(f"sequence item 0: expected str instance, {_element_name(items)} found")
    return ""


def _element_name(items: RuntimeList) -> str:
    element = items.element
    return KIND_TYPES[element.kind].__name__ if isinstance(element, Number) else "object"
