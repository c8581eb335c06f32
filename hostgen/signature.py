"""What a call must pass and what lasts between calls, as literals of the host."""

from __future__ import annotations

from typing import assert_never

from dycl.diagnostics import InternalError
from dycl.hostgen.expressions import literal, quoted
from dycl.hostgen.statements import annotation
from dycl.ir.graph import block_order
from dycl.ir.nodes import Raise, Return, Terminator, WriteKind
from dycl.ir.printer import print_type
from dycl.ir.program import Entry, Param, ParamKind, Program, Schema
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
from dycl.ir.writes import all_writes, leaf_at

MAX_UNION = 3


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


def method_parameters(program: Program) -> str:
    """The parameters of the method, with their annotations and defaults."""
    parts = ["self"]
    previous: ParamKind | None = None
    defaults = False
    for param in program.signature:
        if previous is ParamKind.POSITIONAL_ONLY and param.kind is not ParamKind.POSITIONAL_ONLY:
            parts.append("/")
        if param.kind is ParamKind.KEYWORD_ONLY and previous is not ParamKind.KEYWORD_ONLY:
            parts.append("*")
            defaults = False
        default = _default(param) if param.optional else ("UNSET" if defaults else "")
        defaults |= bool(default)
        parts.append(f"{param.name}: {_spec_type(param.spec)}{f' = {default}' if default else ''}")
        previous = param.kind
    if previous is ParamKind.POSITIONAL_ONLY:
        parts.append("/")
    return ", ".join(parts)


def _default(param: Param) -> str:
    return literal(param.spec.value)[0] if isinstance(param.spec, Lit) else "UNSET"


def _spec_type(spec: Operand) -> str:
    """The annotation of an argument."""
    match spec:
        case InputLeaf(type=of):
            return annotation(of)
        case Lit(value=value):
            return "None" if value is None else "Any" if value is Ellipsis else type(value).__name__
        case Seq(kind=SeqKind.TUPLE | SeqKind.SIZE, items=items):
            return f"tuple[{', '.join(map(_spec_type, items)) or '()'}]"
        case Seq(kind=SeqKind.LIST, items=items):
            return f"list[{_union(list(map(_spec_type, items)))}]"
        case _:
            return "Any"


def _union(types: list[str]) -> str:
    found = list(dict.fromkeys(types))
    return " | ".join(found) if 0 < len(found) <= MAX_UNION and "Any" not in found else "Any"


def return_annotation(program: Program, types: dict[ValueId, ValueType], classes: dict[str, str]) -> str:
    """What the method returns, over all its returns."""
    ends = _ends(program)
    found = [end.value for end in ends if isinstance(end, Return)]
    if not found:
        return "NoReturn" if any(isinstance(end, Raise) for end in ends) else "Any"
    return _union([_returned(value, types, classes) for value in found])


def _ends(program: Program) -> list[Terminator]:
    """The ends of the blocks that the method may come to, in the order of the blocks."""
    return [program.block(block).end for block in sorted(block_order(program))]


def _returned(value: Operand, types: dict[ValueId, ValueType], classes: dict[str, str]) -> str:
    match value:
        case Ref(id=ref):
            return annotation(types[ref])
        case Weight():
            return "np.ndarray"
        case Seq(kind=SeqKind.TUPLE | SeqKind.SIZE, items=items):
            return f"tuple[{', '.join(_returned(item, types, classes) for item in items) or '()'}]"
        case Seq(kind=kind, items=items):
            return f"{kind.value}[{_union([_returned(item, types, classes) for item in items])}]"
        case Mapping(items=pairs):
            return f"dict[Any, {_union([_returned(item, types, classes) for _, item in pairs])}]"
        case Record(class_name=name):
            return classes[name]
        case SliceOf():
            return "slice"
        case _:
            return _spec_type(value)


def summary(program: Program, types: dict[ValueId, ValueType]) -> str:
    """The call in one line, as the docstring of the class shows it."""
    given = ", ".join(f"{param.name}: {_described(param.spec, types)}" for param in program.signature)
    found = [end.value for end in _ends(program) if isinstance(end, Return)]
    results = list(dict.fromkeys(_described(value, types) for value in found))
    result = " | ".join(results) if len(results) <= MAX_UNION else "several kinds of results"
    return f"{program.method}({given}) -> {result or 'never'}"


def _described(operand: Operand, types: dict[ValueId, ValueType]) -> str:
    match operand:
        case Ref(id=value):
            return print_type(types[value])
        case InputLeaf(type=of, low=low, high=high):
            return print_type(of) + ("" if (low, high) == (None, None) else f" of {operand.interval}")
        case Lit(value=value):
            return literal(value)[0]
        case TorchLit(text=text):
            return text
        case Weight(name=name):
            return name
        case Seq(kind=kind, items=items):
            return f"{kind.value}[{', '.join(_described(item, types) for item in items)}]"
        case SliceOf():
            return "slice"
        case Mapping(items=pairs):
            return f"dict[{', '.join(f'{key.value}: {_described(item, types)}' for key, item in pairs)}]"
        case Record(class_name=name, fields=fields):
            inside = ", ".join(f"{field}: {_described(item, types)}" for field, item in fields)
            return f"{name.partition(':')[2].rpartition('.')[2]}({inside})"
        case _:
            assert_never(operand)
