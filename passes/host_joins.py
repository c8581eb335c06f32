"""Small arrays that the host has, joined to one that it alone looks at, for `pin_to_host`: `torch.stack`, `torch.cat`.

Whether that is quicker is asked of each dispatch once it is settled what is one: it is where the joining was all that
the dispatch did, and seldom where arrays would have to be handed out for it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from dycl.diagnostics import SourceRange
from dycl.ir.environment import Environment
from dycl.ir.nodes import Block, CallFunction, HostOp, Op, TensorOp
from dycl.ir.program import Program
from dycl.ir.values import Lit, Ref, Seq, SeqKind, TensorType, Value, ValueId, ValueType
from dycl.passes.analysis.cost import DISPATCH, count_dispatches, estimate_operations
from dycl.passes.host_arrays import DTYPES, Arrays
from dycl.passes.rewriting import value_types

_MOST_ELEMENTS = 1 << 10  # that are copied in less than a microsecond
_FUNCTIONS = {"stack": "stack", "cat": "cat", "concat": "cat", "concatenate": "cat"}
# In microseconds, of the arrays at once and of each: `np.array`, `np.concatenate`; and `np.stack`.
_AT_ONCE, _EACH = 1.0, 0.2
_AT_ONCE_INSIDE, _EACH_INSIDE = 3.0, 0.4
_HANDED_OUT = 1.0  # an array by a dispatch


@dataclass(frozen=True, slots=True)
class Join:
    """Arrays of one kind, side by side along a dimension: a new one (`stack`) or one of theirs (`cat`)."""

    function: str
    parts: tuple[Ref, ...]
    dim: int

    def operation(self, result: Value, loc: SourceRange) -> HostOp:
        """The operation of the host."""
        args = Seq(SeqKind.LIST, self.parts), Lit(self.dim)
        return HostOp(function=self.function, args=args, result=result, loc=loc)


def find_join(op: TensorOp, types: Mapping[ValueId, ValueType]) -> Join | None:
    """How the host would join arrays; None where it could be another result than torch's."""
    if not isinstance(op.target, CallFunction) or op.mutates or len(op.results) != 1 or not op.args:
        return None
    function = _FUNCTIONS.get(op.target.name.rpartition(".")[2])
    items = op.args[0].items if isinstance(op.args[0], Seq) else ()
    given = {key: value for key, value in zip(("tensors", "dim"), op.args, strict=False)} | dict(op.kwargs)
    dim = given.get("dim", Lit(0))
    if function is None or given.keys() - {"tensors", "dim"} or not isinstance(dim, Lit) or type(dim.value) is not int:
        return None
    parts = tuple(item for item in items if isinstance(item, Ref))
    kinds = [types[part.id] for part in parts]
    made = op.results[0].type
    if not parts or len(parts) != len(items) or not all(_is_plain(kind) for kind in (*kinds, made)):
        return None
    # torch converts what is of several types, and passes over an empty vector beside arrays of more dimensions.
    alike = {(kind.dtype, len(kind.shape)) for kind in kinds if isinstance(kind, TensorType)}
    if len(alike) != 1 or not isinstance(made, TensorType) or made.dtype != next(iter(alike))[0]:
        return None
    return Join(function, parts, dim.value % len(made.shape))


def _is_plain(kind: ValueType) -> bool:
    """Whether an array is small and of known sizes."""
    if not isinstance(kind, TensorType) or kind.dtype not in DTYPES:
        return False
    sizes = [size for size in kind.shape if isinstance(size, int)]
    return len(sizes) == len(kind.shape) and math.prod(sizes) <= _MOST_ELEMENTS


class Joins:
    """Where joins are in a program, and whether the host does them sooner."""

    def __init__(self, program: Program, environment: Environment, arrays: Arrays) -> None:
        self._environment = environment
        self._arrays = arrays
        self._types = value_types(program)
        self._blocks: dict[ValueId, Block] = {}
        self._found: dict[ValueId, tuple[TensorOp, Join]] = {}
        if arrays.written or not arrays.are_kept:  # under whatever name: what is joined may be written afterwards
            return
        for block in program.blocks:
            for op in block.ops:
                if isinstance(op, TensorOp) and (join := find_join(op, self._types)) is not None:
                    self._blocks[op.results[0].id] = block
                    self._found[op.results[0].id] = (op, join)

    def find(self, first: ValueId) -> Join | None:
        """The join that makes a value."""
        return self._found[first][1] if first in self._found else None

    def gain(self, first: ValueId, chosen: Collection[ValueId]) -> float:
        """How much quicker a join is if the host does it, by itself or with all others chosen in its dispatch."""
        place = self._arrays.dispatch_of(first)
        beside = [other for other in chosen if other in self._found and self._arrays.dispatch_of(other) == place]
        return max(self._gain([first]), self._gain(beside) / len(beside) if beside else 0.0)

    def _gain(self, firsts: Iterable[ValueId]) -> float:
        """In microseconds; the joins are those of one block."""
        made = {first: self._found[first] for first in firsts}
        block = self._blocks[next(iter(made))]
        ops = tuple(_on_host(op, made) for op in block.ops)
        fewer = self._dispatches(block) - self._dispatches(replace(block, ops=ops))
        parts = {part.id for _, join in made.values() for part in join.parts} - made.keys()
        # What is joined is handed out in place of the results.
        more = sum(not self._arrays.is_handed_out(part) for part in parts)
        more -= sum(map(self._arrays.is_handed_out, made))
        spent = sum(_estimate(join) for _, join in made.values()) + _HANDED_OUT * more
        return (
            DISPATCH * fewer
            + estimate_operations([op for op, _ in made.values()], self._types, self._environment)
            - spent
        )

    def _dispatches(self, block: Block) -> int:
        return count_dispatches(block, self._types, self._environment)


def _on_host(op: Op, made: Mapping[ValueId, tuple[TensorOp, Join]]) -> Op:
    first = op.results[0] if isinstance(op, TensorOp) and op.results else None
    if first is None or first.id not in made:
        return op
    return made[first.id][1].operation(first, op.loc)


def _estimate(join: Join) -> float:
    if join.function == "stack" and join.dim:
        return _AT_ONCE_INSIDE + _EACH_INSIDE * len(join.parts)
    return _AT_ONCE + _EACH * len(join.parts)
