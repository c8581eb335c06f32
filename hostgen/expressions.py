"""Operands and host functions as Python text, with no more parentheses than the meaning needs.

Floats are never re-associated: the text evaluates exactly the tree of operations that the program holds.
"""

from __future__ import annotations

import keyword
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from dycl.diagnostics import UNKNOWN, InternalError, UnsupportedError
from dycl.hostgen.arrays import array_operation, subscript
from dycl.hostgen.inlining import ONE_ELEMENT, Inlining
from dycl.hostgen.names import Names, identifier
from dycl.ir.hosteffects import DRAWS
from dycl.ir.hostops import HOST_FUNCTIONS
from dycl.ir.nodes import HostOp
from dycl.ir.values import (
    InputLeaf,
    Lit,
    Mapping,
    Operand,
    Record,
    RecordKind,
    Ref,
    Seq,
    SeqKind,
    SliceOf,
    TensorType,
    TorchLit,
    ValueId,
    ValueType,
    Weight,
)

ATOM = 100
UNARY = 75
POWER = 80
NOT = 15

_PROBES = ("error_of", "error_text")

OBJECT_READS = frozenset({"attr", "attr_now", "entry", "narrow"})

Text = tuple[str, int]  # an expression and the precedence of its outermost operator


def quoted(text: str) -> str:
    """A string literal, in double quotes unless that would need more backslashes."""
    plain = repr(text)
    return f'"{plain[1:-1]}"' if plain[0] == "'" and '"' not in plain else plain


def callable_text(name: str) -> str:
    """The Python callable that does what a host function does."""
    function = HOST_FUNCTIONS[name]
    if not function.text or name == "real_pow":
        return name if function.text == "" else f"numerics.{name}"
    return function.text.partition("(")[0] if function.precedence == ATOM else f"operator.{name}"


def literal(value: object) -> Text:
    """A Python literal."""
    match value:
        case None | bool():
            return repr(value), ATOM
        case str():
            return quoted(value), ATOM
        case int():
            return repr(value), ATOM if value >= 0 else UNARY
        case float() if math.isfinite(value):
            return repr(value), UNARY if math.copysign(1.0, value) < 0 else ATOM
        case float():
            return f'float("{value!r}")', ATOM
        case _ if value is Ellipsis:
            return "...", ATOM
        case _:
            raise InternalError(f"host generator: {value!r} is no literal")


