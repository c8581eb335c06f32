"""Where one statement of lowered code ends and the next begins: there, the sides of a fork inside a statement meet.

An `if` has its join where control flow meets. A dispatch (`self.experts[i](x)`) or `max(a, b)` forks without one: if
the sides went on apart, n dispatches in a row would be as many arms multiplied.
"""

from __future__ import annotations

from dycl.frontend.code import Catch, Code, ForIter, Instruction, JumpIf, LoadSpecial

_found: dict[int, tuple[Code, tuple[bool, ...]]] = {}


def is_boundary(code: Code, place: int) -> bool:
    """Whether no value of an unfinished expression is alive before the instruction at that place."""
    known = _found.get(id(code))
    if known is None or known[0] is not code:
        known = _found[id(code)] = (code, _boundaries(code))
    return known[1][place]


def forks_inside(instruction: Instruction) -> bool:
    """Whether the sides of a fork at this instruction both go on with the statement."""
    return not isinstance(instruction, (JumpIf, ForIter))


def _boundaries(code: Code) -> tuple[bool, ...]:
    lasting: set[str] = set()  # temporaries that live through whole statements
    for instruction in code.instructions:
        match instruction:
            case ForIter(iterator=register) | LoadSpecial(dst=register):
                lasting.add(register)
            case Catch(dst=error, saved=saved):
                lasting |= {error, saved}
    return tuple(all(not name.startswith("%") or name in lasting for name in live) for live in code.live)
