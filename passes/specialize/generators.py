"""`send`, `throw` and `close` of generators: they go on in the generator's own frame, like its next item."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dycl.diagnostics import UnsupportedError
from dycl.frontend.code import Yield

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine
    from dycl.passes.specialize.values import Generator


def send(generator: Generator, value: Any) -> Any:
    """generator.send"""


def throw(generator: Generator, *error: Any) -> Any:
    """generator.throw"""


def close(generator: Generator) -> None:
    """generator.close"""


GENERATOR_METHODS: dict[str, Any] = {"send": send, "throw": throw, "close": close}


def is_generator_method(function: Any) -> bool:
    """Whether a call goes on in a generator's frame."""
    return function is send or function is throw or function is close


def call_generator_method(
    machine: Machine, function: Any, dst: str, generator: Generator, args: tuple[Any, ...]
) -> None:
    """Go on in the generator; its next item goes to the register."""
    if function is send:
        _send(machine, dst, generator, *args)
    elif function is throw:
        _throw(machine, dst, generator, _error(*args))
    else:
        _close(machine, generator)
        machine.put(machine.state.frames[-1], dst, None)


def _send(machine: Machine, dst: str, generator: Generator, value: Any) -> None:
    if not generator.is_done and value is not None:
        if not generator.is_started:
            raise TypeError("can't send non-None value to a just-started generator")
        generator.frame.regs[_waiting(machine, generator).dst] = value
    machine.resume_generator(generator, dst)


def _throw(machine: Machine, dst: str, generator: Generator, error: BaseException) -> None:
    if generator.is_done or not generator.is_started:
        generator.is_done = True
        raise error
    _waiting(machine, generator)
    machine.resume_generator(generator, dst)
    raise error  # at the `yield`, whose frame is the innermost now


def _close(machine: Machine, generator: Generator) -> None:
    frame = generator.frame
    if not generator.is_done and generator.is_started and frame.code.handlers[frame.current] is not None:
        raise UnsupportedError(
            "DY203", machine.loc(), "close() of a generator that waits inside of `try`", hint="let it run to its end"
        )
    generator.is_done = True


def _waiting(machine: Machine, generator: Generator) -> Yield:
    """The `yield` that the generator stands at; one that hands on another's items would have to hand this in."""
    instruction = generator.frame.instruction
    assert isinstance(instruction, Yield)
    if instruction.is_delegated:
        raise UnsupportedError("DY203", machine.loc(), "send() or throw() into a generator that waits in `yield from`")
    return instruction


def _error(kind: Any, value: Any = None, traceback: Any = None) -> BaseException:
    if isinstance(kind, BaseException):
        return kind
    if isinstance(value, BaseException):
        return value
    made: BaseException = kind() if value is None else kind(value)
    return made
