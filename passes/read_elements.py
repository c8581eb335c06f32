"""Let the host read an element where it lies, instead of having a dispatch cut it out first.

Before (`%0` was made earlier)::

    b1(%0 hits: int64[u0, 1]):
      %1: int64[1] = call torch.Tensor.select(%0, 0, 2)
      %2: int64[] = call torch.Tensor.__getitem__(%1, 0)
      %3: int = host item(%2)
      ...

After::

    b1(%0 hits: int64[u0, 1]):
      %3: int = host item_at(%0, 2)
      ...

Sound because what is read is the same element: selections by fixed numbers and reshapes say where each element comes
from, and no memory is written between them and the reading. What is made in the dispatch right before the reading is
looked into if it is small: nine answers are one result then, not nine. A large one would be a result more. Of a row
that the host takes (`pin_to_host.py`) it reads the element without taking the row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dycl.ir.dataflow import op_definitions, value_types
from dycl.ir.environment import Environment
from dycl.ir.nodes import Block, CallFunction, HostOp, Invoke, Op, TensorOp
from dycl.ir.numbering import renumber
from dycl.ir.program import Program
from dycl.ir.values import Lit, Operand, Ref, Seq, SliceOf, TensorType, ValueId, ValueType
from dycl.passes import dead_code
from dycl.passes.analysis.cost import has_few_elements
from dycl.passes.analysis.schedule import schedule_block

_RESHAPES = frozenset(["view", "reshape", "squeeze", "unsqueeze", "flatten", "detach"])
_READINGS = {"item": "item_at", "peek": "peek_at"}
Position = tuple[ValueId, int]  # a tensor, and where an element is in it, counted row by row


def run(program: Program, environment: Environment) -> Program:
    """The program in which the host reads elements of what is there already."""
    reader = _Reader(program, environment)
    blocks = tuple(reader.rewrite(block) for block in program.blocks)
    if blocks == program.blocks:
        return program
    return dead_code.run(renumber(replace(program, blocks=blocks)), environment)


class _Reader:
    """Where the elements that the host reads come from."""

    def __init__(self, program: Program, environment: Environment) -> None:
        self._environment = environment
        self._types: Mapping[ValueId, ValueType] = value_types(program)

    def rewrite(self, block: Block) -> Block:
        """The block with its readings at their sources."""
        if not any(isinstance(op, HostOp) and op.function in _READINGS for op in block.ops):
            return block
        levels = schedule_block(block, self._types, self._environment)
        ready = {  # tensors made here: the dispatch after which the host has them
            value.id: level
            for op, level in zip(block.ops, levels, strict=True)
            if isinstance(op, TensorOp)
            for value in op_definitions(op)
        }
        made: dict[ValueId, TensorOp | HostOp] = {}  # since memory was written last
        ops = []
        for op in block.ops:
            ops.append(self._read(op, made, ready))
            if isinstance(op, Invoke) or (isinstance(op, TensorOp) and op.mutates):
                made.clear()
            elif isinstance(op, TensorOp) and len(op.results) == 1:
                made[op.results[0].id] = op
            elif isinstance(op, HostOp) and op.function == "row":
                made[op.result.id] = op
        return replace(block, ops=tuple(ops))

    def _read(self, op: Op, made: Mapping[ValueId, TensorOp | HostOp], ready: Mapping[ValueId, int]) -> Op:
        if not isinstance(op, HostOp) or op.function not in _READINGS or not isinstance(op.args[0], Ref):
            return op
        first = op.args[0].id
        kind = self._types[first]
        if not isinstance(kind, TensorType) or any(size != 1 for size in kind.shape):
            return op  # it raises where there are more elements
        found: Position | None = (first, 0)
        best: Position | None = None
        while found is not None and (source := self._source(found, made)) is not None:
            is_had = isinstance(made[found[0]], HostOp)  # a row of what the host has
            # Of a large one, worth it only where one dispatch less comes before the reading.
            if is_had or has_few_elements(self._types[source[0]]) or ready.get(source[0], -1) < ready.get(first, -1):
                best = source
            found = source
        return op if best is None else replace(op, function=_READINGS[op.function], args=(Ref(best[0]), Lit(best[1])))

    def _source(self, position: Position, made: Mapping[ValueId, TensorOp | HostOp]) -> Position | None:
        """Where an element was before the operation that made its tensor."""
        value, index = position
        op = made.get(value)
        if isinstance(op, HostOp):
            source, row = op.args
            selection = CallFunction("torch.Tensor.select")
            op = TensorOp(target=selection, args=(source, Lit(0), row), results=(op.result,))
        return None if op is None else find_source(op, index, self._types)


def find_source(op: TensorOp, index: int, types: Mapping[ValueId, ValueType]) -> Position | None:
    """Where an element of the result of a selection or a reshape was before."""
    if not isinstance(op.target, CallFunction) or not op.args or not isinstance(op.args[0], Ref):
        return None
    source = op.args[0].id
    before, after = types[source], op.results[0].type
    if not isinstance(before, TensorType) or not isinstance(after, TensorType):
        return None
    name = op.target.name.rpartition(".")[2]
    if name in _RESHAPES:
        return source, index
    fixed = _fixed_numbers(name, op, len(before.shape))
    moved = None if fixed is None else _place(index, before.shape, after.shape, fixed)
    return None if moved is None else (source, moved)


def _fixed_numbers(name: str, op: TensorOp, rank: int) -> list[int | None] | None:
    """For each dimension the number that a selection takes, None where it takes all; None if it is no selection."""
    if name == "select" and len(op.args) == 3 and not op.kwargs:
        dim, number = map(_whole, op.args[1:])
        if dim is None or number is None or not -rank <= dim < rank:
            return None
        return [number if place == dim % rank else None for place in range(rank)]
    if name != "__getitem__" or len(op.args) != 2 or op.kwargs:
        return None
    items = op.args[1].items if isinstance(op.args[1], Seq) else (op.args[1],)
    found: list[int | None] = []
    for item in items:
        number = _whole(item)
        if number is None and item != SliceOf(Lit(None), Lit(None), Lit(None)):
            return None
        found.append(number)
    return found + [None] * (rank - len(found)) if len(found) <= rank else None


def _whole(operand: Operand) -> int | None:
    """A literal that is an int, and neither True nor False."""
    return operand.value if isinstance(operand, Lit) and type(operand.value) is int else None


def _place(
    index: int, before: tuple[int | str, ...], after: tuple[int | str, ...], fixed: list[int | None]
) -> int | None:
    """Where an element of a selection is in what was selected from; None where a size that is not known decides."""
    inner = [size for size in after[1:] if isinstance(size, int)]
    if len(inner) != len(after[1:]) or any(isinstance(size, str) for size in before[1:]):
        return None
    places: list[int] = []
    for size in reversed(inner):
        places.append(index % size)
        index //= size
    places.append(index)  # those of what was selected, the last dimension first
    flat = 0
    for length, number in zip(before, fixed, strict=True):
        place = places.pop() if number is None else number
        if isinstance(length, int):
            if not -length <= place < length:
                return None
            flat = flat * length + place % length
        elif place >= 0:
            flat = place  # the outermost dimension
        else:
            return None
    return flat
