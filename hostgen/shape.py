"""The structured form of a control-flow graph, before and after its jumps are turned into Python's.

First a tree whose leaves are `Goto`s; a `Mark` says where the code of a label stands, a `Loop` that its body repeats.
Then statements: `if`, `while`, `break`, `continue`, and where these do not reach, a variable `goto`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from dycl.ir.values import BlockId

# ---------------------------------------------------------------- tree


@dataclass(slots=True)
class Work:
    """The operations of a block."""

    block: BlockId


@dataclass(slots=True)
class Enter:
    """Take the index-th edge of a block whose target's code follows at once."""

    block: BlockId
    edge: int


@dataclass(slots=True)
class Goto:
    """Take the index-th edge of a block to a label."""

    block: BlockId
    edge: int
    target: BlockId


@dataclass(slots=True)
class Leave:
    """Return or raise, as the block ends."""

    block: BlockId


@dataclass(slots=True)
class Decision:
    """The condition of a block's branch; for `ROOT`, whether the call resumes at entry `entry`."""

    block: BlockId
    entry: int = -1


@dataclass(slots=True)
class Test:
    """Two ways on; the number of blocks below each decides which one is indented."""

    decision: Decision
    then: Tree
    orelse: Tree
    sizes: tuple[int, int]


@dataclass(slots=True)
class Loop:
    """Repeat the body; `header` is None for a body that runs once and is left by jumps alone.

    Dispatch: the body is nothing but marks, any of which a jump may come to by setting `goto` and starting over.
    """

    header: BlockId | None
    body: Tree
    dispatch: bool = False


@dataclass(slots=True)
class Mark:
    """The code of a label. Guarded: something that is on its way to a later label passes here."""

    label: BlockId
    body: Tree
    guarded: bool = False


Node: TypeAlias = "Work | Enter | Goto | Leave | Test | Loop | Mark | SetGoto"
Tree: TypeAlias = "list[Node]"

# ---------------------------------------------------------------- statements


@dataclass(slots=True)
class Frame:
    """A Python loop while its body is written: where its jumps lead and what had to be asked after it."""

    header: BlockId | None
    dispatch: frozenset[BlockId]
    after: Label  # the label a `break` lands at
    outer: Frame | None
    escapes: dict[BlockId, None] = field(default_factory=dict)
    rerouted: bool = False  # after the loop, `goto` is asked


@dataclass(slots=True)
class Label:
    """A place that control falls to, and the one it would fall to next. `end`: the end of a loop body."""

    block: BlockId
    mark: Mark | None
    next: Label | None


@dataclass(slots=True)
class SetGoto:
    """Say where control is going. Needed if one of these marks is guarded, or the frame asks after its loop."""

    target: BlockId
    always: bool
    mark: Mark | None = None
    frame: Frame | None = None

    @property
    def needed(self) -> bool:
        """Whether anything reads the variable."""
        return self.always or bool(self.mark and self.mark.guarded) or bool(self.frame and self.frame.rerouted)


@dataclass(slots=True)
class Break:
    """Leave the innermost Python loop."""


@dataclass(slots=True)
class Continue:
    """Start the innermost Python loop again."""


@dataclass(slots=True)
class If:
    """A decision; `negate`: the condition is written with `not`."""

    decision: Decision
    negate: bool
    then: Body
    orelse: Body


@dataclass(slots=True)
class IfGoto:
    """What is done only on the way to a label."""

    target: BlockId
    then: Body
    mark: Mark | None = None  # where given: only if this mark is guarded, else the body stands alone

    @property
    def needed(self) -> bool:
        """Whether the question is asked."""
        return self.mark is None or self.mark.guarded


@dataclass(slots=True)
class While:
    """A Python loop without condition."""

    body: Body
    once: bool


Statement: TypeAlias = "Work | Enter | Leave | SetGoto | Break | Continue | If | IfGoto | While"
Body: TypeAlias = "list[Statement]"
