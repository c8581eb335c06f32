"""A whole program: where its calls start, what they are given, what it keeps, and its blocks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from dycl.diagnostics import UNKNOWN, SourceRange
from dycl.ir.nodes import Block, Procedure, Subgraph
from dycl.ir.values import BlockId, Member, NothingType, Operand, ScalarKind, UnionType, ValueType

# ---------------------------------------------------------------- schemas


class SchemaKind(Enum):
    """What an object with a schema is."""

    INSTANCE = "instance"
    LIST = "list"  # any number of items, all as the one field says
    TUPLE = "tuple"
    DICT = "dict"


@dataclass(frozen=True, slots=True)
class SchemaField:
    """An attribute or item: what it may hold. `optional`: it may be missing; `is_written`: the program writes it."""

    name: str
    members: tuple[Member, ...]
    optional: bool = False
    is_written: bool = False

    @property
    def type(self) -> ValueType:
        """What is read."""
        first = self.members[0]
        return UnionType(self.members) if len(self.members) > 1 or isinstance(first, NothingType) else first


@dataclass(frozen=True, slots=True)
class Schema:
    """What an object of the caller's looks like; `class_name` (`module:qualname`) of an instance."""

    name: str
    kind: SchemaKind
    class_name: str
    fields: tuple[SchemaField, ...]

    def field(self, name: str) -> SchemaField | None:
        """The field of that name."""
        return next((field for field in self.fields if field.name == name), None)


# ---------------------------------------------------------------- programs


class ParamKind(Enum):
    """How an argument of the entry method may be given."""

    POSITIONAL_ONLY = "positional only"
    POSITIONAL_OR_KEYWORD = "positional or keyword"
    KEYWORD_ONLY = "keyword only"


@dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    """A parameter of the entry method.

    `spec` says what the call must pass: `InputLeaf`s where a run-time value stands, literals where the value is a
    constant of the artifact and guarded at the call. `optional`: the call may leave it out, which means `spec`.
    """

    name: str
    kind: ParamKind
    spec: Operand
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Method:
    """A method of the model that may be called: its name and its parameters, whose leaves are numbered from 0."""

    name: str
    signature: tuple[Param, ...] = ()


@dataclass(frozen=True, slots=True)
class StateSlot:
    """An attribute that the model writes: its path from the model, and what it holds in the entry's parameters."""

    name: str
    template: Operand


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Where a call of a method starts that finds the model in one kind of state.

    The block's parameters are the method's run-time inputs, then `state_params` state values.
    """

    block: BlockId
    slots: tuple[StateSlot, ...] = ()
    state_params: int = 0


@dataclass(frozen=True, slots=True)
class Tunable:
    """An attribute of the model that may be set on the host at run time; the host function `tunable` reads it."""

    name: str
    kind: ScalarKind
    default: object
    loc: SourceRange = UNKNOWN


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A source file the program was made from."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Dimension:
    """A size of the inputs that each call chooses: wherever its name stands, it is the same."""

    name: str
    low: int = 1
    high: int | None = None  # None: any

    @property
    def interval(self) -> str:
        """The sizes that a call may choose, in words."""
        return f"{self.low} or more" if self.high is None else f"{self.low} to {self.high}"

    def admits(self, size: int) -> bool:
        """Whether a call may choose this size."""
        return self.low <= size and (self.high is None or size <= self.high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A whole compiled model: the first call finds the state of kind 0 with `initial` as its parameters.

    Of several methods the first is the one that a call of the model means; `others` share its state. `entries` has one
    for each method, kind by kind of state.
    """

    name: str
    method: str = "forward"
    signature: tuple[Param, ...] = ()
    others: tuple[Method, ...] = ()
    entries: tuple[Entry, ...]
    initial: tuple[Operand, ...] = ()
    blocks: tuple[Block, ...]
    subgraphs: tuple[Subgraph, ...] = ()
    tunables: tuple[Tunable, ...] = ()
    dimensions: tuple[Dimension, ...] = ()
    sources: tuple[SourceFile, ...] = ()
    procedures: tuple[Procedure, ...] = ()
    schemas: tuple[Schema, ...] = ()

    def block(self, block_id: BlockId) -> Block:
        """The block of that id. Blocks are stored so that `blocks[i].id == i`."""
        return self.blocks[block_id]

    @property
    def methods(self) -> tuple[Method, ...]:
        """All methods that may be called, the model's own call first."""
        return (Method(self.method, self.signature), *self.others)

    @property
    def kinds(self) -> int:
        """How many kinds of state there are."""
        return len(self.entries) // len(self.methods)

    def entries_of(self, kind: int) -> tuple[Entry, ...]:
        """Where calls start that find a state of this kind: one entry for each method."""
        count = len(self.methods)
        return self.entries[kind * count : (kind + 1) * count]

    def signature_of(self, method: str) -> tuple[Param, ...]:
        """The parameters of a method; of the model's own call for an empty name."""
        return next((found.signature for found in self.others if found.name == method), self.signature)
