"""Let the host do small work that only the host looks at: the largest of ten numbers, a comparison with a threshold.

Before::

    b0(%0 x: float32[1, 8]):
      %1: float32[1, 2] = module gate(%0)
      %2: int64[1] = call torch.Tensor.argmax(%1, dim=1)
      %3: int = host item(%2)
      %4: float32[1], %5: int64[1] = call torch.max(%1, 1)
      %6: bool[1] = call torch.Tensor.gt(%4, 0.5)
      %7: bool = host item(%6)
      ...

After::

    b0(%0 x: float32[1, 8]):
      %1: float32[1, 2] = module gate(%0)
      %2: int64[1] = host argmax(%1, 1)
      %3: int = host item(%2)
      %4: int64[1] = host argmax(%1, 1)
      %5: int = host peek(%4)
      %6: float = host peek_at(%1, %5)
      %7: bool = host gt(%6, 0.5)
      ...

In a subgraph a comparison is a kernel, and the largest of some numbers is seven: torch says where NaN is, ONNX does
not. numpy does as torch, and the host reads a result of the dispatch in any case. TensorFlow's Grappler has a pass of
this name for small work beside an accelerator.

Sound because the results are the same to the bit: nothing is rounded, a threshold is the number that torch compares
with (`0.9` beside `float32` is 0.8999999761581421), and of several NaN or equal numbers numpy, too, takes the first.
What a dispatch reads again is not moved: it would go to the host and back.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import assert_never

import torch

from dycl.ir.environment import Environment
from dycl.ir.graph import Use, definitions, renumber, uses
from dycl.ir.nodes import (
    Block,
    CallFunction,
    HostOp,
    Lit,
    Op,
    Operand,
    Program,
    Ref,
    Return,
    ScalarKind,
    ScalarType,
    Seq,
    SeqKind,
    TensorOp,
    TensorType,
    TorchLit,
    Value,
    ValueId,
    ValueType,
    edges,
    refs,
)
from dycl.ir.notes import Note
from dycl.passes import dead_code
from dycl.passes.cost import estimate_operations
from dycl.passes.naming import name_operations
from dycl.passes.rewriting import Substitution, replace_values, value_types

MOST_ELEMENTS = 1 << 10  # that numpy goes through in about a microsecond

_COMPARISONS = {
    **{name: name for name in ("eq", "ne", "lt", "le", "gt", "ge")},
    **{f"__{name}__": name for name in ("eq", "ne", "lt", "le", "gt", "ge")},
    **{"less": "lt", "less_equal": "le", "greater": "gt", "greater_equal": "ge", "not_equal": "ne"},
}
_BOTH = {"__and__": "and_", "logical_and": "and_", "__or__": "or_", "logical_or": "or_"}
_LARGEST = {"max": "argmax", "amax": "argmax", "min": "argmin", "amin": "argmin"}
# Of one truth value: as it is counted. (`to` is given what it shall be.)
_CONVERSIONS = {"float": "float", "double": "float", "long": "int", "int": "int"}
_CONVERTED = {"torch.float32": "float", "torch.float64": "float", "torch.int64": "int", "torch.int32": "int"}
_STACKS = {"stack": 0, "cat": 1, "concat": 1}  # of single elements with so many dimensions
_PLACES = frozenset({"argmax", "argmin"})
_ALONE = {"logical_not": "not_", "__invert__": "not_", "all": "bool", "any": "bool"}  # of one truth value
_READINGS = frozenset({"item", "peek", "bool", "int", "float"})
_KINDS = {
    "bool": ScalarKind.BOOL,
    "float32": ScalarKind.FLOAT,
    "float64": ScalarKind.FLOAT,
    **dict.fromkeys(("int8", "uint8", "int16", "int32", "int64"), ScalarKind.INT),
}


Types = Mapping[ValueId, ValueType]


def run(program: Program, environment: Environment) -> Program:
    """The program in which the host does what it alone looks at."""
    pinner = _Pinner(program)
    blocks = tuple(replace(block, ops=tuple(pinner.rewrite(block))) for block in program.blocks)
    if blocks == program.blocks:
        return program
    changed = replace_values(replace(program, blocks=blocks), pinner.numbers)
    return dead_code.run(renumber(changed), environment)


def explain(program: Program, environment: Environment) -> tuple[Note, ...]:
    """What `run` leaves to the host."""
    pinner = _Pinner(program)
    types = value_types(program)
    notes = []
    for op in (op for block in program.blocks for op in block.ops):
        if isinstance(op, TensorOp) and pinner.form(op) is not None:
            spared = estimate_operations([op], types, environment)
            text = (
                f"{name_operations([op])}: done by the host, which alone looks at it ({spared:.1f} µs of kernels less)"
            )
            notes.append(Note("pin-to-host", True, op.loc, text))
    return tuple(notes)


# ---------------------------------------------------------------- what the host can do


@dataclass(frozen=True, slots=True)
class _Scalar:
    """A comparison of single elements, or a connection of truth values: `function` of numbers of the host's."""

    function: str
    operands: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class _Reduction:
    """A largest or least number of `source` along `dim`, or its place."""

    function: str  # argmax or argmin
    source: Ref
    dim: int
    number: ValueId | None  # the result that is the number itself
    place: ValueId | None  # the result that is its place
    is_array: bool  # whether numpy gives the place as an array as torch gives a tensor


