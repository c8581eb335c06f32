"""Inputs that are not as the example has them: dimensions with a name, numbers and text that each call gives anew.

A named dimension is one symbol for all tensors that have it. It is backed by the size of the first of them, which is
read at the entry.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sympy
import torch
from torch._subclasses.fake_tensor import unset_fake_temporarily

from dycl.diagnostics import UNKNOWN, UsageError
from dycl.ir.dimensions import DynamicInputs
from dycl.ir.nodes import HostOp, TensorOp
from dycl.ir.values import InputLeaf, Lit, Ref, ScalarKind, ScalarType, TensorType, ValueId, ValueType
from dycl.passes.specialize.scalars import kind_of
from dycl.passes.specialize.values import Scalar, Text, TextPart

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine
    from dycl.passes.specialize.residual import RawBlock


@dataclass(frozen=True, slots=True)
class FreeNumber:
    """Stands in the example for a number or text that each call gives."""

    example: bool | int | float | str
    low: int | None = None
    high: int | None = None


def _bad(message: str, hint: str = "") -> UsageError:
    return UsageError("DY505", UNKNOWN, message, hint=hint)


class Freedom:
    """What of one attempt's inputs is left to the call."""

    def __init__(self, machine: Machine, dynamic: DynamicInputs) -> None:
        self.machine = machine
        self.dynamic = dynamic
        self._dims: dict[int, Mapping[int, str]] = {}  # by the example tensor
        self._symbols: dict[str, sympy.Symbol] = {}
        self._sources: dict[str, tuple[ValueId, int]] = {}
        self._examples: dict[str, tuple[int, str]] = {}
        self._found: set[str] = set()
        self._bounded: dict[ValueId, tuple[sympy.Symbol, int | None, int | None]] = {}  # by the name of the number

    def mark(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The example's arguments with a `FreeNumber` at each number that a call gives."""
        marked = {name: self._mark(name, value) for name, value in arguments.items()}
        missing = sorted({*self.dynamic.dims, *self.dynamic.numbers} - self._found)
        if missing:
            raise _bad(f"the example has no input {missing[0]!r}", f"inputs: {', '.join(arguments)}")
        return marked

    def _mark(self, path: str, value: Any) -> Any:
        if path in self.dynamic.dims:
            self._mark_tensor(path, value)
        if path in self.dynamic.numbers:
            if type(value) not in (bool, int, float, str):
                raise _bad(f"{path} is no number and no text: it is a {type(value).__name__}")
            self._found.add(path)
            return self._free(path, value)
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*(self._mark(f"{path}.{n}", v) for n, v in zip(value._fields, value, strict=True)))
        if type(value) in (tuple, list):
            return type(value)(self._mark(f"{path}.{index}", item) for index, item in enumerate(value))
        if type(value) is dict:
            return {key: self._mark(f"{path}.{key}", item) for key, item in value.items()}
        return value

    def _free(self, path: str, value: Any) -> FreeNumber:
        free = FreeNumber(value, *self.dynamic.bounds.get(path, ()))
        if (free.low, free.high) == (None, None):
            return free
        leaf = InputLeaf(0, ScalarType(ScalarKind.INT), free.low, free.high)
        if type(value) is not int:
            raise _bad(f"{path} has bounds and is no integer: it is a {type(value).__name__}")
        if not leaf.admits(value):
            raise _bad(f"{path} may be {leaf.interval}, but it is {value} in the example")
        return free

    def _mark_tensor(self, path: str, value: Any) -> None:
        if not isinstance(value, torch.Tensor):
            raise _bad(f"{path} has no dimensions: it is a {type(value).__name__}")
        bounds = {dimension.name: dimension for dimension in self.dynamic.dimensions}
        for dim, name in self.dynamic.dims[path].items():
            if dim >= value.dim():
                raise _bad(f"{path} has no dimension {dim}: the example's shape is {tuple(value.shape)}")
            size = value.shape[dim]
            if not bounds[name].admits(size):
                raise _bad(f"{name} may be {bounds[name].interval}, but the example's {path} has the size {size}")
            first, where = self._examples.setdefault(name, (size, path))
            if first != size:
                raise _bad(f"{name} is {first} in the example's {where} and {size} in its {path}")
        self._found.add(path)
        self._dims[id(value)] = self.dynamic.dims[path]

    def number(self, value: FreeNumber) -> tuple[Any, ValueId]:
        """The run-time value in the place of a number, and its name."""
        kind = kind_of(value.example)
        vid = self.machine.values.new(ScalarType(kind))
        made = Scalar(kind, vid)
        if kind is ScalarKind.INT:
            self.machine._give_symbol(made)
            if (value.low, value.high) != (None, None):
                self._bounded[vid] = (made.expr, value.low, value.high)
        return (Text.of(TextPart(made, "", "")) if kind is ScalarKind.STR else made), vid

    def bounds(self, vid: ValueId) -> tuple[int | None, int | None]:
        """The least and the greatest number that a call may pass."""
        _, low, high = self._bounded.get(vid, (None, None, None))
        return low, high

    def tensor(self, example: torch.Tensor) -> torch.Tensor | None:
        """A fake tensor with symbols for the dimensions that have names; None if it has none."""
        named = self._dims.get(id(example))
        if named is None:
            return None
        machine = self.machine
        shape: list[Any] = list(example.shape)
        for dim, name in named.items():
            if name not in self._symbols:
                self._make_symbol(name)
            shape[dim] = machine.env.create_symintnode(self._symbols[name], hint=None)
        with unset_fake_temporarily(), machine.fake, torch._C.DisableTorchFunction(), torch.no_grad():
            return torch.empty(shape, dtype=example.dtype, device=example.device)

    def adopted(self, example: torch.Tensor, vid: ValueId) -> None:
        """Remember by which name the entry knows a tensor: sizes are read from the first that has them."""
        for dim, name in self._dims.get(id(example), {}).items():
            self._sources.setdefault(name, (vid, dim))

    def _make_symbol(self, name: str) -> None:
        """One symbol for a name, with the value that holds it."""
        machine = self.machine
        symbol = self._symbols[name] = machine.env.create_unbacked_symint().node.expr
        machine.env.pending_fresh_unbacked_symbols.clear()
        machine.values.symbols[symbol] = machine.values.new(ScalarType(ScalarKind.INT), name)
        dimension = next(known for known in self.dynamic.dimensions if known.name == name)
        machine.bound_symbol(symbol, dimension.low, dimension.high)

    def enter(self) -> None:
        """Read the sizes, at the beginning of an entry, and note the bounds of the numbers."""
        machine = self.machine
        for bounds in self._bounded.values():
            machine.bound_symbol(*bounds)
        for dimension in self.dynamic.dimensions:
            symbol = self._symbols[dimension.name]
            result = machine.value(machine.values.symbols[symbol])
            source, dim = self._sources[dimension.name]
            machine.emit(HostOp(function="size", args=(Ref(source), Lit(dim)), result=result, loc=UNKNOWN))
            machine.bound_symbol(symbol, dimension.low, dimension.high)

    def rename(self, of: Any) -> Any:
        """A type, or the types in an operand, with the names of dimensions in the place of torch's symbols."""
        names = {str(symbol): name for name, symbol in self._symbols.items()}
        if not names:
            return of
        return _renamed(of, names)

    def rename_values(self, types: dict[ValueId, ValueType]) -> None:
        """The same for all values of the program."""
        for vid, of in types.items():
            types[vid] = self.rename(of)

    def rename_sizes(self, blocks: list[RawBlock]) -> None:
        """The same for what operations know of sizes."""
        names = {str(symbol): name for name, symbol in self._symbols.items()}
        for block in blocks if names else ():
            for index, op in enumerate(block.ops):
                if isinstance(op, TensorOp) and op.sizes:
                    sizes = tuple((str(_renamed_dim(a, names)), _renamed_dim(b, names)) for a, b in op.sizes)
                    block.ops[index] = dataclasses.replace(op, sizes=sizes)


def _renamed(part: Any, names: dict[str, str]) -> Any:
    if isinstance(part, TensorType):
        return TensorType(part.dtype, tuple(_renamed_dim(size, names) for size in part.shape))
    if isinstance(part, ScalarType):
        return ScalarType(part.kind, str(_renamed_dim(part.size, names)))
    if isinstance(part, tuple):
        return tuple(_renamed(item, names) for item in part)
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        changed = {item.name: _renamed(getattr(part, item.name), names) for item in dataclasses.fields(part)}
        return dataclasses.replace(part, **changed)
    return part


def _renamed_dim(size: int | str, names: dict[str, str]) -> int | str:
    if isinstance(size, int):
        return size
    return re.sub(r"[A-Za-z_]\w*", lambda word: names.get(word[0], word[0]), size)
