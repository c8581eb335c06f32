"""Objects of the caller's against their schemas: whether a call passes what was compiled for, and what was written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from dycl.ir.kinds import is_a
from dycl.ir.program import Schema, SchemaField, SchemaKind
from dycl.ir.values import Member, NothingType, ObjectType, ScalarType, TensorType

_MISSING = object()
_NOT_IN_EXAMPLES = SchemaField("item", ())


def check_object(where: str, name: str, value: object, schemas: Sequence[Schema]) -> None:
    """Raise TypeError or ValueError unless the object, and all that it holds, is as the schemas say."""
    table = {schema.name: schema for schema in schemas}
    seen: dict[int, tuple[str, object]] = {}  # the objects are kept: what a property makes may lie where another lay
    pending = [(where, name, value)]
    while pending:
        place, name, found = pending.pop()
        if seen.get(id(found), ("",))[0] == name:
            continue
        seen[id(found)] = (name, found)
        if not _fits_schema(found, table[name]):
            raise TypeError(f"{place}: expected {name}, got a {type(found).__name__}")
        for inner, field, item in object_parts(place, table[name], found):
            if item is _MISSING:
                raise TypeError(f"{inner}: it is missing")
            member = next((member for member in field.members if _fits_member(item, member, table)), None)
            if member is None:
                raise TypeError(f"{inner}: the examples have no {type(item).__name__} like this here")
            if isinstance(member, ObjectType):
                pending.append((inner, member.schema, item))


def _fits_schema(value: object, schema: Schema) -> bool:
    if schema.kind is SchemaKind.INSTANCE:
        return is_a(value, schema.class_name.rpartition(":")[2].rpartition(".")[2])
    return is_a(value, f"tuple {len(schema.fields)}" if schema.kind is SchemaKind.TUPLE else schema.kind.value)


def _fits_member(value: object, member: Member, table: Mapping[str, Schema]) -> bool:
    match member:
        case NothingType():
            return value is None
        case ScalarType(kind=kind):
            return is_a(value, kind.value)
        case ObjectType(schema=name):
            return _fits_schema(value, table[name])
        case TensorType(dtype=dtype, shape=shape):
            return (
                isinstance(value, torch.Tensor)
                and str(value.dtype).removeprefix("torch.") == dtype
                and len(value.shape) == len(shape)
                and all(size == want for size, want in zip(value.shape, shape, strict=True) if isinstance(want, int))
            )


def object_parts(place: str, schema: Schema, value: Any) -> Iterator[tuple[str, SchemaField, object]]:
    """The attributes or items of an object, with their places."""
    if schema.kind is SchemaKind.LIST:
        field = schema.fields[0] if schema.fields else _NOT_IN_EXAMPLES
        yield from ((f"{place}[{index}]", field, item) for index, item in enumerate(value))
        return
    names = {field.name for field in schema.fields}
    if schema.kind is SchemaKind.DICT and not names.issuperset(value):
        raise ValueError(f"{place}: the examples have the keys {sorted(names)} only")
    for index, field in enumerate(schema.fields):
        match schema.kind:
            case SchemaKind.INSTANCE:
                where, item = f"{place}.{field.name}", getattr(value, field.name, _MISSING)
            case SchemaKind.TUPLE:
                where, item = f"{place}[{index}]", value[index]
            case _:
                where, item = f"{place}[{field.name!r}]", value.get(field.name, _MISSING)
        if item is not _MISSING or not field.optional:
            yield where, field, item


def find_written(where: str, name: str, value: object, schemas: Sequence[Schema]) -> dict[str, object]:
    """What the fields hold that the program writes, by their places, in the object and all that it holds."""
    table = {schema.name: schema for schema in schemas}
    seen: dict[int, object] = {}
    found: dict[str, object] = {}
    pending = [(where, name, value)]
    while pending:
        place, name, holder = pending.pop()
        if id(holder) in seen:
            continue
        seen[id(holder)] = holder
        for inner, field, item in object_parts(place, table[name], holder):
            if field.is_written:
                found[inner] = item
            member = next((m for m in field.members if _fits_member(item, m, table)), None)
            if isinstance(member, ObjectType):
                pending.append((inner, member.schema, item))
    return found
