"""The first round of a loop, apart from the later ones: where these have something in common that it does not have.

A point that is reached in such a round is another point than in the rounds that follow, so nothing that is learned of
one generalises the other: as if the round were written out before the loop. The program has the round twice then, which
is why it is done only where a relation of integers asks for it (`relations.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dycl.frontend.code import Code, Jump, JumpIf

if TYPE_CHECKING:
    from dycl.passes.specialize.hints import Hints
    from dycl.passes.specialize.state import Frame, State

Point = tuple[Any, ...]  # the program points of the whole call stack; in a first round also of which loops

_ends: dict[int, tuple[Code, dict[int, int]]] = {}


def find_point(hints: Hints, state: State) -> Point:
    """Where a path is; the state says in which first rounds: it comes into one, goes on to the next, leaves."""
    stack = _stack(state)
    if not hints.peeled:
        return stack
    inside = tuple(header for header in state.first_rounds if _is_inside(header, state))
    state.has_left = state.has_left or inside != state.first_rounds
    state.first_rounds = inside
    if stack in hints.peeled:
        frame = state.frames[-1]
        if not _is_in_loop(frame, frame.ip, frame.current):
            state.first_rounds = tuple(dict.fromkeys((*state.first_rounds, stack)))
        elif frame.current != frame.ip:
            state.first_rounds = tuple(header for header in state.first_rounds if header != stack)
    return (*stack, state.first_rounds) if state.first_rounds else stack


def peel(hints: Hints, state: State) -> bool:
    """Keep the first round of the loop that begins here apart from now on; False if none begins, or it is."""
    stack, frame = _stack(state), state.frames[-1] if state.frames else None
    is_begun = frame is None or frame.ip not in _loops(frame.code) or _is_in_loop(frame, frame.ip, frame.current)
    if is_begun or stack in hints.peeled:
        return False
    hints.peeled.add(stack)
    hints.forget_generality()
    return True


def _stack(state: State) -> Point:
    """The program points of the whole call stack."""
    return tuple((id(frame.code), frame.ip) for frame in state.frames)


def _is_inside(header: Point, state: State) -> bool:
    depth = len(header) - 1
    if len(state.frames) <= depth or _stack(state)[:depth] != header[:depth]:
        return False
    frame = state.frames[depth]
    return id(frame.code) == header[depth][0] and _is_in_loop(frame, header[depth][1], frame.ip)


def _is_in_loop(frame: Frame, header: int, place: int) -> bool:
    return header <= place <= _loops(frame.code).get(header, -1)


def _loops(code: Code) -> dict[int, int]:
    """The first and the last instruction of each loop."""
    known = _ends.get(id(code))
    if known is None or known[0] is not code:
        found: dict[int, int] = {}
        for place, instruction in enumerate(code.instructions):
            match instruction:
                case Jump(target=target) | JumpIf(target=target) if target <= place:
                    found[target] = place
        known = _ends[id(code)] = (code, found)
    return known[1]
