"""Recursive descent over the tokens of the text form: names, locations, types and operands."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from typing import NoReturn, TypeVar

from dycl.diagnostics import UNKNOWN, InternalError, SourceRange
from dycl.ir.tokens import Token
from dycl.ir.values import (
    ArrayForm,
    ArrayType,
    BlockId,
    DictType,
    InputLeaf,
    ListType,
    Lit,
    Mapping,
    Member,
    NothingType,
    ObjectType,
    Operand,
    Record,
    RecordKind,
    Ref,
    ScalarKind,
    ScalarType,
    Seq,
    SeqKind,
    SliceOf,
    StructType,
    TensorType,
    TorchLit,
    UnionType,
    Value,
    ValueId,
    ValueType,
    Weight,
)

T = TypeVar("T")

_CONSTANTS: dict[str, object] = {"None": None, "True": True, "False": False, "nan": math.nan, "inf": math.inf}
SCALARS = {kind.value: kind for kind in ScalarKind}
_RECORDS = {kind.value: kind for kind in RecordKind}
_FORMS = {form.value: form for form in ArrayForm}
_END_OF = {"newline": "line", "end": "text"}


class Reader:
    """One method for each rule, which reads from `here`, the next token, on."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.position = 0
        self.files: dict[str, str] = {}

    # ------------------------------------------------------------ tokens

    @property
    def here(self) -> Token:
        return self.tokens[self.position]

    def fail(self, wanted: str, token: Token | None = None) -> NoReturn:
        token = token or self.here
        found = repr(token.text) if token.kind not in ("newline", "end") else f"the end of the {_END_OF[token.kind]}"
        raise InternalError(f"IR text, line {token.line}, column {token.column}: expected {wanted}, found {found}")

    def at(self, text: str) -> bool:
        """Is the next token this sign or word?"""
        return self.here.text == text and self.here.kind in ("sign", "name")

    def take(self, kind: str, wanted: str) -> str:
        if self.here.kind != kind:
            self.fail(wanted)
        self.position += 1
        return self.tokens[self.position - 1].text

    def accept(self, text: str) -> bool:
        found = self.at(text)
        self.position += found
        return found

    def expect(self, text: str) -> None:
        if not self.accept(text):
            self.fail(repr(text))

    def one_of(self, table: dict[str, T], wanted: str) -> T:
        if self.here.kind != "name" or self.here.text not in table:
            self.fail(wanted)
        return table[self.take("name", wanted)]

    def end_line(self) -> None:
        if self.here.kind != "end":
            self.take("newline", "the end of the line")
        while self.here.kind == "newline":
            self.position += 1

    def many(self, item: Callable[[], T], close: str) -> tuple[T, ...]:
        """Items between commas up to the closing sign; a comma may follow the last."""
        items: list[T] = []
        while not self.accept(close):
            items.append(item())
            if not self.at(close):
                self.expect(",")
        return tuple(items)

    def in_parens(self, item: Callable[[], T]) -> tuple[T, ...]:
        self.expect("(")
        return self.many(item, ")")

    # ------------------------------------------------------------ names, numbers, places

    def text(self) -> str:
        return str(ast.literal_eval(self.take("string", "a text in quotes")))

    def name(self) -> str:
        return self.text() if self.here.kind == "string" else self.take("name", "a name")

    def integer(self) -> int:
        token = self.here
        text = self.take("number", "an integer")
        return int(text) if text.isdecimal() else self.fail("an integer", token)

    def bound(self) -> int:
        """An integer of either sign."""
        token, value = self.here, self.literal().value
        return value if isinstance(value, int) else self.fail("an integer", token)

    def numbered(self, prefix: str, wanted: str) -> int:
        token = self.here
        text = self.take("name", wanted)
        if text[:1] != prefix or not text[1:].isdecimal():
            self.fail(wanted, token)
        return int(text[1:])

    def block_id(self) -> BlockId:
        return BlockId(self.numbered("b", "a block"))

    def value_id(self) -> ValueId:
        return ValueId(int(self.take("value", "a value")[1:]))

    def class_name(self) -> str:
        if self.here.kind == "string":
            return self.text()
        module = self.take("name", "a class")
        self.expect(":")
        return f"{module}:{self.take('name', 'the name of a class')}"

    def loc(self) -> SourceRange:
        if self.here.kind != "loc":
            return UNKNOWN
        token = self.here
        file, *numbers = self.take("loc", "a location")[1:].replace("-", ":").split(":")
        if file not in self.files:
            self.fail("a file of the list", token)
        line, column, end_line, end_column = (int(number) for number in numbers)
        function = self.name() if self.here.kind in ("name", "string") else ""
        return SourceRange(self.files[file], line, column, end_line, end_column, function)

    # ------------------------------------------------------------ types and operands

    def type(self) -> ValueType:
        quoted = self.here.kind == "string"
        name = self.name()
        if name in ("list", "tuple") and not quoted:
            return ListType(self.bracketed_type(), name == "tuple")
        if name == "dict" and not quoted:
            self.expect("[")
            key = self.type()
            self.expect(",")
            value = self.type()
            self.expect("]")
            return DictType(key, value)
        if name in _FORMS and not quoted:
            return self.array(_FORMS[name])
        if name == "struct" and not quoted:
            self.expect("[")
            template = self.operand()
            self.expect("]")
            return StructType(template)
        if name == "object" and not quoted:
            self.expect("[")
            schema = self.name()
            self.expect("]")
            return ObjectType(schema)
        if name == "union" and not quoted:
            self.expect("[")
            return UnionType(self.many(self.member, "]"))
        if name == "int" and not quoted and self.accept("["):
            size = self.name()
            self.expect("]")
            return ScalarType(ScalarKind.INT, size)
        if self.accept("["):
            return TensorType(name, self.many(self.dimension, "]"))
        return ScalarType(SCALARS[name]) if name in SCALARS else self.fail("'['")

    def array(self, form: ArrayForm) -> ArrayType:
        self.expect("[")
        token, of = self.here, self.type()
        self.expect("]")
        return ArrayType(of.dtype, of.shape, form) if isinstance(of, TensorType) else self.fail("dtype[]", token)

    def member(self) -> Member:
        if self.accept("None"):
            return NothingType()
        token, of = self.here, self.type()
        return (
            self.fail("a plain type", token)
            if isinstance(of, ListType | DictType | ArrayType | StructType | UnionType)
            else of
        )

    def bracketed_type(self) -> ValueType:
        self.expect("[")
        of = self.type()
        self.expect("]")
        return of

    def dimension(self) -> int | str:
        return self.integer() if self.here.kind == "number" else self.name()

    def value(self) -> Value:
        value = self.value_id()
        name = "" if self.at(":") else self.name()
        self.expect(":")
        return Value(value, self.type(), name)

    def operand(self) -> Operand:
        match self.here.kind:
            case "value":
                return Ref(self.value_id())
            case "number" | "string":
                return self.literal()
            case "sign":
                return self.bracketed()
            case "name":
                return self.worded()
        return self.fail("an operand")

    def bracketed(self) -> Operand:
        """An operand that starts with a sign."""
        if self.accept("$"):
            return Weight(self.name())
        if self.accept("("):
            return Seq(SeqKind.TUPLE, self.many(self.operand, ")"))
        if self.accept("["):
            return Seq(SeqKind.LIST, self.many(self.operand, "]"))
        if self.accept("{"):
            return Mapping(self.many(self.item, "}"))
        return self.literal()

    def worded(self) -> Operand:
        """An operand that starts with a word."""
        if self.accept("size"):
            return Seq(SeqKind.SIZE, self.in_parens(self.operand))
        if self.accept("set"):
            return Seq(SeqKind.SET, self.in_parens(self.operand))
        if self.accept("slice"):
            token, parts = self.here, self.in_parens(self.operand)
            return SliceOf(*parts) if len(parts) == 3 else self.fail("three operands", token)
        if self.accept("input"):
            index = self.integer()
            self.expect(":")
            of = self.type()
            low = self.bound() if self.accept("from") else None
            return InputLeaf(index, of, low, self.bound() if self.accept("to") else None)
        if self.here.text in _RECORDS:
            kind = self.one_of(_RECORDS, "a record")
            return Record(kind, self.class_name(), self.in_parens(self.named))
        if self.here.text.partition(".")[0] == "torch":
            return self.constant()
        return self.literal()

    def constant(self) -> TorchLit:
        name = self.take("name", "a constant of torch")
        if not self.accept("("):
            return TorchLit(name)
        text = self.text()
        self.expect(")")
        return TorchLit(text if name == "torch" else f"{name}({text!r})")

    def literal(self) -> Lit:
        if self.accept("..."):
            return Lit(...)
        if self.here.kind == "string":
            return Lit(self.text())
        if self.here.kind == "number":
            text = self.take("number", "a number")
            return Lit(int(text) if text.lstrip("-").isdecimal() else float(text))
        return Lit(self.one_of(_CONSTANTS, "an operand"))

    def item(self) -> tuple[Lit, Operand]:
        key = self.literal()
        self.expect(":")
        return key, self.operand()

    def named(self) -> tuple[str, Operand]:
        name = self.name()
        self.expect("=")
        return name, self.operand()

    def argument(self) -> Operand | tuple[str, Operand]:
        following = self.tokens[self.position + 1] if self.here.kind in ("name", "string") else self.here
        return self.named() if following.text == "=" and following.kind == "sign" else self.operand()

    def arguments(self) -> tuple[tuple[Operand, ...], tuple[tuple[str, Operand], ...]]:
        token, found = self.here, self.in_parens(self.argument)
        args = tuple(argument for argument in found if not isinstance(argument, tuple))
        kwargs = tuple(argument for argument in found if isinstance(argument, tuple))
        return (args, kwargs) if found == (*args, *kwargs) else self.fail("keyword arguments last", token)
