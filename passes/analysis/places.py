"""Which integer tensors hold places: no element is negative, and all are below a size.

Who takes elements of another tensor at such places needs no look whether they are there. Places come from `arange`,
from what finds them (`nonzero`, `argsort`), and from other places that are picked, reordered or joined. A size is a
number, or the name of a run-time size; a name says nothing behind an edge: there the parameters' names are the block's
own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import EllipsisType

from dycl.ir.dataflow import op_definitions, value_types
from dycl.ir.graph import edges_into, entry_blocks
from dycl.ir.nodes import CallFunction, TensorOp
from dycl.ir.program import Program
from dycl.ir.values import Lit, Operand, Ref, Seq, SeqKind, SliceOf, TensorType, Value, ValueId, ValueType, refs

Size = int | str
Places = Mapping[ValueId, Size]

_PICKING_TEXT = """
    __getitem__ index_select select narrow gather take_along_dim masked_select view reshape flatten unflatten squeeze
    unsqueeze transpose permute t T expand expand_as repeat flip roll clone contiguous detach long
"""
_PICKING = frozenset(_PICKING_TEXT.split())
_JOINING = frozenset({"cat", "stack"})
_ORDERING = {"argsort": 0, "sort": 1, "topk": 1}  # which result has the places
_HOMES = ("torch", "torch.Tensor", "torch.ops.aten")


def find_places(program: Program) -> dict[ValueId, Size]:
    """For each tensor of places the size that they are below."""
    return _Finder(program).find()


def are_there(op: TensorOp, types: Mapping[ValueId, ValueType], places: Places) -> bool:
    """Whether `index_select`, `x[key]` or `index_put` finds all elements that it asks for, whatever the sizes are."""
    name = _bare_name(op)
    source = op.args[0] if op.args else None
    kind = types.get(source.id) if isinstance(source, Ref) else None
    if not isinstance(kind, TensorType) or op.kwargs:
        return False
    match name, op.args[1:]:
        case "index_select", (Lit(value=int(dim)), Ref() as index):
            asked: Iterator[tuple[int, Operand]] = iter([(dim % max(len(kind.shape), 1), index)])
        case "__getitem__", (Seq(kind=SeqKind.TUPLE, items=items),):
            asked = _find_asked(items, len(kind.shape))
        case "__getitem__", (key,):
            asked = _find_asked((key,), len(kind.shape))
        case "index_put", (Seq(items=items), _):
            asked = ((dim, index) for dim, index in enumerate(items) if index != Lit(None))
        case _:
            return False
    return all(dim < len(kind.shape) and _is_there(index, kind.shape[dim], types, places) for dim, index in asked)


def _find_asked(key: tuple[Operand, ...], rank: int) -> Iterator[tuple[int, Operand]]:
    """The dimensions of which a key takes single elements, each with the place."""
    taking = [part for part in key if part not in (Lit(None), Lit(...))]
    dim = 0
    for part in key:
        if part == Lit(...):
            dim += rank - len(taking)
        elif part != Lit(None):
            if not isinstance(part, SliceOf) or refs(part):
                yield dim, part
            dim += 1


def _is_there(index: Operand, size: Size, types: Mapping[ValueId, ValueType], places: Places) -> bool:
    match index:
        case Lit(value=int(place)) if not isinstance(place, bool):
            return isinstance(size, int) and -size <= place < size
        case Ref(id=value):
            kind, below = types[value], places.get(value)
            if not isinstance(kind, TensorType) or kind.dtype != "int64" or below is None:
                return False
            return below == size or (isinstance(below, int) and isinstance(size, int) and below < size)
    return False


def _bare_name(op: TensorOp) -> str:
    if not isinstance(op.target, CallFunction):
        return ""
    home, _, bare = op.target.name.rpartition(".")
    return bare if home in _HOMES else ""


class _Finder:
    """Follows places through a program: a parameter holds some as long as all that is known to be handed to it are."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._types = value_types(program)
        self._into = edges_into(program)
        self._begins = entry_blocks(program)
        self._found: dict[ValueId, Size | None] = {}  # None: other numbers, too; missing: nothing came by yet

    def find(self) -> dict[ValueId, Size]:
        """Sizes only grow, and are among those that the program names, so it ends."""
        before = None
        while self._found != before:
            before = dict(self._found)
            for block in self._program.blocks:
                for index, param in enumerate(block.params):
                    args = [edge.args[index] for edge in self._into[block.id]]
                    of_call = block.id in self._begins or not all(isinstance(arg, Ref) for arg in args)
                    self._learn(param, None if of_call else self._join(args, is_handed=True))
                for op in block.ops:
                    for value in op_definitions(op):
                        self._learn(value, self._made(op, value) if isinstance(op, TensorOp) else None)
        return {value: size for value, size in self._found.items() if size is not None}

    def _learn(self, value: Value, size: Size | EllipsisType | None) -> None:
        is_whole = isinstance(value.type, TensorType) and value.type.dtype == "int64"
        if size is not ...:
            self._found[value.id] = size if is_whole else None

    def _made(self, op: TensorOp, value: Value) -> Size | EllipsisType | None:
        """The size that the elements of a result are below; `...` where that waits for an operand."""
        if value not in op.results:
            return None  # memory that is written
        name, number = _bare_name(op), op.results.index(value)
        match name:
            case "arange":
                return _find_end(op)
            case "where" if len(op.args) == 1:
                return self._size_of(op, number)
            case "nonzero" if op.args and (_gives_tuple(op) or self._has_one_dimension(op.args[0])):
                return self._size_of(op, number)
            case _ if name in _ORDERING and number == _ORDERING[name]:
                return self._size_of(op, _ordered_dim(op))
            case _ if name in _PICKING and op.args:
                return self._join(op.args[:1])
            case _ if name in _JOINING and op.args and isinstance(op.args[0], Seq):
                return self._join(op.args[0].items)
        return None

    def _has_one_dimension(self, operand: Operand) -> bool:
        kind = self._types.get(operand.id) if isinstance(operand, Ref) else None
        return isinstance(kind, TensorType) and len(kind.shape) == 1

    def _size_of(self, op: TensorOp, dim: int | None) -> Size | None:
        kind = self._types.get(op.args[0].id) if op.args and isinstance(op.args[0], Ref) else None
        if not isinstance(kind, TensorType) or dim is None or not -len(kind.shape) <= dim < len(kind.shape):
            return None
        return kind.shape[dim]

    def _join(self, operands: Sequence[Operand], *, is_handed: bool = False) -> Size | EllipsisType | None:
        """What is below the largest of these sizes; a name is equal to itself alone, and is nobody else's size."""
        known: set[Size] = set()
        for operand in operands:
            found = self._found.get(operand.id, ...) if isinstance(operand, Ref) else None
            if found is None or (is_handed and isinstance(found, str)):
                return None
            if found is not ...:
                known.add(found)
        if len(known) < 2:
            return next(iter(known), ...)
        numbers = [size for size in known if isinstance(size, int)]
        return max(numbers) if len(numbers) == len(known) else None


def _find_end(op: TensorOp) -> int | None:
    """Where `arange` ends, if it begins at 0 or above and takes every number."""
    if any(name not in ("device", "dtype", "layout", "pin_memory", "requires_grad") for name, _ in op.kwargs):
        return None
    match op.args:
        case (Lit(value=int(end)),):
            return end
        case (Lit(value=int(start)), Lit(value=int(end))) if start >= 0:
            return end
    return None


def _gives_tuple(op: TensorOp) -> bool:
    return op.kwargs == (("as_tuple", Lit(True)),)


def _ordered_dim(op: TensorOp) -> int | None:
    """The dimension along which `argsort`, `sort` or `topk` orders; None where that is not to be read here."""
    named = [option for name, option in op.kwargs if name == "dim"]
    match [*op.args[2 if _bare_name(op) == "topk" else 1 :], *named]:
        case []:
            return -1
        case [Lit(value=bool()), *_]:
            return None
        case [Lit(value=int(dim)), *_]:
            return dim
    return None
