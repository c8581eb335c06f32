"""The text form of programs, which `dycl.ir.parser` reads back.

    program SkipNet method forward
    file f0 = '/src/skipnet.py'
    param x: positional_or_keyword = input 0: float32[1, 64, 8, 8]
    entry b0

    b0(%0 x: float32[1, 64, 8, 8]):  @f0:40:4-46:16 SkipNet.forward
      %1: float32[1, 1] = module gates.0(%0)  @f0:44:11-44:27 SkipNet.forward
      %2: float = host item(%1)  @f0:44:11-44:34 SkipNet.forward
      %3: bool = host gt(%2, 0.5)  @f0:44:11-44:40 SkipNet.forward
      branch %3 ? b1 : b2(%0)  @f0:44:8-45:30 SkipNet.forward

Names that are no dotted identifiers are written as Python text literals. What has an unknown location has none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import assert_never

from dycl.diagnostics import UNKNOWN, InternalError, SourceRange
from dycl.ir.nodes import (
    Block,
    Branch,
    CallFunction,
    CallModule,
    Dispatch,
    Edge,
    HostOp,
    Invoke,
    Jump,
    Op,
    Procedure,
    Raise,
    Reply,
    Return,
    Subgraph,
    Target,
    TensorOp,
    Terminator,
    Write,
    WriteKind,
)
from dycl.ir.program import Dimension, Entry, Param, Program, Schema, Tunable
from dycl.ir.tokens import is_bare
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
    Ref,
    ScalarType,
    Seq,
    SeqKind,
    SliceOf,
    StructType,
    TensorType,
    TorchLit,
    UnionType,
    Value,
    ValueId,
    ValueType,
    Weight,
)


def print_ir(program: Program, *, locations: bool = True) -> str:
    """The text of a program; without locations it has no list of source files either."""
    printer = _Printer(locations)
    parts = ["\n".join(printer.header(program))]
    parts += ["\n".join(printer.subgraph(subgraph)) for subgraph in program.subgraphs]
    parts += ["\n".join(printer.block(block)) for block in program.blocks]
    files = [f"file f{number} = {path!r}" for path, number in printer.files.items()]
    head = [f"program {_name(program.name)} method {_name(program.method)}", *files]
    return "\n".join(head) + "\n" + "\n\n".join(parts) + "\n"


_WORDS = (
    "int",
    "list",
    "tuple",
    "dict",
    "struct",
    "array",
    "objects",
    "scalar",
    "object",
    "union",
)  # of types: a dtype of this name is quoted


def print_type(of: ValueType | NothingType) -> str:
    """A type: `float32[1, n]`, `int`, `list[float]`."""
    match of:
        case TensorType(dtype=dtype, shape=shape):
            dims = (str(size) if isinstance(size, int) else _name(size) for size in shape)
            return f"{_name(dtype) if dtype not in _WORDS else repr(dtype)}[{', '.join(dims)}]"
        case ScalarType(kind=kind, size=size):
            return f"{kind.value}[{_name(size)}]" if size else kind.value
        case ListType(element=element, is_tuple=is_tuple):
            return f"{'tuple' if is_tuple else 'list'}[{print_type(element)}]"
        case DictType(key=key, value=value):
            return f"dict[{print_type(key)}, {print_type(value)}]"
        case ArrayType(dtype=dtype, shape=shape, form=form):
            return f"{form.value}[{print_type(TensorType(dtype, shape))}]"
        case StructType(template=template):
            return f"struct[{print_operand(template)}]"
        case ObjectType(schema=schema):
            return f"object[{_name(schema)}]"
        case UnionType(members=members):
            return f"union[{', '.join(print_type(member) for member in members)}]"
        case NothingType():
            return "None"
        case _:
            assert_never(of)


def print_operand(operand: Operand) -> str:
    """An operand as it stands in an argument list."""
    match operand:
        case Ref(id=value):
            return f"%{value}"
        case Lit(value=value):
            return _literal(value)
        case TorchLit(text=text):
            return text if _is_plain_constant(text) else f"torch({text!r})"
        case Weight(name=name):
            return f"${_name(name)}"
        case Seq(kind=kind, items=items):
            return _sequence(kind, [print_operand(item) for item in items])
        case SliceOf(start=start, stop=stop, step=step):
            return f"slice({_operands((start, stop, step))})"
        case Mapping(items=pairs):
            return "{" + ", ".join(f"{print_operand(key)}: {print_operand(item)}" for key, item in pairs) + "}"
        case Record(kind=record, class_name=name, fields=fields):
            return f"{record.value} {_class(name)}({_named(fields)})"
        case InputLeaf(index=index, type=of, low=low, high=high):
            bounds = ("" if low is None else f" from {low}") + ("" if high is None else f" to {high}")
            return f"input {index}: {print_type(of)}{bounds}"
        case _:
            assert_never(operand)


def print_value(value: Value) -> str:
    """A definition: `%3 x: float32[1, 10]`."""
    name = f" {_name(value.name)}" if value.name else ""
    return f"%{value.id}{name}: {print_type(value.type)}"


def print_op(op: Op) -> str:
    """An operation, without its location."""
    match op:
        case TensorOp(target=target, results=results):
            return _results(results) + f"{_target(target)}({_arguments(op)})" + _mutates(op) + _sizes(op)
        case HostOp(function=function, args=args, result=result):
            return _results((result,)) + f"host {_name(function)}({_operands(args)})"
        case Dispatch(subgraph=subgraph, args=args, results=results):
            return _results(results) + f"dispatch s{subgraph}({_operands(args)})"
        case Invoke(procedure=procedure, args=args, results=results):
            return _results(results) + f"invoke p{procedure}({_operands(args)})"
        case _:
            assert_never(op)


def print_end(end: Terminator) -> str:
    """A terminator, without its location."""
    match end:
        case Jump(edge=edge):
            return f"jump {_edge(edge)}"
        case Branch(cond=cond, if_true=yes, if_false=no):
            return f"branch %{cond} ? {_edge(yes)} : {_edge(no)}"
        case Return(value=value):
            return f"return {print_operand(value)}" + _resume(end)
        case Raise(class_name=name, args=args):
            return f"raise {_class(name)}({_operands(args)})" + _resume(end)
        case Reply(values=values):
            return f"reply ({_operands(values)})"
        case _:
            assert_never(end)


@dataclass(slots=True)
class _Printer:
    """Prints lines, and numbers the files of their locations as they come."""

    locations: bool
    files: dict[str, int] = field(default_factory=dict)

    def at(self, line: str, loc: SourceRange) -> str:
        """The line with its location."""
        if not self.locations or loc == UNKNOWN:
            return line
        number = self.files.setdefault(loc.file, len(self.files))
        where = f"@f{number}:{loc.line}:{loc.column}-{loc.end_line}:{loc.end_column}"
        return f"{line}  {where}" + (f" {_name(loc.function)}" if loc.function else "")

    def header(self, program: Program) -> list[str]:
        """Everything before the blocks, but the program's name and the files."""
        sources = program.sources if self.locations else ()
        lines = [f"source {source.path!r} sha256 {source.sha256!r}" for source in sources]
        lines += [self.at(_tunable(tunable), tunable.loc) for tunable in program.tunables]
        lines += [_dimension(dimension) for dimension in program.dimensions]
        lines += [_param(param) for param in program.signature]
        for method in program.others:
            lines += [f"method {_name(method.name)}", *(_param(param) for param in method.signature)]
        lines += [f"initial ({_operands(program.initial)})"] if program.initial else []
        lines += [line for schema in program.schemas for line in _schema(schema)]
        lines += [line for entry in program.entries for line in _entry(entry)]
        return lines + [self.at(_procedure(procedure), procedure.loc) for procedure in program.procedures]

    def subgraph(self, subgraph: Subgraph) -> list[str]:
        """A subgraph, from its head to its `results`."""
        structure = f" structure {subgraph.structure}" if subgraph.structure != -1 else ""
        head = f"subgraph s{subgraph.id} {_name(subgraph.name)}{structure} ({_values(subgraph.params)}):"
        lines = [self.at(head, subgraph.loc), *(self.at(f"  {print_op(op)}", op.loc) for op in subgraph.ops)]
        return [*lines, f"  results ({_ids(subgraph.results)})"]

    def block(self, block: Block) -> list[str]:
        """A block, from its head to its terminator."""
        head = f"b{block.id}({_values(block.params)}):" if block.params else f"b{block.id}:"
        lines = [self.at(head, block.loc), *(self.at(f"  {print_op(op)}", op.loc) for op in block.ops)]
        return [*lines, self.at(f"  {print_end(block.end)}", block.end.loc)]


