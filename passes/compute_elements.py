"""Let the host compute the few numbers that it reads, instead of having a dispatch compute them for it.

Before (`%0` was made earlier; the numbers decide where the next dispatch cuts)::

    b1(%0 boxes: float32[u0, 4], %1 index: int):
      %2: float32[4] = call torch.Tensor.select(%0, 0, %1)
      %3: float32[4] = call torch.Tensor.mul(%2, 0.1)
      %4: float32[4] = call torch.Tensor.round(%3)
      %5: int32[4] = call torch.Tensor.int(%4)
      %6: int = host item_at(%5, 2)
      ...

After::

    b1(%0 boxes: float32[u0, 4], %1 index: int):
      %7: float = host peek_at(%0, (%1, 2))
      %8: float = host mul(%7, 0.10000000149011612)
      %9: float = host numerics.single(%8)
      %6: int = host numerics.nearest_int32(%9)
      ...

Python's numbers and not numpy's arrays: whoever has just run the dispatches of a call has Python's arithmetic in the
caches, and numpy's not. Measured cold, four numbers of a row as above: the dispatch 43 microseconds, numpy 22.

Sound because the numbers are the same to the bit. What torch computes in `float32`, Python computes in double precision
and then rounds (`single`), which for one sum, difference, product or quotient is the same (Figueroa, "When is double
rounding innocuous?", 1995). It is done where a block then takes fewer dispatches, for less host work than these cost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import count

import torch

from dycl.ir.dataflow import definitions, mutated_values, op_definitions, op_uses, uses, value_types
from dycl.ir.environment import Environment
from dycl.ir.nodes import Block, CallFunction, HostOp, Invoke, Op, TensorOp
from dycl.ir.notes import Note
from dycl.ir.numbering import renumber
from dycl.ir.program import Program
from dycl.ir.values import (
    Lit,
    Operand,
    Ref,
    ScalarKind,
    ScalarType,
    Seq,
    SeqKind,
    TensorType,
    TorchLit,
    Value,
    ValueId,
    ValueType,
)
from dycl.passes import dead_code
from dycl.passes.analysis.cost import DISPATCH, count_dispatches
from dycl.passes.analysis.naming import name_operations
from dycl.passes.read_elements import find_source

_OPERATION = 0.3  # microseconds of the host
_READINGS = frozenset({"item", "peek", "item_at", "peek_at"})
_SIGNS = {
    **{name: name for name in ("add", "sub", "mul")},
    **{f"__{name}__": name for name in ("add", "sub", "mul")},
    **{"div": "truediv", "true_divide": "truediv", "__truediv__": "truediv"},
    **{"__radd__": "add", "__rmul__": "mul"},
}
_ALONE = {
    **{"neg": "neg", "__neg__": "neg", "abs": "abs", "__abs__": "abs"},
    **{"round": "numerics.rounded", "floor": "numerics.floored", "ceil": "numerics.ceiled"},
    **{"trunc": "numerics.truncated", "fix": "numerics.truncated"},
}
_CONVERSIONS = {"int": "int32", "long": "int64", "float": "float32", "double": "float64"}
_FLOATS = {"float32": 1 << 24, "float64": 1 << 53}  # up to here every integer is one of these numbers

_WHOLE = frozenset({"numerics.rounded", "numerics.truncated", "numerics.int32", "numerics.int64"})

Step = tuple[str, tuple[Operand, ...]]  # a host function, and its operands after the first


def run(program: Program, environment: Environment) -> Program:
    """The program in which the host computes numbers that it alone reads."""
    return _Computing(program, environment).finish()


def explain(program: Program, environment: Environment) -> tuple[Note, ...]:
    """What `run` leaves to the host."""
    computing = _Computing(program, environment)
    computing.finish()
    return tuple(computing.notes)


class _Computing:
    """Goes through the blocks of a program."""

    def __init__(self, program: Program, environment: Environment) -> None:
        self.notes: list[Note] = []
        self._program = program
        self._environment = environment
        self._types: dict[ValueId, ValueType] = value_types(program)
        self._written = mutated_values(program)
        self._used = {value: len(places) for value, places in uses(program).items()}
        self._ids = map(ValueId, count(1 + max(map(int, definitions(program)), default=0)))

    def finish(self) -> Program:
        """The program, once every block has been looked at."""
        blocks = tuple(self._rewrite(block) for block in self._program.blocks)
        if blocks == self._program.blocks:
            return self._program
        return dead_code.run(renumber(replace(self._program, blocks=blocks)), self._environment)

    def _rewrite(self, block: Block) -> Block:
        """The block in which numbers are computed where they are read, if that takes fewer dispatches."""
        made: dict[ValueId, TensorOp] = {}  # since memory was written last
        ops: list[Op] = []
        more = 0
        for op in block.ops:
            found = self._compute(op, made) if isinstance(op, HostOp) and op.function in _READINGS else None
            if found is None:
                ops.append(op)
            else:
                ops += found
                more += len(found) - 1
            if isinstance(op, Invoke) or (isinstance(op, TensorOp) and op.mutates):
                made.clear()
            elif isinstance(op, TensorOp) and len(op.results) == 1:
                made[op.results[0].id] = op
        if not more:
            return block
        kept, spared = self._without_unused(ops, block)
        rewritten = replace(block, ops=kept)
        fewer = self._count_dispatches(block) - self._count_dispatches(rewritten)
        if fewer * DISPATCH <= more * _OPERATION:
            return block
        text = f"{name_operations(spared)}: computed by the host, which alone looks at it ({fewer} dispatches less)"
        self.notes.append(Note("compute-elements", True, spared[0].loc, text))
        return rewritten

    def _count_dispatches(self, block: Block) -> int:
        return count_dispatches(block, self._types, self._environment)

    def _without_unused(self, ops: list[Op], block: Block) -> tuple[tuple[Op, ...], list[TensorOp]]:
        """The operations without those that nobody needs any more, and these."""
        used = dict(self._used)
        for old, change in ((block.ops, -1), (ops, 1)):
            for value in (value for op in old for value in op_uses(op)):
                used[value] = used.get(value, 0) + change
        kept: list[Op] = []
        gone: list[TensorOp] = []
        for op in reversed(ops):
            is_needed = any(used.get(value.id, 0) for value in op_definitions(op))
            if isinstance(op, TensorOp) and op.results and not op.mutates and not is_needed:
                gone.insert(0, op)
                for value in op_uses(op):
                    used[value] -= 1
            else:
                kept.insert(0, op)
        return tuple(kept), gone

    # ------------------------------------------------------------ one reading

    def _compute(self, op: HostOp, made: Mapping[ValueId, TensorOp]) -> list[HostOp] | None:
        """What makes the number that is read of what was there before it was computed."""
        value = op.args[0].id if isinstance(op.args[0], Ref) else None
        index = op.args[1] if len(op.args) > 1 else Lit(0)
        kind = self._types.get(value) if value is not None else None
        if (
            value is None
            or not isinstance(kind, TensorType)
            or not isinstance(index, Lit)
            or type(index.value) is not int
        ):
            return None
        if len(op.args) == 1 and any(size != 1 for size in kind.shape):
            return None  # it raises where there are more elements
        place, steps = index.value, list[Step]()
        row: Operand | None = None
        while row is None and value in made and value not in self._written:
            maker = made[value]
            source = find_source(maker, place, self._types)
            if source is not None:
                value, place = source
            elif (found := find_steps(maker, self._types)) is not None:
                steps[:0] = found
                assert isinstance(maker.args[0], Ref)
                value = maker.args[0].id
            elif (row := self._row(maker)) is not None:
                assert isinstance(maker.args[0], Ref)
                value = maker.args[0].id
            else:
                break
        if not steps and row is None:
            return None
        return self._emit(op, value, self._element(value, place, row), _without_needless(steps))

    def _row(self, op: TensorOp) -> Operand | None:
        """The number of the row that an operation selects, if it is one of the run."""
        if not isinstance(op.target, CallFunction) or not isinstance(op.args[0], Ref) or op.kwargs:
            return None
        source, made = self._types[op.args[0].id], op.results[0].type
        if not isinstance(source, TensorType) or not isinstance(made, TensorType) or source.shape[1:] != made.shape:
            return None
        is_known = all(isinstance(size, int) for size in made.shape)
        match op.target.name.rpartition(".")[2], op.args[1:]:
            case "select", (Lit(value=0), Ref(id=row)) if is_known and isinstance(self._types[row], ScalarType):
                return Ref(row)
            case "__getitem__", (Ref(id=row),) if is_known and isinstance(self._types[row], ScalarType):
                return Ref(row)
        return None

    def _element(self, value: ValueId, place: int, row: Operand | None) -> Operand:
        """Where an element is, as `item_at` takes it."""
        if row is None:
            return Lit(place)
        kind = self._types[value]
        assert isinstance(kind, TensorType)
        places: list[Operand] = []
        for size in reversed(kind.shape[1:]):
            assert isinstance(size, int)
            places.insert(0, Lit(place % size))
            place //= size
        return Seq(SeqKind.TUPLE, (row, *places))

    def _emit(self, op: HostOp, source: ValueId, element: Operand, steps: list[Step]) -> list[HostOp]:
        kind = self._types[source]
        is_float = isinstance(kind, TensorType) and kind.dtype in _FLOATS
        of = ScalarType(ScalarKind.FLOAT) if steps and is_float else op.result.type
        made = [
            HostOp(
                function="peek_at",
                args=(Ref(source), element),
                result=Value(next(self._ids), of),
                loc=op.loc,
            )
        ]
        for function, others in steps:
            result = Value(next(self._ids), ScalarType(ScalarKind.FLOAT))
            made.append(HostOp(function=function, args=(Ref(made[-1].result.id), *others), result=result, loc=op.loc))
        made[-1] = replace(made[-1], result=op.result)
        return made


def find_steps(op: TensorOp, types: Mapping[ValueId, ValueType]) -> list[Step] | None:
    """What the operation does with each element by itself, as the host does it with a number."""
    source = op.args[0] if op.args else None
    if not isinstance(op.target, CallFunction) or op.kwargs or op.mutates or not isinstance(source, Ref):
        return None
    name, before, after = op.target.name.rpartition(".")[2], types[source.id], op.results[0].type
    if not isinstance(before, TensorType) or not isinstance(after, TensorType) or before.dtype not in _FLOATS:
        return None
    if before.shape != after.shape:
        return None
    if before.dtype == after.dtype and name in _SIGNS and len(op.args) == 2:
        number = _number(op.args[1], before.dtype)
        if number is None or (_SIGNS[name] == "truediv" and not number.value):
            return None
        single: list[Step] = [("numerics.single", ())] if before.dtype == "float32" else []
        return [(_SIGNS[name], (number,)), *single]
    if before.dtype == after.dtype and name in _ALONE and len(op.args) == 1:
        return [(_ALONE[name], ())]
    to = op.args[1].text.removeprefix("torch.") if len(op.args) == 2 and isinstance(op.args[1], TorchLit) else ""
    wanted = to if name == "to" else _CONVERSIONS.get(name, "") if len(op.args) == 1 else ""
    if wanted != after.dtype:
        return None
    if wanted in ("int32", "int64"):
        return [(f"numerics.{wanted}", ())]
    return [("numerics.single", ())] if wanted == "float32" else [] if wanted == "float64" else None


def _without_needless(steps: list[Step]) -> list[Step]:
    """The steps without a rounding to `float32` that no next step tells: of a half or a quarter that becomes whole.

    Such a product has the digits of the number. Only one that is nearly zero has less of them, and is zero then.
    To round and to convert is one step.
    """
    kept: list[Step] = []
    for place, (function, operands) in enumerate(steps):
        is_whole_next = place + 1 < len(steps) and steps[place + 1][0] in _WHOLE
        if function == "numerics.single" and is_whole_next and kept and _is_fraction(*kept[-1]):
            continue
        if function == "numerics.int32" and kept and kept[-1][0] == "numerics.rounded":
            kept[-1] = ("numerics.nearest_int32", ())
            continue
        kept.append((function, operands))
    return kept


def _is_fraction(function: str, operands: tuple[Operand, ...]) -> bool:
    """Whether a step multiplies with 1, a half, a quarter and so on."""
    number = operands[0].value if function == "mul" and isinstance(operands[0], Lit) else None
    return isinstance(number, float) and math.frexp(number)[0] == 0.5 and number <= 1


def _number(operand: Operand, dtype: str) -> Lit | None:
    """A number as torch takes it beside a tensor: one of the tensor's kind."""
    value = operand.value if isinstance(operand, Lit) else None
    if type(value) is int and abs(value) <= _FLOATS[dtype]:
        value = float(value)
    return Lit(torch.tensor(value, dtype=getattr(torch, dtype)).item()) if type(value) is float else None
