"""Generators that are left before their end: CPython closes them at once, and what they wait inside of then runs.

The machine does not count references, so it does not know when that is. A path may not end while a generator waits
where closing it would run code of the model's: in a `finally`, a `with`, an `except` that takes `GeneratorExit`.
"""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any

from dycl.diagnostics import UnsupportedError
from dycl.frontend import code as ir

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine
    from dycl.passes.specialize.state import Frame, State
    from dycl.passes.specialize.values import Generator


def note_waiting(state: State, generator: Generator) -> None:
    """The generator has yielded."""
    if _acts_when_closed(generator.frame):
        state.waiting = [*state.waiting, generator]


def note_resumed(state: State, generator: Generator) -> None:
    """The generator goes on."""
    state.waiting = [other for other in state.waiting if other is not generator]


def check_closed(machine: Machine) -> None:
    """Refuse a path that ends while a generator waits."""
    if machine.state.waiting:
        raise UnsupportedError(
            "DY203",
            machine.state.waiting[0].frame.loc,
            "a generator that waits inside of `try` or `with` is left before its end",
            hint="take its items as a list, or let it run to its end",
        )


def _acts_when_closed(frame: Frame) -> bool:
    """Whether GeneratorExit, raised where the frame waits, meets more than clauses for other exceptions."""
    code, at = frame.code, frame.current
    while (handler := code.handlers[at]) is not None:
        at = handler + 1
        classes: dict[str, Any] = {}
        while not isinstance(code.instructions[at], ir.Reraise):
            match code.instructions[at]:
                case ir.LoadGlobal(dst=dst, name=name):
                    classes[dst] = frame.globals.get(name, getattr(builtins, name, GeneratorExit))
                case ir.Build(dst=dst, items=items):
                    classes[dst] = tuple(classes.get(item.src, GeneratorExit) for item in items)
                case ir.MatchException(type=kind) if _passes(classes.get(kind, GeneratorExit)):
                    skip = code.instructions[at + 1]
                    if not isinstance(skip, ir.JumpIf) or skip.want:
                        return True
                    at = skip.target - 1
                case ir.EndCatch():
                    pass
                case _:
                    return True
            at += 1
    return False


def _passes(classes: Any) -> bool:
    """Whether an `except` of these classes lets GeneratorExit pass."""
    given = classes if isinstance(classes, tuple) else (classes,)
    return all(isinstance(cls, type) and not issubclass(GeneratorExit, cls) for cls in given)
