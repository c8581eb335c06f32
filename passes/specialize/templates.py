"""What the elements of a run-time list have in common: a structure whose leaves only the run knows.

`describe` gives the template of one value, `unify` the least general one of two, `ir_type` what such a value is in the
program. Numbers and text are leaves even where they are known now: a list is made for those that differ.
"""

from __future__ import annotations

import itertools
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, assert_never

import torch
from torch._subclasses.fake_tensor import FakeTensor

from dycl.ir.values import (
    ArrayForm,
    ArrayType,
    InputLeaf,
    ListType,
    Lit,
    Mapping,
    NothingType,
    ObjectType,
    Operand,
    ScalarKind,
    ScalarType,
    Seq,
    SeqKind,
    StructType,
    TensorType,
    UnionType,
    ValueType,
)
from dycl.passes.specialize.arrayvalue import Array
from dycl.passes.specialize.scalars import kind_of
from dycl.passes.specialize.values import RuntimeList, RuntimeObject, Scalar, Text
from dycl.passes.specialize.weights import slot_names


@dataclass(frozen=True, slots=True)
class Number:
    """A number or a text."""

    kind: ScalarKind


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor, or one of numpy's scalars; None: a size that differs from element to element."""

    dtype: str
    shape: tuple[int | None, ...]
    is_scalar: bool = False


@dataclass(frozen=True, slots=True)
class Constant:
    """The same static object in every element."""

    key: Any
    value: Any = field(compare=False)


