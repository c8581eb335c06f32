"""Loads of local variables that need no copy: before `%1 = x; %2 = %1 + y`, after `%2 = x + y`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace

from dycl.frontend.code import Delete, ForIter, Instruction, Item, Move, Register
from dycl.frontend.registers import may_raise, reads, successors, writes


def find_copies(
    code: Sequence[Instruction], handlers: Sequence[int | None], joins: Sequence[bool], parameters: Sequence[Register]
) -> tuple[list[Instruction], set[int]]:
    """The code with variables read directly, and the indices of the loads that are no longer needed.

    A load goes where its temporary is read once, later in the same block, the variable is certainly bound (the load
    cannot raise) and not written in between.
    """
    read_count = Counter(r for i in code for r in reads(i))
    write_count = Counter(r for i in code for r in writes(i))
    bound = _bound(code, handlers, parameters)
    result, dropped = list(code), set[int]()
    for index in range(len(code)):
        load = result[index]  # its source may have been renamed
        if not isinstance(load, Move) or not load.dst.startswith("%"):
            continue
        if read_count[load.dst] != 1 or write_count[load.dst] != 1 or load.src not in bound[index]:
            continue
        user = _user(result, joins, index, load)
        if user is not None:
            result[user] = _rename(result[user], load.dst, load.src)
            dropped.add(index)
    return result, dropped


def _user(code: Sequence[Instruction], joins: Sequence[bool], index: int, load: Move) -> int | None:
    """The instruction of the same block that reads the temporary, if the variable is the same until then."""
    while successors(index, code[index]) == (index + 1,) or _is_branch(code[index]):
        index += 1
        if index >= len(code) or joins[index]:
            return None
        if load.dst in reads(code[index]):
            return index
        if load.src in writes(code[index]):
            return None
    return None


def _is_branch(instruction: Instruction) -> bool:
    """Does control go on to the next instruction, or elsewhere? The temporary is read on one of the ways only."""
    return len(successors(0, instruction)) == 2


def _rename(instruction: Instruction, old: Register, new: Register) -> Instruction:
    changes: dict[str, object] = {}
    for field in fields(instruction):
        value = getattr(instruction, field.name)
        if field.name in _OPERANDS:
            renamed = _renamed(value, old, new)
            if renamed != value:
                changes[field.name] = renamed
    return replace(instruction, **changes)  # type: ignore[arg-type]  # same types as before


# The fields of instructions that hold registers they read.
_OPERANDS = frozenset(
    "src obj index operand left right items start stop step spec parts target key func self defaults"  # noqa: SIM905
    " keyword_defaults module iterator cond exc cause saved type".split()
)


def _renamed(value: object, old: Register, new: Register) -> object:
    match value:
        case Item(src=src):
            return replace(value, src=new) if src == old else value
        case tuple():
            return tuple(_renamed(v, old, new) for v in value)
        case str():
            return new if value == old else value
        case _:
            return value


def _bound(
    code: Sequence[Instruction], handlers: Sequence[int | None], parameters: Sequence[Register]
) -> list[frozenset[Register]]:
    """The registers that are certainly bound before each instruction, by forward data flow."""
    names = {
        r: n for n, r in enumerate(dict.fromkeys([*parameters, *(r for i in code for r in (*reads(i), *writes(i)))]))
    }
    everything = (1 << len(names)) - 1
    before = [everything] * len(code)
    before[0] = sum(1 << names[r] for r in parameters)
    work = [0]
    seen = {0}

    def flow(target: int, bits: int) -> None:
        if before[target] & bits != before[target] or target not in seen:
            before[target] &= bits
            seen.add(target)
            work.append(target)

    while work:
        index = work.pop()
        instruction, bits = code[index], before[index]
        mask = 0
        for register in writes(instruction):
            mask |= 1 << names[register]
        after = bits & ~mask if isinstance(instruction, Delete) else bits | mask
        handler = handlers[index]
        if handler is not None and may_raise(instruction):
            flow(handler, bits)
        for target in successors(index, instruction):
            ended = isinstance(instruction, ForIter) and target == instruction.exhausted
            flow(target, bits if ended else after)
    sets: dict[int, frozenset[Register]] = {}
    for bits in set(before):
        sets[bits] = frozenset(r for r, n in names.items() if bits >> n & 1)
    return [sets[bits] for bits in before]
