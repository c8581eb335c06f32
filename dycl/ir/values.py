"""What a program computes with: types, values and operands.

Pure data: nothing here imports torch. Weights are named; `dycl.ir.environment` binds the names to objects. Values are
in SSA form with block arguments: every `ValueId` is defined once, by a block parameter or an operation, and its
definition dominates its uses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import NewType, assert_never

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


def refs(operand: Operand) -> tuple[ValueId, ...]:
    """The values an operand uses, in order."""
    match operand:
        case Ref(id=value):
            return (value,)
        case Seq(items=items):
            return all_refs(items)
        case SliceOf(start=start, stop=stop, step=step):
            return refs(start) + refs(stop) + refs(step)
        case Mapping(items=pairs):
            return all_refs(item for _, item in pairs)
        case Record(fields=fields):
            return all_refs(item for _, item in fields)
        case Lit() | TorchLit() | Weight() | InputLeaf():
            return ()
        case _:
            assert_never(operand)


def all_refs(operands: Iterable[Operand]) -> tuple[ValueId, ...]:
    """The values that operands use, in order."""
    return tuple(value for operand in operands for value in refs(operand))


def operand_parts(operand: Operand) -> Iterator[Operand]:
    """The operand and everything inside it, outermost first."""
    yield operand
    match operand:
        case Seq(items=items):
            inner: tuple[Operand, ...] = items
        case SliceOf(start=start, stop=stop, step=step):
            inner = (start, stop, step)
        case Mapping(items=pairs):
            inner = tuple(part for pair in pairs for part in pair)
        case Record(fields=fields):
            inner = tuple(item for _, item in fields)
        case Ref() | Lit() | TorchLit() | Weight() | InputLeaf():
            inner = ()
        case _:
            assert_never(operand)
    for item in inner:
        yield from operand_parts(item)
