"""The leaves of a state, each at its position: what stands for it in the key, and which of them are equal or related.

A position has an address: the way to it from the state's roots. Integers that differ by a constant are one class,
passed to a block once; sizes, numbers and lists note where they stand, so that a join can generalise them there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sympy
import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._sympy.numbers import int_oo

from dycl.ir.values import ScalarKind, ValueId
from dycl.passes.specialize.facts import EVERYTHING, Facts
from dycl.passes.specialize.intervals import Interval
from dycl.passes.specialize.memory_order import dense_order, expression, strides
from dycl.passes.specialize.state import State
from dycl.passes.specialize.values import RangeIterator, RuntimeList, RuntimeObject, Scalar, Text, TextPart

Address = tuple[Any, ...]
Spot = tuple[Any, Address]  # a place and an address: the same in all states of a point that have it
Label = ValueId | tuple[ValueId, Spot]  # of a tensor: its name; where it is apart from its like, its position, too
Respelling = dict[Any, tuple[Scalar, int]]  # of a class of integers: the new symbol and what it stands for

KIND_OF: dict[type, ScalarKind] = {int: ScalarKind.INT, float: ScalarKind.FLOAT, bool: ScalarKind.BOOL}


class Slot:
    """A numeric position that may be generalised: where in the key it stands and what it holds."""

    __slots__ = ("address", "kind", "place", "token", "value")

    def __init__(self, token: int, kind: ScalarKind, value: Any, place: Any, address: Address) -> None:
        self.place = place
        self.address = address
        self.token = token
        self.kind = kind
        self.value = value


class ListSlot:
    """A list that may be generalised: where in the key it stands and what it holds."""

    __slots__ = ("address", "end", "items", "place", "start")

    def __init__(self, address: Address, place: Any, start: int, end: int, items: Any) -> None:
        self.address, self.place = address, place
        self.start, self.end = start, end
        self.items = items


class SizeSlot:
    """A size that may be generalised: of which dimension, where in the key its tensor or shape stands."""

    __slots__ = ("address", "dim", "place", "token", "value")

    def __init__(self, token: int, dim: int, value: Any, place: Any, address: Address) -> None:
        self.token, self.dim = token, dim
        self.value = value  # an int or an expression
        self.place, self.address = place, address


class Positions:
    """Collects the leaves that a walk comes by.

    `substitute` gives new scalars for numbers and `lists` run-time lists for lists at an address, `sizes` new
    expressions for sizes; integers of different `groups` are not related; `respell` gives new symbols for classes of
    integer expressions, `retensor` new tensors. A tensor at a position in `parts` is one with those of its part alone.
    """

    def __init__(
        self,
        machine: Any,
        state: State,
        *,
        substitute: dict[Address, Scalar] | None = None,
        lists: dict[Address, RuntimeList] | None = None,
        sizes: dict[Address, sympy.Basic] | None = None,
        groups: dict[Address, Any] | None = None,
        respell: Respelling | None = None,
        retensor: dict[Label, FakeTensor] | None = None,
        parts: Mapping[Spot, Spot] | None = None,
        is_join: bool = False,
    ) -> None:
        self.machine = machine
        self.source = state
        self.substitute = substitute or {}
        self.list_substitute = lists or {}
        self.size_substitute = sizes or {}
        self.groups = groups
        self.respell = respell or {}
        self.retensor = retensor or {}
        self.parts = parts or {}
        self.is_join = is_join  # the copy starts a block: compound integers are computed anew from its parameters
        self.key: list[Any] = []
        self.tensors: list[FakeTensor] = []
        self.labels: list[Label] = []  # of the tensors, by which the rest is known of them
        self.scalars: list[Scalar] = []  # one per class of equal values
        self.lists: list[RuntimeList] = []
        self.objects: list[RuntimeObject] = []  # one for each name
        self.slots: list[Slot] = []
        self.list_slots: list[ListSlot] = []
        self.sizes: list[SizeSlot] = []
        self.known_slots: dict[Address, tuple[Any, str | None]] = {}  # of each tensor: its place, its known value
        self.limits: dict[Address, Interval] = {}  # of what a loop over a range counts: not beyond its end
        self.texts: dict[Spot, tuple[int, Any]] = {}  # at each position of a text: where in the key, what it is made of
        self.tables: dict[Spot, tuple[Any, Any]] = {}  # at each position of a dict: where it is made, its keys
        self.listed: dict[Address, bool] = {}  # of each tensor: whether it lies in a run-time list
        self.met: dict[Spot, FakeTensor] = {}  # the tensor at each position, however often it is met
        self.fixed: set[Spot] = set()  # of these those known by their identity: the keys of dicts
        self.shapes: dict[Label, list[tuple[Any, Address]]] = {}  # of each tensor: its sizes, substituted
        self.layouts: dict[Label, Any] = {}  # of each tensor: the order of its dimensions in memory, or its strides
        self.classes: dict[Any, tuple[int, int]] = {}  # integers that differ by constants: index, the first's constant
        self.forgotten: dict[Label, FakeTensor] = {}  # tensors whose known values the hints drop
        self._tensor_index: dict[Any, int] = {}
        self._storage_index: dict[Any, int] = {}
        self._scalar_index: dict[Any, int] = {}
        self._object_index: dict[ValueId, int] = {}
        self.place: Any = None  # the function and variable being walked
        self._scope: Address = ()
        self._count = 0

    def _group(self, address: Address) -> Any:
        """Integers of different groups are passed one by one even where they are related."""
        return address if self.groups is None else self.groups.get(address)

    def class_name(self, expr: sympy.Basic, address: Address) -> tuple[Any, int]:
        """The class of an integer expression and its distance from the class's own."""
        constant, rest = expr.as_coeff_Add()
        return (rest, self._group(address)), int(constant)

    def _scalar_class(self, scalar: Scalar, address: Address) -> tuple[int, int]:
        if scalar.expr is None or scalar.kind is not ScalarKind.INT:
            index = self._scalar_index.get(scalar.vid)
            if index is None:
                index = self._scalar_index[scalar.vid] = len(self.scalars)
                self.scalars.append(scalar)
            return index, 0
        name, constant = self.class_name(scalar.expr, address)
        found = self.classes.get(name)
        if found is None:
            found = self.classes[name] = (len(self.scalars), constant)
            self.scalars.append(scalar)
        return found[0], constant - found[1]

    def respelled(self, expr: sympy.Basic, address: Address) -> sympy.Basic:
        """The expression in the symbols of the new block."""
        name, constant = self.class_name(expr, address)
        found = self.respell.get(name)
        return expr if found is None else found[0].expr + (constant - found[1])  # type: ignore[operator]

    def _sizes(self, shape: Any, first: int = 0) -> tuple[tuple[Any, ...], list[tuple[Any, Address]]]:
        """The tokens of sizes, and the sizes with their addresses."""
        pairs = [self._size_token(size, dim, (*self._scope, dim)) for dim, size in enumerate(shape, first)]
        sizes = [(size, (*self._scope, dim)) for dim, (_, size) in enumerate(pairs, first)]
        return tuple(token for token, _ in pairs), sizes

    def new_shape(self, sizes: list[tuple[Any, Address]]) -> list[Any]:
        """Sizes as the new block knows them."""
        return [size if isinstance(size, int) else self.respelled(size, address) for size, address in sizes]

    def _size_token(self, size: Any, dim: int, address: Address) -> tuple[Any, Any]:
        """The size's token and the size, substituted."""
        value = size.node.expr if isinstance(size, torch.SymInt) else int(size)
        value = int(value) if isinstance(value, sympy.Basic) and value.is_Integer else value
        self.sizes.append(SizeSlot(len(self.key), dim, value, self.place, address))
        value = self.size_substitute.get(address, value)
        if isinstance(value, int):
            return value, value
        token = ("s", *self._scalar_class(self.machine.scalar_of_expr(value), address))
        return token, value

    def _layout(self, tensor: FakeTensor, label: Label) -> tuple[Any, ...]:
        """How the elements lie in memory, which `view` and `is_contiguous` ask about: dense, in what order, strided."""
        order = dense_order(tensor)
        if order is not None:
            self.layouts[label] = order
            return ("dense", order)
        tokens, self.layouts[label] = self._sizes(strides(tensor), len(tensor.shape) + 1)
        return ("strides", *tokens)

    def is_remade(self, tensor: FakeTensor, label: Label) -> bool:
        """Whether the new block knows the tensor's sizes or strides by other symbols, or the tensor by itself."""
        layout = self.layouts[label]
        old = [*tensor.shape, *(strides(tensor) if isinstance(layout, list) else ())]
        new = [*self.new_shape(self.shapes[label]), *(self.new_shape(layout) if isinstance(layout, list) else ())]
        return isinstance(label, tuple) or any(expression(a) != b for a, b in zip(old, new, strict=True))

    def size_expressions(self, *, respelled: bool = False) -> set[sympy.Basic]:
        """The dimensions of the tensors that only the run knows."""
        found = [pair for shape in self.shapes.values() for pair in shape if not isinstance(pair[0], int)]
        return {self.respelled(*pair) if respelled else pair[0] for pair in found}

    def size_symbols(self, *, respelled: bool = False) -> set[sympy.Basic]:
        """What these dimensions are made of."""
        return {symbol for size in self.size_expressions(respelled=respelled) for symbol in size.free_symbols}

    def _tensor(self, tensor: FakeTensor, general: bool) -> Any:
        vid = self.machine.current_vid(tensor, self.source)
        address = (self.place, self._scope)
        label: Label = (vid, self.parts[address]) if address in self.parts else vid
        self.met[address] = tensor
        if not general:
            self.fixed.add(address)
        index = self._tensor_index.get(label)
        if index is not None:
            self.key.append(("t", index))
            return self.retensor.get(label, tensor)
        index = self._tensor_index[label] = len(self.tensors)
        self.tensors.append(tensor)
        self.labels.append(label)
        memory = self.machine.memory_of(tensor)
        is_parted = label is not vid or memory in self.machine.parted
        storage = self._storage_index.setdefault(self.machine.memory_group(memory) if label is vid else label, index)
        shape, self.shapes[label] = self._sizes(tensor.shape)
        shape = (*shape, *self._layout(tensor, label))
        known = self.machine.known.get(vid) if label is vid else None
        if known is not None and self.place in self.machine.hints.forget_known:
            self.forgotten[label] = tensor
            known = None
        content = None if known is None else repr(known.tolist())
        self.known_slots[self._scope] = (self.place, content)
        is_listed = tensor.untyped_storage()._cdata in self.source.listed or address in self.machine.hints.listed
        if is_listed:
            self.source.listed |= {tensor.untyped_storage()._cdata}
        self.listed[address] = is_listed
        self.key.append(("T", tensor.dtype, shape, storage, content, is_listed, is_parted))
        return self.retensor.get(label, tensor)

    def _number(self, value: Any, general: bool) -> Any:
        kind = KIND_OF[type(value)]
        token: Any = (kind, repr(value))
        if general:
            value = self.substitute.get(self._scope, value)
            self.slots.append(Slot(len(self.key), kind, value, self.place, self._scope))
            if isinstance(value, Scalar):
                token = ("s", kind, *self._scalar_class(value, self._scope))
                if value.expr is not None and kind is ScalarKind.INT:
                    value = self._respelled_scalar(value)
        self.key.append(token)
        return value

    def _runtime_number(self, value: Scalar, general: bool) -> Any:
        value = self.substitute.get(self._scope, value)
        if general:
            self.slots.append(Slot(len(self.key), value.kind, value, self.place, self._scope))
        self.key.append(("s", value.kind, *self._scalar_class(value, self._scope)))
        return self._respelled_scalar(value) if value.expr is not None and value.kind is ScalarKind.INT else value

    def _respelled_scalar(self, value: Scalar) -> Scalar:
        expr = self.respelled(value.expr, self._scope)
        is_passed = self.machine.values.symbols.get(expr) == value.vid if expr.is_Symbol else not self.is_join
        if expr == value.expr and is_passed:
            return value
        made: Scalar = self.machine.scalar_of_expr(expr)
        made.origin = value.origin
        return made

    def _text(self, value: str, general: bool) -> str:
        """A text: known, or made of parts that the run knows; where texts grow, one run-time text."""
        spot = (self.place, self._scope)
        general = general and self.place is not None  # what belongs to a place of the program, not to the machine
        whole = _whole(value)
        if general and spot in self.machine.hints.texts:
            made = self.substitute.get(self._scope, value if whole is None else whole)
            self.slots.append(Slot(len(self.key), ScalarKind.STR, made, *spot))
            if isinstance(made, Scalar):
                self.key.append(("s", ScalarKind.STR, *self._scalar_class(made, self._scope)))
                return value if made is whole else Text.of(TextPart(made, "", ""))
        made_of: Any = value
        if isinstance(value, Text):
            tokens, value = self._text_parts(value)
            made_of = tuple(part if isinstance(part, str) else part[:2] for part in tokens)
            self.key.append(("text", *tokens))
        else:
            self.key.append((str, value))
        if general:
            self.texts[spot] = (len(self.key) - 1, made_of)
        return value

    def _text_parts(self, value: Text) -> tuple[tuple[Any, ...], Text]:
        """What the parts of a text are, each number by its class, and the copy."""
        tokens: list[Any] = []
        parts: list[str | TextPart] = []
        for part in value.parts:
            if isinstance(part, str):
                tokens.append(part)
                parts.append(part)
                continue
            number = self.walk(part.value, False)
            tokens.append((part.conversion, part.spec, self.key.pop()))
            parts.append(TextPart(number, part.conversion, part.spec))
        return tuple(tokens), Text.of(*parts)

    def walk(self, value: Any, general: bool = True) -> Any:
        """A copy of the value; its canonical form goes to the key (`Walker`)."""
        raise NotImplementedError

    def _runtime_list(self, value: RuntimeList) -> Any:
        self.list_slots.append(ListSlot(self._scope, self.place, len(self.key), len(self.key) + 1, value))
        self.key.append(("L", value.kind, value.element, self._list_class(value)))
        return value.copy()

    def _note_limit(self, value: RangeIterator) -> None:
        """Where the number that a range comes to next lies, if the range is not over before it begins."""
        if type(value.stop) is int and type(value.step) is int:
            end = sympy.Integer(value.stop + value.step - (1 if value.step > 0 else -1))
            address = (*self._scope, self._count)
            self.limits[address] = (-int_oo, end) if value.step > 0 else (end, int_oo)

    def _list_class(self, value: RuntimeList) -> int:
        """Lists of one value at this moment are passed once."""
        for index, known in enumerate(self.lists):
            if known.vid == value.vid:
                return index
        self.lists.append(value)
        return len(self.lists) - 1

    def _runtime_object(self, value: RuntimeObject) -> Any:
        index = self._object_index.get(value.vid)
        if index is None:
            index = self._object_index[value.vid] = len(self.objects)
            self.objects.append(value)
        self.key.append(("O", value.schema, index))
        return value

    @property
    def symbols(self) -> dict[int, sympy.Basic]:
        """Of each class of integers the symbol that the new block knows it by, where it is one."""
        found = {}
        for name, (index, _) in self.classes.items():
            scalar = self.respell[name][0] if name in self.respell else self.scalars[index]
            if scalar.expr is not None and scalar.expr.is_Symbol:
                found[index] = scalar.expr
        return found

    def intervals(self, facts: Facts) -> dict[int, Interval]:
        """The canonical facts about the integer scalars met, by their class."""
        symbols = self.symbols
        known = {
            index: facts.interval(symbols[index])
            for index, scalar in enumerate(self.scalars)
            if scalar.kind is ScalarKind.INT and scalar.expr is not None and index in symbols
        }
        return {index: interval for index, interval in known.items() if interval != EVERYTHING}

    def ranges(self, facts: Facts) -> tuple[Any, ...]:
        """The canonical facts about the elements of the tensors met; `facts` are those of the source."""
        found = []
        for index, tensor in enumerate(self.tensors):
            vid = self.machine.current_vid(tensor, self.source)
            bounds = facts.ranges.get(vid)
            if bounds is not None and vid not in self.machine.known:
                found.append((index, str(bounds[0]), str(bounds[1])))
        return tuple(found)


def _whole(value: str) -> Scalar | None:
    """The run-time text that a text is all of."""
    parts = value.parts if isinstance(value, Text) else ()
    part = parts[0] if len(parts) == 1 else None
    is_whole = isinstance(part, TextPart) and part.value.kind is ScalarKind.STR and part.conversion in ("", "s")
    return part.value if is_whole and not part.spec else None  # type: ignore[union-attr]