@dataclass(frozen=True, slots=True)
class _Stack:
    """Single elements of one kind, one after the other."""

    elements: tuple[Ref, ...]
    dtype: str


_Form = _Scalar | _Reduction | _Stack


def _is_array(form: _Form, result: ValueId) -> bool:
    """Whether the host has this result as an array, not as a number only."""
    return isinstance(form, _Stack) or (isinstance(form, _Reduction) and form.is_array and result != form.number)


def _find_form(op: TensorOp, types: Types) -> _Form | None:
    """How the host would do it; None if it cannot, or not with the very same result."""
    if not isinstance(op.target, CallFunction) or op.mutates or not op.args:
        return None
    name = op.target.name.rpartition(".")[2]
    if name in _STACKS:
        return _find_stack(op, _STACKS[name], types)
    if not isinstance(op.args[0], Ref):
        return None
    kind = types[op.args[0].id]
    if not isinstance(kind, TensorType) or kind.dtype not in _KINDS:
        return None
    if name in _PLACES or name in _LARGEST:
        return _find_reduction(op, name, op.args[0], kind, types)
    if op.kwargs or len(op.results) != 1 or not _is_one(kind):
        return None
    if name in _COMPARISONS and len(op.args) == 2:
        other = _as_compared(op.args[1], kind, types)
        return None if other is None else _Scalar(_COMPARISONS[name], (op.args[0], other))
    if kind.dtype != "bool":
        return None
    if name in _BOTH and len(op.args) == 2 and isinstance(op.args[1], Ref):
        return _Scalar(_BOTH[name], op.args) if _as_compared(op.args[1], kind, types) else None
    if name in _ALONE and len(op.args) == 1:
        return _Scalar(_ALONE[name], op.args)
    if name == "to" and len(op.args) == 2 and isinstance(op.args[1], TorchLit):
        function = _CONVERTED.get(op.args[1].text)
    else:
        function = _CONVERSIONS.get(name) if len(op.args) == 1 else None
    return None if function is None else _Scalar(function, op.args[:1])


def _find_stack(op: TensorOp, rank: int, types: Types) -> _Stack | None:
    parts = op.args[0].items if isinstance(op.args[0], Seq) else ()
    elements = tuple(part for part in parts if isinstance(part, Ref))
    dim = (*op.args[1:], *(value for key, value in op.kwargs if key == "dim"), Lit(0))[0]
    kinds = {types[element.id] for element in elements}
    kind = next(iter(kinds), None)
    is_plain = len(elements) == len(parts) and len(kinds) == 1 and dim in (Lit(0), Lit(-1))
    if not is_plain or not isinstance(kind, TensorType) or kind.dtype not in _KINDS or kind.shape != (1,) * rank:
        return None
    return _Stack(elements, kind.dtype)


def _is_one(kind: TensorType) -> bool:
    return all(size == 1 for size in kind.shape)


