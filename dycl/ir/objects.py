"""Python objects from operands, and back: what a program returns, and what a call hands to it."""

from __future__ import annotations

import builtins
import inspect
import math
import reprlib
from collections.abc import Mapping as Table
from collections.abc import Sequence
from typing import Any, assert_never

import numpy as np
import torch

from dycl.diagnostics import InternalError
from dycl.ir.environment import Environment
from dycl.ir.printer import print_operand, print_type
from dycl.ir.program import ParamKind, Program, Schema
from dycl.ir.resolve import resolve_torch
from dycl.ir.schemas import check_object
from dycl.ir.values import (
    ArrayForm,
    ArrayType,
    DictType,
    InputLeaf,
    ListType,
    Lit,
    Mapping,
    NothingType,
    ObjectType,
    Operand,
    Record,
    RecordKind,
    Ref,
    ScalarKind,
    ScalarType,
    Seq,
    SeqKind,
    SliceOf,
    StructType,
    TensorType,
    TorchLit,
    UnionType,
    ValueId,
    ValueType,
    Weight,
)

SCALAR_CLASSES: dict[ScalarKind, type] = {
    ScalarKind.INT: int,
    ScalarKind.FLOAT: float,
    ScalarKind.BOOL: bool,
    ScalarKind.STR: str,
}
SEQUENCE_CLASSES: dict[SeqKind, type] = {
    SeqKind.TUPLE: tuple,
    SeqKind.LIST: list,
    SeqKind.SIZE: torch.Size,
    SeqKind.SET: set,
}
_KINDS = {
    ParamKind.POSITIONAL_ONLY: inspect.Parameter.POSITIONAL_ONLY,
    ParamKind.POSITIONAL_OR_KEYWORD: inspect.Parameter.POSITIONAL_OR_KEYWORD,
    ParamKind.KEYWORD_ONLY: inspect.Parameter.KEYWORD_ONLY,
}


# ---------------------------------------------------------------- from operands


def build_object(operand: Operand, values: Table[ValueId, object], environment: Environment) -> object:
    """The object that an operand stands for, given the values it uses."""
    match operand:
        case Ref(id=value):
            if value not in values:
                raise InternalError(f"%{value} is used where it has no value")
            return values[value]
        case Lit(value=literal):
            return literal
        case TorchLit(text=text):
            return resolve_torch(text)
        case Weight(name=name):
            return find_weight(name, environment)
        case Seq(kind=kind, items=items):
            return SEQUENCE_CLASSES[kind]([build_object(item, values, environment) for item in items])
        case SliceOf(start=start, stop=stop, step=step):
            return slice(*(build_object(part, values, environment) for part in (start, stop, step)))
        case Mapping(items=pairs):
            return {key.value: build_object(item, values, environment) for key, item in pairs}
        case Record(fields=pairs):
            fields = {name: build_object(item, values, environment) for name, item in pairs}
            return _build_record(operand, fields, environment)
        case InputLeaf():
            raise InternalError("an input leaf stands outside a signature")
        case _:
            assert_never(operand)


def _build_record(record: Record, fields: dict[str, object], environment: Environment) -> object:
    found: Any = find_class(record.class_name, environment)
    match record.kind:
        case RecordKind.NAMEDTUPLE | RecordKind.MAPPING:
            return found(**fields)
        case RecordKind.DATACLASS:
            # The fields are the finished object's: its `__post_init__` has run, and must not change them again.
            made = found.__new__(found)
            for name, value in fields.items():
                object.__setattr__(made, name, value)
            return made
        case _:
            assert_never(record.kind)


def find_weight(name: str, environment: Environment) -> torch.Tensor:
    """The weight of this name."""
    if name not in environment.weights:
        raise InternalError(f"the environment has no weight {name!r}")
    return environment.weights[name]


def find_class(name: str, environment: Environment) -> type:
    """The class of this name (`module:qualname`), of the environment or a builtin."""
    module, _, qualname = name.partition(":")
    found = environment.classes.get(name)
    if found is None and module == "builtins":
        found = getattr(builtins, qualname, None)
    if not isinstance(found, type):
        raise InternalError(f"the environment has no class {name!r}")
    return found


# ---------------------------------------------------------------- types


def describe(value: object) -> str:
    """What a value is, in the words of the types of the program."""
    if isinstance(value, torch.Tensor):
        return print_type(TensorType(dtype_name(value), tuple(value.shape)))
    return f"{type(value).__name__} {reprlib.repr(value)}"


