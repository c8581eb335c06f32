"""The program while it is being made: blocks that are still filled, and what each value in them is.

A block made at a join has parameters that reuse the names its first visitor gave to the values; `finish.py` renames
them into SSA form. A block made at a fork has no parameters and sees what its only predecessor saw.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import sympy

from dycl.diagnostics import UNKNOWN, SourceRange
from dycl.ir.nodes import HostOp, Invoke, TensorOp, Terminator
from dycl.ir.values import Operand, ValueId, ValueType


@dataclass(slots=True)
class Template:
    """What a state must look like to enter a block: its canonical key and how its leaves become arguments."""

    key: tuple[Any, ...]
    block: RawBlock


@dataclass(slots=True, eq=False)
class RawBlock:
    """A block under construction."""

    id: int
    params: tuple[ValueId, ...] | None = None  # None: a fork's side, entered from one place
    ops: list[TensorOp | HostOp | Invoke] = field(default_factory=list)
    end: Terminator | None = None
    loc: SourceRange = UNKNOWN


@dataclass(slots=True)
class Values:
    """Every value of the program: its type, the source variable that first held it, the symbols that stand for ints."""

    types: dict[ValueId, ValueType] = field(default_factory=dict)
    names: dict[ValueId, str] = field(default_factory=dict)
    depths: dict[ValueId, int] = field(default_factory=dict)  # how deep in the call stack the name was given
    symbols: dict[sympy.Symbol, ValueId] = field(default_factory=dict)

    def new(self, value_type: ValueType, name: str = "") -> ValueId:
        """A fresh value."""
        vid = ValueId(len(self.types))
        self.types[vid] = value_type
        if name:
            self.names[vid] = name
        return vid

    def name(self, vid: ValueId, name: str, depth: int) -> None:
        """Call a value by the variable that holds it; of several, by the outermost function's first."""
        name = name.partition("%")[0]
        if name and depth < self.depths.get(vid, 1_000_000):
            self.names[vid] = name
            self.depths[vid] = depth


@dataclass(frozen=True, slots=True)
class RawProcedure:
    """A procedure: its name in the source and where it starts."""

    name: str
    block: RawBlock


@dataclass(frozen=True, slots=True)
class RawEntry:
    """Where a call starts: the block and the journal places whose values are its state."""

    block: RawBlock
    inputs: tuple[ValueId, ...]
    state: tuple[ValueId, ...]
    slots: tuple[tuple[str, Operand], ...]
