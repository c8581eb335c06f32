"""One path's whole state: the call stack, the block being filled, the facts, and what was written outside."""

from __future__ import annotations

from typing import Any

from dycl.diagnostics import SourceRange
from dycl.frontend.code import Code, ForIter, Instruction
from dycl.ir.values import ValueId
from dycl.passes.specialize.facts import Facts

TRUTH = "%truth"  # the register of an answer that a branch waits for


class Frame:
    """One activation of a lowered function."""

    __slots__ = (
        "cells",
        "code",
        "current",
        "exc",
        "forks",
        "forms",
        "globals",
        "ip",
        "owner",
        "pending",
        "regs",
        "result",
    )

    def __init__(self, code: Code, global_names: dict[str, Any]) -> None:
        self.code = code
        self.globals = global_names
        self.regs: dict[str, Any] = {}
        self.cells: dict[str, Any] = {}
        self.ip = 0
        self.current = 0  # the instruction being executed, for the handler table
        self.exc: BaseException | None = None  # the exception being handled
        self.pending: BaseException | None = None  # the exception on its way to the handler at `ip`
        self.result: Any = None  # what the caller does with the result: see `Machine.leave`
        self.forks = 0  # the path's forks when the frame was entered: more at its end make the return a join
        self.forms: Any = None  # what the call looked like, where it may be recursive
        self.owner: Any = None  # the generator this frame belongs to

    @property
    def instruction(self) -> Instruction:
        """The instruction being executed."""
        return self.code.instructions[self.current]

    def live(self, *, is_waiting: bool) -> frozenset[str]:
        """The registers that may still be read.

        A frame that waits for a call may go on at that call's handler, or where its loop ends if the call was for the
        next item of a generator.
        """
        live = self.code.live[self.ip]
        if not is_waiting:
            return live
        handler = self.code.handlers[self.current]
        if handler is not None:
            live |= self.code.live[handler]
        return live | self.code.live[self.instruction.exhausted] if isinstance(self.instruction, ForIter) else live

    @property
    def loc(self) -> SourceRange:
        """Where the frame is."""
        return self.instruction.loc


class JournalEntry:
    """A write to something that existed before the run: what it is, what it holds now and what it held."""

    __slots__ = ("kind", "name", "original", "slot", "target", "value")

    def __init__(self, target: Any, kind: str, name: str, value: Any, original: Any, slot: str) -> None:
        self.slot = slot  # its path from the model: the order of entries must not depend on addresses
        self.target = target
        self.kind = kind  # "attr": target.name; "content": the items of a container
        self.name = name
        self.value = value
        self.original = original

    @property
    def key(self) -> tuple[int, str, str]:
        """What identifies the place that was written."""
        return id(self.target), self.kind, self.name


class State:
    """A path on its way."""

    __slots__ = (
        "aliases",
        "block",
        "contexts",
        "current",
        "expected",
        "facts",
        "first_rounds",
        "forks",
        "frames",
        "frozen",
        "fuzz",
        "given",
        "has_asked",
        "has_left",
        "is_dirty",
        "is_split",
        "journal",
        "listed",
        "may_join",
        "needless",
        "procedure",
        "received",
        "replay",
        "waiting",
    )

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.block: Any = None
        self.facts = Facts()
        self.replay: list[Any] = []  # results of the operations the interrupted instruction has already recorded
        self.journal: dict[tuple[int, str, str], JournalEntry] = {}
        self.current: dict[ValueId, ValueId] = {}  # first name of a mutated tensor -> name of its present content
        self.aliases: dict[int, tuple[ValueId, ...]] = {}  # storage -> first names of the tensors that view it
        self.frozen: dict[int, Any] = {}  # mutable objects that lie in a run-time list, by id
        self.listed: frozenset[int] = frozenset()  # storages of tensors that lie in a run-time list
        self.waiting: list[Any] = []  # generators that would act if they were closed where they wait
        self.contexts: dict[Any, Any] = {}  # what the run has set context variables to
        self.first_rounds: tuple[Any, ...] = ()  # of loops whose first round is apart: those it is in (`rounds.py`)
        self.has_left = False  # it has left such a loop in its first round, and not joined since
        self.forks = 0  # how often this path has forked so far
        self.is_dirty = False  # something was recorded since the last join
        self.may_join = False
        self.is_split = False  # it has forked inside of a statement: at its end the sides may join
        self.has_asked = False  # its instruction has forked and is to be run again: a join would forget the answer
        self.needless = 0  # how many of its forks were needless (fuzz mode)
        self.fuzz: Any = None  # the run-time number that needless forks ask about (fuzz mode)
        self.procedure: Any = None  # the procedure whose body this path is in; None: the program's own
        self.received: dict[Any, Any] = {}  # by place: what the call was given, where the model writes to such things
        self.given: Any = None  # what the procedure was handed that has an identity
        self.expected: Any = None  # and what was in it then


def read(frame: Frame, register: str) -> Any:
    """The content of a register; Python's own error where it has none."""
    try:
        return frame.regs[register]
    except KeyError:
        raise UnboundLocalError(
            f"cannot access local variable '{register}' where it is not associated with a value"
        ) from None
