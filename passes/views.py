"""Views of written memory, taken once more in the subgraph that writes.

A subgraph's parameters never share memory. Where a view was taken in an earlier subgraph than the write that it is to
see (`row = mask[0]`, then `row[index.item()] = True`), the subgraph of the write is given what was viewed and takes the
view itself. Until its first write the content is the same: a write gives every name of its memory a new one, so a name
that is still read is as it was when the view was taken.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from dycl.ir.graph import op_definitions, substitute_op
from dycl.ir.nodes import CallFunction, Op, Operand, Ref, TensorOp, Value, ValueId
from dycl.passes.rewriting import op_reads

_VIEW_TEXT = """
    __getitem__ select narrow transpose permute unsqueeze squeeze view view_as expand expand_as t diagonal detach
    flatten unflatten swapaxes swapdims movedim chunk split unbind tensor_split
"""
_VIEWS = frozenset(_VIEW_TEXT.split())
_HOMES = ("torch", "torch.Tensor")

Body = tuple[TensorOp, ...]


@dataclass(frozen=True, slots=True)
class _View:
    """How a value is made: the operation and which of its results it is, and the current name of what it shows."""

    op: TensorOp
    place: int
    source: ValueId


class Views:
    """The views that a block takes, under the names that they and what they show have after each write."""

    def __init__(self, ops: Iterable[Op], tensors: set[ValueId]) -> None:
        self._tensors = tensors
        self._views: dict[ValueId, _View] = {}
        for op in ops:
            if isinstance(op, TensorOp):
                self._learn(op)

    def _learn(self, op: TensorOp) -> None:
        renamed = {old: new.id for old, new in op.mutates}
        for old, new in renamed.items():
            view = self._views.get(old)
            if view is not None and view.source in renamed:
                self._views[new] = replace(view, source=renamed[view.source])
        source = self._find_source(op)
        if source is not None:
            self._views.update((result.id, _View(op, place, source)) for place, result in enumerate(op.results))

    def _find_source(self, op: TensorOp) -> ValueId | None:
        given = [value for value in op_reads(op) if value in self._tensors]
        if op.mutates or len(given) != 1 or not isinstance(op.target, CallFunction):
            return None
        home, _, bare = op.target.name.rpartition(".")
        return given[0] if home in _HOMES and bare in _VIEWS else None

    def retake(self, body: Body, values: dict[ValueId, Value]) -> Body:
        """The operations of a subgraph, with views of their own of the memory that they write.

        `values` are those of the program; what the new operations make is added there and to the tensors.
        """
        return _Retaking(self._views, self._tensors, body, values).run()


class _Retaking:
    """Puts views in front of the operations of one subgraph."""

    def __init__(
        self, views: dict[ValueId, _View], tensors: set[ValueId], body: Body, values: dict[ValueId, Value]
    ) -> None:
        self._views, self._tensors, self._body, self._values = views, tensors, body, values
        self._inside = {value.id for op in body for value in op_definitions(op)}
        self._taken: dict[ValueId, Operand] = {}
        self._ops: list[TensorOp] = []

    def run(self) -> Body:
        """The operations, those that take views first."""
        for value in dict.fromkeys(old for op in self._body for old, _ in op.mutates):
            self._retake(value)
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
        first = max(self._values) + 1
        results = tuple(replace(result, id=ValueId(first + at)) for at, result in enumerate(view.op.results))
        self._values.update((result.id, result) for result in results)
        self._tensors.update(result.id for result in results)
        given = next(read for read in op_reads(view.op) if read in self._tensors)
        source = self._taken.get(view.source, Ref(view.source))
        op = substitute_op(replace(view.op, results=results), {given: source})
        assert isinstance(op, TensorOp)
        self._ops.append(op)
        self._taken[value] = Ref(results[view.place].id)
