"""What the objects look like that a call is handed: a schema for each class, and for lists and tuples where they stand.

The structure of such an object (how deep a tree is, how many children a node has) is the run's to know. What the schema
fixes is what each place may hold: which classes, which kinds of numbers, which tensors. It is taken from the examples,
all of them together, and grows by what the model itself writes.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from dycl.diagnostics import UNKNOWN, UnsupportedError
from dycl.ir.program import Schema, SchemaField, SchemaKind
from dycl.ir.structures import is_instance
from dycl.ir.values import Member, NothingType, ObjectType, ScalarKind, ScalarType, TensorType

ITEM = "item"  # the one field of a list

_KINDS = {int: ScalarKind.INT, float: ScalarKind.FLOAT, bool: ScalarKind.BOOL, str: ScalarKind.STR}


@dataclasses.dataclass(slots=True)
class _Tensor:
    """A tensor at a place: None for a dimension that differs from object to object."""

    dtype: str
    shape: list[int | None]


@dataclasses.dataclass(slots=True)
class _Field:
    """What was seen at a place."""

    members: list[NothingType | ScalarType | ObjectType] = dataclasses.field(default_factory=list)
    tensor: _Tensor | None = None
    opaque: str = ""  # the class of something that no schema can describe
    seen: int = 0
    is_written: bool = False

    def add(self, member: Any) -> None:
        if member not in self.members:
            self.members.append(member)

    def add_tensor(self, tensor: torch.Tensor) -> None:
        dtype = str(tensor.dtype).removeprefix("torch.")
        shape: list[int | None] = [size if isinstance(size, int) else None for size in tensor.shape]
        if self.tensor is None:
            self.tensor = _Tensor(dtype, shape)
        elif self.tensor.dtype != dtype or len(self.tensor.shape) != len(shape):
            self.opaque = "tensors of several dtypes or ranks"
        else:
            pairs = zip(self.tensor.shape, shape, strict=True)
            self.tensor.shape = [old if old == new else None for old, new in pairs]


@dataclasses.dataclass(slots=True)
class _Draft:
    """A schema being drawn."""

    name: str
    kind: SchemaKind
    cls: type
    fields: dict[str, _Field] = dataclasses.field(default_factory=dict)
    count: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Write:
    """Something that the model writes into an object: remembered over the attempts of a compile."""

    schema: str
    field: str
    value: Any  # a sketch: see `SchemaTable.sketch`


class SchemaTable:
    """The schemas of everything that the examples hold."""

    def __init__(self) -> None:
        self._drafts: dict[str, _Draft] = {}
        self._seen: dict[int, Any] = {}
        self._ready: dict[str, Schema] = {}

    def __getitem__(self, name: str) -> Schema:
        found = self._ready.get(name)
        if found is None:
            found = self._ready[name] = self._schema(self._drafts[name])
        return found

    def class_of(self, name: str) -> type:
        """The class of an object with this schema."""
        return self._drafts[name].cls

    def opaque(self, name: str, field: str) -> str:
        """Why a field that the examples have is not in the schema; empty if that is not so."""
        found = self._drafts[name].fields.get(field)
        return found.opaque if found is not None else ""

    def all(self) -> tuple[Schema, ...]:
        """Every schema, in the order in which they were met."""
        return tuple(self[name] for name in self._drafts)

    # ------------------------------------------------------------ drawing

    def add(self, value: Any, base: str) -> str:
        """The name of the schema of an example's object, which now fits it and all that it holds."""
        name = self._draft(value, base).name
        pending = [(value, base)]
        while pending:
            found, base = pending.pop()
            if id(found) in self._seen:
                continue
            self._seen[id(found)] = found
            self._ready = {}
            draft = self._draft(found, base)
            draft.count += 1
            for field_name, item in _items(draft.kind, found):
                field = draft.fields.setdefault(field_name, _Field())
                field.seen += 1
                inner = f"{draft.name}_{field_name}" if draft.kind is SchemaKind.INSTANCE else base
                self._note(field, item, inner)
                if _has_schema(item):
                    pending.append((item, inner))
        return name

    def _note(self, field: _Field, item: Any, base: str) -> None:
        if item is None:
            field.add(NothingType())
        elif type(item) in _KINDS:
            field.add(ScalarType(_KINDS[type(item)]))
        elif isinstance(item, torch.Tensor):
            field.add_tensor(item)
        elif _has_schema(item):
            field.add(ObjectType(self._draft(item, base).name))
        else:
            field.opaque = f"{type(item).__module__}.{type(item).__qualname__}"

    def _draft(self, value: Any, base: str) -> _Draft:
        kind = _kind(value)
        if kind is SchemaKind.INSTANCE:
            name = type(value).__qualname__.replace("<locals>.", "")
            same = self._drafts.get(name)
            if same is not None and same.cls is not type(value):
                raise UnsupportedError("DY213", UNKNOWN, f"two classes named {name} in the inputs")
        else:
            name = f"{base}_{kind.value}" + (str(len(value)) if kind is SchemaKind.TUPLE else "")
        return self._drafts.setdefault(name, _Draft(name, kind, type(value)))

    # ------------------------------------------------------------ writes of the model

    def write(self, write: Write) -> None:
        """Widen a field by what the model writes into it."""
        self._ready = {}
        draft = self._drafts[write.schema]
        field = draft.fields.setdefault(write.field, _Field())
        field.is_written = True
        self._widen(field, write.value, f"{draft.name}_{write.field}")

    def _widen(self, field: _Field, sketch: Any, base: str) -> None:
        if isinstance(sketch, (NothingType, ScalarType, ObjectType)):
            field.add(sketch)
        elif isinstance(sketch, TensorType):
            dims = [size if isinstance(size, int) else None for size in sketch.shape]
            if field.tensor is None:
                field.tensor = _Tensor(sketch.dtype, dims)
            elif field.tensor.dtype != sketch.dtype or len(field.tensor.shape) != len(dims):
                field.opaque = "tensors of several dtypes or ranks"
            else:
                field.tensor.shape = [a if a == b else None for a, b in zip(field.tensor.shape, dims, strict=True)]
        else:
            name = f"{base}_tuple{len(sketch)}"
            draft = self._drafts.setdefault(name, _Draft(name, SchemaKind.TUPLE, tuple))
            field.add(ObjectType(name))
            for index, item in enumerate(sketch):
                self._widen(draft.fields.setdefault(str(index), _Field()), item, base)

    # ------------------------------------------------------------ finished

    def _schema(self, draft: _Draft) -> Schema:
        fields = []
        for name, field in draft.fields.items():
            if field.opaque:
                continue
            members: list[Member] = list(field.members)
            if field.tensor is not None:
                dims = [
                    size if size is not None else f"{draft.name}_{name}_{dim}"
                    for dim, size in enumerate(field.tensor.shape)
                ]
                members.append(TensorType(field.tensor.dtype, tuple(dims)))
            members.sort(key=_order)
            optional = draft.kind in (SchemaKind.INSTANCE, SchemaKind.DICT) and field.seen < draft.count
            fields.append(SchemaField(name, tuple(members), optional, field.is_written))
        return Schema(draft.name, draft.kind, f"{draft.cls.__module__}:{draft.cls.__qualname__}", tuple(fields))