def _find_reduction(op: TensorOp, name: str, source: Ref, kind: TensorType, types: Types) -> _Reduction | None:
    sizes = [size for size in kind.shape if isinstance(size, int)]
    elements = math.prod(sizes)
    is_known = len(sizes) == len(kind.shape) > 0 and 0 < elements <= MOST_ELEMENTS and kind.dtype != "bool"
    dim = _find_dim(op, sizes) if is_known else None
    if dim is None:
        return None
    first = op.results[0]
    rest = tuple(size for place, size in enumerate(sizes) if place != dim)
    if name in _PLACES:
        is_array = rest != () and types[first.id] == TensorType("int64", rest)
        return _Reduction(name, source, dim, None, first.id, is_array) if is_array or math.prod(rest) == 1 else None
    if math.prod(rest) != 1:
        return None  # the host reads one number
    place = op.results[1] if len(op.results) > 1 else None
    is_array = place is not None and rest != () and place.type == TensorType("int64", rest)
    return _Reduction(_LARGEST[name], source, dim, first.id, place.id if place else None, is_array)


def _find_dim(op: TensorOp, sizes: list[int]) -> int | None:
    """Along which dimension an operation goes whose result has the elements of the others."""
    named = dict(op.kwargs)
    given = {"dim": op.args[1]} if len(op.args) > 1 else {}
    given |= {"keepdim": op.args[2]} if len(op.args) > 2 else {}
    given |= named
    dim = given.pop("dim", Lit(None))
    keeps = given.pop("keepdim", Lit(False))
    if given or not isinstance(dim, Lit) or not isinstance(keeps, Lit):
        return None
    if type(dim.value) is int:
        return dim.value % len(sizes)
    wide = [place for place, size in enumerate(sizes) if size > 1]
    return (wide or [len(sizes) - 1])[0] if dim.value is None and len(wide) < 2 else None


def _as_compared(operand: Operand, kind: TensorType, types: Types) -> Operand | None:
    """What a single element of this kind is compared with, as torch does it: a number is one of the tensor's kind."""
    if isinstance(operand, Ref):
        other = types[operand.id]
        return operand if isinstance(other, TensorType) and other.dtype == kind.dtype and _is_one(other) else None
    if not isinstance(operand, Lit) or not isinstance(operand.value, bool | int | float):
        return None
    is_float = kind.dtype in ("float32", "float64")
    limits = torch.iinfo(torch.int64 if is_float or kind.dtype == "bool" else getattr(torch, kind.dtype))
    fits = is_float if isinstance(operand.value, float) else limits.min <= operand.value <= limits.max
    if not fits:  # such an integer torch does not take, or wraps
        return None
    return Lit(torch.tensor(operand.value, dtype=getattr(torch, kind.dtype)).item()) if is_float else operand


# ---------------------------------------------------------------- what it does


