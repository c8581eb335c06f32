"""What the objects of a call must look like. Copied into artifacts whose calls pass objects: needs numpy alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from dycl.hostgen.arguments import Array, Binder, Leaf, Seen, Spec, shown
from dycl.hostgen.scalars import Constant, Number
from dycl.ir.kinds import is_a


@dataclasses.dataclass(frozen=True)
class Object(Leaf):
    """An object given at run time, of any structure that its schema allows; it is handed on as it is."""

    schema: str
    known: set[type] = dataclasses.field(default_factory=set, init=False, repr=False, compare=False)
    """Classes that fit, whatever the value is."""

    def __str__(self) -> str:
        return self.schema

    def bind(self, binder: Binder, where: str, value: object) -> None:
        """Check an object and all that it holds, and keep it."""
        binder.leaves[self.index] = value
        pending = [(where, self.schema, value)]
        while pending:
            place, name, found = pending.pop()
            if binder.checked.get(id(found), ("",))[0] == name:
                continue
            binder.checked[id(found)] = (name, found)
            spec = binder.schemas[name]
            if not _fits(spec, found):
                raise TypeError(f"{place}: expected {_described(name, spec)}, got {shown(found)}")
            for inner, field, item in _parts(place, spec, found):
                binder.has_tensors = binder.has_tensors or _is_torch(type(item))
                member = _member(binder.schemas, inner, field, item)
                if isinstance(member, Object):
                    pending.append((inner, member.schema, item))

    def is_usual(self, seen: Seen, value: Any) -> bool:
        """Check an object and all that it holds by their classes, without a word of where anything stands."""
        spec, cls = seen.schemas[self.schema], type(value)
        if cls not in self.known:
            if not _fits(spec, value):
                return False
            if cls is not tuple and len(self.known) < _MOST_KNOWN:
                self.known.add(cls)
        try:
            _check_classes(seen, spec, value)
        except (TypeError, ValueError):
            return False
        return True


@dataclasses.dataclass(frozen=True)
class Field:
    """What an attribute or an item of an object may be; `optional`: it may be missing."""

    name: str
    members: tuple[Array | Number | Object | Constant, ...]
    optional: bool = False
    known: dict[type, Schema | None] = dataclasses.field(default_factory=dict, init=False, repr=False, compare=False)
    """By classes that fit whatever else a value is: its schema, or None where there is nothing more to see."""


_PLAIN = frozenset({bool, dict, float, int, list, str, type(None)})  # no value of these looks like a tensor
_UNKNOWN: Any = object()  # a class that was not met in a field
_FEW = 100
_MOST_KNOWN = 64  # for each field: a program may make classes without end


@dataclasses.dataclass(frozen=True)
class Schema:
    """What an object looks like: an instance of a class of this name, a list of any length, a tuple or a dict."""

    kind: str
    class_name: str
    fields: tuple[Field, ...]


def _check_classes(seen: Seen, spec: Schema, value: object) -> None:
    """Raise TypeError or ValueError unless an object of this schema holds what it may hold, at every depth."""
    checked: dict[int, Schema] = {}
    pending: list[tuple[Schema, Any]] = [(spec, value)]
    for count, (spec, found) in enumerate(pending):  # which grows meanwhile
        if count > _FEW:  # to see a few of them twice takes less than to remember all
            if checked.get(id(found)) is spec:
                continue
            checked[id(found)] = spec
        if spec.kind == "instance":  # written out, as lists are: most of what there is to see
            for field in spec.fields:
                item = getattr(found, field.name, _MISSING)
                inner = field.known.get(type(item), _UNKNOWN)
                inner = _look_up(seen, field, item) if inner is _UNKNOWN else inner
                if inner is not None:
                    pending.append((inner, item))
        elif spec.kind == "list" and spec.fields:
            field = spec.fields[0]
            for item in found:
                inner = field.known.get(type(item), _UNKNOWN)
                inner = _look_up(seen, field, item) if inner is _UNKNOWN else inner
                if inner is not None:
                    pending.append((inner, item))
        else:
            for _, field, item in _parts("", spec, found):
                inner = _look_up(seen, field, item)
                if inner is not None:
                    pending.append((inner, item))


def _look_up(seen: Seen, field: Field, value: object) -> Schema | None:
    """The schema of the value of a field, if it has one; what its class alone says is kept."""
    if value is _MISSING:
        if field.optional:
            return None
        raise TypeError
    seen.has_tensors = seen.has_tensors or _is_torch(type(value))
    member = _member(seen.schemas, "", field, value)
    found = seen.schemas[member.schema] if isinstance(member, Object) else None
    if _tells_all(field, type(value)) and len(field.known) < _MOST_KNOWN:
        field.known[type(value)] = found
    return found


def _tells_all(field: Field, cls: type) -> bool:
    """Whether all values of this class are the same member of a field, and none of them is a tensor."""
    if cls is tuple or _is_torch(cls):  # the length counts; a call is told of tensors
        return False
    return cls in _PLAIN or not any(isinstance(member, Array) for member in field.members)


def as_array(value: Any) -> np.ndarray:
    """A tensor that an object holds, numpy's or torch's, as a subgraph takes it."""
    if _is_torch(type(value)):
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
    shape, dtype = tuple(value.shape), value.dtype
    dtype = spec.dtype if dtype is spec.usual else str(dtype).removeprefix("torch.")  # the name takes numpy long
    if dtype != spec.dtype or len(shape) != len(spec.shape):
        raise TypeError(f"{where}: expected {spec}, got {dtype}{list(shape)}")
    if any(isinstance(want, int) and size != want for size, want in zip(shape, spec.shape, strict=True)):
        raise ValueError(f"{where}: expected {spec}, got {dtype}{list(shape)}")
    return True


def _is_torch(cls: type) -> bool:
    return hasattr(cls, "detach") and hasattr(cls, "numpy")


def _shape_of(spec: Schema) -> str:
    return f"tuple {len(spec.fields)}" if spec.kind == "tuple" else spec.kind


def _described(name: str, spec: Schema) -> str:
    return f"a {spec.class_name}" if spec.kind == "instance" else f"a {_shape_of(spec)} ({name})"


class _Missing:
    """Stands for what is not there; nothing of the caller's is of this class."""


_MISSING = _Missing()


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
