"""How a path leaves the program: what it returns or raises, as operands, and the state it leaves behind."""

from __future__ import annotations

import builtins
import dataclasses
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dycl.diagnostics import SourceRange, UnsupportedError
from dycl.ir.structures import is_instance
from dycl.ir.values import Lit, Mapping, Operand, Record, RecordKind, Seq, SeqKind
from dycl.passes.specialize.arrayvalue import Array
from dycl.passes.specialize.pytables import RunDict, RunSet, RunView
from dycl.passes.specialize.residual import RawBlock
from dycl.passes.specialize.tables import dict_of_lists, run_dict
from dycl.passes.specialize.templates import is_mirrored
from dycl.passes.specialize.values import PLACE_HOLDER, RuntimeList, RuntimeObject, Scalar, Text

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
        if type(value) in (RunDict, RunSet, RunView):
            return run_dict(self._machine, value, what, loc)
        if isinstance(value, RuntimeList) and not is_mirrored(value.element):
            raise UnsupportedError(
                "DY213",
                loc,
                f"{what} holds a list of run-time length of objects that the host does not have",
                hint="make the elements tuples, lists or dicts of numbers and tensors",
            )
        if (
            isinstance(value, (torch.Tensor, Scalar, RuntimeList, RuntimeObject, Text, torch.SymInt))
            or value is None
            or value is Ellipsis
        ):
            return self._machine.operand(value)
        if isinstance(value, str) and PLACE_HOLDER in value:
            raise UnsupportedError("DY204", loc, f"{what} holds a text that native code made of a run-time number")
        if isinstance(value, Array):
            return self._machine.array_result(value)
        if type(value) in (bool, int, float, str):
            return Lit(value)
        if isinstance(value, (torch.device, torch.dtype)):
            return Lit(str(value))  # what a deployment without torch can say of it
        if isinstance(value, np.generic) and isinstance(value.item(), (bool, int, float)):
            return Lit(value.item())
        if type(value) is np.ndarray:
            return self._machine.known_array_result(value, lambda item: self.operand(item, what, loc))
        if isinstance(value, torch.Size):
            return Seq(SeqKind.TUPLE, tuple(self.operand(item, what, loc) for item in value))
        if type(value) in (list, tuple):
            kind = SeqKind.LIST if type(value) is list else SeqKind.TUPLE
            return Seq(kind, tuple(self.operand(item, what, loc) for item in value))
        if type(value) in (set, frozenset):
            return Seq(SeqKind.SET, tuple(self.operand(item, what, loc) for item in sorted(value, key=repr)))
        if type(value) is dict and all(isinstance(key, (str, int, float, bool, type(None))) for key in value):
            return Mapping(tuple((Lit(key), self.operand(item, what, loc)) for key, item in value.items()))
        if type(value) is dict and all(type(key) is tuple for key in value):
            return dict_of_lists(self._machine, list(value), list(value.values()), what, loc)
        return self._record(value, what, loc)

    def _record(self, value: Any, what: str, loc: SourceRange) -> Operand:
        cls = type(value)
        if isinstance(value, tuple) and hasattr(cls, "_fields"):
            fields, kind = list(zip(cls._fields, value, strict=True)), RecordKind.NAMEDTUPLE
        elif isinstance(value, tuple) and cls.__module__ == "torch.return_types":
            return Seq(SeqKind.TUPLE, tuple(self.operand(item, what, loc) for item in value))
        elif isinstance(value, dict) and cls is not dict and all(type(key) is str for key in value):
            fields, kind = list(dict.items(value)), RecordKind.MAPPING
        elif isinstance(value, dict):
            raise UnsupportedError(
                "DY213",
                loc,
                f"{what} holds a {cls.__qualname__} whose keys are not all text",
                hint="return a dict of text or numbers, or two lists",
            )
        elif dataclasses.is_dataclass(value):
            fields = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
            kind = RecordKind.DATACLASS
        elif self._is_plain(value):
            fields, kind = list(vars(value).items()), RecordKind.DATACLASS
        else:
            raise UnsupportedError(
                "DY213",
                loc,
                f"{what} holds a {cls.__module__}.{cls.__qualname__}, which a deployment without its class cannot have",
                hint="return tensors, numbers, text, lists, tuples, dicts, named tuples or dataclasses",
            )
        name = self.class_name(cls)
        return Record(kind, name, tuple((str(key), self.operand(item, what, loc)) for key, item in fields))

    def _is_plain(self, value: Any) -> bool:
        """Whether the run has made the object, and its attributes are all that there is to it."""
        cls: Any = type(value)
        has_slots = any(vars(base).get("__slots__") for base in cls.__mro__)
        is_ours = cls.__module__.startswith("dycl.passes.")
        return is_instance(value) and not has_slots and not is_ours and not self._machine.is_old(value)

    def class_name(self, cls: type) -> str:
        """`module:qualname`, remembered for whoever makes the objects."""
        name = f"{cls.__module__}:{cls.__qualname__}"
        if getattr(builtins, cls.__qualname__, None) is not cls:
            self.classes[name] = cls
        return name

    def error(self, error: BaseException, loc: SourceRange) -> tuple[str, tuple[Operand, ...]]:
        """An exception that leaves the program: its class and arguments."""
        self._check_rebuilt(error, loc)
        return self.class_name(type(error)), tuple(self.operand(arg, "an exception", loc) for arg in error.args)

    def _check_rebuilt(self, error: BaseException, loc: SourceRange) -> None:
        """Refuse an exception that its class, called with the exception's arguments, would not make again."""
        cls = type(error)
        if not isinstance(cls.__init__, types.FunctionType) and not isinstance(cls.__new__, types.FunctionType):
            return
        marks = [object() for _ in error.args]
        try:
            made = cls(*marks)
        except Exception:  # whatever it raises, these arguments do not make one
            made = None
        wanted = {id(arg): mark for arg, mark in zip(error.args, marks, strict=True)}
        if made is None or not _same_marks(made.args, marks) or vars(made).keys() != vars(error).keys():
            raise self._not_rebuilt(cls, loc)
        for name, value in vars(made).items():
            held = vars(error)[name]
            if value is not wanted.get(id(held)) and (type(value) is not type(held) or not _is_equal(value, held)):
                raise self._not_rebuilt(cls, loc)

    def _not_rebuilt(self, cls: type, loc: SourceRange) -> UnsupportedError:
        return UnsupportedError(
            "DY213",
            loc,
            f"a {cls.__qualname__} leaves the model, and its class makes no such exception of its args",
            hint="hand all arguments of __init__ to super().__init__() as they are, and set nothing else",
        )


def _same_marks(args: tuple[Any, ...], marks: list[object]) -> bool:
    return len(args) == len(marks) and all(arg is mark for arg, mark in zip(args, marks, strict=True))


def _is_equal(left: Any, right: Any) -> bool:
    if left is None or type(left) in (bool, int, float, str):
        return bool(left == right)
    return type(left) in (list, tuple, dict, set) and not left and not right
