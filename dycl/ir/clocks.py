"""What depends on the time of day: no two runs agree about it, so that it tells nothing about whether they are right.

Values that are computed from a clock, not those that a comparison with it has chosen: a time limit is a decision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from dycl.ir.dataflow import op_definitions, op_uses
from dycl.ir.nodes import Block, HostOp, Invoke, Op, Raise, Return, edges
from dycl.ir.program import Program
from dycl.ir.values import Mapping, Operand, Record, RecordKind, Ref, Seq, ValueId, operand_parts


def find_timed_places(program: Program, result: str, state: str) -> frozenset[str]:
    """The places of results and of state, as a comparison names them, that a clock has a part in."""
    timed = find_timed(program)
    if not timed:
        return frozenset()
    found: set[str] = set()
    for block in program.blocks:
        if isinstance(block.end, Return):
            found |= set(_places(block.end.value, result, timed))
    for entry in program.entries:
        for slot in entry.slots:
            found |= set(_places(slot.template, f"{state}{slot.name}", timed))
    return frozenset(found)


def find_timed(program: Program) -> frozenset[ValueId]:
    """The values that are computed from what a clock has said, in this call or in one before."""
    return find_derived(program, _is_clock)


def find_derived(program: Program, is_source: Callable[[Op], bool]) -> frozenset[ValueId]:
    """The values that are computed from what such operations define, in this call or in one before."""
    if not any(is_source(op) for block in program.blocks for op in block.ops):
        return frozenset()
    blocks = {block.id: block for block in program.blocks}
    found: set[ValueId] = set()
    count = -1
    while count != len(found):
        count = len(found)
        for block in program.blocks:
            for op in block.ops:
                if is_source(op) or not found.isdisjoint(op_uses(op)):
                    found |= {value.id for value in op_definitions(op)}
                if isinstance(op, Invoke):
                    found |= _received(op.args, blocks[program.procedures[op.procedure].block], found)
            for edge in edges(block.end):
                found |= _received(edge.args, blocks[edge.target], found)
            if isinstance(block.end, Return | Raise):
                for entry in program.entries_of(block.end.resume):
                    found |= _received(block.end.state, blocks[entry.block], found)
    return frozenset(found)


def _is_clock(op: Op) -> bool:
    return isinstance(op, HostOp) and op.function == "clock"


def _received(args: tuple[Operand, ...], target: Block, timed: set[ValueId]) -> set[ValueId]:
    """The parameters, the last of the block's, that are bound to what is timed."""
    params = target.params[len(target.params) - len(args) :]
    return {param.id for param, arg in zip(params, args, strict=True) if _is_timed(arg, timed)}


def _is_timed(operand: Operand, timed: Iterable[ValueId]) -> bool:
    return any(isinstance(part, Ref) and part.id in timed for part in operand_parts(operand))


def _places(operand: Operand, path: str, timed: frozenset[ValueId]) -> Iterator[str]:
    """The paths to the timed leaves of an operand."""
    if not _is_timed(operand, timed):
        return
    match operand:
        case Seq(items=items):
            for index, item in enumerate(items):
                yield from _places(item, f"{path}[{index}]", timed)
        case Mapping(items=pairs):
            for key, item in pairs:
                yield from _places(item, f"{path}[{key.value!r}]", timed)
        case Record(fields=fields, kind=RecordKind.MAPPING):
            for name, item in fields:
                yield from _places(item, f"{path}[{name!r}]", timed)
        case Record(fields=fields):
            for name, item in fields:
                yield from _places(item, f"{path}.{name}", timed)
        case _:
            yield path
