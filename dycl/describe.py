"""The manifest of a compiled program: what the program says about itself, in the terms of `dycl.manifest`."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping as Table
from pathlib import Path
from typing import Any, assert_never

import msgspec

from dycl.diagnostics import SourceRange
from dycl.ir.nodes import Branch
from dycl.ir.program import Method, Param, Program
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
    Ref,
    ScalarType,
    Seq,
    SliceOf,
    StructType,
    TensorType,
    TorchLit,
    UnionType,
    ValueType,
    Weight,
)
from dycl.manifest import (
    GENERATOR,
    SCHEMA_VERSION,
    BranchEntry,
    DimensionEntry,
    Location,
    Manifest,
    MethodEntry,
    ParamEntry,
    SourceEntry,
    StateEntry,
    SubgraphEntry,
    TunableEntry,
    WeightEntry,
)


def describe_program(
    program: Program,
    *,
    package: str,
    class_name: str,
    target: str,
    device: str,
    opset: int,
    requirements: tuple[str, ...],
    compiled: Table[str, Any],
    versions: Table[str, str],
    classes: Iterable[str],
) -> Manifest:
    """The manifest, its files not yet hashed; `compiled` is what the target tells its runtime."""
    return Manifest(
        schema_version=SCHEMA_VERSION,
        generator=GENERATOR,
        name=package,
        class_name=class_name,
        method=program.method,
        signature=write_signature(program),
        params=tuple(_describe_param(param) for param in program.signature),
        methods=tuple(_describe_method(method) for method in program.others),
        branches=_describe_branches(program),
        subgraphs=_describe_subgraphs(program, compiled["subgraphs"]),
        weights=msgspec.convert(compiled["weights"], dict[str, WeightEntry]),
        state=_describe_state(program),
        tunables=_describe_tunables(program),
        dimensions=tuple(DimensionEntry(name=d.name, low=d.low, high=d.high) for d in program.dimensions),
        classes=tuple(sorted(classes)),
        target=target,
        device=device,
        opset=opset,
        requirements=requirements,
        versions=dict(versions),
        sources=tuple(SourceEntry(file=Path(source.path).name, sha256=source.sha256) for source in program.sources),
        files={},
    )


def describe_location(loc: SourceRange) -> Location:
    """The line, by the file's base name: nothing of this machine."""
    return Location(file=Path(loc.file).name, line=loc.line, function=loc.function)


def write_signature(program: Program) -> str:
    """The method's signature for this artifact, as in `forward(x: float32[1, 3], k: int = 2)`."""
    return _write_method(program.methods[0])


def _write_method(method: Method) -> str:
    return f"{method.name}({', '.join(_write_param(param) for param in method.signature)})"


def _describe_method(method: Method) -> MethodEntry:
    params = tuple(_describe_param(param) for param in method.signature)
    return MethodEntry(name=method.name, signature=_write_method(method), params=params)


def _write_param(param: Param) -> str:
    return f"{param.name}: {write_spec(param.spec)}" + (" (optional)" if param.optional else "")


def write_type(kind: ValueType | NothingType) -> str:
    """A type as a person reads it: `float32[1, 3]`, `int`, `list[int]`."""
    match kind:
        case TensorType(dtype=dtype, shape=shape):
            return f"{dtype}[{', '.join(map(str, shape))}]"
        case ScalarType(kind=scalar):
            return scalar.value
        case ListType(element=element, is_tuple=is_tuple):
            return f"{'tuple' if is_tuple else 'list'}[{write_type(element)}]"
        case DictType(key=key, value=value):
            return f"dict[{write_type(key)}, {write_type(value)}]"
        case ArrayType(dtype=dtype, form=ArrayForm.SCALAR):
            return f"numpy {dtype}"
        case ArrayType(dtype=dtype, shape=shape, form=form):
            name = "object" if form is ArrayForm.OBJECTS else dtype
            return f"numpy {name}[{', '.join(map(str, shape))}]"
        case StructType(template=template):
            return write_spec(template)
        case ObjectType(schema=schema):
            return schema
        case UnionType(members=members):
            return " | ".join(write_type(member) for member in members)
        case NothingType():
            return "None"
        case _:
            assert_never(kind)