def dtype_name(tensor: torch.Tensor) -> str:
    """The dtype as types name it: `float32`."""
    return str(tensor.dtype).removeprefix("torch.")


def check_type(value: object, of: ValueType | NothingType, where: str, sizes: dict[str, int]) -> None:
    """Raise TypeError or ValueError unless the value is of the type.

    `sizes` holds the dimensions that are known by name so far, and learns new ones.
    """
    match of:
        case ScalarType(kind=kind):
            fits = type(value) is SCALAR_CLASSES[kind]
        case ListType(element=element, is_tuple=is_tuple):
            fits = type(value) is (tuple if is_tuple else list)
            for index, item in enumerate(value if isinstance(value, (list, tuple)) else ()):
                check_type(item, element, f"{where}[{index}]", dict(sizes))
        case DictType(key=key_type, value=value_type):
            fits = type(value) is dict
            for key, item in value.items() if isinstance(value, dict) else ():
                check_type(key, key_type, f"a key of {where}", dict(sizes))
                check_type(item, value_type, f"{where}[{key!r}]", dict(sizes))
        case StructType(template=template):
            fits = True
            _check_struct(value, template, where, sizes)
        case ObjectType():
            fits = True  # what is in it was checked when it was passed
        case NothingType():
            fits = value is None
        case UnionType(members=members):
            fits = any(has_type(value, member) for member in members)
        case TensorType(dtype=dtype, shape=shape):
            fits = isinstance(value, torch.Tensor) and dtype_name(value) == dtype.removeprefix("torch.")
            if isinstance(value, torch.Tensor) and fits and not _fits_shape(tuple(value.shape), shape, sizes):
                raise ValueError(f"{where}: expected {print_type(of)}, got {describe(value)}")
        case ArrayType(dtype=dtype, shape=shape, form=form):
            wanted = np.dtype(object if form is ArrayForm.OBJECTS else dtype)
            found = value if isinstance(value, np.ndarray | np.generic) else None
            fits = type(value) is (wanted.type if form is ArrayForm.SCALAR else np.ndarray)
            fits = fits and found is not None and found.dtype == wanted
            if found is not None and fits and not _fits_shape(found.shape, shape, sizes):
                raise ValueError(f"{where}: expected {print_type(of)}, got an array of the shape {found.shape}")
        case _:
            assert_never(of)
    if not fits:
        raise TypeError(f"{where}: expected {print_type(of)}, got {describe(value)}")


def _check_struct(value: Any, template: Operand, where: str, sizes: dict[str, int]) -> None:
    parts: list[tuple[Any, Any, Operand]]
    match template:
        case InputLeaf(type=of):
            check_type(value, of, where, sizes)
            return
        case Seq(kind=SeqKind.TUPLE | SeqKind.LIST as kind, items=items) if _is_of(value, kind):
            parts = list(zip(range(len(value)), value, items, strict=False))
            fits = len(value) == len(items)
        case Mapping(items=pairs) if type(value) is dict and list(value) == [key.value for key, _ in pairs]:
            parts = [(key.value, value[key.value], item) for key, item in pairs]
            fits = True
        case Lit(value=literal):
            parts, fits = [], type(value) is type(literal) and value == literal
        case _:
            parts, fits = [], False
    if not fits:
        raise TypeError(f"{where}: expected {print_operand(template)}, got {describe(value)}")
    for key, item, of_item in parts:
        _check_struct(item, of_item, f"{where}[{key!r}]", sizes)


def _is_of(value: Any, kind: SeqKind) -> bool:
    return type(value) is SEQUENCE_CLASSES[kind]


def has_type(value: object, of: ValueType | NothingType) -> bool:
    """Whether the value is of the type."""
    try:
        check_type(value, of, "", {})
    except (TypeError, ValueError):
        return False
    return True


def _fits_shape(found: tuple[int, ...], wanted: tuple[int | str, ...], sizes: dict[str, int]) -> bool:
    if len(found) != len(wanted):
        return False
    return all(
        size == (sizes.setdefault(want, size) if isinstance(want, str) else want)
        for size, want in zip(found, wanted, strict=True)
    )


# ---------------------------------------------------------------- from a call


def bind_arguments(
    program: Program, args: Sequence[object], kwargs: Table[str, object], method: str = ""
) -> dict[str, object]:
    """The arguments of a call by the names of their parameters; TypeError if one is missing or has none."""
    signature = program.signature_of(method)
    # Every parameter has a default here: one that must be given may stand behind one that may be left out.
    parameters = [inspect.Parameter(param.name, _KINDS[param.kind], default=None) for param in signature]
    given = inspect.Signature(parameters).bind(*args, **kwargs).arguments
    missing = [param.name for param in signature if not param.optional and param.name not in given]
    if missing:
        raise TypeError(f"missing a required argument: {missing[0]!r}")
    return given


