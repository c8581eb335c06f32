"""Objects of the caller's inside the machine: their attributes and items are read, and written, by the host.

What a place holds is decided when it is read: a field that may be None or a node asks which it is, and the path goes on
with None on one side and a node on the other. So a register never holds something undecided.
"""

from __future__ import annotations

import inspect
import types
from typing import TYPE_CHECKING, Any

import sympy
import torch
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily
from torch.utils._sympy.numbers import int_oo

from dycl.diagnostics import UnsupportedError
from dycl.ir.nodes import HostOp
from dycl.ir.program import SchemaField, SchemaKind
from dycl.ir.values import (
    Lit,
    Member,
    NothingType,
    ObjectType,
    Operand,
    Ref,
    ScalarKind,
    ScalarType,
    TensorType,
    UnionType,
    ValueId,
    ValueType,
)
from dycl.passes.specialize import pymodels
from dycl.passes.specialize.builtins import Interpret
from dycl.passes.specialize.scalars import kind_of
from dycl.passes.specialize.schemas import ITEM, Write
from dycl.passes.specialize.signals import Restart
from dycl.passes.specialize.values import RuntimeObject, Scalar, Text, TextPart

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine

_PLAIN = (bool, int, float, str)


# ---------------------------------------------------------------- reading


def attribute_method(machine: Machine, target: RuntimeObject, name: str) -> Interpret | None:
    """What computes an attribute in the Python of the object's own class."""
    cls = machine.schemas.class_of(target.schema)
    found = inspect.getattr_static(cls, name, None)
    if isinstance(found, property) and machine.is_steppable(found.fget):
        return Interpret(found.fget, (target,))
    if machine.is_steppable(cls.__getattribute__):
        raise _refused(machine, target, f"{cls.__qualname__}.__getattribute__")
    return None


def load_attribute(machine: Machine, target: RuntimeObject, name: str) -> Any:
    """target.name"""
    schema = machine.schemas[target.schema]
    cls = machine.schemas.class_of(target.schema)
    field = schema.field(name) if schema.kind is SchemaKind.INSTANCE else None
    if field is not None and (not field.optional or _ask(machine, "has_attr", target.vid, name, is_now=True)):
        return _read(machine, target, field, "attr_now" if field.is_written else "attr", Lit(name))
    if reason := machine.schemas.opaque(target.schema, name):
        raise UnsupportedError("DY213", machine.loc(), f"{cls.__qualname__}.{name} of an input holds {reason}")
    if schema.kind is SchemaKind.DICT and name in ("keys", "values", "items", "get"):
        return types.MethodType(_DICT_METHODS[name], target)
    found = inspect.getattr_static(cls, name, None)
    if found is None or inspect.ismemberdescriptor(found):
        if getattr(cls, "__getattr__", None) is not None:
            raise _refused(machine, target, f"{cls.__qualname__}.__getattr__")
        raise AttributeError(f"{cls.__name__!r} object has no attribute {name!r}")
    if isinstance(found, types.FunctionType):
        return types.MethodType(found, target)
    if isinstance(found, staticmethod):
        return found.__func__
    if isinstance(found, classmethod):
        return types.MethodType(found.__func__, cls)
    if hasattr(type(found), "__get__"):
        raise _refused(machine, target, f"{cls.__qualname__}.{name}")
    machine.remember_old(found)
    return found


def load_item(machine: Machine, target: RuntimeObject, index: Any) -> Any:
    """target[index]"""
    schema = machine.schemas[target.schema]
    if schema.kind is SchemaKind.DICT:
        return _dict_item(machine, target, index)
    if isinstance(index, slice) and schema.kind is SchemaKind.TUPLE:
        return tuple(items(machine, target))[index]
    if not isinstance(index, (int, Scalar)) or schema.kind is SchemaKind.INSTANCE:
        raise _refused(machine, target, f"a subscript with {type(index).__name__}")
    if schema.kind is SchemaKind.TUPLE:
        position = machine.concrete(index)
        if not -len(schema.fields) <= position < len(schema.fields):
            raise IndexError("tuple index out of range")
        position %= len(schema.fields)
        return _read(machine, target, schema.fields[position], "entry", Lit(position))
    size = length(machine, target)
    from_front = machine.truth(machine.host("ge", index, 0)) if isinstance(index, Scalar) else index >= 0
    position = index if from_front else machine.host("add", index, size)
    if not (machine.truth(machine.host("ge", position, 0)) and machine.truth(machine.host("lt", position, size))):
        raise IndexError("list index out of range")
    field = schema.field(ITEM)
    if field is None:
        raise UnsupportedError("DY213", machine.loc(), "the examples have nothing in this list")
    return _read(machine, target, field, "entry", machine.operand(position))


def _dict_item(machine: Machine, target: RuntimeObject, key: Any) -> Any:
    field = machine.schemas[target.schema].field(key) if type(key) is str else None
    if field is None:
        raise _refused(machine, target, f"the key {key!r}, which no example has,")
    if field.optional:
        raise _refused(machine, target, f"the key {key!r}, which some examples do not have,")
    return _read(machine, target, field, "entry", Lit(key))


