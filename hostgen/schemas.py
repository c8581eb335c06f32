"""What the objects of a call must look like. Copied into artifacts whose calls pass objects: needs numpy alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dycl.hostgen.arguments import Array, Binder, Constant, Number, Spec, shown
from dycl.ir.kinds import is_a


@dataclass(frozen=True)
class Object(Spec):
    """An object given at run time, of any structure that its schema allows; it is handed on as it is."""

    index: int
    schema: str

    def __str__(self) -> str:
        return self.schema

    def bind(self, binder: Binder, where: str, value: object) -> None:
        """Check an object and all that it holds, and keep it."""
        binder.leaves[self.index] = value
        pending = [(where, self.schema, value)]
        while pending:
            place, name, found = pending.pop()
            if binder.checked.get(id(found)) == name:
                continue
            binder.checked[id(found)] = name
            spec = binder.schemas[name]
            if not _fits(spec, found):
                raise TypeError(f"{place}: expected {_described(name, spec)}, got {shown(found)}")
            for inner, field, item in _parts(place, spec, found):
                binder.has_tensors = binder.has_tensors or _is_torch(item)
                member = _member(binder.schemas, inner, field, item)
                if isinstance(member, Object):
                    pending.append((inner, member.schema, item))

    def build(self, leaves: Mapping[int, Any]) -> Any:
        """The object itself."""
        return leaves[self.index]

    def indices(self) -> tuple[int, ...]:
        """Its own number."""
        return (self.index,)


@dataclass(frozen=True)
class Field:
    """What an attribute or an item of an object may be; `optional`: it may be missing."""

    name: str
    members: tuple[Array | Number | Object | Constant, ...]
    optional: bool = False


@dataclass(frozen=True)
class Schema:
    """What an object looks like: an instance of a class of this name, a list of any length, a tuple or a dict."""

    kind: str
    class_name: str
    fields: tuple[Field, ...]


def as_array(value: Any) -> np.ndarray:
    """A tensor that an object holds, numpy's or torch's, as a subgraph takes it."""
    if _is_torch(value):
        value = value.detach().cpu().resolve_conj().resolve_neg().numpy()
    return np.ascontiguousarray(value).reshape(value.shape)


def _member(schemas: Mapping[str, Schema], where: str, field: Field, value: object) -> Spec:
    """What the value of a field is, of all that it may be."""
    for member in field.members:
        if isinstance(member, Object):
            fits = _fits(schemas[member.schema], value)
        elif isinstance(member, Array):
            fits = is_a(value, "tensor") and _fits_array(where, member, value)
        else:
            fits = is_a(value, member.kind) if isinstance(member, Number) else value is None
        if fits:
            return member
    expected = " or ".join(map(str, field.members))
    raise TypeError(f"{where}: expected {expected or 'nothing that the examples have'}, got {shown(value)}")


def _fits(spec: Schema, value: object) -> bool:
    return is_a(value, spec.class_name if spec.kind == "instance" else _shape_of(spec))


def _fits_array(where: str, spec: Array, value: Any) -> bool:
    shape, dtype = tuple(value.shape), str(value.dtype).removeprefix("torch.")
    if dtype != spec.dtype or len(shape) != len(spec.shape):
        raise TypeError(f"{where}: expected {spec}, got {dtype}{list(shape)}")
    if any(isinstance(want, int) and size != want for size, want in zip(shape, spec.shape, strict=True)):
        raise ValueError(f"{where}: expected {spec}, got {dtype}{list(shape)}")
    return True


def _is_torch(value: object) -> bool:
    return hasattr(value, "detach") and hasattr(value, "numpy")


def _shape_of(spec: Schema) -> str:
    return f"tuple {len(spec.fields)}" if spec.kind == "tuple" else spec.kind


def _described(name: str, spec: Schema) -> str:
    return f"a {spec.class_name}" if spec.kind == "instance" else f"a {_shape_of(spec)} ({name})"


_MISSING = object()


def _parts(place: str, spec: Schema, value: Any) -> Iterator[tuple[str, Field, object]]:
    """The attributes or items that a schema speaks of, with their places."""
    if spec.kind == "list":
        field = spec.fields[0] if spec.fields else Field("item", ())
        for index, item in enumerate(value):
            yield f"{place}[{index}]", field, item
        return
    if spec.kind == "dict" and (unknown := [key for key in value if key not in {f.name for f in spec.fields}]):
        raise ValueError(f"{place}: compiled for the keys {[field.name for field in spec.fields]}, got {unknown} too")
    for index, field in enumerate(spec.fields):
        if spec.kind == "instance":
            where, item = f"{place}.{field.name}", getattr(value, field.name, _MISSING)
        elif spec.kind == "tuple":
            where, item = f"{place}[{index}]", value[index]
        else:
            where, item = f"{place}[{field.name!r}]", value.get(field.name, _MISSING)
        if item is _MISSING:
            if field.optional:
                continue
            raise TypeError(f"{where}: it is missing")
        yield where, field, item
