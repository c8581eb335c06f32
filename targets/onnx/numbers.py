"""Numbers and sizes of the run in an exported model, with as few kernels as they need.

The exporter makes a number of each size and of each number that a graph is given, and a row of one of it wherever an
operator of ONNX takes a row; each way there and back is two or three kernels, which take as long as kernels that
compute something. A graph whose sizes only the run knows consists of them to a third. Constant folding has none to
fold here, and ONNX Runtime keeps them all.

Before::

    n = Squeeze(Shape(x, start=0, end=1))
    y = Reshape(x, Concat(Reshape(n, [1]), [144]))
    i = Squeeze(Slice(Transpose(NonZero(m)), [0], [1], [1]), [1])

After::

    y = Reshape(x, [-1, 144])
    i = Squeeze(NonZero(m), [0])

What a pooling takes from a cut, it takes from the whole: `Gather(x[b:b + n], t[n])` is `Gather(x, t[n] + b)`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx_ir
from onnx_ir.passes import common as ir_passes

Value = onnx_ir.Value

_LARGEST = np.iinfo(np.int64).max
_CUT = "dycl: the numbers where a cut begins and how long it is"


def simplify_numbers(model: onnx_ir.Model) -> None:
    """Rewrite the nodes that fit a rule, from the first to the last, and take out what nobody reads any more."""
    for node in list(model.graph):
        rule = _RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if rule is not None:
            rule(_Rewriter(model, node))
    onnx_ir.passes.Sequential(
        ir_passes.IdentityEliminationPass(),
        ir_passes.CommonSubexpressionEliminationPass(),
        ir_passes.RemoveUnusedNodesPass(),
    )(model)


class _Rewriter:
    """A node that may become another one, and what is known of the values that it reads."""

    def __init__(self, model: onnx_ir.Model, node: onnx_ir.Node) -> None:
        self.node = node
        self._graph = model.graph
        self._made = itertools.count()

    def read(self, index: int) -> Value | None:
        """The input of this number."""
        return source(self.node.inputs[index]) if index < len(self.node.inputs) else None

    def become(self, op_type: str, inputs: Sequence[Value], **attributes: int) -> None:
        """Let the node be another operator."""
        self.node.op_type = op_type
        self.node.attributes.clear()
        for name, number in attributes.items():
            self.node.attributes.add(onnx_ir.AttrInt64(name, number))
        self.node.resize_inputs(len(inputs))
        for index, value in enumerate(inputs):
            self.node.replace_input_with(index, value)

    def make(self, op_type: str, inputs: Sequence[Value], **attributes: int) -> Value:
        """The result of a new node before this one."""
        made = [onnx_ir.AttrInt64(name, number) for name, number in attributes.items()]
        node = onnx_ir.Node("", op_type, list(inputs), made, name=f"{self.node.name}_{op_type}{next(self._made)}")
        self._graph.insert_before(self.node, node)
        return node.outputs[0]

    def constant(self, numbers: Sequence[Any] | int) -> Value:
        """Whole numbers."""
        tensor = onnx_ir.AttrTensor("value", onnx_ir.tensor(np.array(numbers, np.int64)))
        node = onnx_ir.Node("", "Constant", [], [tensor], name=f"{self.node.name}_Constant{next(self._made)}")
        self._graph.insert_before(self.node, node)
        return node.outputs[0]


# ---------------------------------------------------------------- what is known of values


def source(value: Value | None) -> Value | None:
    """The value itself, behind nodes that do nothing."""
    while (made := _made_by(value, "Identity")) is not None:
        value = made.inputs[0]
    return value


def _made_by(value: Value | None, op_type: str) -> onnx_ir.Node | None:
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == op_type and node.domain in ("", "ai.onnx") else None


def _numbers(value: Value | None) -> np.ndarray | None:
    """The whole numbers of a constant."""
    tensor = None if value is None else onnx_ir.convenience.get_const_tensor(value)
    if tensor is None or isinstance(tensor, onnx_ir.ExternalTensor):
        return None
    array = tensor.numpy()
    return array if array.dtype == np.int64 else None


def _is(value: Value | None, *lists: list[int]) -> bool:
    """Whether it is a constant row of one of these."""
    numbers = _numbers(value)
    return numbers is not None and numbers.ndim == 1 and numbers.tolist() in lists


def _int(node: onnx_ir.Node, name: str, default: int) -> int:
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()


def _rank(value: Value | None) -> int | None:
    return None if value is None or value.shape is None else len(value.shape)


def _one_size(value: Value | None) -> tuple[Value, int] | None:
    """Whose size along which dimension, counted from the first, a row of one is."""
    node = _made_by(value, "Shape")
    if node is None:
        return None
    of, start, end = source(node.inputs[0]), _int(node, "start", 0), _int(node, "end", _LARGEST)
    return None if of is None or start < 0 or end != start + 1 else (of, start)


def _as_row(rewriter: _Rewriter, value: Value | None) -> Value | None:
    """What a number was before it became one, if that was a row of one."""
    value = source(value)
    squeezed = _made_by(value, "Squeeze")
    if squeezed is not None and (len(squeezed.inputs) == 1 or _is(squeezed.inputs[1], [0])):
        row = source(squeezed.inputs[0])
        return row if _one_size(row) is not None else None
    picked = _made_by(value, "Gather")
    shape = None if picked is None else _made_by(source(picked.inputs[0]), "Shape")
    place = None if picked is None else _numbers(source(picked.inputs[1]))
    of = None if shape is None else source(shape.inputs[0])
    rank = _rank(of)
    if shape is None or of is None or rank is None or place is None or place.ndim:
        return None
    if _int(shape, "start", 0) or "end" in shape.attributes:
        return None
    dim = int(place) % rank
    return rewriter.make("Shape", [of], start=dim, end=dim + 1)


# ---------------------------------------------------------------- rules


def _gather(rewriter: _Rewriter) -> None:
    """The number in a tensor of one number: the exporter makes a row of it and takes the first."""
    node, row, place = rewriter.node, _made_by(rewriter.read(0), "Reshape"), _numbers(rewriter.read(1))
    if place is None:
        _gather_of_cut(rewriter)
        return
    if row is None or place.ndim or int(place) or _int(node, "axis", 0):
        return
    number = source(row.inputs[0])
    if number is not None and _rank(number) == 0 and _is(row.inputs[1], [-1]):
        rewriter.become("Identity", [number])


def _reshape(rewriter: _Rewriter) -> None:
    """A row that is made of a number that was a row; a shape of which one part is not known is what the rest leaves."""
    value, shape = rewriter.read(0), rewriter.read(1)
    if value is None:
        return
    if _is(shape, [-1], [1]):
        row = _as_row(rewriter, value)
        if row is not None:
            rewriter.become("Identity", [row])
        return
    parts = _made_by(shape, "Concat")
    known = [] if parts is None else [_numbers(source(part)) for part in parts.inputs]
    sizes = [] if parts is None else [_one_size(source(part)) for part in parts.inputs]
    open_ones = [size for row, size in zip(known, sizes, strict=True) if row is None]
    rest = [int(number) for row in known if row is not None for number in row]
    if len(open_ones) == 1 and open_ones[0] is not None and _leaves(value, *open_ones[0], rest):
        numbers = [number for row in known for number in ([-1] if row is None else row)]
        rewriter.become("Reshape", [value, rewriter.constant(numbers)])


def _leaves(value: Value, of: Value, dim: int, rest: Sequence[int]) -> bool:
    """Whether a value has as many elements as the rest of a shape and one size of another value say, whatever it is."""
    if value.shape is None or of.shape is None:
        return False
    unknown = [size for size in value.shape if not isinstance(size, int)]
    known = math.prod(size for size in value.shape if isinstance(size, int))
    size = of.shape[dim]
    is_it = isinstance(size, onnx_ir.SymbolicDim) and size.value is not None and unknown == [size]
    return is_it and known == math.prod(rest) > 0


def _unsqueeze(rewriter: _Rewriter) -> None:
    """One row or column of a tensor that stays one."""
    value = rewriter.read(0)
    axes = _numbers(rewriter.read(1))
    if value is None or axes is None or axes.shape != (1,):
        return
    axis = int(axes[0])
    row = _as_row(rewriter, value) if axis in (0, -1) else None
    if row is not None:
        rewriter.become("Identity", [row])
        return
    gather, squeeze = _made_by(value, "Gather"), _made_by(value, "Squeeze")
    if gather is not None:
        place = _numbers(gather.inputs[1])
        of, rank = source(gather.inputs[0]), _rank(value)
        if place is None or place.ndim or of is None or rank is None:
            return
        along = _int(gather, "axis", 0)
        if along % (rank + 1) == axis % (rank + 1):
            rewriter.become("Gather", [of, rewriter.constant([int(place)])], axis=along)
    elif squeeze is not None and len(squeeze.inputs) == 2:
        of, rank, gone = source(squeeze.inputs[0]), _rank(value), _numbers(squeeze.inputs[1])
        if of is None or rank is None or gone is None or gone.shape != (1,):
            return
        if int(gone[0]) % (rank + 1) == axis % (rank + 1):
            rewriter.become("Identity", [of])


def _squeeze(rewriter: _Rewriter) -> None:
    """Where elements are not zero, along one dimension: ONNX has a row for each dimension, torch a column."""
    if not _is(rewriter.read(1), [1], [-1]):
        return
    column = rewriter.read(0)
    cut = _made_by(column, "Slice")
    which = 0 if cut is None else _column(cut)
    turned = _made_by(column if cut is None else source(cut.inputs[0]), "Transpose")
    found = None if turned is None else _made_by(source(turned.inputs[0]), "NonZero")
    rank = None if found is None else _rank(source(found.inputs[0]))
    if found is None or rank is None or which is None or which >= rank or (cut is None and rank != 1):
        return
    places = found.outputs[0]
    if rank == 1:
        rewriter.become("Squeeze", [places, rewriter.constant([0])])
    else:
        rewriter.become("Gather", [places, rewriter.constant(which)], axis=0)


def _column(cut: onnx_ir.Node) -> int | None:
    """The only column that a slice takes."""
    bounds = [_numbers(source(value)) for value in cut.inputs[1:]]
    if len(bounds) < 3 or any(bound is None or bound.shape != (1,) for bound in bounds):
        return None
    start, end, axis, *step = (int(bound[0]) for bound in bounds if bound is not None)
    return start if axis in (1, -1) and 0 <= start == end - 1 and step in ([], [1]) else None


def _slice(rewriter: _Rewriter) -> None:
    """A cut of known length that begins where only the run knows.

    A place below zero counts from the end, and such a cut may end at 0, which is the end then: torch asks for both.
    Counted from the front there is no question. A place at the very end takes nothing, and may as well be the first.
    """
    node = rewriter.node
    begin, end = _number_of(rewriter.read(1)), _number_of(rewriter.read(2))
    added = _made_by(end, "Add")
    if begin is None or added is None or len(node.inputs) < 4:
        return
    for end_as_said, correction in _both(added):
        size = _size_where_below_zero(correction, begin, end_as_said)
        length = _rest(end_as_said, begin)
        if size is None or length is None or size != _known_size(node.inputs[0], _numbers(rewriter.read(3))):
            continue
        row = rewriter.constant([-1])
        first = rewriter.make("Reshape", [begin, row])
        first = rewriter.make("Mod", [first, rewriter.constant([size])])
        node.meta[_CUT] = begin, length
        last = rewriter.make("Add", [first, rewriter.make("Reshape", [length, row])])
        node.replace_input_with(1, first)
        node.replace_input_with(2, last)
        return


def _gather_of_cut(rewriter: _Rewriter) -> None:
    """What is taken from a cut is there before the cut, too, as far behind its beginning.

    Where it is taken by a table that has for each length of a cut places in it, as pooling does, and maybe after
    something else was taken along later dimensions. A place below zero counts from the end for both. A cut of no
    length has no places: they would not be there, and nor are those that the table has for it then.
    """
    axis = _int(rewriter.node, "axis", 0)
    passed: list[onnx_ir.Node] = []
    value = rewriter.read(0)
    while (inner := _taken_behind(value, axis)) is not None:
        passed.append(inner)
        value = source(inner.inputs[0])
    cut, found = _made_by(value, "Slice"), _made_by(rewriter.read(1), "Gather")
    if cut is None or found is None or _CUT not in cut.meta or not _is(cut.inputs[3], [axis]) or _int(found, "axis", 0):
        return
    of = cut.inputs[0]
    begin: Value = cut.meta[_CUT][0]
    length: Value = cut.meta[_CUT][1]
    table, size = _numbers(source(found.inputs[0])), _known_size(of, np.array([axis]))
    if of is None or table is None or table.ndim < 2 or not isinstance(size, int):
        return
    if source(found.inputs[1]) is not length:
        return
    if table.min() < 0 or any(row.max() >= number for number, row in enumerate(table) if number):
        return
    table = table.copy()
    table[0] = 2 * size
    inside = rewriter.make("Gather", [rewriter.constant(table.tolist()), length], axis=0)
    places = rewriter.make("Add", [inside, begin])
    for inner in passed:
        inner.outputs[0].shape = None  # as long as before the cut
    if passed:
        passed[-1].replace_input_with(0, of)
    rewriter.become("Gather", [passed[0].outputs[0] if passed else of, places], axis=axis)


def _taken_behind(value: Value | None, axis: int) -> onnx_ir.Node | None:
    """What makes a value that one node reads, if it takes elements along another dimension and this one stays put."""
    if value is None or value.is_graph_output() or len(tuple(value.uses())) != 1:
        return None
    found, cut = _made_by(value, "Gather"), _made_by(value, "Slice")
    if found is not None:
        return found if _int(found, "axis", 0) > axis else None
    axes = None if cut is None or len(cut.inputs) < 4 else _numbers(source(cut.inputs[3]))
    return cut if axes is not None and axes.shape == (1,) and 0 <= int(axes[0]) != axis else None


def _known_size(value: Value | None, axis: np.ndarray | None) -> object:
    """The size along one axis of a value of known shape."""
    if value is None or value.shape is None or axis is None or axis.shape != (1,):
        return None
    return value.shape[int(axis[0])]


def _number_of(row: Value | None) -> Value | None:
    """The number of which a row was made."""
    made = _made_by(row, "Reshape")
    return source(made.inputs[0]) if made is not None and _is(made.inputs[1], [-1]) else None


def _both(node: onnx_ir.Node) -> Iterator[tuple[Value | None, Value | None]]:
    """The inputs of an operator for which their order does not matter, in both orders."""
    left, right = (source(value) for value in node.inputs)
    yield left, right
    yield right, left


def _rest(total: Value | None, part: Value) -> Value | None:
    """What is added to the part."""
    node = _made_by(total, "Add")
    found = [] if node is None else [other for one, other in _both(node) if one is part]
    return found[0] if found else None


def _size_where_below_zero(value: Value | None, begin: Value, end: Value | None) -> int | None:
    """The constant size in `size * (1 if begin < 0 and end == 0 else 0)`."""
    product = _made_by(value, "Mul")
    for chosen, size in () if product is None else _both(product):
        where, number = _made_by(chosen, "Where"), _numbers(size)
        if where is None or number is None or number.ndim or int(number) <= 0:
            continue
        yes, no = (_numbers(source(part)) for part in where.inputs[1:])
        both = _made_by(source(where.inputs[0]), "And")
        if yes is None or no is None or both is None or (yes.tolist(), no.tolist()) != (1, 0):
            continue
        if any(_asks(one, "Less", begin) and _asks(other, "Equal", end) for one, other in _both(both)):
            return int(number)
    return None


def _asks(value: Value | None, op_type: str, number: Value | None) -> bool:
    """Whether it is a comparison of the number with 0."""
    node = _made_by(value, op_type)
    if node is None or source(node.inputs[0]) is not number:
        return False
    zero = _numbers(source(node.inputs[1]))
    return zero is not None and zero.tolist() == 0


_RULES: dict[str, Callable[[_Rewriter], None]] = {
    "Gather": _gather,
    "Reshape": _reshape,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
}
