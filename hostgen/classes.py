"""The classes that a host makes objects of: records as the model's, exceptions as the model raises them."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from typing import assert_never

from dycl.hostgen.names import identifier, unique
from dycl.hostgen.writer import PythonWriter
from dycl.ir.dataflow import end_operands, op_operands
from dycl.ir.nodes import Raise
from dycl.ir.program import Program
from dycl.ir.values import Operand, Record, RecordKind, operand_parts


def all_operands(program: Program) -> Iterator[Operand]:
    """Every operand that the host writes or checks, parts after wholes."""
    for param in (param for method in program.methods for param in method.signature):
        yield from operand_parts(param.spec)
    for entry in program.entries:
        for slot in entry.slots:
            yield from operand_parts(slot.template)
    for initial in program.initial:
        yield from operand_parts(initial)
    for block in program.blocks:
        for op in block.ops:
            for operand in op_operands(op):
                yield from operand_parts(operand)
        for operand in end_operands(block.end):
            yield from operand_parts(operand)


def find_records(program: Program) -> dict[str, list[Record]]:
    """The records of each class, in program order."""
    found: dict[str, list[Record]] = {}
    for operand in all_operands(program):
        if isinstance(operand, Record):
            found.setdefault(operand.class_name, []).append(operand)
    return found


def find_exceptions(program: Program) -> list[str]:
    """The classes of exceptions that the program raises, in program order."""
    ends = [block.end for block in program.blocks]
    return list(dict.fromkeys(end.class_name for end in ends if isinstance(end, Raise)))


def is_builtin(class_name: str) -> bool:
    """Whether Python itself has the class."""
    module, _, name = class_name.partition(":")
    return module == "builtins" and hasattr(builtins, name)


def name_classes(program: Program, taken: set[str]) -> dict[str, str]:
    """The identifier of each class; the source's name unless it is taken."""
    names: dict[str, str] = {}
    for class_name in [*find_records(program), *find_exceptions(program)]:
        if is_builtin(class_name):
            names[class_name] = class_name.partition(":")[2]
        elif class_name not in names:
            names[class_name] = unique(identifier(class_name.partition(":")[2]), {*taken, *names.values()})
    return names


def write_classes(out: PythonWriter, program: Program, names: dict[str, str]) -> None:
    """Define the classes that Python does not have."""
    for class_name, records in find_records(program).items():
        out.blank(2)
        _write_record(out, names[class_name], class_name, records)
    for class_name in find_exceptions(program):
        if not is_builtin(class_name):
            out.blank(2)
            with out.block(f"class {names[class_name]}(Exception):"):
                out.line(f'"""Raised where the model raises {_described(class_name)}."""')


def _write_record(out: PythonWriter, name: str, class_name: str, records: list[Record]) -> None:
    kind = records[0].kind
    fields = list(dict.fromkeys(field for record in records for field, _ in record.fields))
    optional = [f for f in fields if any(f not in dict(record.fields) for record in records)]
    match kind:
        case RecordKind.MAPPING:
            header, fields = f"class {name}(RecordMapping):", []
        case RecordKind.NAMEDTUPLE:
            header = f"class {name}(NamedTuple):"
        case RecordKind.DATACLASS:
            out.line("@dataclass")
            header = f"class {name}:"
        case _:
            assert_never(kind)
    with out.block(header):
        out.line(f'"""Stands for {_described(class_name)} of the model."""')
        if fields:
            out.blank()
        for field in sorted(fields, key=lambda f: f in optional):
            out.line(f"{field}: Any{' = None' if field in optional else ''}")


def _described(class_name: str) -> str:
    return class_name.replace(":", ".").replace("\\", "/").replace('"', "'")