def _name(text: str) -> str:
    return text if is_bare(text) else repr(text)


def _class(name: str) -> str:
    module, colon, qualname = name.partition(":")
    return name if colon and is_bare(module) and is_bare(qualname) else repr(name)


def _literal(value: object) -> str:
    if value is Ellipsis:
        return "..."
    if value is None or type(value) in (bool, int, float, str):
        return repr(value)
    raise InternalError(f"a literal of {type(value)} has no text: {value!r}")


def _is_plain_constant(text: str) -> bool:
    """Is the constant a dotted name of torch, or one called with one text, which the parser reads as it stands?"""
    name, paren, rest = text.partition("(")
    if not name.startswith("torch.") or not is_bare(name):
        return False
    content = rest[1:-2]
    return not paren or rest == f"{content!r})"


def _sequence(kind: SeqKind, items: list[str]) -> str:
    match kind:
        case SeqKind.TUPLE:
            return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"
        case SeqKind.LIST:
            return f"[{', '.join(items)}]"
        case SeqKind.SIZE | SeqKind.SET:
            return f"{kind.value}({', '.join(items)})"
        case _:
            assert_never(kind)


def _operands(operands: Iterable[Operand]) -> str:
    return ", ".join(print_operand(operand) for operand in operands)


def _named(pairs: Iterable[tuple[str, Operand]]) -> str:
    return ", ".join(f"{_name(name)}={print_operand(operand)}" for name, operand in pairs)