def bind_inputs(
    program: Program, args: Sequence[object], kwargs: Table[str, object], environment: Environment, method: str = ""
) -> tuple[object, ...]:
    """The run-time inputs of a call, in order; TypeError or ValueError if the call is not one the signature admits."""
    given = bind_arguments(program, args, kwargs, method)
    call = _Call(environment, program.schemas)
    for param in program.signature_of(method):
        if param.name in given:
            call.match(param.spec, given[param.name], param.name)
    for dimension in program.dimensions:
        size = call.sizes.get(dimension.name)
        if size is not None and not dimension.admits(size):
            raise ValueError(f"the model was compiled for {dimension.name} of {dimension.interval}, it is {size} here")
    return tuple(call.inputs[index] for index in sorted(call.inputs))


class _Call:
    """The inputs and sizes that a call has shown so far."""

    def __init__(self, environment: Environment, schemas: Sequence[Schema]) -> None:
        self.environment = environment
        self.schemas = schemas
        self.inputs: dict[int, object] = {}
        self.sizes: dict[str, int] = {}

    def match(self, spec: Operand, value: Any, where: str) -> None:
        """Hold what is passed against what the signature says, leaf by leaf."""
        found: dict[Any, Any]
        match spec:
            case InputLeaf(index=index, type=of):
                if isinstance(of, ObjectType):
                    check_object(where, of.schema, value, self.schemas)
                check_type(value, of, where, self.sizes)
                if not spec.admits(value):
                    raise ValueError(f"{where}: compiled for {spec.interval}, got {value}")
                self.inputs[index] = value
            case Seq(kind=SeqKind.TUPLE | SeqKind.LIST | SeqKind.SIZE as kind, items=items):
                self._expect(type(value) is SEQUENCE_CLASSES[kind], spec, value, where)
                self._match_items(spec, value, list(enumerate(items)), dict(enumerate(value)), where)
            case Mapping(items=pairs):
                self._expect(type(value) is dict, spec, value, where)
                self._match_items(spec, value, [(key.value, item) for key, item in pairs], value, where)
            case SliceOf(start=start, stop=stop, step=step):
                parts = {"start": start, "stop": stop, "step": step}
                found = {name: getattr(value, name) for name in parts} if isinstance(value, slice) else {}
                self._match_items(spec, value, list(parts.items()), found, where)
            case Record(kind=kind, class_name=name, fields=fields):
                self._expect(type(value) is find_class(name, self.environment), spec, value, where)
                found = dict(value) if kind is RecordKind.MAPPING else {f: getattr(value, f) for f, _ in fields}
                self._match_items(spec, value, list(fields), found, where)
            case Ref() | Lit() | TorchLit() | Weight() | Seq():
                wanted = build_object(spec, {}, self.environment)
                self._expect(_is_same(wanted, value), spec, value, where)
            case _:
                assert_never(spec)

    def _match_items(
        self, spec: Operand, value: object, wanted: Sequence[tuple[Any, Operand]], found: dict[Any, Any], where: str
    ) -> None:
        self._expect([key for key, _ in wanted] == list(found), spec, value, where)
        for key, item in wanted:
            self.match(item, found[key], f"{where}[{key!r}]")

    def _expect(self, fits: bool, spec: Operand, value: object, where: str) -> None:
        if fits:
            return
        message = f"{where}: the model was compiled for {print_operand(spec)}, this call passes {describe(value)}"
        raise (ValueError if isinstance(spec, Lit) and type(spec.value) is type(value) else TypeError)(message)


def _is_same(wanted: object, value: object) -> bool:
    """Is a constant of the artifact what a call passes? 1, 1.0 and True differ, nan is itself."""
    if isinstance(wanted, torch.Tensor) or isinstance(value, torch.Tensor):
        both = isinstance(wanted, torch.Tensor) and isinstance(value, torch.Tensor)
        return both and wanted.dtype == value.dtype and torch.equal(wanted, value)  # type: ignore[attr-defined, arg-type]
    if isinstance(wanted, float) and isinstance(value, float):
        both_nan = math.isnan(wanted) and math.isnan(value)
        return both_nan or (wanted == value and math.copysign(1, wanted) == math.copysign(1, value))
    return type(wanted) is type(value) and wanted == value
