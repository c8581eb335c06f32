"""Let what subgraphs hand each other stay as the target has made it, though the host asks for its size or an element.

Before::

    b0(%0 x: float32[8, 4]):
      %1: int64[u0] = dispatch s0(%0)
      %2: int[u0] = host size(%1, 0)
      %3: bool = host gt(%2, 0)
      branch %3 ? b1 : b2

    b1:
      %4: int64[] = host row(%1, 0)
      %5: int = host item(%4)
      %6: float32[] = dispatch s1(%1, %5)
      return %6

After::

    b0(%0 x: float32[8, 4]):
      %1: int64[u0] = dispatch s0(%0)
      %2: int[u0] = host size_of(%1, 0)
      %3: bool = host gt(%2, 0)
      branch %3 ? b1 : b2

    b1:
      %4: int64[u0] = host array_of(%1)
      %5: int64[] = host row(%4, 0)
      %6: int = host item(%5)
      %7: float32[] = dispatch s1(%1, %6)
      return %7

What subgraphs alone see (`dycl/ir/webs.py`) need not be an array (`find_handed_on` in `targets/cuts.py`). To make one
of it takes a target some time, and to take that again for the next subgraph takes it more. `size_of` and `array_of`, a
view of the same memory, leave it what it is. Where the host would look more often than subgraphs take it, or does
anything else with it than look (keeps it in a list, asks whether it is the same object), it is an array as before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from dycl.ir.dataflow import op_uses, value_types
from dycl.ir.environment import Environment
from dycl.ir.nodes import Block, Dispatch, HostOp, Op
from dycl.ir.numbering import renumber
from dycl.ir.program import Program
from dycl.ir.substitution import map_operand
from dycl.ir.values import BlockId, Ref, TensorType, Value, ValueId, ValueType
from dycl.ir.webs import find_webs
from dycl.passes.analysis.frequency import estimate_frequencies
from dycl.passes.rewriting import ValueIds

_LOOK = 0.6  # microseconds to make an array of what ONNX Runtime has made
_TAKE = 1.0  # to make of an array what ONNX Runtime takes
_SIZES = frozenset({"size", "size_of"})
_VIEW = "array_of"
_LOOKS = frozenset(
    {"item", "peek", "item_at", "peek_at", "tolist", "row", "slice", "argmax", "argmin", "stack", "cat"}
    | {"numerics.take_rows", _VIEW}
)


def run(program: Program, environment: Environment) -> Program:
    """The program in which values that subgraphs hand each other stay what they are."""
    often = estimate_frequencies(program, replace(environment, calls=()))
    handed_on = _find_handed_on(program, often)
    if not handed_on:
        return program
    ids, types = ValueIds(program), value_types(program)
    return renumber(replace(program, blocks=tuple(_rewrite(block, handed_on, types, ids) for block in program.blocks)))


@dataclass(slots=True)
class _Uses:
    """What happens to a value in a call, under one of its names or under all of them."""

    made: float = 0.0  # how often a subgraph makes it
    taken: float = 0.0
    looked: float = 0.0

    @property
    def pays(self) -> bool:
        """Whether it had better go on as it is."""
        return bool(self.made and self.taken) and self.looked * _LOOK <= self.made * _LOOK + self.taken * _TAKE


def _find_handed_on(program: Program, often: Mapping[BlockId, float]) -> frozenset[ValueId]:
    types, uses = value_types(program), _count_uses(program, often)
    found: set[ValueId] = set()
    for web in find_webs(program, unheeded=_SIZES | _LOOKS).hidden():
        if all(_has_open_size(types[name]) for name in web) and _total(uses.get(name) for name in web).pays:
            found |= web
    return frozenset(found)


def _count_uses(program: Program, often: Mapping[BlockId, float]) -> Mapping[ValueId, _Uses]:
    """What happens under each name; one look in a block is as good as many."""
    uses: dict[ValueId, _Uses] = {}
    for index, block in enumerate(program.blocks):
        times = often[BlockId(index)]
        looked: set[ValueId] = set()
        for op in block.ops:
            if isinstance(op, Dispatch):
                for value in op.results:
                    uses.setdefault(value.id, _Uses()).made += times
                for used in op_uses(op):
                    uses.setdefault(used, _Uses()).taken += times
            elif isinstance(op, HostOp) and op.function in _LOOKS:
                looked.update(op_uses(op))
        for used in looked:
            uses.setdefault(used, _Uses()).looked += times
    return uses


def _total(uses: Iterable[_Uses | None]) -> _Uses:
    known = [each for each in uses if each is not None]
    return _Uses(sum(e.made for e in known), sum(e.taken for e in known), sum(e.looked for e in known))


def _has_open_size(kind: ValueType) -> bool:
    """Whether it is a tensor of a size that only the run knows: of others the target knows where they will lie."""
    return isinstance(kind, TensorType) and any(isinstance(size, str) for size in kind.shape)


def _rewrite(block: Block, handed_on: frozenset[ValueId], types: Mapping[ValueId, ValueType], ids: ValueIds) -> Block:
    ops: list[Op] = []
    views: dict[ValueId, Ref] = {}
    for op in block.ops:
        if not isinstance(op, HostOp) or op.function == _VIEW or handed_on.isdisjoint(op_uses(op)):
            ops.append(op)
        elif op.function in _SIZES:
            ops.append(replace(op, function="size_of"))
        else:
            for value in op_uses(op):
                if value in handed_on and value not in views:
                    view = Value(ids.new(), types[value])
                    views[value] = Ref(view.id)
                    ops.append(HostOp(function=_VIEW, args=(Ref(value),), result=view, loc=op.loc))
            args = tuple(map_operand(arg, lambda ref: views.get(ref.id, ref)) for arg in op.args)
            ops.append(replace(op, args=args))
    return replace(block, ops=tuple(ops))