class _Pinner:
    """What of a program goes to the host.

    `numbers`: the readings that are numbers of the host's already, found while blocks are rewritten.
    """

    def __init__(self, program: Program) -> None:
        self.numbers: Substitution = {}
        self._program = program
        self._types = value_types(program)
        self._uses = uses(program)
        self._ids = map(ValueId, count(1 + max(map(int, definitions(program)), default=0)))
        ops = [op for block in program.blocks for op in block.ops if isinstance(op, TensorOp) and op.results]
        forms = {op.results[0].id: _find_form(op, self._types) for op in ops}
        self._forms = {first: form for first, form in forms.items() if form is not None}
        results = {op.results[0].id: [value.id for value in op.results] for op in ops}
        names = {op.results[0].id: op.results[0].name for op in ops}
        while needed := [
            first
            for first, form in self._forms.items()
            if not all(self._stays(value, set(), _is_array(form, value)) for value in results[first])
        ]:
            for first in needed:
                del self._forms[first]
        self._scalars = {
            first: Value(next(self._ids), ScalarType(self._kind(first)), names[first])
            for first, form in self._forms.items()
            if isinstance(form, _Scalar) or (isinstance(form, _Reduction) and form.number is not None)
        }

    def form(self, op: TensorOp) -> _Form | None:
        """What the host does in place of an operation, if it does anything."""
        return self._forms.get(op.results[0].id) if op.results else None

    def rewrite(self, block: Block) -> Iterator[Op]:
        """The operations of a block, those of the host in their places."""
        for op in block.ops:
            if isinstance(op, TensorOp) and (form := self.form(op)) is not None:
                yield from self._pin(op, form)
            elif isinstance(op, HostOp) and (number := self._number_read(op)) is not None:
                if op.function in ("item", "peek"):
                    self.numbers[op.result.id] = number
                else:
                    yield replace(op, args=(number,))
            else:
                yield op

    def _kind(self, value: ValueId) -> ScalarKind:
        kind = self._types.get(value)  # of a place that the host finds for itself nothing is noted
        return ScalarKind.INT if not isinstance(kind, TensorType) else _KINDS[kind.dtype]

    # ------------------------------------------------------------ who looks

    def _stays(self, value: ValueId, seen: set[ValueId], is_array: bool = True) -> bool:
        """Whether nobody but the host sees a value, or the caller where the host has it as an array.

        `seen`: the parameters of blocks that it has gone to already.
        """
        if value in seen:
            return True
        seen.add(value)
        return all(self._looks_on_host(place, value, is_array, seen) for place in self._uses.get(value, ()))

    def _looks_on_host(self, place: Use, value: ValueId, is_array: bool, seen: set[ValueId]) -> bool:
        block = self._program.block(place.block)
        if place.index < len(block.ops):
            op = block.ops[place.index]
            if isinstance(op, HostOp):
                return op.function in _READINGS
            form = self.form(op) if isinstance(op, TensorOp) else None
            return is_array if isinstance(form, _Reduction) else form is not None
        if not is_array:
            return False
        if isinstance(block.end, Return):
            return value not in (v for operand in block.end.state for v in refs(operand)) and not block.end.writes
        given = [
            (param.id, arg)
            for edge in edges(block.end)
            for param, arg in zip(self._program.block(edge.target).params, edge.args, strict=True)
            if value in refs(arg)
        ]
        return bool(given) and all(arg == Ref(value) and self._stays(param, seen) for param, arg in given)

    # ------------------------------------------------------------ rewriting

    def _number_read(self, op: HostOp) -> Operand | None:
        """The number that a reading of a tensor is now."""
        if op.function not in _READINGS or not isinstance(op.args[0], Ref):
            return None
        scalar = self._scalars.get(op.args[0].id)
        return None if scalar is None else Ref(scalar.id)

    def _pin(self, op: TensorOp, form: _Form) -> Iterator[HostOp]:
        """What the host does in place of an operation."""
        match form:
            case _Scalar(function=function, operands=operands):
                numbers = yield from self._read_all(operands, op)
                yield HostOp(function=function, args=numbers, result=self._scalars[op.results[0].id], loc=op.loc)
            case _Stack(elements=elements, dtype=dtype):
                items = Seq(SeqKind.LIST, (yield from self._read_all(elements, op)))
                yield HostOp(function="tensor_of", args=(items, Lit(dtype)), result=op.results[0], loc=op.loc)
            case _Reduction(function=function, source=source, dim=dim, number=number):
                place = self._place(op, form)
                yield HostOp(function=function, args=(source, Lit(dim)), result=place, loc=op.loc)
                if number is not None:
                    (index,) = yield from self._read_all((Ref(place.id),), op)
                    yield HostOp(function="peek_at", args=(source, index), result=self._scalars[number], loc=op.loc)
            case _:
                assert_never(form)

    def _read_all(self, operands: Sequence[Operand], op: TensorOp) -> Generator[HostOp, None, tuple[Operand, ...]]:
        """The numbers in single elements; what is not known yet is read."""
        numbers: list[Operand] = []
        for operand in operands:
            if not isinstance(operand, Ref):
                numbers.append(operand)
                continue
            scalar = self._scalars.get(operand.id)
            if scalar is None:
                scalar = Value(next(self._ids), ScalarType(self._kind(operand.id)))
                yield HostOp(function="peek", args=(operand,), result=scalar, loc=op.loc)
            numbers.append(Ref(scalar.id))
        return tuple(numbers)

    def _place(self, op: TensorOp, form: _Reduction) -> Value:
        """The place as the host has it: an array of the sizes of the other dimensions."""
        source = self._types[form.source.id]
        assert isinstance(source, TensorType)
        kind = TensorType("int64", tuple(size for place, size in enumerate(source.shape) if place != form.dim))
        known = next((value for value in op.results if value.id == form.place), None)
        return Value(next(self._ids), kind) if known is None else replace(known, type=kind)
