"""The front end's product: one function lowered to three-address instructions over named registers.

A register is a local variable (its own name; `x%3` for the variable x of a comprehension, which is part of the function
around it) or a temporary (`%` and a number). Control flow is explicit: `Jump`,
`JumpIf`, `ForIter`, `Return`, `Raise` and the handler table are all there is; `break`, `with`, `finally`, short
circuits, chained comparisons and comprehensions are gone. Every instruction is atomic and may be executed again from
the start: its operands stay in their registers until it has succeeded.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from dycl.diagnostics import SourceRange

Register = str


@dataclass(frozen=True, slots=True, kw_only=True)
class Const:
    """dst = a literal (number, text, bytes, None, Ellipsis, tuple of literals) or a function that lowered code needs.

    The functions are those of `dycl.frontend.checks`, `len` (patterns) and the class `AssertionError` (assert).
    """

    dst: Register
    value: object
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """dst = src; UnboundLocalError if src is not bound."""

    dst: Register
    src: Register
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadGlobal:
    """dst = the module's global `name`, or the builtin; NameError if there is neither."""

    dst: Register
    name: str
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreGlobal:
    """The module's global `name` = src."""

    name: str
    src: Register
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadCell:
    """dst = the content of cell `name` (a captured variable, ours or an outer function's); NameError if empty."""

    dst: Register
    name: str
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCell:
    """The content of cell `name` = src."""

    name: str
    src: Register
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Unbind a local register or (cell=True) empty a cell."""

    name: str
    cell: bool
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadAttr:
    """dst = obj.name (names are already mangled)."""

    dst: Register
    obj: Register
    name: str
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSpecial:
    """dst = the method `name` looked up on type(obj) and bound to obj, as `with` does."""

    dst: Register
    obj: Register
    name: str
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreAttr:
    """obj.name = src."""

    obj: Register
    name: str
    src: Register
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteAttr:
    """del obj.name."""

    obj: Register
    name: str
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadItem:
    """dst = obj[index]."""

    dst: Register
    obj: Register
    index: Register
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreItem:
    """obj[index] = src."""

    obj: Register
    index: Register
    src: Register
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteItem:
    """del obj[index]."""

    obj: Register
    index: Register
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Unary:
    """dst = op operand; op is the name of a function of the `operator` module: neg, pos, invert, not_."""

    dst: Register
    op: str
    operand: Register
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary:
    """dst = left op right; op names a function of the `operator` module: add, iadd, matmul, eq, lt, is_, is_not, ...

    Two names are ours: `in` and `not_in`, with the element on the left.
    """

    dst: Register
    op: str
    left: Register
    right: Register
    loc: SourceRange


class Collection(Enum):
    """What `Build` makes."""

    TUPLE = "tuple"
    LIST = "list"
    SET = "set"


@dataclass(frozen=True, slots=True)
class Item:
    """An operand of a display or a call: `star` is "" for one value, "*" or "**" for an unpacked one."""

    src: Register
    star: str = ""
    keyword: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """dst = a new tuple, list or set of the items, `*` items unpacked."""

    dst: Register
    kind: Collection
    items: tuple[Item, ...]
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildDict:
    """dst = a new dict of (key, value) registers in order; a key of None unpacks the value with `**`."""

    dst: Register
    items: tuple[tuple[Register | None, Register], ...]
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSlice:
    """dst = slice(start, stop, step)."""

    dst: Register
    start: Register
    stop: Register
    step: Register
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """dst = one replacement field of an f-string; conversion is "", "s", "r" or "a"; spec is a register or None."""

    dst: Register
    src: Register
    conversion: str
    spec: Register | None
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinText:
    """dst = the parts of an f-string, joined."""

    dst: Register
    parts: tuple[Register, ...]
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """Add to the collection that a comprehension builds: list.append, set.add, or (key given) dict item."""

    target: Register
    src: Register
    key: Register | None
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """dst = func(items...), in source order; `star` and `keyword` as in the source."""

    dst: Register
    func: Register
    items: tuple[Item, ...]
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroSuper:
    """dst = func(), where func is what the name `super` means here; owner: cell `__class__`; self: first parameter."""

    dst: Register
    func: Register
    self: Register
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeFunction:
    """dst = a new function of `code`; closure cells are taken by name from the frame's cells (`code.free_names`)."""

    dst: Register
    code: Code
    defaults: tuple[Register, ...]
    keyword_defaults: tuple[tuple[str, Register], ...]
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """dst = __import__(name, globals, fromlist=..., level=...)."""

    dst: Register
    name: str
    fromlist: tuple[str, ...]
    level: int
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportFrom:
    """dst = module.name, importing the submodule if need be."""

    dst: Register
    module: Register
    name: str
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpack:
    """Assign the elements of src; star: the index in dsts that takes the rest as a list, or -1. Errors as Python's."""

    dsts: tuple[Register, ...]
    src: Register
    star: int
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class GetIter:
    """dst = iter(src)."""

    dst: Register
    src: Register
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class ForIter:
    """dst = next(iterator) and go on, or go to `exhausted`."""

    dst: Register
    iterator: Register
    exhausted: int
    value: Register | None = None  # gets what a generator returns, on the way to `exhausted`; it was None before
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Jump:
    """Go to `target`."""

    target: int
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class JumpIf:
    """Go to `target` if bool(cond) is `want`, else go on."""

    cond: Register
    want: bool
    target: int
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """Leave the function with src."""

    src: Register
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Yield:
    """Hand src to the consumer of the generator; dst = what it sends (None). `is_delegated`: of `yield from`."""

    dst: Register
    src: Register
    is_delegated: bool = False
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Raise:
    """Raise exc (class or instance), from cause if given; exc None: the exception being handled again.

    That is this frame's, or where it handles none the nearest caller's that does; RuntimeError where none does.
    """

    exc: Register | None
    cause: Register | None
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Catch:
    """First instruction of every handler: dst = the exception, which is being handled from here on.

    What was being handled before is kept in `saved`, for `EndCatch`.
    """

    dst: Register
    saved: Register
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class EndCatch:
    """The handler is left: what was being handled before (in `saved`) is being handled again."""

    saved: Register
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Reraise:
    """Raise the exception in src as it is, with no new context: no handler took it, or a `finally` has ended."""

    src: Register
    loc: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchException:
    """dst = is the exception an instance of the class (or tuple of classes) `type`? TypeError if it is neither."""

    dst: Register
    exc: Register
    type: Register
    loc: SourceRange


