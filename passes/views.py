"""Views of written memory, taken once more in the subgraph that writes.

A subgraph's parameters never share memory. Where a view was taken in an earlier subgraph than the write that it is to
see (`row = mask[0]`, then `row[index.item()] = True`), the subgraph of the write is given what was viewed and takes the
view itself. Until its first write the content is the same: a write gives every name of its memory a new one, so a name
that is still read is as it was when the view was taken.

The view may have been taken blocks ago (`row = mask[0]`, a decision, then `mask.zero_()`). A parameter of a block is
the view of another one if it is on every way into the block, by the same operations.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass, replace
from typing import Any

from dycl.ir.dataflow import op_definitions, op_reads
from dycl.ir.nodes import Block, CallFunction, Edge, TensorOp, edges
from dycl.ir.program import Program
from dycl.ir.substitution import substitute_op
from dycl.ir.values import Operand, Ref, TensorType, Value, ValueId

_VIEW_TEXT = """
    __getitem__ select narrow transpose permute unsqueeze squeeze view view_as expand expand_as t diagonal detach
    flatten unflatten swapaxes swapdims movedim chunk split unbind tensor_split
    T mT H mH
"""
_VIEWS = frozenset(_VIEW_TEXT.split())
_HOMES = ("torch", "torch.Tensor")
_GIVEN = ValueId(-1)  # stands for what an operation views, where operations are compared
MAX_ROUNDS = 10  # over the blocks, until what is known of their parameters stays the same

Body = tuple[TensorOp, ...]


@dataclass(frozen=True, slots=True)
class _Step:
    """An operation that takes a view: which of its operands it views, which of its results the view is."""

    op: TensorOp
    place: int
    given: ValueId

    @property
    def key(self) -> Any:
        """What the operation does, whatever it is done to."""
        op = substitute_op(replace(self.op, results=(), mutates=()), {self.given: Ref(_GIVEN)})
        assert isinstance(op, TensorOp)
        return op.target, op.args, op.kwargs, self.place

    @property
    def is_literal(self) -> bool:
        """Whether it depends on nothing but what it views, and takes the same of it wherever that is."""
        is_alone = all(value == self.given for value in op_reads(self.op))
        shapes = [value.type.shape for value in self.op.results if isinstance(value.type, TensorType)]
        return is_alone and all(isinstance(size, int) for shape in shapes for size in shape)


@dataclass(frozen=True, slots=True)
class _View:
    """How a value is made from the current name of what it shows."""

    steps: tuple[_Step, ...]
    source: ValueId

    @property
    def keys(self) -> Any:
        return self.source, tuple(step.key for step in self.steps)


def _same(value: Value, given: ValueId) -> _Step:
    """The step to another tensor on the same memory."""
    target = CallFunction(name="torch.Tensor.detach")
    return _Step(TensorOp(target=target, args=(Ref(given),), results=(value,)), 0, given)


class Views:
    """The views that a program takes, under the names that they and what they show have after each write."""

    def __init__(self, program: Program, tensors: set[ValueId]) -> None:
        self._tensors = tensors
        self._views: dict[ValueId, _View] = {}
        if not any(op.mutates for block in program.blocks for op in block.ops if isinstance(op, TensorOp)):
            return
        self._entries = {entry.block for entry in program.entries} | {part.block for part in program.procedures}
        for _ in range(MAX_ROUNDS):
            before = {value: view.keys for value, view in self._views.items()}
            self._go_through(program)
            if before == {value: view.keys for value, view in self._views.items()}:
                return
        self._views = {}
        self._entries |= {block.id for block in program.blocks}
        self._go_through(program)

    # ------------------------------------------------------------ what is known

    def _go_through(self, program: Program) -> None:
        """Learn from each block, with what is known of the ends of all others."""
        ways: dict[int, list[Edge]] = {}
        for block in program.blocks:
            for edge in edges(block.end):
                ways.setdefault(edge.target, []).append(edge)
        seen = set(self._views)
        for block in program.blocks:
            if block.id not in self._entries:
                self._learn_params(block, ways.get(block.id, []), is_first=not seen)
            for op in block.ops:
                if isinstance(op, TensorOp):
                    self._learn(op)

    def _learn_params(self, block: Block, ways: list[Edge], *, is_first: bool) -> None:
        for place, param in enumerate(block.params):
            self._views.pop(param.id, None)
            if param.id not in self._tensors:
                continue
            found: list[dict[Any, _View]] = []
            for edge in ways:
                views = {view.keys: view for view in self._candidates(block, edge, place)}
                if views or not is_first:  # a way that has not been gone through yet says nothing
                    found.append(views)
            shared = [view for key, view in found[0].items() if all(key in one for one in found)] if found else []
            if shared:
                self._views[param.id] = min(shared, key=lambda view: len(view.steps))

    def _candidates(self, block: Block, edge: Edge, place: int) -> Iterator[_View]:
        """What a parameter may be a view of, if the block is entered in this way."""
        arg = edge.args[place]
        if not isinstance(arg, Ref):
            return
        for param, given in zip(block.params[:place], edge.args, strict=False):
            if given == arg:  # one tensor under two names
                yield _View((_same(block.params[place], param.id),), param.id)
        for view in self._ancestors(arg.id):
            if not all(step.is_literal for step in view.steps):
                return
            others = [p.id for p, a in zip(block.params, edge.args, strict=True) if a == Ref(view.source)]
            yield from (replace(view, source=other) for other in others)

    def _ancestors(self, value: ValueId) -> Iterator[_View]:
        """What a value is a view of, nearest first."""
        steps: tuple[_Step, ...] = ()
        met = {value}
        while value in self._views and self._views[value].source not in met:
            view = self._views[value]
            steps, value = (*view.steps, *steps), view.source
            met.add(value)
            yield _View(steps, value)

    def _learn(self, op: TensorOp) -> None:
        renamed = {old: new.id for old, new in op.mutates}
        for old, new in renamed.items():
            view = next((view for view in self._ancestors(old) if view.source in renamed), None)
            self._views.pop(new, None)
            if view is not None:
                self._views[new] = replace(view, source=renamed[view.source])
        source = self._find_source(op)
        if source is not None:
            for place, result in enumerate(op.results):
                self._views[result.id] = _View((_Step(op, place, source),), source)

    def _find_source(self, op: TensorOp) -> ValueId | None:
        given = [value for value in op_reads(op) if value in self._tensors]
        if op.mutates or len(given) != 1 or not isinstance(op.target, CallFunction):
            return None
        home, _, bare = op.target.name.removesuffix(".__get__").rpartition(".")
        return given[0] if home in _HOMES and bare in _VIEWS else None

    # ------------------------------------------------------------ what is taken again

    def retake(self, block: Block, body: Body, values: dict[ValueId, Value]) -> Body:
        """The operations of a subgraph of the block, with views of their own of the memory that they write.

        `values` are those of the program; what the new operations make is added there and to the tensors.
        """
        near = {value.id for op in block.ops for value in op_definitions(op)}
        return _Retaking(self._views, self._tensors, near, body, values).run()


class _Retaking:
    """Puts views in front of the operations of one subgraph."""

    def __init__(
        self,
        views: dict[ValueId, _View],
        tensors: set[ValueId],
        near: Set[ValueId],
        body: Body,
        values: dict[ValueId, Value],
    ) -> None:
        self._views, self._tensors, self._near, self._body, self._values = views, tensors, near, body, values
        self._inside = {value.id for op in body for value in op_definitions(op)}
        self._taken: dict[ValueId, Operand] = {}
        self._ops: list[TensorOp] = []

    def run(self) -> Body:
        """The operations, those that take views first."""
        for op in self._body:
            for old, _ in op.mutates:
                if old in self._near or len(op.mutates) > 1:  # one name from another block is a parameter like others
                    self._retake(old)
        return (*self._ops, *(self._renamed(op) for op in self._body)) if self._ops else self._body

    def _renamed(self, op: TensorOp) -> TensorOp:
        renamed = substitute_op(op, self._taken)
        assert isinstance(renamed, TensorOp)
        return renamed

    def _retake(self, value: ValueId) -> None:
        view = self._views.get(value)
        if view is None or value in self._inside or value in self._taken or view.source in self._inside:
            return
        self._retake(view.source)
        shown = self._taken.get(view.source, Ref(view.source))
        for step in view.steps:
            shown = self._take(step, shown)
        self._taken[value] = shown

    def _take(self, step: _Step, shown: Operand) -> Operand:
        """One view more."""
        first = max(self._values) + 1
        results = tuple(replace(result, id=ValueId(first + at)) for at, result in enumerate(step.op.results))
        self._values.update((result.id, result) for result in results)
        self._tensors.update(result.id for result in results)
        op = substitute_op(replace(step.op, results=results), {step.given: shown})
        assert isinstance(op, TensorOp)
        self._ops.append(op)
        return Ref(results[step.place].id)
