"""The state while one function is lowered: instructions so far, labels, the handler in force, and the ways out.

Expressions and statements register their lowering in the two tables here, by libcst node type, one module per concern.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar, assert_never

import libcst as cst

from dycl.diagnostics import SourceRange, UnsupportedError
from dycl.frontend.code import (
    Call,
    Const,
    Delete,
    ForIter,
    Instruction,
    Item,
    Jump,
    JumpIf,
    LoadCell,
    LoadGlobal,
    Move,
    Register,
    StoreCell,
    StoreGlobal,
)
from dycl.frontend.registers import writes
from dycl.frontend.scopes import PlaceKind, Scope
from dycl.frontend.source import Unit

Label = int  # an index into `FunctionBuilder.labels`; becomes an instruction's index at the end


@dataclass(frozen=True, slots=True)
class Exit:
    """What jumps out of a region have to do: a loop to end or to continue, or work to be done on the way.

    `handler` is the one in force outside the region.
    """

    handler: Label | None
    unwind: Callable[[], None] | None = None
    break_to: Label | None = None
    continue_to: Label | None = None


class FunctionBuilder:
    """Collects the instructions of one function."""

    def __init__(self, unit: Unit, scope: Scope, qualname: str) -> None:
        self.unit = unit
        self.function_scope = scope
        self.scope = scope
        self.qualname = qualname
        self.instructions: list[Instruction] = []
        self.handlers: list[Label | None] = []
        self.labels: list[int] = []
        self.handler: Label | None = None
        self.exits: list[Exit] = []
        self.first_parameter = ""
        self._temporaries = 0
        self._ranges: dict[cst.CSTNode, SourceRange] = {}

    # ------------------------------------------------------------ places

    def loc(self, node: cst.CSTNode) -> SourceRange:
        """The range of a node in its file."""
        found = self._ranges.get(node)
        if found is None:
            place, offset = self.unit.positions[node], self.unit.line_offset
            found = self._ranges[node] = SourceRange(
                self.unit.file,
                place.start.line + offset,
                place.start.column,
                place.end.line + offset,
                place.end.column,
                self.qualname,
            )
        return found

    def unsupported(self, node: cst.CSTNode, what: str, hint: str) -> UnsupportedError:
        """The error for a construct that the front end refuses."""
        return UnsupportedError("DY102", self.loc(node), what, hint=hint)

    # ------------------------------------------------------------ instructions and labels

    def temp(self) -> Register:
        """A fresh temporary."""
        self._temporaries += 1
        return f"%{self._temporaries}"

    def emit(self, instruction: Instruction) -> None:
        """Append an instruction under the handler in force."""
        self.instructions.append(instruction)
        self.handlers.append(self.handler)

    def label(self) -> Label:
        """A label to be placed later."""
        self.labels.append(-1)
        return len(self.labels) - 1

    def place(self, label: Label) -> None:
        """The label stands before the next instruction."""
        self.labels[label] = len(self.instructions)

    def here(self) -> Label:
        """A label placed here."""
        label = self.label()
        self.place(label)
        return label

    def jump(self, label: Label, loc: SourceRange) -> None:
        self.emit(Jump(target=label, loc=loc))

    def jump_if(self, cond: Register, want: bool, label: Label, loc: SourceRange) -> None:
        self.emit(JumpIf(cond=cond, want=want, target=label, loc=loc))

    def const(self, value: object, loc: SourceRange) -> Register:
        """A register that holds a literal."""
        dst = self.temp()
        self.emit(Const(dst=dst, value=value, loc=loc))
        return dst

    def call(self, func: Register, args: Sequence[Register], loc: SourceRange) -> Register:
        """A register that holds the result of a call with plain positional arguments."""
        dst = self.temp()
        self.emit(Call(dst=dst, func=func, items=tuple(Item(a) for a in args), loc=loc))
        return dst

    def _redirect(self, src: Register, dst: Register) -> bool:
        """Let the instruction that has just computed the temporary `src` write `dst` instead, if it can."""
        last = len(self.instructions) - 1
        if last < 0 or not src.startswith("%") or last + 1 in self.labels or self.handlers[last] != self.handler:
            return False
        previous = self.instructions[last]
        if writes(previous) != (src,) or not hasattr(previous, "dst"):
            return False
        self.instructions[last] = replace(previous, dst=dst)  # type: ignore[arg-type]  # it has a dst
        return True

    # ------------------------------------------------------------ variables

    def load(self, name: str, loc: SourceRange) -> Register:
        """A fresh register with the value of a variable now."""
        dst, place = self.temp(), self.scope.place(self.scope.mangle(name))
        match place.kind:
            case PlaceKind.LOCAL:
                self.emit(Move(dst=dst, src=place.name, loc=loc))
            case PlaceKind.CELL:
                self.emit(LoadCell(dst=dst, name=place.name, loc=loc))
            case PlaceKind.GLOBAL:
                self.emit(LoadGlobal(dst=dst, name=place.name, loc=loc))
            case _:
                assert_never(place.kind)
        return dst

    def store(self, name: str, src: Register, loc: SourceRange, *, last_use: bool = False) -> None:
        """Bind a variable; `last_use`: nobody reads the temporary `src` afterwards."""
        place = self.scope.place(self.scope.mangle(name))
        match place.kind:
            case PlaceKind.LOCAL:
                if not (last_use and self._redirect(src, place.name)):
                    self.emit(Move(dst=place.name, src=src, loc=loc))
            case PlaceKind.CELL:
                self.emit(StoreCell(name=place.name, src=src, loc=loc))
            case PlaceKind.GLOBAL:
                self.emit(StoreGlobal(name=place.name, src=src, loc=loc))
            case _:
                assert_never(place.kind)

    def delete(self, node: cst.Name, loc: SourceRange) -> None:
        """Unbind a variable."""
        place = self.scope.place(self.scope.mangle(node.value))
        if place.kind is PlaceKind.GLOBAL:
            raise self.unsupported(node, "a global is deleted inside a function", "assign None to it instead")
        self.emit(Delete(name=place.name, cell=place.kind is PlaceKind.CELL, loc=loc))

    def local_register(self, name: str) -> Register | None:
        """The register of a variable that is neither captured nor global."""
        place = self.scope.place(self.scope.mangle(name))
        return place.name if place.kind is PlaceKind.LOCAL else None

    # ------------------------------------------------------------ nodes

    def expression(self, node: cst.CSTNode) -> Register:
        """Lower an expression; the register holds its value."""
        handler = EXPRESSIONS.get(type(node))
        if handler is None:
            what = f"{type(node).__name__} is not supported"
            raise self.unsupported(node, what, "write it with ordinary statements")
        return handler(self, node)

    def statement(self, node: cst.CSTNode) -> None:
        """Lower a statement."""
        handler = STATEMENTS.get(type(node))
        if handler is None:
            what = f"{type(node).__name__} is not supported"
            raise self.unsupported(node, what, "write it with ordinary statements")
        handler(self, node)

    def block(self, body: cst.BaseSuite) -> None:
        """Lower the statements of a suite."""
        for statement in body.body:
            self.statement(statement)

    # ------------------------------------------------------------ regions

    @contextmanager
    def guarded(self, handler: Label | None, unwind: Callable[[], None] | None = None) -> Iterator[None]:
        """A region whose exceptions go to `handler` and whose ways out run `unwind` first."""
        outer = self.handler
        self.exits.append(Exit(outer, unwind))
        self.handler = handler
        yield
        self.exits.pop()
        self.handler = outer

    @contextmanager
    def loop(self, break_to: Label, continue_to: Label) -> Iterator[None]:
        """The body of a loop."""
        self.exits.append(Exit(self.handler, None, break_to, continue_to))
        yield
        self.exits.pop()

    @contextmanager
    def leaving(self, depth: int) -> Iterator[None]:
        """Do what the regions from `depth` on ask for, innermost first; the jump itself is emitted inside."""
        exits, handler = self.exits, self.handler
        for index in reversed(range(depth, len(exits))):
            self.exits, self.handler = exits[:index], exits[index].handler
            unwind = exits[index].unwind
            if unwind is not None:
                unwind()
        yield
        self.exits, self.handler = exits, handler

    def innermost_loop(self) -> int:
        """The depth of the innermost loop around."""
        return next(i for i in reversed(range(len(self.exits))) if self.exits[i].break_to is not None)

    def resolved(self) -> tuple[list[Instruction], list[Label | None]]:
        """Instructions and handlers with labels replaced by indices."""
        code: list[Instruction] = []
        for instruction in self.instructions:
            match instruction:
                case Jump(target=label) | JumpIf(target=label):
                    code.append(replace(instruction, target=self.labels[label]))
                case ForIter(exhausted=label):
                    code.append(replace(instruction, exhausted=self.labels[label]))
                case _:
                    code.append(instruction)
        return code, [None if h is None else self.labels[h] for h in self.handlers]


# Lowering of each node type; the modules of this package fill them in by the decorators below.
EXPRESSIONS: dict[type[cst.CSTNode], Callable[..., Register]] = {}
STATEMENTS: dict[type[cst.CSTNode], Callable[..., None]] = {}

_LowerExpression = TypeVar("_LowerExpression", bound=Callable[..., Register])
_LowerStatement = TypeVar("_LowerStatement", bound=Callable[..., None])


def lowers_expression(kind: type[cst.CSTNode]) -> Callable[[_LowerExpression], _LowerExpression]:
    """Register the lowering of an expression."""

    def register(function: _LowerExpression) -> _LowerExpression:
        EXPRESSIONS[kind] = function
        return function

    return register


def lowers_statement(kind: type[cst.CSTNode]) -> Callable[[_LowerStatement], _LowerStatement]:
    """Register the lowering of a statement."""

    def register(function: _LowerStatement) -> _LowerStatement:
        STATEMENTS[kind] = function
        return function

    return register