def items(machine: Machine, target: RuntimeObject) -> list[Any]:
    """The items of a tuple, the keys of a dict."""
    schema = machine.schemas[target.schema]
    if schema.kind is SchemaKind.TUPLE:
        return [_read(machine, target, field, "entry", Lit(index)) for index, field in enumerate(schema.fields)]
    if schema.kind is SchemaKind.DICT and not any(field.optional for field in schema.fields):
        return [field.name for field in schema.fields]
    raise _refused(machine, target, "iteration")


def unpacked(machine: Machine, target: RuntimeObject, wanted: int) -> list[Any]:
    """As many items as an assignment has targets; of a list that is decided, and another length has Python's error."""
    if machine.schemas[target.schema].kind is not SchemaKind.LIST:
        return items(machine, target)
    size = length(machine, target)
    if machine.truth(machine.host("eq", size, wanted)):
        return [load_item(machine, target, index) for index in range(wanted)]
    if machine.truth(machine.host("lt", size, wanted)):
        missing = Text.of(f"not enough values to unpack (expected {wanted}, got ", TextPart(size, "", ""), ")")
        raise ValueError(missing)
    raise ValueError(f"too many values to unpack (expected {wanted})")


def length(machine: Machine, target: RuntimeObject) -> Any:
    """len(target)"""
    schema = machine.schemas[target.schema]
    if schema.kind is not SchemaKind.LIST:
        return len(items(machine, target))
    call = ("list_len", target.vid)
    found, out = machine.replayed(call)
    if found:
        return out
    if call in machine.state.facts.results:
        return machine.state.facts.results[call]
    size = machine.host_op("list_len", (Ref(target.vid),), ScalarKind.INT)
    machine._give_symbol(size)
    machine.bound_symbol(size.expr, 0, None)
    machine.state.facts.results[call] = size
    machine.log(call, size)
    return size


def truth(machine: Machine, target: RuntimeObject) -> bool:
    """bool(target), where its class has no say."""
    if machine.schemas[target.schema].kind is SchemaKind.INSTANCE:
        return True
    size = length(machine, target)
    return machine.truth(machine.host("ne", size, 0)) if isinstance(size, Scalar) else bool(size)


def is_same(machine: Machine, left: Any, right: Any) -> bool:
    """left is right"""
    if not isinstance(left, RuntimeObject) or not isinstance(right, RuntimeObject):
        return False
    if left.vid == right.vid:
        return True
    kinds = {machine.schemas[side.schema].kind for side in (left, right)}
    if left.schema != right.schema and SchemaKind.INSTANCE in kinds:
        return False
    return _ask(machine, "same", left.vid, Ref(right.vid))


def _read(machine: Machine, target: RuntimeObject, field: SchemaField, function: str, place: Operand) -> Any:
    """What a field holds now, decided."""
    raw = _emit(machine, function, (Ref(target.vid), place), field.type, field.name)
    members = field.members
    if not isinstance(field.type, UnionType):
        return _value(machine, raw, members[0])
    chosen = next((m for m in members[:-1] if _is(machine, raw, m)), members[-1])
    if isinstance(chosen, NothingType):
        return None
    return _value(machine, _emit(machine, "narrow", (Ref(raw),), chosen, field.name), chosen)


def _is(machine: Machine, raw: ValueId, member: Member) -> bool:
    match member:
        case NothingType():
            return _ask(machine, "is_none", raw)
        case ScalarType(kind=kind):
            return _ask(machine, "is_a", raw, kind.value)
        case TensorType():
            return _ask(machine, "is_a", raw, "tensor")
        case ObjectType(schema=name):
            schema = machine.schemas[name]
            if schema.kind is SchemaKind.TUPLE:
                return _ask(machine, "is_a", raw, f"tuple {len(schema.fields)}")
            if schema.kind is not SchemaKind.INSTANCE:
                return _ask(machine, "is_a", raw, schema.kind.value)
            return _ask(machine, "is_a", raw, machine.schemas.class_of(name).__name__)


def _ask(machine: Machine, function: str, vid: ValueId, what: Any = None, *, is_now: bool = False) -> bool:
    """A question about an object, which the facts of the path answer, or a fork."""
    call = (function, vid, what)
    found, out = machine.replayed(call)
    if not found and not is_now and call in machine.state.facts.results:
        out = machine.state.facts.results[call]
    elif not found:
        more: tuple[Operand, ...] = () if what is None else (what if isinstance(what, Ref) else Lit(what),)
        out = machine.host_op(function, (Ref(vid), *more), ScalarKind.BOOL)
        machine.log(call, out)
        machine.state.facts.results[call] = out
    return machine.truth(out)


def _emit(machine: Machine, function: str, args: tuple[Operand, ...], of: ValueType, name: str) -> ValueId:
    """The result of a host operation on objects, read once unless the program may have changed it meanwhile."""
    call = (function, args)
    found, out = machine.replayed(call)
    if found:
        return out  # type: ignore[no-any-return]
    if function != "attr_now" and call in machine.state.facts.results:
        return machine.state.facts.results[call]  # type: ignore[no-any-return]
    vid = machine.values.new(of, name if name.isidentifier() and name != ITEM else "")
    machine.emit(HostOp(function=function, args=args, result=machine.value(vid), loc=machine.loc()))
    machine.state.facts.results[call] = vid
    machine.log(call, vid)
    return vid


