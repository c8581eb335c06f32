"""The tables beside the instructions: dead code and empty jumps removed, joins marked, live registers computed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from dycl.frontend.code import ForIter, Instruction, Jump, JumpIf, Register
from dycl.frontend.copies import find_copies
from dycl.frontend.registers import may_raise, reads, successors, writes


@dataclass(frozen=True, slots=True)
class Tables:
    """The four parallel tables of a `Code`."""

    instructions: tuple[Instruction, ...]
    handlers: tuple[int | None, ...]
    joins: tuple[bool, ...]
    live: tuple[frozenset[Register], ...]


def build_tables(code: Sequence[Instruction], handlers: Sequence[int | None], parameters: Sequence[Register]) -> Tables:
    """The finished tables of a function whose labels are resolved."""
    code, handlers = _simplify(code, handlers)
    code, copies = find_copies(code, handlers, _joins(code, handlers), parameters)
    code, handlers = _simplify(code, handlers, copies)
    return Tables(tuple(code), tuple(handlers), _joins(code, handlers), _liveness(code, handlers))


# ---------------------------------------------------------------- dead code


def _thread(code: Sequence[Instruction], target: int) -> int:
    """Where a jump to `target` ends up, following jumps to jumps."""
    seen = set()
    while target < len(code) and target not in seen:
        seen.add(target)
        instruction = code[target]
        if not isinstance(instruction, Jump):
            break
        target = instruction.target
    return target


def _retarget(instruction: Instruction, place: dict[int, int]) -> Instruction:
    match instruction:
        case Jump(target=target) | JumpIf(target=target):
            return replace(instruction, target=place[target])
        case ForIter(exhausted=target):
            return replace(instruction, exhausted=place[target])
        case _:
            return instruction


def _simplify(
    code: Sequence[Instruction], handlers: Sequence[int | None], unneeded: Collection[int] = ()
) -> tuple[list[Instruction], list[int | None]]:
    """Thread jumps, drop what is unneeded or not reached and jumps to the next instruction; indices are renumbered."""
    threaded = [_retarget(i, _Threads(code)) for i in code]
    while True:
        reached = _reachable(threaded, handlers)
        kept = [i for i in sorted(reached) if i not in unneeded and not _is_empty(i, threaded[i], reached)]
        unneeded = ()
        place = _places(kept, len(threaded))
        dropped = len(kept) < len(threaded)
        threaded_new = [_retarget(threaded[i], place) for i in kept]
        handlers = [place[h] if (h := handlers[i]) in reached and h is not None else None for i in kept]
        threaded = threaded_new
        if not dropped:
            return threaded, list(handlers)


class _Threads(dict[int, int]):
    """Target -> final target, computed on demand."""

    def __init__(self, code: Sequence[Instruction]) -> None:
        super().__init__()
        self._code = code

    def __missing__(self, target: int) -> int:
        self[target] = final = _thread(self._code, target)
        return final


def _is_empty(index: int, instruction: Instruction, reached: set[int]) -> bool:
    """Is it a jump over nothing but dead code?"""
    if not isinstance(instruction, Jump) or instruction.target <= index:
        return False
    return not any(i in reached for i in range(index + 1, instruction.target))


def _places(kept: list[int], size: int) -> dict[int, int]:
    """Old index -> new index of the next instruction that is kept."""
    place: dict[int, int] = {}
    new = len(kept)
    for old in reversed(range(size)):
        if new and kept[new - 1] == old:
            new -= 1
        place[old] = new
    return place


def _reachable(code: Sequence[Instruction], handlers: Sequence[int | None]) -> set[int]:
    reached: set[int] = set()
    stack = [0]
    while stack:
        index = stack.pop()
        if index in reached:
            continue
        reached.add(index)
        stack.extend(successors(index, code[index]))
        handler = handlers[index]
        if handler is not None and may_raise(code[index]):
            stack.append(handler)
    return reached


# ---------------------------------------------------------------- joins and liveness


def _joins(code: Sequence[Instruction], handlers: Sequence[int | None]) -> tuple[bool, ...]:
    count = [0] * len(code)
    count[0] = 1  # the call itself
    for index, instruction in enumerate(code):
        for target in successors(index, instruction):
            count[target] += 1
        handler = handlers[index]
        if handler is not None and may_raise(instruction):
            count[handler] += 1
    return tuple(n > 1 for n in count)


def _liveness(code: Sequence[Instruction], handlers: Sequence[int | None]) -> tuple[frozenset[Register], ...]:
    """Live registers before each instruction, by backward data flow; sets of registers are bits of an int."""
    numbers: dict[Register, int] = {}

    def mask(registers: tuple[Register, ...]) -> int:
        bits = 0
        for register in registers:
            bits |= 1 << numbers.setdefault(register, len(numbers))
        return bits

    read = [mask(reads(i)) for i in code]
    kept = [~mask(writes(i)) for i in code]
    after = [successors(n, i) for n, i in enumerate(code)]
    # Ways on which the instruction has not written: an exception, and the end of an iteration.
    unwritten: list[list[int]] = []
    for index, instruction in enumerate(code):
        handler = handlers[index] if may_raise(instruction) else None
        ways = [] if handler is None else [handler]
        unwritten.append([*ways, instruction.exhausted] if isinstance(instruction, ForIter) else ways)
    live = [0] * len(code)
    changed = True
    while changed:
        changed = False
        for index in reversed(range(len(code))):
            out = 0
            for target in after[index]:
                out |= live[target]
            bits = read[index] | (out & kept[index])
            for target in unwritten[index]:
                bits |= live[target]
            if bits != live[index]:
                live[index] = bits
                changed = True
    names = list(numbers)
    sets: dict[int, frozenset[Register]] = {}
    for bits in set(live):
        sets[bits] = frozenset(name for n, name in enumerate(names) if bits >> n & 1)
    return tuple(sets[bits] for bits in live)
