"""Which operands may stand where a value of a type is wanted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Table

from dycl.diagnostics import InternalError
from dycl.ir.printer import print_operand, print_type
from dycl.ir.values import (
    ArrayType,
    InputLeaf,
    ListType,
    Lit,
    Mapping,
    NothingType,
    Operand,
    Ref,
    ScalarKind,
    ScalarType,
    Seq,
    SeqKind,
    StructType,
    TensorType,
    UnionType,
    ValueId,
    ValueType,
    Weight,
)

LITERALS: dict[type, ScalarKind] = {
    int: ScalarKind.INT,
    float: ScalarKind.FLOAT,
    bool: ScalarKind.BOOL,
    str: ScalarKind.STR,
}
Types = Table[ValueId, ValueType]


def find_misfits(operand: Operand, wanted: ValueType, types: Types) -> Iterator[str]:
    """Sentences about each part of the operand that is not what is wanted; none about values that nobody defines."""
    match operand, wanted:
        case Seq(kind=kind, items=items), ListType() as of if kind is _seq_kind(of):
            for item in items:
                yield from find_misfits(item, of.element, types)
        case Ref(id=value), _:
            if value in types and not fits(types[value], wanted):
                yield f"%{value} ({print_type(types[value])}) does not fit {print_type(wanted)}"
        case _, StructType(template=template):
            yield from _find_unlike(operand, template, types)
        case Weight(), TensorType():
            pass
        case _ if not fits(_literal_type(operand), wanted):
            yield f"{show_operand(operand)} does not fit {print_type(wanted)}"


def _find_unlike(operand: Operand, template: Operand, types: Types) -> Iterator[str]:
    """The same of an object that is put together: it has the nest of the template, and leaves that fit its leaves."""
    match operand, template:
        case _, InputLeaf(type=wanted):
            yield from find_misfits(operand, wanted, types)
        case Seq(kind=kind, items=items), Seq(kind=same, items=others) if kind is same and len(items) == len(others):
            for item, other in zip(items, others, strict=True):
                yield from _find_unlike(item, other, types)
        case Mapping(items=pairs), Mapping(items=others) if _keys(pairs) == _keys(others):
            for (_, item), (_, other) in zip(pairs, others, strict=True):
                yield from _find_unlike(item, other, types)
        case Ref(id=value), _ if isinstance(found := types.get(value), StructType):
            if not _is_same_structure(found.template, template):
                yield f"%{value} ({print_type(found)}) does not fit {print_operand(template)}"
        case _ if operand != template:
            yield f"{show_operand(operand)} does not fit {print_operand(template)}"


def fits(found: ValueType | None, wanted: ValueType) -> bool:
    """Can a value of the first type stand for one of the second? A named dimension is any size."""
    if isinstance(wanted, UnionType) and not isinstance(found, UnionType):
        return any(fits(found, member) for member in wanted.members if not isinstance(member, NothingType))
    if isinstance(found, ListType) and isinstance(wanted, ListType):
        return found.is_tuple == wanted.is_tuple and fits(found.element, wanted.element)
    if isinstance(found, ArrayType) and isinstance(wanted, ArrayType):
        if found.form is not wanted.form:
            return False
        found, wanted = TensorType(found.dtype, found.shape), TensorType(wanted.dtype, wanted.shape)
    if isinstance(found, StructType) and isinstance(wanted, StructType):
        return _is_same_structure(found.template, wanted.template)
    if not isinstance(found, TensorType) or not isinstance(wanted, TensorType):
        return found == wanted
    if found.dtype != wanted.dtype or len(found.shape) != len(wanted.shape):
        return False
    pairs = zip(found.shape, wanted.shape, strict=True)
    return all(a == b or isinstance(a, str) or isinstance(b, str) for a, b in pairs)


def _is_same_structure(found: Operand, wanted: Operand) -> bool:
    match found, wanted:
        case InputLeaf(type=given), InputLeaf(type=needed):
            return fits(given, needed)
        case Seq(kind=kind, items=items), Seq(kind=same, items=others):
            return (
                kind is same
                and len(items) == len(others)
                and all(_is_same_structure(a, b) for a, b in zip(items, others, strict=True))
            )
        case Mapping(items=pairs), Mapping(items=others):
            return _keys(pairs) == _keys(others) and all(
                _is_same_structure(a, b) for (_, a), (_, b) in zip(pairs, others, strict=True)
            )
    return found == wanted


def _keys(pairs: Sequence[tuple[Lit, Operand]]) -> list[Lit]:
    return [key for key, _ in pairs]


def _seq_kind(of: ListType) -> SeqKind:
    return SeqKind.TUPLE if of.is_tuple else SeqKind.LIST


def _literal_type(operand: Operand) -> ScalarType | None:
    kind = LITERALS.get(type(operand.value)) if isinstance(operand, Lit) else None
    return ScalarType(kind) if kind is not None else None


def show_operand(operand: Operand) -> str:
    """The text of an operand; its representation where a wrong literal, which is reported, has none."""
    try:
        return print_operand(operand)
    except InternalError:
        return repr(operand)
