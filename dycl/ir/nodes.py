"""The HCFG: a heterogeneous control-flow graph of tensor operations, host operations and host decisions.

Pure data: nothing here imports torch. Weights and modules are named; `dycl.ir.environment` binds the names to objects.
Values are in SSA form with block arguments: every `ValueId` is defined once, by a block parameter or an operation, and
its definition dominates its uses.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NewType, assert_never

from dycl.diagnostics import UNKNOWN, SourceRange

ValueId = NewType("ValueId", int)
BlockId = NewType("BlockId", int)
SubgraphId = NewType("SubgraphId", int)
ProcedureId = NewType("ProcedureId", int)


# ---------------------------------------------------------------- types


class ScalarKind(Enum):
    """The Python type of a host scalar."""

    INT = "int"
    FLOAT = "float"
    BOOL = "bool"
    STR = "str"


@dataclass(frozen=True, slots=True)
class TensorType:
    """A tensor on the target's device; a dimension is an int, or a name where its size is known at run time only."""

    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class ScalarType:
    """A Python number (or text) in the host, with Python's own semantics.

    `size`: what an int is in terms of run-time sizes, spelled as a dimension is; it makes no type another one.
    """

    kind: ScalarKind
    size: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class ListType:
    """A Python list in the host whose length is known at run time only. It is a value: appending makes a new one.

    `is_tuple`: a tuple instead.
    """

    element: ValueType
    is_tuple: bool = False


@dataclass(frozen=True, slots=True)
class DictType:
    """A Python dict in the host whose keys are known at run time only."""

    key: ValueType
    value: ValueType


class ArrayForm(Enum):
    """What holds numbers: an array, one of numpy's scalars, or an array of objects that are Python's own numbers."""

    ARRAY = "array"
    SCALAR = "scalar"
    OBJECTS = "objects"


@dataclass(frozen=True, slots=True)
class ArrayType:
    """An array of numpy's in the host, a reference that several values may share.

    Of objects `dtype` is what an array of its Python numbers would have.
    """

    dtype: str
    shape: tuple[int | str, ...]
    form: ArrayForm = ArrayForm.ARRAY

    @property
    def is_scalar(self) -> bool:
        """Whether it is one of numpy's scalars."""
        return self.form is ArrayForm.SCALAR


@dataclass(frozen=True, slots=True)
class StructType:
    """A Python object of the host of known structure: `template` is what it looks like, with leaves of these types."""

    template: Operand


@dataclass(frozen=True, slots=True)
class NothingType:
    """None, as one of several things that a place may hold."""


@dataclass(frozen=True, slots=True)
class ObjectType:
    """A Python object of the caller's, or what the model hung on one: its schema, by name, says what is in it."""

    schema: str


Member = TensorType | ScalarType | ObjectType | NothingType


@dataclass(frozen=True, slots=True)
class UnionType:
    """One of several: what it is, is a decision of the host."""

    members: tuple[Member, ...]


ValueType = TensorType | ScalarType | ListType | DictType | ArrayType | StructType | ObjectType | UnionType


@dataclass(frozen=True, slots=True)
class Value:
    """The definition of a value: its type and the source variable that first held it (may be empty)."""

    id: ValueId
    type: ValueType
    name: str = ""


# ---------------------------------------------------------------- operands


@dataclass(frozen=True, slots=True)
class Ref:
    """A use of a value."""

    id: ValueId


@dataclass(frozen=True, slots=True)
class Lit:
    """A Python literal: None, bool, int, float, str or Ellipsis."""

    value: object


@dataclass(frozen=True, slots=True)
class TorchLit:
    """A torch constant as it is written: `torch.float32`, `torch.device('cpu')`, `torch.contiguous_format`."""

    text: str


@dataclass(frozen=True, slots=True)
class Weight:
    """A parameter, buffer or constant tensor of the model, by its name in the environment."""

    name: str


class SeqKind(Enum):
    """Which Python sequence a `Seq` is."""

    TUPLE = "tuple"
    LIST = "list"
    SIZE = "size"
    SET = "set"


