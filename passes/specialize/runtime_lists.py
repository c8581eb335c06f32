"""Lists whose length only the run knows: their elements as operands and back, and what is done to them.

In the program such a list is a value: a change makes a new one, which the list object then holds. So an element is a
value too. A mutable object or a tensor that lies in a list is marked: a write into it would have to be seen in the
list, and is refused.
"""

from __future__ import annotations

from typing import Any, assert_never

import torch
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily

from dycl.diagnostics import UnsupportedError
from dycl.ir.nodes import HostOp
from dycl.ir.values import ArrayForm, ListType, Lit, Mapping, Operand, Ref, ScalarKind, Seq, SeqKind, ValueId, ValueType
from dycl.passes.specialize import parting
from dycl.passes.specialize.arrayvalue import Array
from dycl.passes.specialize.copying import ATOMS
from dycl.passes.specialize.hints import Position
from dycl.passes.specialize.natives import Natives
from dycl.passes.specialize.numbers import item_kind
from dycl.passes.specialize.scalars import kind_of
from dycl.passes.specialize.signals import Restart
from dycl.passes.specialize.templates import (
    Constant,
    Instance,
    Items,
    ListOf,
    Maybe,
    Number,
    Object,
    Table,
    Template,
    Tensor,
    attributes_of,
    describe,
    ir_type,
    seq_kind,
    unify,
    unify_many,
)
from dycl.passes.specialize.values import RuntimeList, RuntimeObject, Scalar, Text, TextPart
from dycl.passes.specialize.weights import slot_names