def write_spec(spec: Operand) -> str:
    """What an argument must be: types where it is free, literals where it is fixed."""
    match spec:
        case InputLeaf(type=kind):
            return write_type(kind)
        case Lit(value=value):
            return repr(value)
        case TorchLit(text=text):
            return text
        case Seq(kind=kind, items=items):
            return f"{kind.value}[{', '.join(write_spec(item) for item in items)}]"
        case Mapping(items=pairs):
            return "{" + ", ".join(f"{key.value!r}: {write_spec(item)}" for key, item in pairs) + "}"
        case Record(class_name=name, fields=fields):
            inside = ", ".join(f"{field}={write_spec(item)}" for field, item in fields)
            return f"{name.split(':')[-1]}({inside})"
        case SliceOf(start=start, stop=stop, step=step):
            return f"slice({write_spec(start)}, {write_spec(stop)}, {write_spec(step)})"
        case Weight(name=name):
            return name
        case Ref(id=value):
            return f"state {value}"
        case _:
            assert_never(spec)


def _describe_param(param: Param) -> ParamEntry:
    return ParamEntry(
        name=param.name,
        kind=param.kind.value,
        type=write_spec(param.spec),
        optional=param.optional,
        spec=encode_spec(param.spec),
    )


def _leaf_name(kind: ValueType) -> str:
    match kind:
        case TensorType():
            return "tensor"
        case ListType():
            return "list"
        case ObjectType():
            return "object"
        case _:
            return "scalar"


def encode_spec(spec: Operand) -> dict[str, Any]:
    """A parameter's specification as JSON: one key says what it is. A number may have a least and a greatest."""
    match spec:
        case InputLeaf(index=index, type=kind, low=low, high=high):
            ends = {name: end for name, end in (("low", low), ("high", high)) if end is not None}
            return {"input": index, "leaf": _leaf_name(kind), "type": write_type(kind), **ends}
        case Lit(value=value):
            return {"literal": value} if _is_json(value) else {"constant": repr(value)}
        case Seq(kind=kind, items=items):
            return {"sequence": kind.value, "items": [encode_spec(item) for item in items]}
        case Mapping(items=pairs):
            return {"mapping": [[key.value, encode_spec(item)] for key, item in pairs]}
        case Record(class_name=name, fields=fields):
            return {"record": name, "fields": [[field, encode_spec(item)] for field, item in fields]}
        case TorchLit() | SliceOf() | Weight() | Ref():
            return {"constant": write_spec(spec)}
        case _:
            assert_never(spec)


def _is_json(value: object) -> bool:
    finite = not isinstance(value, float) or (value == value and abs(value) != float("inf"))
    return value is None or (isinstance(value, bool | int | float | str) and finite)


def _describe_branches(program: Program) -> tuple[BranchEntry, ...]:
    sites: dict[tuple[Location, str], list[int]] = {}
    for block in program.blocks:
        if isinstance(block.end, Branch):
            sites.setdefault((describe_location(block.end.loc), block.end.loc.text), []).append(block.id)
    return tuple(BranchEntry(sites=tuple(ids), location=place, text=text) for (place, text), ids in sites.items())


def _describe_subgraphs(program: Program, compiled: Table[str, Any]) -> dict[str, SubgraphEntry]:
    entries = {}
    for subgraph in program.subgraphs:
        if subgraph.name not in compiled:
            continue  # the target may have had nothing to do for it
        place = {"location": describe_location(subgraph.loc), "operations": len(subgraph.ops)}
        entries[subgraph.name] = msgspec.convert({**compiled[subgraph.name], **place}, SubgraphEntry)
    return entries


def _describe_state(program: Program) -> tuple[StateEntry, ...]:
    found: dict[str, list[str]] = {}
    for entry in program.entries[:: len(program.methods)]:  # those of a kind of state show the same
        for slot in entry.slots:
            found.setdefault(slot.name, []).append(write_spec(slot.template))
    return tuple(StateEntry(name=name, entries=tuple(texts)) for name, texts in found.items())


def _describe_tunables(program: Program) -> tuple[TunableEntry, ...]:
    return tuple(
        TunableEntry(
            name=tunable.name,
            type=tunable.kind.value,
            default=msgspec.convert(tunable.default, bool | int | float | str),
            location=describe_location(tunable.loc),
        )
        for tunable in program.tunables
    )