@dataclass(frozen=True, slots=True)
class Seq:
    """A sequence of static length."""

    kind: SeqKind
    items: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class SliceOf:
    """A Python slice."""

    start: Operand
    stop: Operand
    step: Operand


@dataclass(frozen=True, slots=True)
class Mapping:
    """A dict with literal keys, in insertion order."""

    items: tuple[tuple[Lit, Operand], ...]


class RecordKind(Enum):
    """How an object with fields is made."""

    DATACLASS = "dataclass"
    NAMEDTUPLE = "namedtuple"
    MAPPING = "mapping"  # a dict subclass whose items are its fields (transformers' ModelOutput)


@dataclass(frozen=True, slots=True)
class Record:
    """An object of a named class (`module:qualname`) with named fields."""

    kind: RecordKind
    class_name: str
    fields: tuple[tuple[str, Operand], ...]


@dataclass(frozen=True, slots=True)
class InputLeaf:
    """In a signature only: the index-th run-time input; of an int, the least and the greatest that is admitted."""

    index: int
    type: ValueType
    low: int | None = None
    high: int | None = None

    @property
    def interval(self) -> str:
        """The numbers that a call may pass, in words."""
        if self.low is None or self.high is None:
            return f"{self.low} or more" if self.high is None else f"{self.high} or less"
        return f"{self.low} to {self.high}"

    def admits(self, value: object) -> bool:
        """Whether a call may pass this value, as far as the bounds are concerned."""
        if not isinstance(value, int):
            return True
        return (self.low is None or self.low <= value) and (self.high is None or value <= self.high)


Operand = Ref | Lit | TorchLit | Weight | Seq | SliceOf | Mapping | Record | InputLeaf


# ---------------------------------------------------------------- operations


@dataclass(frozen=True, slots=True)
class CallModule:
    """Call a submodule of the model, by its name in the environment (its path, as `get_submodule` takes it)."""

    path: str


@dataclass(frozen=True, slots=True)
class CallFunction:
    """Call a function of torch by its dotted name: `torch.relu`, `torch.Tensor.add_`, `torch.nn.functional.softmax`."""

    name: str


Target = CallModule | CallFunction


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorOp:
    """One call of torch without a decision inside.

    `results` are the tensor leaves of what the call returns, in the order of `torch.utils._pytree`. A call may write
    into its arguments; `mutates` then pairs each earlier value whose memory changed (aliases included) with the name
    its new content has from here on. The old name must not be used after this operation. `sizes` are what is known of
    run-time sizes wherever the operation runs: pairs of equal ones.
    """

    target: Target
    args: tuple[Operand, ...]
    kwargs: tuple[tuple[str, Operand], ...] = ()
    results: tuple[Value, ...]
    mutates: tuple[tuple[ValueId, Value], ...] = ()
    sizes: tuple[tuple[str, int | str], ...] = ()
    loc: SourceRange = UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class HostOp:
    """One operation of Python on host values; `function` names an entry of `dycl.ir.hostops.HOST_FUNCTIONS`."""

    function: str
    args: tuple[Operand, ...]
    result: Value
    loc: SourceRange = UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """Run a compiled subgraph. Made by the partition pass; no `TensorOp` is left in a block after it."""

    subgraph: SubgraphId
    args: tuple[Operand, ...]  # Ref, Lit or Weight
    results: tuple[Value, ...]
    loc: SourceRange = UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoke:
    """Run a procedure. Where it replies in several ways, the values of the ways it did not take are None."""

    procedure: ProcedureId
    args: tuple[Operand, ...]
    results: tuple[Value, ...]
    loc: SourceRange = UNKNOWN


Op = TensorOp | HostOp | Dispatch | Invoke


# ---------------------------------------------------------------- control flow