def _value(machine: Machine, vid: ValueId, of: Member) -> Any:
    """The abstract value that a host operation has made."""
    call = ("value", vid)
    if call in machine.state.facts.results:
        return machine.state.facts.results[call]
    value: Any
    match of:
        case ScalarType(kind=kind):
            value = Scalar(kind, vid)
            if kind is ScalarKind.INT:
                machine._give_symbol(value)
        case ObjectType(schema=schema):
            value = RuntimeObject(schema, vid)
        case TensorType():
            value = make_tensor(machine, vid, of, is_frozen=True)
        case NothingType():
            value = None
    machine.state.facts.results[call] = value
    return value


def make_tensor(machine: Machine, vid: ValueId, of: TensorType, *, is_frozen: bool) -> FakeTensor:
    """A fake tensor for a value of the program; dimensions with names are new symbols, read from it.

    Frozen: others hold it too, so that it must not be written in place.
    """
    symbols = []
    shape: list[Any] = []
    for dim, size in enumerate(of.shape):
        if isinstance(size, str):
            with unset_fake_temporarily():
                symbolic = machine.env.create_unbacked_symint()
            machine.env.pending_fresh_unbacked_symbols.clear()
            symbols.append((symbolic.node.expr, dim))
            shape.append(symbolic)
        else:
            shape.append(size)
    for symbol, _ in symbols:
        machine.state.facts.intervals.setdefault(symbol, (sympy.Integer(0), int_oo))
    with unset_fake_temporarily(), machine.fake, torch._C.DisableTorchFunction():
        tensor = torch.empty(shape, dtype=getattr(torch, of.dtype))
    tensor._dycl_root = vid  # type: ignore[attr-defined]
    machine.keep.append(tensor)
    storage = tensor.untyped_storage()._cdata
    machine.state.aliases[storage] = (vid,)
    if is_frozen:
        machine.input_storages.add(storage)
    for symbol, dim in symbols:
        machine.bind_size(symbol, tensor, dim)
    return tensor  # type: ignore[return-value]


# ---------------------------------------------------------------- writing


def store_attribute(machine: Machine, target: RuntimeObject, name: str, value: Any) -> None:
    """target.name = value: an effect of the host, which the caller sees as it does with the source."""
    schema = machine.schemas[target.schema]
    cls = machine.schemas.class_of(target.schema)
    if schema.kind is not SchemaKind.INSTANCE:
        raise AttributeError(f"{cls.__name__!r} object has no attribute {name!r}")
    if machine.is_steppable(cls.__setattr__) or hasattr(inspect.getattr_static(cls, name, None), "__set__"):
        raise _refused(machine, target, f"assignment to {cls.__qualname__}.{name}")
    write = Write(target.schema, name, sketch(machine, value))
    if write not in machine.hints.writes:
        machine.hints.writes.append(write)
        raise Restart("the model writes an attribute of an input")
    call = ("set_attr", target.vid, name)
    found, _ = machine.replayed(call)
    if not found:
        vid = machine.values.new(ScalarType(ScalarKind.BOOL))
        args = (Ref(target.vid), Lit(name), machine.operand(value))
        machine.emit(HostOp(function="set_attr", args=args, result=machine.value(vid), loc=machine.loc()))
        machine.log(call, None, has_effect=True)


def sketch(machine: Machine, value: Any) -> Any:
    """What a value looks like once the caller's object holds it; only what cannot change afterwards may be held."""
    if value is None:
        return NothingType()
    if isinstance(value, Scalar):
        return ScalarType(value.kind)
    if type(value) in _PLAIN:
        return ScalarType(kind_of(value))
    if isinstance(value, Text):
        return ScalarType(ScalarKind.STR)
    if isinstance(value, RuntimeObject):
        return ObjectType(value.schema)
    if isinstance(value, FakeTensor):
        machine.input_storages.add(value.untyped_storage()._cdata)  # written in place it would change there, too
        found = machine.tensor_type(value)
        return TensorType(found.dtype, tuple(size if isinstance(size, int) else "?" for size in found.shape))
    if type(value) is tuple:
        return tuple(sketch(machine, item) for item in value)
    raise UnsupportedError(
        "DY212",
        machine.loc(),
        f"a {type(value).__name__} is kept on an input of the model, where the caller would see it",
        hint="keep tensors, numbers, text, None or tuples of these",
    )


_DICT_METHODS: dict[str, Any] = {
    "keys": pymodels.dict_keys,
    "values": pymodels.dict_values,
    "items": pymodels.dict_items,
    "get": pymodels.dict_get,
}


def _refused(machine: Machine, target: RuntimeObject, what: str) -> UnsupportedError:
    cls = machine.schemas.class_of(target.schema)
    return UnsupportedError("DY213", machine.loc(), f"{what} of an input, a {cls.__qualname__}")
