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

Sound because the results are equal: nothing is rounded, a threshold is the number that torch compares
with (`0.9` beside `float32` is 0.8999999761581421), and of several NaN or equal numbers numpy, too, takes the first.
What a dispatch reads again is not moved: it would go to the host and back. A row of an array that the host has anyway
is a view: `order[0]` takes no dispatch. Nor does an array of no elements (`host_arrays.py`). But once it is settled
what is a dispatch (`run_late`), the place of a largest number that the host looks at before a later dispatch reads it
is the host's, too: the next word of a text, say. And of small arrays that it has it makes others where
that spares a dispatch (`host_gains.py`): one array of what a loop has collected, the rows at some places.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import assert_never

from dycl.ir.dataflow import Use, definitions, edge_bindings, uses, value_types
from dycl.ir.environment import Environment
from dycl.ir.nodes import Block, HostOp, Op, Return, TensorOp
from dycl.ir.notes import Note
from dycl.ir.numbering import renumber
from dycl.ir.program import Program
from dycl.ir.substitution import Substitution
from dycl.ir.values import (
    BlockId,
    Lit,
    Operand,
    Ref,
    ScalarKind,
    ScalarType,
    Seq,
    SeqKind,
    TensorType,
    Value,
    ValueId,
    all_refs,
    refs,
)
from dycl.passes import dead_code
from dycl.passes.analysis.cost import estimate_operations
from dycl.passes.analysis.naming import name_operations
from dycl.passes.host_arrays import Arrays, Empty, Pick, find_empty, find_pick
from dycl.passes.host_forms import KINDS, AnyForm, Reduction, Scalar, Stack, find_form, is_array_of
from dycl.passes.host_gains import Gains, Late
from dycl.passes.host_joins import Join
from dycl.passes.host_rows import Between, Take
from dycl.passes.rewriting import replace_values

_READINGS = frozenset({"item", "peek", "bool", "int", "float"})
# These take an array as it is, or read one of its elements.
_TAKING = frozenset({"item_at", "peek_at", "size", "list_append", "list_insert", "list_set", "stack", "cat"})
_LOOKING = _READINGS | {"item_at", "peek_at"}


def run(program: Program, environment: Environment) -> Program:
    """The program in which the host does what it alone looks at."""
    return _pin_all(program, environment, _Pinner(program, environment))


def run_late(program: Program, environment: Environment) -> Program:
    """The program in which the host also does what it looks at before another dispatch does."""
    return _pin_all(program, environment, _Pinner(program, environment, is_late=True))


def _pin_all(program: Program, environment: Environment, pinner: _Pinner) -> Program:
    blocks = tuple(replace(block, ops=tuple(pinner.rewrite(block))) for block in program.blocks)
    if blocks == program.blocks:
        return program
    changed = replace_values(replace(program, blocks=blocks), pinner.numbers)
    return dead_code.run(renumber(changed), environment)


def explain(program: Program, environment: Environment) -> tuple[Note, ...]:
    """What `run` leaves to the host."""
    return _explain_all(program, environment, _Pinner(program, environment), "pin-to-host", "which alone looks at it")


def explain_late(program: Program, environment: Environment) -> tuple[Note, ...]:
    """What `run_late` leaves to the host."""
    pinner = _Pinner(program, environment, is_late=True)
    return _explain_all(
        program, environment, pinner, "pin-to-host-late", "which looks at it before another dispatch does"
    )


def _explain_all(program: Program, environment: Environment, pinner: _Pinner, step: str, why: str) -> tuple[Note, ...]:
    types = value_types(program)
    notes = []
    for op in (op for block in program.blocks for op in block.ops):
        form = pinner.form(op) if isinstance(op, TensorOp) else None
        if isinstance(op, TensorOp) and form is not None:
            text = f"{name_operations([op])}: done by the host, "
            if isinstance(form, Late):
                text += f"which looks at it, and has what it is made of ({pinner.gain(op.results[0].id):.1f} µs less)"
            else:
                text += f"{why} ({estimate_operations([op], types, environment):.1f} µs of kernels less)"
            notes.append(Note(step, True, op.loc, text))
    return tuple(notes)


