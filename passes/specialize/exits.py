"""How a path leaves the program: what it returns or raises, as operands, and the state it leaves behind."""

from __future__ import annotations

import builtins
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dycl.diagnostics import SourceRange, UnsupportedError
from dycl.ir.nodes import Lit, Mapping, Operand, Record, RecordKind, Seq, SeqKind
from dycl.passes.specialize.residual import RawBlock
from dycl.passes.specialize.values import RuntimeList, Scalar, Text

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine
    from dycl.passes.specialize.state import State


@dataclass(slots=True)
class Exit:
    """The end of a path, kept until its successor entry is known."""

    block: RawBlock
    state: State
    value: Any
    error: BaseException | None
    loc: SourceRange


class OutputBuilder:
    """Python objects as operands; remembers the classes that have to exist where they are made."""

    def __init__(self, machine: Machine, classes: dict[str, type]) -> None:
        self._machine = machine
        self.classes = classes

    def operand(self, value: Any, what: str, loc: SourceRange) -> Operand:
        """The operand for a value that leaves the program."""
        if (
            isinstance(value, (torch.Tensor, Scalar, RuntimeList, Text, torch.SymInt))
            or value is None
            or value is Ellipsis
        ):
            return self._machine.operand(value)
        if type(value) in (bool, int, float, str):
            return Lit(value)
        if isinstance(value, np.generic) and isinstance(value.item(), (bool, int, float)):
            return Lit(value.item())
        if isinstance(value, torch.Size):
            return Seq(SeqKind.TUPLE, tuple(self.operand(item, what, loc) for item in value))
        if type(value) in (list, tuple):
            kind = SeqKind.LIST if type(value) is list else SeqKind.TUPLE
            return Seq(kind, tuple(self.operand(item, what, loc) for item in value))
        if type(value) in (set, frozenset):
            return Seq(SeqKind.SET, tuple(self.operand(item, what, loc) for item in sorted(value, key=repr)))
        if type(value) is dict and all(isinstance(key, (str, int, float, bool, type(None))) for key in value):
            return Mapping(tuple((Lit(key), self.operand(item, what, loc)) for key, item in value.items()))
        return self._record(value, what, loc)

    def _record(self, value: Any, what: str, loc: SourceRange) -> Operand:
        cls = type(value)
        if isinstance(value, tuple) and hasattr(cls, "_fields"):
            fields, kind = list(zip(cls._fields, value, strict=True)), RecordKind.NAMEDTUPLE
        elif isinstance(value, tuple) and cls.__module__ == "torch.return_types":
            return Seq(SeqKind.TUPLE, tuple(self.operand(item, what, loc) for item in value))
        elif isinstance(value, dict):
            fields, kind = list(dict.items(value)), RecordKind.MAPPING
        elif dataclasses.is_dataclass(value):
            fields = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
            kind = RecordKind.DATACLASS
        else:
            raise UnsupportedError(
                "DY213",
                loc,
                f"{what} holds a {cls.__module__}.{cls.__qualname__}, which a deployment without its class cannot have",
                hint="return tensors, numbers, text, lists, tuples, dicts, named tuples or dataclasses",
            )
        name = self.class_name(cls)
        return Record(kind, name, tuple((str(key), self.operand(item, what, loc)) for key, item in fields))

    def class_name(self, cls: type) -> str:
        """`module:qualname`, remembered for whoever makes the objects."""
        name = f"{cls.__module__}:{cls.__qualname__}"
        if getattr(builtins, cls.__qualname__, None) is not cls:
            self.classes[name] = cls
        return name

    def error(self, error: BaseException, loc: SourceRange) -> tuple[str, tuple[Operand, ...]]:
        """An exception that leaves the program: its class and arguments."""
        return self.class_name(type(error)), tuple(self.operand(arg, "an exception", loc) for arg in error.args)
