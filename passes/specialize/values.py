"""The abstract machine's own values: what a register may hold beside ordinary Python objects and fake tensors.

A `Scalar` is a Python number that is known at run time only. It behaves like a number towards native code: arithmetic
on it is recorded as a host operation, and its truth is a question that the facts of the path answer or that forks.
"""

from __future__ import annotations

import itertools
import types
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any

import sympy
import torch

from dycl.ir.values import ListType, ScalarKind, ValueId
from dycl.passes.specialize.signals import CallsBack, Drain

if TYPE_CHECKING:
    from dycl.frontend.code import Code
    from dycl.passes.specialize.machine import Machine
    from dycl.passes.specialize.state import Frame
    from dycl.passes.specialize.templates import Template

# Where an abstraction came from: a static value at this position of a join was generalised (`hints.Position`).
Origin = frozenset[Any]
NOWHERE: Origin = frozenset()

KIND_TYPES: dict[ScalarKind, type] = {
    ScalarKind.INT: int,
    ScalarKind.FLOAT: float,
    ScalarKind.BOOL: bool,
    ScalarKind.STR: str,
}


class Active:
    """The machine at work: native code that meets a `Scalar` reaches it here."""

    machine: Machine | None = None

    @classmethod
    def get(cls) -> Machine:
        assert cls.machine is not None, "a run-time scalar outlived its machine"
        return cls.machine


class Scalar:
    """A run-time number of the host: `vid` names it in the program, `expr` relates it to integer symbols."""

    __slots__ = ("expr", "kind", "origin", "vid")

    def __init__(
        self, kind: ScalarKind, vid: ValueId, expr: sympy.Basic | None = None, origin: Origin = NOWHERE
    ) -> None:
        self.kind = kind
        self.vid = vid
        self.expr = expr
        self.origin = origin

    def __repr__(self) -> str:
        if Active.machine is not None:
            raise Active.machine.native_text_refused()
        return f"<run-time {self.kind.value} %{self.vid}>"

    def __str__(self) -> str:
        raise Active.get().native_text_refused()

    def __format__(self, spec: str) -> str:
        raise Active.get().native_text_refused()

    def __bool__(self) -> bool:
        return Active.get().truth(self)

    def __index__(self) -> int:
        if self.kind is ScalarKind.FLOAT:
            raise TypeError("'float' object cannot be interpreted as an integer")
        return int(Active.get().concrete(self))

    def __int__(self) -> int:
        return int(Active.get().concrete(self))

    def __float__(self) -> float:
        return float(Active.get().concrete(self))

    def __hash__(self) -> int:
        return hash(Active.get().concrete(self))

    def __round__(self, digits: Any = None) -> Any:
        machine = Active.get()
        return machine.host("round", self) if digits is None else machine.host("round_to", self, digits)

    def conjugate(self) -> Any:
        """Itself, as of every real number."""
        return self.real

    @property
    def real(self) -> Any:
        """The number; of a bool, its integer."""
        return Active.get().host("pos", self) if self.kind is ScalarKind.BOOL else self

    numerator = real

    @property
    def imag(self) -> Any:
        """Zero, of the number's type."""
        return 0.0 if self.kind is ScalarKind.FLOAT else 0

    @property
    def denominator(self) -> int:
        """One, of every integer."""
        return 1

    def bit_length(self) -> Any:
        """How many bits the number takes, as `int.bit_length`."""
        return Active.get().host("int.bit_length", self)

    def is_integer(self) -> Any:
        """Whether the number is whole, as `float.is_integer`: not for infinities and nan."""
        machine = Active.get()
        is_finite = machine.truth(machine.host("math.isfinite", self))
        return is_finite and machine.host("eq", machine.host("mod", self, 1.0), 0.0)


_OF_TEXTS = frozenset({"eq", "ne", "lt", "le", "gt", "ge", "add"})


def _of_torch(other: object) -> object:
    """A number of torch's, as the sizes in a `torch.Size` are, as the machine's."""
    return Active.get().scalar_of(other) if isinstance(other, (torch.SymInt, torch.SymFloat, torch.SymBool)) else other


def _is_operand(name: str, one: Scalar, other: object) -> bool:
    """Whether the host computes with both: numbers, or two texts that are compared or put together."""
    is_text = one.kind is ScalarKind.STR
    if isinstance(other, str) or (isinstance(other, Scalar) and other.kind is ScalarKind.STR):
        if is_text and (name not in _OF_TEXTS or isinstance(other, Text)):
            raise Active.get().native_text_refused()
        return is_text
    return not is_text and isinstance(other, (Scalar, int, float))