@dataclass(frozen=True, slots=True)
class Items:
    """A tuple, named tuple or list of static length."""

    cls: type
    items: tuple[Template, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A dict with these keys."""

    keys: tuple[Any, ...]
    items: tuple[Template, ...]


@dataclass(frozen=True, slots=True)
class Instance:
    """An object of a Python class with these attributes."""

    cls: type
    names: tuple[str, ...]
    items: tuple[Template, ...]


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list or tuple of run-time length."""

    element: Template
    cls: type = list


@dataclass(frozen=True, slots=True)
class Object:
    """An object of the caller's, or what the model hung on one: the host holds that object itself."""

    schema: str


@dataclass(frozen=True, slots=True)
class Maybe:
    """A number or tensor in some elements, None in others: which of them is a decision."""

    of: Number | Tensor


Template = Number | Tensor | Constant | Items | Table | Instance | ListOf | Object | Maybe


def describe(value: Any, is_old: Any) -> Template | None:
    """The template of a value; None for what no run-time list may hold. `is_old`: there before the run."""
    if isinstance(value, (Scalar, bool, int, float, str)) and type(value) in (Scalar, Text, bool, int, float, str):
        return Number(kind_of(value))
    if isinstance(value, Array):  # only numpy's scalars never change
        return Tensor(str(value.fake.dtype).removeprefix("torch."), (), True) if value.is_scalar else None
    if isinstance(value, torch.Tensor):
        shape = tuple(int(size) if _is_static(size) else None for size in value.shape)
        return Tensor(str(value.dtype).removeprefix("torch."), shape)
    if isinstance(value, RuntimeList):
        return ListOf(value.element, value.kind)
    if isinstance(value, RuntimeObject):
        return Object(value.schema)
    if type(value) in (tuple, list) or (isinstance(value, tuple) and hasattr(value, "_fields")):
        items = _describe_all(value, is_old)
        return None if items is None else Items(type(value), items)
    if type(value) is dict and not is_old(value):
        items = _describe_all(value.values(), is_old)
        keys = tuple(value)
        is_plain = all(type(key) in (str, int, bool) for key in keys)
        return Table(keys, items) if items is not None and is_plain else None
    if value is None or value is Ellipsis:
        return Constant((type(value), None), value)
    if is_old(value) or isinstance(value, (torch.nn.Module, torch.dtype, torch.device, type, types.FunctionType)):
        return Constant(("id", id(value)), value)
    cls: Any = type(value)
    if (
        cls.__reduce_ex__ is object.__reduce_ex__
        and cls.__module__ != "builtins"
        and cls.__init__ is not object.__init__
        and not isinstance(value, BaseException)
        and not cls.__module__.startswith(("torch", "dycl"))
        and (hasattr(value, "__dict__") or slot_names(cls))
    ):
        attributes = attributes_of(value)
        items = _describe_all(attributes.values(), is_old)
        return None if items is None else Instance(cls, tuple(attributes), items)
    return None


def attributes_of(value: Any) -> dict[str, Any]:
    """The attributes of an object, in its `__dict__` and in slots."""
    in_slots = {name: getattr(value, name) for name in slot_names(type(value)) if hasattr(value, name)}
    return {**getattr(value, "__dict__", {}), **in_slots}


def _describe_all(values: Any, is_old: Any) -> tuple[Template, ...] | None:
    found = []
    for value in values:
        item = describe(value, is_old)
        if item is None:
            return None
        found.append(item)
    return tuple(found)


def _is_static(size: Any) -> bool:
    return not isinstance(size, torch.SymInt) or bool(size.node.expr.is_Integer)


def unify(left: Template, right: Template) -> Template | None:
    """The least general template that both are instances of; None if there is none."""
    if left == right:
        return left
    match left, right:
        case Tensor(is_scalar=True), Tensor() | Tensor(), Tensor(is_scalar=True):
            return None
        case Tensor(dtype=dtype, shape=shape), Tensor(dtype=same, shape=other) if dtype == same and len(shape) == len(
            other
        ):
            return Tensor(dtype, tuple(a if a == b else None for a, b in zip(shape, other, strict=True)))
        case Items(cls=cls, items=items), Items(cls=same, items=others) if cls is same and len(items) == len(others):
            merged = _unify_all(items, others)
            return None if merged is None else Items(cls, merged)
        case Items(cls=cls), Items(cls=same) if cls is same and cls in (list, tuple):
            return _list_of((*left.items, *right.items), cls)
        case (Items(cls=cls, items=items), ListOf(element=element, cls=same)) | (
            ListOf(element=element, cls=same),
            Items(cls=cls, items=items),
        ) if cls is same:
            return _list_of((element, *items), cls)
        case ListOf(element=element, cls=cls), ListOf(element=other, cls=same) if cls is same:
            return _list_of((element, other), cls)
        case Table(keys=keys, items=items), Table(keys=same, items=others) if keys == same:
            merged = _unify_all(items, others)
            return None if merged is None else Table(keys, merged)
        case Instance(cls=cls, names=names, items=items), Instance(cls=same, names=others_names, items=others) if (
            cls is same and names == others_names
        ):
            merged = _unify_all(items, others)
            return None if merged is None else Instance(cls, names, merged)
        case (Maybe(of=of), other) | (other, Maybe(of=of)):
            return _maybe(of if is_none(other) else unify(of, other.of if isinstance(other, Maybe) else other))
        case (one, other) if is_none(one) or is_none(other):
            return _maybe(other if is_none(one) else one)
    return None


def is_alike(left: Template, right: Template) -> bool:
    """Whether both are of one structure, so that what they have in common has it, too."""
    if isinstance(left, Items) and isinstance(right, Items):
        return len(left.items) == len(right.items) and all(map(is_alike, left.items, right.items))
    return unify(left, right) is not None


def is_none(template: Template) -> bool:
    """Whether it is None in every element."""
    return isinstance(template, Constant) and template.value is None


def _maybe(of: Template | None) -> Maybe | None:
    if isinstance(of, Number) or (isinstance(of, Tensor) and not of.is_scalar):
        return Maybe(of)
    return None


def unify_many(templates: Any) -> Template | None:
    """The least general template of all; None if there is none, or nothing to unify."""
    total: Template | None = None
    for template in templates:
        total = template if total is None else unify(total, template)
        if total is None:
            return None
    return total


def _list_of(items: tuple[Template, ...], cls: type) -> ListOf | None:
    element = unify_many(items)
    return None if element is None else ListOf(element, cls)


def _unify_all(left: tuple[Template, ...], right: tuple[Template, ...]) -> tuple[Template, ...] | None:
    merged = [unify(a, b) for a, b in zip(left, right, strict=True)]
    return None if any(item is None for item in merged) else tuple(item for item in merged if item is not None)


def parts(template: Template) -> tuple[Template, ...]:
    """The templates one level below."""
    match template:
        case Items(items=items) | Table(items=items) | Instance(items=items):
            return items
        case Number() | Tensor() | Constant() | ListOf() | Object() | Maybe():
            return ()
        case _:
            assert_never(template)


def has_leaf(template: Template) -> bool:
    """Whether anything in it is known at run time only."""
    if isinstance(template, (Number, Tensor, ListOf, Object, Maybe)):
        return True
    return any(has_leaf(part) for part in parts(template))


# ---------------------------------------------------------------- in the program


def ir_type(template: Template) -> ValueType:
    """The type of a host value of this structure."""
    return _type(template, itertools.count())


def _type(template: Template, counter: Iterator[int]) -> ValueType:
    match template:
        case Number(kind=kind):
            return ScalarType(kind)
        case Tensor(dtype=dtype, is_scalar=True):
            return ArrayType(dtype, (), ArrayForm.SCALAR)
        case Tensor(dtype=dtype, shape=shape):
            return TensorType(dtype, tuple(f"any{next(counter)}" if size is None else size for size in shape))
        case ListOf(element=element, cls=cls):
            return ListType(_type(element, counter), cls is tuple)
        case Object(schema=schema):
            return ObjectType(schema)
        case Maybe(of=of):
            member = _type(of, counter)
            assert isinstance(member, (ScalarType, TensorType))
            return UnionType((NothingType(), member))
        case _:
            return StructType(_operand_template(template, counter))


def _operand_template(template: Template, counter: Iterator[int]) -> Operand:
    match template:
        case Number() | Tensor() | ListOf() | Object() | Maybe():
            return InputLeaf(0, _type(template, counter))
        case Constant(value=value):
            return Lit(value) if value is None or value is Ellipsis else Lit(None)
        case Items(cls=cls, items=items):
            return Seq(seq_kind(cls), tuple(_operand_template(item, counter) for item in items))
        case Table(keys=keys, items=items):
            pairs = zip(keys, items, strict=True)
            return Mapping(tuple((Lit(key), _operand_template(item, counter)) for key, item in pairs))
        case Instance(items=items):
            return Seq(SeqKind.TUPLE, tuple(_operand_template(item, counter) for item in items))
        case _:
            assert_never(template)


def template_of_type(of: ValueType | NothingType) -> Template | None:
    """The template of what has this type, where it is one thing."""
    match of:
        case ScalarType(kind=kind):
            return Number(kind)
        case TensorType(dtype=dtype, shape=shape):
            return Tensor(dtype, tuple(size if isinstance(size, int) else None for size in shape))
        case ObjectType(schema=schema):
            return Object(schema)
    return None


def seq_kind(cls: type) -> SeqKind:
    """What a list, a tuple or a subclass of a tuple is in the program."""
    return SeqKind.LIST if cls is list else SeqKind.TUPLE


def is_mirrored(template: Template) -> bool:
    """Whether the host's object is the very object of the model: then it may leave the program."""
    match template:
        case Number() | Tensor() | Object() | Maybe():
            return True
        case Constant(value=value):
            return value is None or value is Ellipsis
        case Items(cls=cls, items=items):
            return cls in (tuple, list) and all(is_mirrored(item) for item in items)
        case Table(items=items):
            return all(is_mirrored(item) for item in items)
        case ListOf(element=element):
            return is_mirrored(element)
        case Instance():
            return False
        case _:
            assert_never(template)


def is_plain(value: Any) -> bool:
    """Whether a value can be told from others by Python's own comparison in the host."""
    return isinstance(value, (Scalar, bool, int, float, str)) and not isinstance(value, FakeTensor)


def has_python_text(template: Template) -> bool:
    """Whether the host holds such an element as Python does: numbers, texts, and lists and tuples of these."""
    match template:
        case Number():
            return True
        case ListOf(element=element):
            return has_python_text(element)
        case Items(cls=cls, items=items):
            return cls in (list, tuple) and all(has_python_text(item) for item in items)
        case _:
            return False
