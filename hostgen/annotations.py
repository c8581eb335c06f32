"""How a method reads to Python and to who calls it: its annotations, and the line of its docstring."""

from __future__ import annotations

from typing import assert_never

from dycl.hostgen.expressions import literal
from dycl.ir.graph import block_order
from dycl.ir.nodes import Raise, Return, Terminator
from dycl.ir.printer import print_type
from dycl.ir.program import Param, ParamKind, Program
from dycl.ir.values import (
    ArrayForm,
    ArrayType,
    DictType,
    InputLeaf,
    ListType,
    Lit,
    Mapping,
    ObjectType,
    Operand,
    Record,
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

MAX_UNION = 3


def annotation(of: ValueType) -> str:
    """The type as Python annotates it."""
    match of:
        case TensorType():
            return "np.ndarray"
        case ArrayType(dtype=dtype, form=form):
            return f"np.{dtype}" if form is ArrayForm.SCALAR else "np.ndarray"
        case ScalarType(kind=kind):
            return kind.value
        case ListType(element=element, is_tuple=is_tuple):
            return f"tuple[{annotation(element)}, ...]" if is_tuple else f"list[{annotation(element)}]"
        case DictType(key=key, value=value):
            return f"dict[{annotation(key)}, {annotation(value)}]"
        case StructType(template=template):
            return _structure(template)
        case ObjectType() | UnionType():
            return "Any"
        case _:
            assert_never(of)


def _structure(template: Operand) -> str:
    match template:
        case InputLeaf(type=of):
            return annotation(of)
        case Seq(kind=SeqKind.TUPLE, items=items):
            return f"tuple[{', '.join(_structure(item) for item in items) or '()'}]"
        case Seq():
            return "list[Any]"
        case Mapping():
            return "dict[Any, Any]"
        case Lit(value=value):
            return "None" if value is None else type(value).__name__
        case _:
            return "Any"


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