def _binary(name: str) -> tuple[Any, Any]:
    def forward(self: Scalar, other: object) -> Any:
        if isinstance(other, torch.Tensor):
            return Active.get().with_tensor(name, self, other)
        other = _of_torch(other)
        if not _is_operand(name, self, other):
            return NotImplemented
        return Active.get().host(name, self, other)

    def backward(self: Scalar, other: object) -> Any:
        if isinstance(other, torch.Tensor):
            return Active.get().with_tensor(name, other, self)
        other = _of_torch(other)
        if not _is_operand(name, self, other):
            return NotImplemented
        return Active.get().host(name, other, self)

    return forward, backward


def _unary(name: str) -> Any:
    return lambda self: Active.get().host(name, self)


for _method, _name in (
    ("add", "add"),
    ("sub", "sub"),
    ("mul", "mul"),
    ("truediv", "truediv"),
    ("floordiv", "floordiv"),
    ("mod", "mod"),
    ("pow", "pow"),
    ("lshift", "lshift"),
    ("rshift", "rshift"),
    ("and", "and_"),
    ("or", "or_"),
    ("xor", "xor"),
):
    _forward, _backward = _binary(_name)
    setattr(Scalar, f"__{_method}__", _forward)
    setattr(Scalar, f"__r{_method}__", _backward)
for _method in ("eq", "ne", "lt", "le", "gt", "ge"):
    setattr(Scalar, f"__{_method}__", _binary(_method)[0])
for _method, _name in (
    ("neg", "neg"),
    ("pos", "pos"),
    ("invert", "invert"),
    ("abs", "abs"),
    ("floor", "math.floor"),
    ("ceil", "math.ceil"),
    ("trunc", "math.trunc"),
):
    setattr(Scalar, f"__{_method}__", _unary(_name))


class TextPart:
    """One run-time field of a text: a scalar, its conversion (`s`, `r`, `a` or none) and its format."""

    __slots__ = ("conversion", "spec", "value")

    def __init__(self, value: Scalar, conversion: str, spec: str) -> None:
        self.value = value
        self.conversion = conversion
        self.spec = spec


PLACE_HOLDER = "\ue0dc<run-time "  # no text of a model's: where it comes out of native code, its digits were read


class Text(str):
    """Text with run-time numbers in it. Only who reads its characters makes them concrete."""

    parts: tuple[str | TextPart, ...] = ()

    @classmethod
    def of(cls, *parts: str | TextPart) -> Text:
        """The concatenation of the parts, flattened."""
        flat = tuple(itertools.chain.from_iterable(part.parts if isinstance(part, Text) else (part,) for part in parts))
        shown = (part if isinstance(part, str) else f"{PLACE_HOLDER}{part.value.kind.value}>" for part in flat)
        text = cls("".join(shown))
        text.parts = flat
        return text

    def shown(self) -> str:
        """The text for people: what only the run knows is left out."""
        return "".join(part if isinstance(part, str) else "..." for part in self.parts)

    def __str__(self) -> str:
        """Itself: `str(error)` hands on the text that the error was made with."""
        return self

    def __repr__(self) -> str:
        """Refused: native code (the `repr` of what holds the text) would get its place holders."""
        raise Active.get().native_text_refused()


class RuntimeList:
    """A list whose length is known at run time only. Mutable, with identity, like the list it stands for.

    `kind`: tuple for what stands for a tuple; nothing changes it then.
    """

    __slots__ = ("element", "kind", "origin", "vid")

    def __init__(
        self, element: Template, vid: ValueId, origin: Origin = NOWHERE, kind: type[list[Any] | tuple[Any, ...]] = list
    ) -> None:
        self.element = element
        self.vid = vid
        self.origin = origin
        self.kind = kind

    def __iter__(self) -> Any:
        """Refused: native code would go through items that only the run knows."""
        raise Active.get().native_list_refused(self)

    def __len__(self) -> int:
        """Refused, as iteration is; truth too."""
        raise Active.get().native_list_refused(self)

    def __eq__(self, other: object) -> Any:
        """Refused: native code would compare the items."""
        raise Active.get().native_list_refused(self)

    def __hash__(self) -> int:
        if self.kind is tuple:
            raise Active.get().native_list_refused(self)
        raise TypeError("unhashable type: 'list'")

    @property
    def type(self) -> ListType:
        """The type of the value it currently is."""
        from dycl.passes.specialize.templates import ir_type

        return ListType(ir_type(self.element), self.kind is tuple)

    def copy(self, origin: Origin | None = None) -> RuntimeList:
        """Another one of the same content."""
        return RuntimeList(self.element, self.vid, self.origin if origin is None else origin, self.kind)


