"""Torch's symbolic numbers and the machine's scalars: the same values in two notations."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import sympy
import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._sympy.numbers import int_oo

from dycl.diagnostics import InternalError, UnsupportedError
from dycl.ir.nodes import HostOp
from dycl.ir.trees import leaves, map_leaves
from dycl.ir.values import Lit, ScalarKind, ScalarType, ValueId
from dycl.passes.specialize.dispatch import keep_looked_up
from dycl.passes.specialize.numbers import Numbers
from dycl.passes.specialize.signals import Unknown
from dycl.passes.specialize.values import NOWHERE, Origin, RuntimeList, Scalar

LAZY = ValueId(-1)  # an integer expression whose host operations are emitted when somebody needs the value


class Symbols(Numbers):
    """The part of the machine that translates between torch's symbols and scalars."""

    @contextlib.contextmanager
    def defining_symbols(self) -> Iterator[list[sympy.Symbol]]:
        """Collects the symbols that torch makes meanwhile."""
        before = len(self.env.var_to_range)
        born: list[sympy.Symbol] = []
        yield born
        born.extend(list(self.env.var_to_range)[before:])
        self.env.pending_fresh_unbacked_symbols.clear()

    def bound_symbol(self, symbol: sympy.Symbol, low: int | None, high: int | None) -> None:
        """A range torch guarantees for a symbol, whatever the path."""
        interval = (low if low is not None else -int_oo, high if high is not None else int_oo)
        self.symbol_bounds[symbol] = interval
        self.state.facts.intervals[symbol] = (sympy.sympify(interval[0]), sympy.sympify(interval[1]))

    def bind_symbols(self, born: list[sympy.Symbol], results: list[torch.Tensor], out: Any) -> None:
        """Host operations that read the sizes of the results that only the run will know."""
        for leaf in results:
            for dim, size in enumerate(leaf.shape):
                expr = size.node.expr if isinstance(size, torch.SymInt) else None
                if expr is not None and expr.is_Symbol and expr in born and expr not in self.values.symbols:
                    self.bind_size(expr, leaf, dim)
        for leaf in results:
            for size in leaf.shape:
                if isinstance(size, torch.SymInt) and not all(
                    s in self.values.symbols for s in size.node.expr.free_symbols
                ):
                    raise UnsupportedError("DY201", self.loc(), "the size of a result cannot be told from the result")

    def note_origin(self, born: list[sympy.Symbol], arguments: Any) -> None:
        """The symbols that torch made come from what the sizes and numbers among the arguments came from."""
        if not born:
            return
        sizes = [
            size for leaf in leaves(arguments) for size in (leaf.shape if isinstance(leaf, FakeTensor) else (leaf,))
        ]
        used = {s for size in sizes if isinstance(size, torch.SymInt) for s in size.node.expr.free_symbols}
        origin = NOWHERE.union(*[self.origins.get(symbol, NOWHERE) for symbol in used])
        self.origins.update(dict.fromkeys(born, origin))

    def bind_size(self, symbol: sympy.Symbol, tensor: torch.Tensor, dim: int) -> None:
        """symbol = tensor.shape[dim]."""
        vid = self.values.new(ScalarType(ScalarKind.INT), "size")
        self.values.symbols[symbol] = vid
        self.emit(
            HostOp(function="size", args=(self.operand(tensor), Lit(dim)), result=self.value(vid), loc=self.loc())
        )
        self.symbol_bounds.setdefault(symbol, (0, int_oo))
        self.state.facts.intervals.setdefault(symbol, (sympy.Integer(0), int_oo))

    def new_int(self, origin: Origin = NOWHERE) -> Scalar:
        """A fresh run-time int with a symbol of its own."""
        symbol = self.env.create_unbacked_symint().node.expr
        self.env.pending_fresh_unbacked_symbols.clear()
        vid = self.values.new(ScalarType(ScalarKind.INT))
        self.values.symbols[symbol] = vid
        self.counters.add(symbol)
        self.origins[symbol] = origin
        return Scalar(ScalarKind.INT, vid, symbol, origin)

    def new_scalar(self, kind: ScalarKind, origin: Origin = NOWHERE) -> Scalar:
        """A fresh run-time scalar of a kind."""
        if kind is ScalarKind.INT:
            return self.new_int(origin)
        return Scalar(kind, self.values.new(ScalarType(kind)), None, origin)

    def vid_of(self, scalar: Scalar) -> ValueId:
        """The value that holds the scalar, computed now if nobody has yet."""
        found = self.settled(scalar)
        if not isinstance(found, Scalar):
            raise InternalError(f"specialize: {scalar.expr} is not a run-time value")
        return found.vid

    def settled(self, scalar: Scalar) -> Any:
        """The scalar with a value of its own, computed now if nobody has yet; a number if the facts tell it."""
        # What is computed is of this path: the scalar itself is seen by all paths.
        return self.compute(scalar.expr) if scalar.vid == LAZY else scalar

    def scalar_of_expr(self, expr: sympy.Basic) -> Scalar:
        """The run-time int that an expression stands for."""
        if expr.is_Symbol:
            if expr not in self.values.symbols:
                raise Unknown(f"symbol {expr}")
            return Scalar(ScalarKind.INT, self.values.symbols[expr], expr)
        return Scalar(ScalarKind.INT, LAZY, expr)

    def scalar_of(self, symbolic: Any) -> Any:
        """What torch's symbolic number is to the machine: a Scalar, or a Python number."""
        expr = symbolic.node.expr
        if isinstance(symbolic, torch.SymInt):
            known = self.decide_expr(expr)
            return int(known) if known is not None else self.scalar_of_expr(expr)
        if isinstance(symbolic, torch.SymFloat) and expr.is_Symbol and expr in self._float_vids:
            return Scalar(ScalarKind.FLOAT, self._float_vids[expr])
        if isinstance(symbolic, torch.SymBool) and expr in self._bool_vids:
            return Scalar(ScalarKind.BOOL, self._bool_vids[expr])
        if isinstance(symbolic, torch.SymBool):
            known = self.decide_expr(expr)
            return bool(known) if known is not None else self.compute(expr)
        if not expr.free_symbols:
            return float(expr)
        raise UnsupportedError("DY204", self.loc(), "arithmetic on a run-time float inside of torch")

    def sym_size(self, size: Any) -> Any:
        """A size, an int or an expression, as torch takes it."""
        return size if isinstance(size, int) else self.env.create_symintnode(size, hint=None)

    def symbolic(self, value: Any) -> Any:
        """A scalar as torch's symbolic number."""
        if not isinstance(value, Scalar):
            if isinstance(value, RuntimeList):
                raise UnsupportedError(
                    "DY203", self.loc(), "a list of run-time length is handed to an operation of torch"
                )
            return value
        if value.kind is ScalarKind.INT:
            keep_looked_up(self, value)  # type: ignore[arg-type]
            if value.expr is None:
                fresh = self.env.create_unbacked_symint()
                self.env.pending_fresh_unbacked_symbols.clear()
                value.expr = fresh.node.expr
                self.values.symbols[value.expr] = value.vid
            return self.env.create_symintnode(value.expr, hint=None)
        table, make = (
            (self._symfloats, self.env.create_unbacked_symfloat)
            if value.kind is ScalarKind.FLOAT
            else (self._symbools, self.env.create_unbacked_symbool)
        )
        if value.vid not in table:
            table[value.vid] = make()
            self.env.pending_fresh_unbacked_symbols.clear()
            back = self._float_vids if value.kind is ScalarKind.FLOAT else self._bool_vids
            back[table[value.vid].node.expr] = value.vid
        return table[value.vid]

    def native_arguments(self, arguments: Any) -> Any:
        """Arguments as torch takes them."""
        return map_leaves(self.symbolic, arguments)

    def has_symbols(self, *arguments: Any) -> bool:
        """Whether fake execution depends on symbols, about which the path has facts that no cache may know."""
        for leaf in leaves(arguments):
            if isinstance(leaf, (torch.SymInt, torch.SymFloat, torch.SymBool)):
                return True
            if isinstance(leaf, FakeTensor) and any(isinstance(size, torch.SymInt) for size in leaf.shape):
                return True
        return False

    def fake_failure(self, error: Exception, target: str) -> UnsupportedError:
        """Torch cannot tell shapes without data here."""
        return UnsupportedError(
            "DY201", self.loc(), f"{target} has no shape rule without data ({type(error).__name__})"
        )

    def refuse_equal(self, left: torch.Tensor, right: torch.Tensor) -> Any:
        """`torch.equal` of tensors whose sizes are compared at run time."""
        raise UnsupportedError("DY201", self.loc(), "torch.equal of tensors of different type or run-time size")

    def native_call_refused(self, function: Any) -> UnsupportedError:
        """Native code wants to call back into the model."""
        name = getattr(function, "__qualname__", "a function")
        return UnsupportedError(
            "DY203", self.loc(), f"native code calls {name}, a function made by the model, with run-time values"
        )
