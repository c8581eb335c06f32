"""What the caller has passed and sees written when a call ends: the lists, dicts and tensors that a program changes."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as Table
from dataclasses import replace
from typing import Any, assert_never

from dycl.ir.graph import block_order
from dycl.ir.nodes import Block, Raise, Return, Write, WriteKind
from dycl.ir.program import Method, Param, Program
from dycl.ir.values import InputLeaf, Mapping, Record, RecordKind, Ref, Seq, ValueId


def all_writes(program: Program) -> Iterator[Write]:
    """The writes at all ends that a program may come to."""
    for block in map(program.block, block_order(program)):
        if isinstance(block.end, Return | Raise):
            yield from block.end.writes


def written_names(program: Program, method: str = "") -> list[str]:
    """The parameters of a method whose arguments the program writes, in the order of the signature."""
    found = {str(write.place[0]) for write in all_writes(program)}
    return [param.name for param in program.signature_of(method) if param.name in found]


def leaf_at(signature: tuple[Param, ...], place: tuple[object, ...]) -> InputLeaf | None:
    """The input at a place, if there is one."""
    spec = next((param.spec for param in signature if param.name == place[0]), None)
    for step in place[1:]:
        match spec:
            case Seq(items=items) if isinstance(step, int) and step < len(items):
                spec = items[step]
            case Mapping(items=pairs):
                spec = next((item for key, item in pairs if key.value == step), None)
            case Record(fields=fields, kind=RecordKind.NAMEDTUPLE) if isinstance(step, int) and step < len(fields):
                spec = fields[step][1]
            case _:
                return None
    return spec if isinstance(spec, InputLeaf) else None


def without_idle_writes(program: Program) -> Program:
    """The program without the writes that fill a tensor with itself."""
    given: dict[ValueId, tuple[Method, int]] = {}
    for index, entry in enumerate(program.entries):
        params = program.block(entry.block).params
        method = program.methods[index % len(program.methods)]
        given |= {param.id: (method, number) for number, param in enumerate(params[: len(params) - entry.state_params])}

    def is_idle(write: Write) -> bool:
        if write.kind is not WriteKind.FILL or not isinstance(write.value, Ref) or write.value.id not in given:
            return False
        method, number = given[write.value.id]
        leaf = leaf_at(method.signature, write.place)
        return leaf is not None and leaf.index == number

    def changed(block: Block) -> Block:
        if not isinstance(block.end, Return | Raise):
            return block
        writes = tuple(write for write in block.end.writes if not is_idle(write))
        return replace(block, end=replace(block.end, writes=writes))

    return replace(program, blocks=tuple(map(changed, program.blocks)))


def do_write(write: Write, arguments: Table[str, Any], value: Any) -> None:
    """Do one write to the arguments of a call, by the names of their parameters."""
    is_item = write.kind in (WriteKind.SET, WriteKind.REMOVE)
    target = arguments[str(write.place[0])]
    for step in write.place[1:-1] if is_item else write.place[1:]:
        target = target[step]
    match write.kind:
        case WriteKind.SET:
            target[write.place[-1]] = value
        case WriteKind.REMOVE:
            del target[write.place[-1]]
        case WriteKind.APPEND:
            target.append(value)
        case WriteKind.TRUNCATE:
            del target[value:]
        case WriteKind.REPLACE:
            target[:] = value
        case WriteKind.FILL:
            target[...] = value
        case _:
            assert_never(write.kind)