class RuntimeObject:
    """An object of the caller's, or what the model hung on one: a name for it, and the schema that says what is in it.

    Immutable: what is in the object is the host's.
    """

    __slots__ = ("schema", "vid")

    def __init__(self, schema: str, vid: ValueId) -> None:
        self.schema = schema
        self.vid = vid

    def __eq__(self, other: object) -> Any:
        """Refused: whether the class compares by identity is not asked here."""
        raise Active.get().native_object_refused(self)

    def __hash__(self) -> int:
        raise Active.get().native_object_refused(self)


class RangeIterator:
    """The machine's iterator over a range: its ints may be run-time scalars."""

    __slots__ = ("current", "step", "stop")

    def __init__(self, current: Any, stop: Any, step: Any) -> None:
        self.current = current
        self.stop = stop
        self.step = step

    def __iter__(self) -> RangeIterator:
        return self

    def __next__(self) -> Any:
        inside = self.current < self.stop if self.step > 0 else self.current > self.stop
        if not inside:
            raise StopIteration
        value = self.current
        self.current = value + self.step
        return value


class SequenceIterator:
    """The machine's iterator over a list (live, as CPython's) or a tuple (an immutable snapshot of something)."""

    __slots__ = ("index", "is_private", "items", "view", "watched", "watched_size")

    def __init__(
        self,
        items: list[Any] | tuple[Any, ...] | RuntimeList,
        watched: Any = None,
        *,
        is_private: bool = False,
        view: str = "keys",
    ) -> None:
        self.view = view  # of the watched dict: its `items` are keys, whose values are looked up when they are reached
        self.is_private = is_private  # made for one consumer: nobody else can advance it
        self.items = items
        self.index: Any = 0
        self.watched = watched  # the dict or set that must not change its size meanwhile
        self.watched_size = len(watched) if watched is not None else 0

    def __iter__(self) -> SequenceIterator:
        return self

    def __next__(self) -> Any:
        if isinstance(self.items, RuntimeList):
            machine = Active.get()
            if machine.truth(machine.host("ge", self.index, machine.list_length(self.items))):
                raise StopIteration
            value = machine.list_element_at(self.items, self.index)
            self.index = machine.host("add", self.index, 1)
            return value
        if self.watched is not None and len(self.watched) != self.watched_size:
            raise RuntimeError(_changed(self.watched))
        if self.index >= len(self.items):
            raise StopIteration
        value = self.items[self.index]
        if self.watched is not None and self.view != "keys":
            found = self.watched[value]
            value = found if self.view == "values" else (value, found)
        self.index += 1
        return value


def _changed(container: Any) -> str:
    """Python's words for a container that changes its size while it is iterated over."""
    if isinstance(container, OrderedDict):
        return "OrderedDict mutated during iteration"
    if isinstance(container, deque):
        return "deque mutated during iteration"
    return f"{'dictionary' if isinstance(container, dict) else 'Set'} changed size during iteration"


class RuntimeRange:
    """`range` of run-time numbers."""

    __slots__ = ("start", "step", "stop")

    def __init__(self, start: Any, stop: Any, step: Any) -> None:
        self.start = start
        self.stop = stop
        self.step = step


class Generator:
    """A generator whose frame belongs to the machine, so that it can be copied when the state forks."""

    __slots__ = ("buffer", "frame", "is_done", "is_started")

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.is_done = False
        self.is_started = False
        self.buffer: list[Any] | None = None

    def __iter__(self) -> Any:
        """For native consumers: all elements at once, run beforehand by the machine."""
        if self.buffer is None:
            raise Drain(self)
        Active.get().consumed.append(self)
        return iter(tuple(self.buffer))


class Closure:
    """A function made by the run: lowered code with its cells and defaults, copied when the state forks.

    Attributes that the program sets on the function live in `__dict__`.
    """

    __slots__ = ("__dict__", "cells", "code", "defaults", "globals", "keyword_defaults")

    def __init__(self, code: Code, global_names: dict[str, Any]) -> None:
        self.code = code
        self.globals = global_names
        self.cells: dict[str, types.CellType] = {}
        self.defaults: tuple[Any, ...] = ()
        self.keyword_defaults: dict[str, Any] = {}
        self.__dict__["__name__"] = code.name
        self.__dict__["__qualname__"] = code.qualname
        self.__dict__["__module__"] = global_names.get("__name__")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Refused: native code cannot call it, for its body may have to fork."""
        raise CallsBack(Active.get().native_call_refused(self))


# What stands for an ordinary Python object of another class.
STAND_INS = (Scalar, RuntimeRange, Generator, Closure)


class _Unset:
    """Marks what has no value: an attribute that does not exist."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET = _Unset()