def _order(member: Member) -> int:
    """None is asked for first, what is in an object last."""
    order = (NothingType, ScalarType, TensorType, ObjectType)
    return next(index for index, kind in enumerate(order) if isinstance(member, kind))


def _kind(value: Any) -> SchemaKind:
    if type(value) is list:
        return SchemaKind.LIST
    if type(value) is tuple:
        return SchemaKind.TUPLE
    return SchemaKind.DICT if type(value) is dict else SchemaKind.INSTANCE


def _has_schema(value: Any) -> bool:
    if type(value) is dict:
        return all(type(key) is str for key in value)
    return type(value) in (list, tuple) or is_instance(value)


def _items(kind: SchemaKind, value: Any) -> list[tuple[str, Any]]:
    match kind:
        case SchemaKind.LIST:
            return [(ITEM, item) for item in value]
        case SchemaKind.TUPLE:
            return [(str(index), item) for index, item in enumerate(value)]
        case SchemaKind.DICT:
            return list(value.items())
        case SchemaKind.INSTANCE:
            return list(attributes(value).items())


def attributes(value: Any) -> dict[str, Any]:
    """The attributes of an object: of its dictionary and its slots."""
    found = dict(getattr(value, "__dict__", {}))
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                found.setdefault(name, getattr(value, name))
    return found