class _Pinner:
    """What of a program goes to the host.

    `numbers`: the readings that are numbers of the host's already, found while blocks are rewritten.
    """

    def __init__(self, program: Program, environment: Environment, *, is_late: bool = False) -> None:
        self.numbers: Substitution = {}
        self._program = program
        self._types = value_types(program)
        self._uses = uses(program)
        self._ids = map(ValueId, count(1 + max(map(int, definitions(program)), default=0)))
        ops = [op for block in program.blocks for op in block.ops if isinstance(op, TensorOp) and op.results]
        self._arrays = Arrays(program, environment)
        self._gains = Gains(program, environment, self._arrays) if is_late else None
        forms = {op.results[0].id: self._find_form(op) for op in ops}
        self._forms = {first: form for first, form in forms.items() if form is not None}
        results = {op.results[0].id: [value.id for value in op.results] for op in ops}
        self._homes = self._find_homes() if is_late else {}
        names = {op.results[0].id: op.results[0].name for op in ops}
        while needed := [
            first
            for first, form in self._forms.items()
            if not self._is_had(first, form) or not all(self._is_the_hosts(value, form) for value in results[first])
        ]:
            for first in needed:
                del self._forms[first]
        self._scalars = {
            first: Value(next(self._ids), ScalarType(self._kind(first)), names[first])
            for first, form in self._forms.items()
            if isinstance(form, Scalar) or (isinstance(form, Reduction) and form.number is not None)
        }

    def form(self, op: TensorOp) -> AnyForm | None:
        """What the host does in place of an operation, if it does anything."""
        return self._forms.get(op.results[0].id) if op.results else None

    def gain(self, first: ValueId) -> float:
        """How much quicker the host makes a value of arrays that it has, in microseconds."""
        return self._gains.gain(first, self._forms) if self._gains is not None else 0.0

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
        return ScalarKind.INT if not isinstance(kind, TensorType) else KINDS[kind.dtype]

    def _find_form(self, op: TensorOp) -> AnyForm | None:
        form = find_form(op, self._types)
        if form is not None or not self._arrays.are_kept:
            return form
        if self._arrays.written:  # under whatever name: a row may lie in a list
            return None
        empty = find_empty(op, self._types)
        if empty is not None:
            return empty
        pick = find_pick(op, self._types)
        if pick is not None:
            return pick if self._arrays.is_of_the_call(pick.source.id) else None
        return self._gains.form(op.results[0].id) if self._gains is not None else None

    # ------------------------------------------------------------ who looks

    def _is_had(self, first: ValueId, form: AnyForm) -> bool:
        """Whether the host has what it is to take a row of, and does sooner what it is to do late."""
        if isinstance(form, Late):
            return self.gain(first) > 0
        if not isinstance(form, Pick):
            return True
        return form.source.id in self._forms or self._arrays.is_had(form.source.id, first)

    def _is_the_hosts(self, value: ValueId, form: AnyForm) -> bool:
        """Whether nobody but the host sees a result; one of no elements may be handed on, and rows that it looks at."""
        if isinstance(form, Take):
            return self._is_looked_at(value, set()) and self._is_only_read(value, set())
        if not isinstance(form, Empty):
            return self._stays(value, set(), is_array_of(form, value))
        return all(
            self._takes_empty(self._program.block(use.block), use.index, value) for use in self._uses.get(value, ())
        )

    def _takes_empty(self, block: Block, index: int, value: ValueId) -> bool:
        if index < len(block.ops):
            op = block.ops[index]
            return isinstance(op, HostOp) or (isinstance(op, TensorOp) and self.form(op) is not None)
        return not isinstance(block.end, Return) or value not in all_refs(block.end.state)

    def _is_looked_at(self, value: ValueId, seen: set[ValueId]) -> bool:
        """Whether the host reads an array, or the caller gets it, under whatever name."""
        if value in seen:
            return False
        seen.add(value)
        for use in self._uses.get(value, ()):
            block = self._program.block(use.block)
            if use.index < len(block.ops):
                op = block.ops[use.index]
                if isinstance(op, HostOp) and op.function in _LOOKING:
                    return True
            elif isinstance(block.end, Return) or any(
                self._is_looked_at(param, seen) for param, arg in self._given(block, value) if arg == Ref(value)
            ):
                return True
        return False

    def _is_only_read(self, value: ValueId, seen: set[ValueId]) -> bool:
        """Whether an array is neither kept for the next call nor written to what is the caller's."""
        if value in seen:
            return True
        seen.add(value)
        for use in self._uses.get(value, ()):
            block = self._program.block(use.block)
            if use.index < len(block.ops):
                if not isinstance(block.ops[use.index], HostOp | TensorOp):
                    return False
            elif isinstance(block.end, Return):
                if block.end.writes or value in all_refs(block.end.state):
                    return False
            else:
                given = self._given(block, value)
                if not given or not all(arg == Ref(value) and self._is_only_read(param, seen) for param, arg in given):
                    return False
        return True

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
                return op.function in _READINGS or (is_array and op.function in _TAKING)
            form = self.form(op) if isinstance(op, TensorOp) else None
            if isinstance(form, Scalar | Stack):
                return True
            return is_array and (form is not None or self._is_read_later(op, place, value, seen))
        if not is_array:
            return False
        if isinstance(block.end, Return):
            return value not in all_refs(block.end.state) and not block.end.writes
        given = self._given(block, value)
        return bool(given) and all(arg != Ref(value) or self._stays(param, seen) for param, arg in given)

    def _find_homes(self) -> dict[ValueId, BlockId]:
        """The blocks of the places that the host looks at, under whatever name."""
        made = definitions(self._program)
        places = [form.place for form in self._forms.values() if isinstance(form, Reduction) and form.place is not None]
        return {place: made[place].block for place in places if self._is_read(place, set())}

    def _is_read(self, value: ValueId, seen: set[ValueId]) -> bool:
        if value in seen:
            return False
        seen.add(value)
        for use in self._uses.get(value, ()):
            block = self._program.block(use.block)
            if use.index == len(block.ops):
                if any(self._is_read(param, seen) for param, arg in self._given(block, value) if arg == Ref(value)):
                    return True
            elif isinstance(op := block.ops[use.index], HostOp) and op.function in _READINGS:
                return True
        return False

    def _given(self, block: Block, value: ValueId) -> list[tuple[ValueId, Operand]]:
        """The parameters that a block hands a value to, and how."""
        return [(param.id, arg) for param, arg in edge_bindings(self._program, block) if value in refs(arg)]

    def _is_read_later(self, op: Op, use: Use, value: ValueId, seen: set[ValueId]) -> bool:
        """Whether a tensor operation reads a place in a later dispatch than the one that makes it, and writes none."""
        if not isinstance(op, TensorOp) or any(old == value for old, _ in op.mutates):
            return False
        known = [self._homes.get(place) for place in seen]
        return any(home is not None and (use.block != home or value not in self._homes) for home in known)

    # ------------------------------------------------------------ rewriting

    def _number_read(self, op: HostOp) -> Operand | None:
        """The number that a reading of a tensor is now."""
        if op.function not in _READINGS or not isinstance(op.args[0], Ref):
            return None
        scalar = self._scalars.get(op.args[0].id)
        return None if scalar is None else Ref(scalar.id)

    def _pin(self, op: TensorOp, form: AnyForm) -> Iterator[HostOp]:
        """What the host does in place of an operation."""
        match form:
            case Scalar(function=function, operands=operands):
                numbers = yield from self._read_all(operands, op)
                yield HostOp(function=function, args=numbers, result=self._scalars[op.results[0].id], loc=op.loc)
            case Stack(elements=elements, dtype=dtype):
                items = Seq(SeqKind.LIST, (yield from self._read_all(elements, op)))
                yield HostOp(function="tensor_of", args=(items, Lit(dtype)), result=op.results[0], loc=op.loc)
            case Reduction(function=function, source=source, dim=dim, number=number):
                place = self._place(op, form)
                yield HostOp(function=function, args=(source, Lit(dim)), result=place, loc=op.loc)
                if number is not None:
                    (index,) = yield from self._read_all((Ref(place.id),), op)
                    yield HostOp(function="peek_at", args=(source, index), result=self._scalars[number], loc=op.loc)
            case Empty(shape=shape, dtype=dtype):
                sizes = Seq(SeqKind.TUPLE, tuple(map(Lit, shape)))
                yield HostOp(function="empty", args=(sizes, Lit(dtype)), result=op.results[0], loc=op.loc)
            case Pick(source=source, index=index):
                yield HostOp(function="row", args=(source, index), result=op.results[0], loc=op.loc)
            case Join() | Take() | Between():
                yield form.operation(op.results[0], op.loc)
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

    def _place(self, op: TensorOp, form: Reduction) -> Value:
        """The place as the host has it: an array of the sizes of the other dimensions."""
        source = self._types[form.source.id]
        assert isinstance(source, TensorType)
        kind = TensorType("int64", tuple(size for place, size in enumerate(source.shape) if place != form.dim))
        known = next((value for value in op.results if value.id == form.place), None)
        return Value(next(self._ids), kind) if known is None else replace(known, type=kind)