@dataclass(frozen=True, slots=True)
class Expressions:
    """Writes operands; the names of values, weights and classes were chosen before."""

    names: Names
    inlining: Inlining
    types: dict[ValueId, ValueType]
    weights: dict[str, str]  # the attribute of each weight
    classes: dict[str, str]  # the identifier of each class of records and exceptions
    tunables: dict[str, str]

    def text(self, operand: Operand, least: int = 0) -> str:
        """The operand, in parentheses if its outermost operator binds less tightly than `least`."""
        text, precedence = self._operand(operand)
        return text if precedence >= least else f"({text})"

    def value(self, value: ValueId, least: int = 0) -> str:
        """A use of a value: its name, or the operation that is written in its place."""
        return self.text(Ref(value), least)

    def operation(self, op: HostOp) -> str:
        """The right side of a statement that does the operation."""
        return self._operation(op)[0]

    def arguments(self, operands: tuple[Operand, ...]) -> str:
        """Operands of a call."""
        return ", ".join(self.text(operand) for operand in operands)

    def _operand(self, operand: Operand) -> Text:
        match operand:
            case Ref(id=value):
                op = self.inlining.operations.get(value)
                return self._operation(op) if op else (self.names[value], ATOM)
            case Lit(value=value):
                return literal(value)
            case Weight(name=name):
                return f"self.{self.weights[name]}", ATOM
            case Seq(kind=kind, items=items):
                return sequence(kind, [self.text(item) for item in items]), ATOM
            case SliceOf(start=start, stop=stop, step=step):
                return f"slice({self.arguments((start, stop, step))})", ATOM
            case Mapping(items=pairs):
                return "{" + ", ".join(f"{literal(k.value)[0]}: {self.text(v)}" for k, v in pairs) + "}", ATOM
            case Record():
                return record(operand, self.classes, self.text), ATOM
            case TorchLit(text=text):
                message = f"the torch constant {text} would have to exist where torch does not"
                raise UnsupportedError("DY213", UNKNOWN, message, hint="return numbers, text or tensors")
            case InputLeaf():
                raise InternalError("host generator: an input leaf outside a signature")
            case _:
                assert_never(operand)

    def _operation(self, op: HostOp) -> Text:
        function = HOST_FUNCTIONS[op.function]
        if op.function == "tunable":
            assert isinstance(op.args[0], Lit)
            return f"self.{self.tunables[str(op.args[0].value)]}", ATOM
        if op.function in _PROBES:
            assert isinstance(op.args[0], Lit)
            return (
                f"numerics.{op.function}({callable_text(str(op.args[0].value))}, {self.arguments(op.args[1:])})",
                ATOM,
            )
        if op.function.startswith("np."):
            return array_operation(op, function, self.text), function.precedence
        if op.function == "clock":
            assert isinstance(op.args[0], Lit)
            return f"time.{op.args[0].value}()", ATOM
        if op.function.startswith(DRAWS) and not function.text:
            return f"self.{op.function}({self.arguments(op.args)})", ATOM
        if op.function in OBJECT_READS:
            return self._object_read(op)
        if not function.text:
            return f"{op.function}({self.arguments(op.args)})", ATOM
        if op.function in ONE_ELEMENT - {"item", "peek"} and self._is_array(op.args[0]):
            return f"{op.function}({self.text(op.args[0], ATOM)}.item())", ATOM
        if op.function == "stack" and op.args[1] == Lit(0):  # of equal tensors: the same, in an eighth of the time
            return f"np.array({self.text(op.args[0])})", ATOM
        if op.function == "slice":
            return f"{self.text(op.args[0], ATOM)}[{subscript(op.args[1], self.text)}]", ATOM
        if op.function == "list_append" and isinstance(op.args[0], Seq):
            return self._operand(Seq(SeqKind.LIST, (*op.args[0].items, op.args[1])))
        if function.precedence == ATOM:
            first = ATOM if function.text.startswith(("{0}", "[*{0}")) else 0
            parts = [self.text(arg, 0 if index else first) for index, arg in enumerate(op.args)]
            return function.text.format(*parts), ATOM
        return function.text.format(*self._sides(op)), function.precedence

    def _object_read(self, op: HostOp) -> Text:
        """Something read from an object of the caller's; a tensor in it may be torch's or an array."""
        text = self.text(op.args[0], ATOM)
        name = op.args[1].value if len(op.args) > 1 and isinstance(op.args[1], Lit) else None
        if op.function in ("attr", "attr_now"):
            plain = isinstance(name, str) and name.isidentifier() and not keyword.iskeyword(name)
            text = f"{text}.{name}" if plain else f"getattr({text}, {literal(name)[0]})"
        elif op.function == "entry":
            text = f"{text}[{self.text(op.args[1])}]"
        return (f"as_array({text})" if isinstance(op.result.type, TensorType) else text), ATOM

    def _sides(self, op: HostOp) -> list[str]:
        """The operands of an operator. Comparisons take no comparison as operand: it would make a chain."""
        own = HOST_FUNCTIONS[op.function].precedence
        if len(op.args) == 1:
            return [self.text(op.args[0], own)]
        if own == POWER:
            return [self.text(op.args[0], own + 1), self.text(op.args[1], UNARY)]
        left = own + 1 if own == 20 else own
        return [self.text(op.args[0], left), self.text(op.args[1], own + 1)]

    def _is_array(self, operand: Operand) -> bool:
        return isinstance(operand, Weight) or (
            isinstance(operand, Ref) and isinstance(self.types[operand.id], TensorType)
        )


def sequence(kind: SeqKind, items: list[str]) -> str:
    """A sequence display."""
    joined = ", ".join(items)
    match kind:
        case SeqKind.LIST:
            return f"[{joined}]"
        case SeqKind.TUPLE | SeqKind.SIZE:
            return f"({joined},)" if len(items) == 1 else f"({joined})"
        case SeqKind.SET:
            return f"{{{joined}}}" if items else "set()"
        case _:
            assert_never(kind)


def record(of: Record, classes: dict[str, str], text: Callable[[Operand], str]) -> str:
    """A call that makes the object."""
    name = classes[of.class_name]
    if of.kind is RecordKind.MAPPING and any(identifier(field) != field for field, _ in of.fields):
        return f"{name}({{{', '.join(f'{field!r}: {text(item)}' for field, item in of.fields)}}})"
    return f"{name}({', '.join(f'{field}={text(item)}' for field, item in of.fields)})"