def _target(target: Target) -> str:
    match target:
        case CallModule(path=path):
            return f"module {_name(path)}"
        case CallFunction(name=name):
            return f"call {_name(name)}"
        case _:
            assert_never(target)


def _arguments(op: TensorOp) -> str:
    return ", ".join(text for text in (_operands(op.args), _named(op.kwargs)) if text)


def _values(values: Iterable[Value]) -> str:
    return ", ".join(print_value(value) for value in values)


def _ids(values: Iterable[ValueId]) -> str:
    return ", ".join(f"%{value}" for value in values)


def _results(values: tuple[Value, ...]) -> str:
    return f"{_values(values)} = " if values else ""


def _mutates(op: TensorOp) -> str:
    pairs = ", ".join(f"%{old} -> {print_value(new)}" for old, new in op.mutates)
    return f" mutates {pairs}" if pairs else ""


def _sizes(op: TensorOp) -> str:
    pairs = ", ".join(f"{_name(a)} = {b if isinstance(b, int) else _name(b)}" for a, b in op.sizes)
    return f" where {pairs}" if pairs else ""


def _edge(edge: Edge) -> str:
    return f"b{edge.target}({_operands(edge.args)})" if edge.args else f"b{edge.target}"


def _resume(end: Return | Raise) -> str:
    state = f" state ({_operands(end.state)})" if end.state else ""
    writes = f" writes ({', '.join(map(_write, end.writes))})" if end.writes else ""
    return writes + (f" resume {end.resume}" if end.resume or state else "") + state


def _write(write: Write) -> str:
    value = "" if write.kind is WriteKind.REMOVE else f" = {print_operand(write.value)}"
    return f"{write.kind.value} {print_place(write.place)}{value}"


def print_place(place: tuple[object, ...]) -> str:
    """A place in what the caller passed, as an expression: `data['image'][0]`."""
    return _name(str(place[0])) + "".join(f"[{_literal(step)}]" for step in place[1:])


def _param(param: Param) -> str:
    kind = param.kind.value.replace(" ", "_") + (" optional" if param.optional else "")
    return f"param {_name(param.name)}: {kind} = {print_operand(param.spec)}"


def _tunable(tunable: Tunable) -> str:
    return f"tunable {_name(tunable.name)}: {tunable.kind.value} = {_literal(tunable.default)}"


def _dimension(dimension: Dimension) -> str:
    high = "" if dimension.high is None else f" to {dimension.high}"
    return f"dimension {_name(dimension.name)} from {dimension.low}{high}"


def _entry(entry: Entry) -> list[str]:
    state = f" state {entry.state_params}" if entry.state_params else ""
    slots = [f"  slot {_name(slot.name)} = {print_operand(slot.template)}" for slot in entry.slots]
    return [f"entry b{entry.block}{state}", *slots]


def _schema(schema: Schema) -> list[str]:
    lines = [f"schema {_name(schema.name)} {schema.kind.value} {_class(schema.class_name)}"]
    for part in schema.fields:
        marks = (" optional" if part.optional else "") + (" written" if part.is_written else "")
        lines.append(f"  field {_name(part.name)}{marks}: {print_type(UnionType(part.members))}")
    return lines


def _procedure(procedure: Procedure) -> str:
    rest = " rest" if procedure.is_rest else ""
    return f"procedure p{procedure.id} {_name(procedure.name)} b{procedure.block}{rest}"