class RuntimeLists(Natives):
    """The part of the machine that keeps lists of run-time length."""

    # ------------------------------------------------------------ elements

    def encoded(self, value: Any, template: Template) -> Operand:
        """An element as it lies in the list; what is mutable in it is marked."""
        match template:
            case Number():
                return self.operand(value)
            case Tensor():
                self._mark_tensor(value)
                return self.operand(value)
            case Constant(value=constant):
                return Lit(constant) if constant is None or constant is Ellipsis else Lit(None)
            case Object():
                return Ref(value.vid)
            case Maybe(of=some):
                return Lit(None) if value is None else self.encoded(value, some)
            case ListOf(element=element, cls=cls):
                if cls is list:
                    self.freeze(value)
                if isinstance(value, RuntimeList):
                    return Ref(value.vid)
                return Seq(seq_kind(cls), tuple(self.encoded(item, element) for item in value))
            case Items(cls=cls, items=items):
                if cls is list:
                    self.freeze(value)
                return Seq(seq_kind(cls), tuple(self.encoded(v, of) for v, of in zip(value, items, strict=True)))
            case Table(keys=keys, items=items):
                self.freeze(value)
                pairs = zip(keys, items, strict=True)
                return Mapping(tuple((Lit(key), self.encoded(value[key], of)) for key, of in pairs))
            case Instance(names=names, items=items):
                self.freeze(value)
                attributes, pairs = attributes_of(value), zip(names, items, strict=True)
                return Seq(SeqKind.TUPLE, tuple(self.encoded(attributes[name], of) for name, of in pairs))
            case _:
                assert_never(template)

    def decoded(self, vid: ValueId, template: Template) -> Any:
        """The object that a host value is; what of it may be None is decided here."""
        match template:
            case Number(kind=kind):
                number = self._once(("number", vid), lambda: self._decoded_number(vid, kind))
                return number if kind is not ScalarKind.STR else self.text_of(number)
            case Tensor():
                return self._once(("tensor", vid), lambda: self._decoded_tensor(vid, template))
            case Constant(value=constant):
                return constant
            case Object(schema=schema):
                return RuntimeObject(schema, vid)
            case Maybe(of=some):
                return self._decided(vid, some)
            case ListOf(element=element, cls=cls):
                inner = RuntimeList(element, vid, kind=cls)
                return inner if cls is tuple else self.freeze(inner)
            case Items(cls=cls, items=items):
                values = [self._part(vid, index, of) for index, of in enumerate(items)]
                if cls is list:
                    return self.freeze(values)
                return cls(*values) if hasattr(cls, "_fields") else tuple(values)
            case Table(keys=keys, items=items):
                pairs = zip(keys, items, strict=True)
                return self.freeze({key: self._part(vid, key, of) for key, of in pairs})
            case Instance(cls=cls, names=names, items=items):
                made: Any = object.__new__(cls)
                in_slots = slot_names(cls)
                for index, (name, of) in enumerate(zip(names, items, strict=True)):
                    part = self._part(vid, index, of)
                    if name in in_slots:
                        object.__setattr__(made, name, part)
                    else:
                        made.__dict__[name] = part
                return self.freeze(made)
            case _:
                assert_never(template)

    def _part(self, vid: ValueId, key: Any, template: Template) -> Any:
        if isinstance(template, Constant):
            return template.value
        make = lambda: self.emit_host("part", (Ref(vid), Lit(key)), ir_type(template))  # noqa: E731
        return self.decoded(self._once(("part", vid, key), make), template)

    def _decoded_number(self, vid: ValueId, kind: ScalarKind) -> Scalar:
        number = Scalar(kind, vid)
        if kind is ScalarKind.INT:
            self._give_symbol(number)
        return number

    def _decided(self, vid: ValueId, of: Template) -> Any:
        """None or what else there may be: a decision."""
        if self.truth(self._once(("is_none", vid), lambda: self.host_op("is_none", (Ref(vid),), ScalarKind.BOOL))):
            return None
        make = lambda: self.emit_host("narrow", (Ref(vid),), ir_type(of))  # noqa: E731
        return self.decoded(self._once(("narrow", vid), make), of)

    def _decoded_tensor(self, vid: ValueId, template: Tensor) -> Any:
        sizes: list[Any] = []
        dtype = getattr(torch, template.dtype)
        symbols = {}
        for dim, size in enumerate(template.shape):
            if size is None:
                symbols[dim] = self.env.create_unbacked_symint()
                self.env.pending_fresh_unbacked_symbols.clear()
                self.bound_symbol(symbols[dim].node.expr, 0, None)
            sizes.append(symbols.get(dim, size))
        with unset_fake_temporarily(), self.fake, torch._C.DisableTorchFunction():
            tensor: Any = torch.empty(sizes, dtype=dtype)
        if template.is_scalar:
            tensor._dycl_array = ArrayForm.SCALAR
        self.values.types[vid] = self.value_type(tensor)
        tensor._dycl_root = vid
        self.keep.append(tensor)
        self.state.aliases[tensor.untyped_storage()._cdata] = (vid,)
        if template.is_scalar:
            return Array(tensor, ArrayForm.SCALAR)
        self._mark_tensor(tensor)
        for dim, symbol in symbols.items():
            self.bind_size(symbol.node.expr, tensor, dim)
        return tensor

    def _mark_tensor(self, tensor: torch.Tensor) -> None:
        if isinstance(tensor, FakeTensor):
            self.state.listed |= {tensor.untyped_storage()._cdata}

    def freeze(self, value: Any) -> Any:
        """The object, marked as one that lies in a run-time list."""
        self.state.frozen = {**self.state.frozen, id(value): value}
        self.keep.append(value)
        return value

    def hold(self, value: Any) -> None:
        """Mark what a cache will give again: a write into it would have to be seen by whoever gets it then."""
        if isinstance(value, torch.Tensor):
            self._mark_tensor(value)
        elif not self.is_old(value) and not isinstance(value, ATOMS):
            if not isinstance(value, tuple):
                self.freeze(value)
            inside = value.values() if isinstance(value, dict) else attributes_of(value).values()
            for item in (*inside, *(value if isinstance(value, (list, tuple, set)) else ())):
                self.hold(item)

    def native_list_refused(self, items: RuntimeList) -> UnsupportedError:
        """Native code wants the items of a list of run-time length, which is taken back where it was generalised."""
        self.keep_static(items)
        return UnsupportedError("DY203", self.loc(), "native code goes through a list of run-time length")

    def is_frozen(self, value: Any) -> bool:
        """Whether an object lies in a run-time list, or is the `__dict__` of one that does."""
        frozen = self.state.frozen
        return id(value) in frozen or (
            type(value) is dict and any(getattr(holder, "__dict__", None) is value for holder in frozen.values())
        )

    def check_not_frozen(self, value: Any) -> None:
        """Refuse a write into an object that lies in a run-time list: the list would not see it."""
        if self.is_frozen(value):
            raise UnsupportedError(
                "DY207",
                self.loc(),
                f"a {type(value).__name__} that lies in a list of run-time length, or in a cache, is changed",
                hint="put a changed copy in its place",
            )

    def check_identity(self, left: Any, right: Any) -> None:
        """Refuse to tell objects apart that came out of a run-time list: each time they come out as other ones."""
        if left is right or left is None or right is None or type(left) is not type(right):
            return
        if isinstance(left, FakeTensor):
            parting.check_whole(self, left, right, least=2)
        is_listed = isinstance(left, FakeTensor) and {
            left.untyped_storage()._cdata,
            right.untyped_storage()._cdata,
        } & set(self.state.listed)
        if is_listed or id(left) in self.state.frozen or id(right) in self.state.frozen:
            raise UnsupportedError(
                "DY204", self.loc(), "the identity of an object in a list of run-time length", hint="compare with =="
            )

    def text_of(self, number: Scalar) -> Text:
        """A text that the host holds."""
        return Text.of(TextPart(number, "s", ""))

    def template_of(self, items: RuntimeList, value: Any) -> Template:
        """The template of the list's elements, for a value that is put in it."""
        found = describe(value, self.is_old)
        merged = None if found is None else unify(items.element, found)
        if merged is None:
            self.keep_static(items)
            raise UnsupportedError(
                "DY204", self.loc(), f"a {type(value).__name__} in a list of run-time length that holds other things"
            )
        if merged != items.element:
            news = [self.hints.widen(position.place, merged) for position in items.origin]
            if any(news):
                raise Restart("the elements of a run-time list are more general")
            raise UnsupportedError("DY204", self.loc(), "an element of another form in a list of run-time length")
        return merged

    # ------------------------------------------------------------ host operations

    def emit_host(self, name: str, args: tuple[Operand, ...], of: ValueType) -> ValueId:
        """The result of a host operation of this type."""
        vid = self.values.new(of)
        self.emit(HostOp(function=name, args=args, result=self.value(vid), loc=self.loc()))
        return vid

    def _once(self, call: Any, make: Any) -> Any:
        """What `make` gives, once: again when the instruction is run again."""
        found, out = self.replayed(call)
        if found:
            return out
        out = make()
        self.log(call, out)
        return out

    def list_length(self, items: RuntimeList) -> Scalar:
        """len() of a run-time list."""

        def make() -> Scalar:
            length = self.host_op("list_len", (Ref(items.vid),), ScalarKind.INT)
            self._give_symbol(length)
            self.bound_symbol(length.expr, 0, None)
            self.state.facts.results["list_len", items.vid] = length
            return length

        results = self.state.facts.results
        if (same := results.get(("as long as", items.vid))) is not None and ("list_len", items.vid) not in results:
            other, distance = same
            length = self.list_length(other)
            results["list_len", items.vid] = self.host("add", length, distance) if distance else length
        known = results.get(("list_len", items.vid))
        return known if known is not None else self._once(("list_len", items.vid), make)  # type: ignore[no-any-return]

    def know_length(self, items: RuntimeList, length: Any) -> None:
        """Remember how long a list is that was just made."""
        found = self.wrapped(length)
        if isinstance(found, Scalar):
            self.state.facts.results.setdefault(("list_len", items.vid), found)

    def list_number(self, name: str, kind: ScalarKind, *args: Operand) -> Scalar:
        """A number that the host computes from lists."""

        def make() -> Scalar:
            number = self.host_op(name, args, kind)
            if kind is ScalarKind.INT:
                self._give_symbol(number)
            return number

        return self._once((name, args), make)  # type: ignore[no-any-return]

    def list_update(self, items: RuntimeList, name: str, *args: Operand) -> None:
        """The list becomes what the host function makes of it."""
        self.check_not_frozen(items)
        items.vid = self.emit_host(name, (Ref(items.vid), *args), items.type)
        self.values.names.setdefault(items.vid, "")

    def new_list(
        self, name: str, element: Template, *args: Operand, origin: Any = frozenset(), kind: type = list
    ) -> RuntimeList:
        """A new list, or tuple, that the host function makes."""

        def make() -> RuntimeList:
            of = ListType(ir_type(element), kind is tuple)
            return RuntimeList(element, self.emit_host(name, args, of), origin, kind)

        made: RuntimeList = self._once((name, args), make)
        return made.copy()

    def list_append(self, items: RuntimeList, value: Any) -> None:
        """items.append(value)"""
        template = self.template_of(items, value)
        name = self.values.names.get(items.vid, "")
        self.list_update(items, "list_append", self.encoded(value, template))
        self.values.names[items.vid] = name

    def list_position(self, items: RuntimeList, index: Any, words: str = "list index out of range") -> Any:
        """The index counted from the front; Python's own error where it is out of range: a decision."""
        index = self.list_index(index)
        length = self.list_length(items)
        position = index if self.truth(self.host("ge", index, 0)) else self.host("add", index, length)
        if not (self.truth(self.host("ge", position, 0)) and self.truth(self.host("lt", position, length))):
            raise IndexError(words)
        return position

    def list_index(self, index: Any) -> Any:
        """What a list takes as an index, as an int."""
        if isinstance(index, Scalar) and index.kind is not ScalarKind.FLOAT:
            return self.host("int", index) if index.kind is ScalarKind.BOOL else index
        if type(index) in (int, bool):
            return int(index)
        raise TypeError(f"list indices must be integers or slices, not {_class_name(index)}")

    def list_get(self, items: RuntimeList, index: Any) -> Any:
        """items[index]"""
        if isinstance(index, slice):
            return self.list_slice(items, index)
        return self.list_element_at(items, self.list_position(items, index))

    def list_element_at(self, items: RuntimeList, position: Any) -> Any:
        """The element at a position that is there."""
        if isinstance(items.element, Constant):
            return items.element.value
        at = self.operand(position)

        make = lambda: self.emit_host("list_get", (Ref(items.vid), at), ir_type(items.element))  # noqa: E731
        return self.decoded(self._once(("list_get", items.vid, at), make), items.element)

    def list_slice(self, items: RuntimeList, index: slice) -> RuntimeList:
        """items[start:stop:step]"""
        bounds = [None if part is None else self.list_index(part) for part in (index.start, index.stop, index.step)]
        if bounds[2] is not None and not self.truth(self.host("ne", bounds[2], 0)):
            raise ValueError("slice step cannot be zero")
        operands = [self.operand(part) for part in bounds]
        name = "list_slice" if bounds[2] is None else "list_slice_by"
        operands = operands[:2] if bounds[2] is None else operands
        return self.new_list(name, items.element, Ref(items.vid), *operands, origin=items.origin, kind=items.kind)

    def list_of(self, values: Any, element: Template | None = None, kind: type = list) -> RuntimeList | None:
        """Static items as a run-time list, or tuple; None where they have nothing in common."""
        if isinstance(values, RuntimeList):
            return self.converted_list(values, kind)
        found = [describe(value, self.is_old) for value in values]
        if any(template is None for template in found):
            return None
        total = unify_many([*([] if element is None else [element]), *found])
        if total is None or (element is not None and total != element):
            return None
        items = Seq(seq_kind(kind), tuple(self.encoded(v, total) for v in values))
        return self.new_list("list_copy" if kind is list else "tuple_of", total, items, kind=kind)

    def converted_list(self, items: RuntimeList, kind: type) -> RuntimeList:
        """`list(items)` or `tuple(items)`, without a copy where it is one already."""
        if items.kind is kind:
            return items
        name = "list_copy" if kind is list else "tuple_of"
        made = self.new_list(name, items.element, Ref(items.vid), origin=items.origin, kind=kind)
        self.know_length(made, self.state.facts.results.get(("list_len", items.vid)))
        return made

    def list_made_here(self, why: str, values: list[Any] | tuple[Any, ...]) -> RuntimeList | None:
        """Static items as a run-time list that is taken back where they are needed one by one; None where they were."""
        frame = self.state.frames[-1]
        position = Position((why, id(frame.code), frame.current))
        if not values or position.place in self.hints.pinned:
            return None
        described = [describe(value, self.is_old) for value in values]
        element = None if None in described else unify_many(described)
        wider = None if element is None else self.hints.widened(position.place, element)
        found = self.list_of(values, wider, type(values))
        if found is not None:
            found.origin = frozenset({position})
        return found

    def tensor_from_host(self, name: str, args: tuple[Operand, ...], dtype: str, shape: tuple[int | None, ...]) -> Any:
        """A tensor that the host makes; None: a size that only the run knows."""
        template = Tensor(dtype, shape)

        def make() -> Any:
            tensor = self._decoded_tensor(self.emit_host(name, args, ir_type(template)), template)
            self.state.listed -= {tensor.untyped_storage()._cdata}
            return tensor

        return self._once((name, args), make)

    def list_of_rows(self, tensor: torch.Tensor) -> Any:
        """tolist() of a tensor whose size only the run knows."""
        kind = item_kind(tensor.dtype)
        if kind is None:
            raise UnsupportedError("DY203", self.loc(), f"a number of {tensor.dtype} in Python")
        element: Template = Number(kind)
        for size in reversed(tensor.shape[1:]):
            element = Items(list, (element,) * size) if isinstance(size, int) else ListOf(element)
        made = self.new_list("tolist", element, self.operand(tensor))
        self.state.facts.results["tolist", made.vid] = (tensor, self.current_vid(tensor))
        self.know_length(made, tensor.shape[0])
        return made

    def tensor_behind(self, items: RuntimeList) -> torch.Tensor | None:
        """The tensor whose elements are the list, where that is known and it was not written since."""
        found = self.state.facts.results.get(("tolist", items.vid))
        return found[0] if found is not None and self.current_vid(found[0]) == found[1] else None

    def kind_of_elements(self, items: RuntimeList) -> ScalarKind | None:
        """The kind of numbers that the list holds."""
        return items.element.kind if isinstance(items.element, Number) else None


def _class_name(value: Any) -> str:
    return kind_of(value).value if isinstance(value, Scalar) else type(value).__name__