@dataclass(frozen=True, slots=True)
class Edge:
    """A way into a block: one argument (Ref, Lit, Weight or Seq of these) for each of its parameters."""

    target: BlockId
    args: tuple[Operand, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Jump:
    """Leave the block by its only edge."""

    edge: Edge
    loc: SourceRange = UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """Leave the block by one of two edges. The condition is always a host bool, never a tensor."""

    cond: ValueId
    if_true: Edge
    if_false: Edge
    loc: SourceRange = UNKNOWN


class WriteKind(Enum):
    """What happens to something of the caller's when a call ends."""

    SET = "set"  # an item of a list or dict is replaced, or a key added at a dict's end
    APPEND = "append"  # a list gets one more item
    REMOVE = "remove"  # a dict loses a key; no value
    TRUNCATE = "truncate"  # a list keeps so many items
    REPLACE = "replace"  # a list gets the items of another
    FILL = "fill"  # a tensor gets the elements of another of its dtype and shape


@dataclass(frozen=True, slots=True)
class Write:
    """A change of what the caller has passed, seen by it when the call ends: a list, a dict or a tensor.

    `place` says what is written: the name of a parameter, then indices and keys; for `SET` and `REMOVE` it ends with
    the item's own.
    """

    kind: WriteKind
    place: tuple[object, ...]
    value: Operand = Lit(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """Leave the program with a value.

    `writes` are done in their order, all values being known before the first. The next call finds the state of kind
    `resume`, its entry's state parameters bound to `state`.
    """

    value: Operand
    resume: int = 0
    state: tuple[Operand, ...] = ()
    writes: tuple[Write, ...] = ()
    loc: SourceRange = UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Raise:
    """Leave the program with an exception of class `class_name` (`module:qualname`); the rest as for `Return`."""

    class_name: str
    args: tuple[Operand, ...]
    resume: int = 0
    state: tuple[Operand, ...] = ()
    writes: tuple[Write, ...] = ()
    loc: SourceRange = UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """Leave the procedure with these results."""

    values: tuple[Operand, ...]
    loc: SourceRange = UNKNOWN


Terminator = Jump | Branch | Return | Raise | Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Straight-line work and one terminator."""

    id: BlockId
    params: tuple[Value, ...] = ()
    ops: tuple[Op, ...] = ()
    end: Terminator
    loc: SourceRange = UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Subgraph:
    """Branch-free tensor work that is compiled as one.

    `params` are its inputs (tensors and host scalars), `results` the values it hands out. Subgraphs of equal
    `structure` differ in their weights alone; the structure is exported once. -1: not yet deduplicated.
    """

    id: SubgraphId
    name: str
    params: tuple[Value, ...]
    ops: tuple[TensorOp, ...]
    results: tuple[ValueId, ...]
    structure: int = -1
    loc: SourceRange = UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Procedure:
    """A function of the source that calls itself in an unknown depth.

    Its blocks are the program's, reached from `block` alone, whose parameters are the arguments. They end in `Reply`,
    or in a `Raise` that leaves the whole program. `is_rest`: it is what such a function does once it is settled that it
    calls itself; who invokes it has done what comes before (`passes/split.py`).
    """

    id: ProcedureId
    name: str
    block: BlockId
    is_rest: bool = False
    loc: SourceRange = UNKNOWN


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


def edges(end: Terminator) -> tuple[Edge, ...]:
    """The edges that may be taken next, in source order."""
    match end:
        case Jump(edge=edge):
            return (edge,)
        case Branch(if_true=yes, if_false=no):
            return (yes, no)
        case Return() | Raise() | Reply():
            return ()
        case _:
            assert_never(end)


def refs(operand: Operand) -> tuple[ValueId, ...]:
    """The values an operand uses, in order."""
    match operand:
        case Ref(id=value):
            return (value,)
        case Seq(items=items):
            return tuple(v for item in items for v in refs(item))
        case SliceOf(start=start, stop=stop, step=step):
            return refs(start) + refs(stop) + refs(step)
        case Mapping(items=pairs):
            return tuple(v for _, item in pairs for v in refs(item))
        case Record(fields=fields):
            return tuple(v for _, item in fields for v in refs(item))
        case Lit() | TorchLit() | Weight() | InputLeaf():
            return ()
        case _:
            assert_never(operand)