Instruction = (
    Const
    | Move
    | LoadGlobal
    | StoreGlobal
    | LoadCell
    | StoreCell
    | Delete
    | LoadAttr
    | LoadSpecial
    | StoreAttr
    | DeleteAttr
    | LoadItem
    | StoreItem
    | DeleteItem
    | Unary
    | Binary
    | Build
    | BuildDict
    | BuildSlice
    | Format
    | JoinText
    | Append
    | Call
    | ZeroSuper
    | MakeFunction
    | Import
    | ImportFrom
    | Unpack
    | GetIter
    | ForIter
    | Jump
    | JumpIf
    | Return
    | Yield
    | Raise
    | Catch
    | EndCatch
    | Reraise
    | MatchException
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """The parameters of a function, as `inspect` names their kinds."""

    positional_only: tuple[str, ...] = ()
    positional: tuple[str, ...] = ()
    var_positional: str | None = None
    keyword_only: tuple[str, ...] = ()
    var_keyword: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in the order in which a call binds them."""
        last = (self.var_positional,) if self.var_positional else ()
        kw = (self.var_keyword,) if self.var_keyword else ()
        return self.positional_only + self.positional + last + self.keyword_only + kw


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Code:
    """One lowered function. The four tables run parallel to `instructions`.

    `handlers[i]` is where an exception of instruction i goes (a `Catch`), or None. `joins[i]` is True where control
    flow meets: more than one predecessor, loop headers among them. `live[i]` are the registers (not cells) whose
    content may still be read from instruction i on. Parameters that are captured by an inner function arrive in their
    register, and the first instructions move them into their cells.
    """

    name: str
    qualname: str
    file: str
    line: int
    parameters: Parameters
    instructions: tuple[Instruction, ...]
    handlers: tuple[int | None, ...]
    joins: tuple[bool, ...]
    live: tuple[frozenset[Register], ...]
    cell_names: tuple[str, ...] = ()  # cells this function makes
    free_names: tuple[str, ...] = ()  # cells it gets from the functions around it (`__class__` among them)
    is_generator: bool = False
