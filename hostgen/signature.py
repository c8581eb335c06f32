"""What a call must pass and what lasts between calls, as literals of the host."""

from __future__ import annotations

from typing import assert_never

from dycl.diagnostics import InternalError
from dycl.hostgen.expressions import literal, quoted
from dycl.ir.nodes import WriteKind
from dycl.ir.program import Entry, Param, Program, Schema
from dycl.ir.values import (
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
    ScalarType,
    Seq,
    SliceOf,
    StructType,
    TensorType,
    TorchLit,
    UnionType,
    ValueId,
    ValueType,
    Weight,
)
from dycl.ir.writes import all_writes, leaf_at


def specification(operand: Operand, classes: dict[str, str], holes: dict[ValueId, tuple[int, ValueType]]) -> str:
    """The text that builds a `Spec` of the support module; `holes` are the state values, in templates."""

    def write(part: Operand) -> str:
        return specification(part, classes, holes)

    match operand:
        case InputLeaf(index=index, type=ScalarType(kind=kind), low=low, high=high) if (low, high) != (None, None):
            return f'Number({index}, "{kind.value}", {low}, {high})'
        case InputLeaf(index=index, type=of):
            return _leaf(index, of)
        case Ref(id=value):
            if value not in holes:
                raise InternalError(f"host generator: a state template uses %{value}, which is no state value")
            return _leaf(*holes[value])
        case Lit(value=value):
            return f"Constant({literal(value)[0]})"
        case TorchLit(text=text):
            return f"TorchConstant({quoted(text)})"
        case Seq(kind=kind, items=items):
            return f'Items("{kind.value}", {_tuple([write(item) for item in items])})'
        case SliceOf(start=start, stop=stop, step=step):
            return f"SliceOf({write(start)}, {write(stop)}, {write(step)})"
        case Mapping(items=pairs):
            return f"Keys({_tuple([f'({literal(key.value)[0]}, {write(item)})' for key, item in pairs])})"
        case Record(kind=kind, class_name=name, fields=fields):
            parts = _tuple([f"({quoted(field)}, {write(item)})" for field, item in fields])
            return f"Fields({classes[name]}, {kind is RecordKind.MAPPING}, {parts})"
        case Weight(name=name):
            raise InternalError(f"host generator: the weight {name} stands in a signature")
        case _:
            assert_never(operand)


def _leaf(index: int, of: ValueType | NothingType) -> str:
    match of:
        case TensorType(dtype=dtype, shape=shape):
            return f'Array({index}, "{dtype}", {_tuple([literal(size)[0] for size in shape])})'
        case ScalarType(kind=kind):
            return f'Number({index}, "{kind.value}")'
        case ListType(element=element, is_tuple=False):
            return f"ListOf({index}, {_leaf(-1, element)})"
        case ObjectType(schema=schema):
            return f"Object({index}, {quoted(schema)})"
        case NothingType():
            return "Constant(None)"
        case UnionType() | DictType() | ListType():
            raise InternalError("host generator: something undecided stands in a signature")
        case ArrayType(dtype=dtype, shape=shape):
            return _leaf(index, TensorType(dtype, shape))
        case StructType(template=template):
            return specification(template, {}, {})
        case _:
            assert_never(of)


def schema_text(schema: Schema) -> str:
    """The text that builds a `Schema`."""
    fields = [
        f"Field({quoted(field.name)}, {_tuple([_leaf(-1, member) for member in field.members])}"
        + (", optional=True)" if field.optional else ")")
        for field in schema.fields
    ]
    name = schema.class_name.rpartition(":")[2].rpartition(".")[2]
    return f'Schema("{schema.kind.value}", {quoted(name)}, {_tuple(fields)})'


def _tuple(items: list[str]) -> str:
    return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"


def parameter(param: Param, classes: dict[str, str]) -> str:
    """The text that builds a `Parameter`."""
    optional = ", optional=True" if param.optional else ""
    return f"Parameter({quoted(param.name)}, {specification(param.spec, classes, {})}{optional})"


def filled_leaves(program: Program) -> tuple[int, ...]:
    """The inputs of the method that are filled: the tensors that the caller sees written."""
    places = {write.place for write in all_writes(program) if write.kind is WriteKind.FILL}
    found = (leaf_at(program.signature, place) for place in places)
    return tuple(sorted(leaf.index for leaf in found if leaf is not None))


def states(program: Program, entry: Entry, classes: dict[str, str]) -> list[str]:
    """The text of the slots of an entry."""
    params = program.block(entry.block).params
    kept = params[len(params) - entry.state_params :]
    holes = {value.id: (index, value.type) for index, value in enumerate(kept)}
    return [f"Slot({quoted(slot.name)}, {specification(slot.template, classes, holes)})" for slot in entry.slots]
