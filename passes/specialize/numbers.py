"""Run-time numbers: host operations, symbols, and the questions that the facts of a path answer or that fork."""

from __future__ import annotations

from typing import Any

import sympy
import torch
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily
from torch.utils._sympy.functions import FloorDiv, Max, Min, Mod, PythonMod
from torch.utils._sympy.numbers import int_oo

from dycl.diagnostics import UnsupportedError
from dycl.ir.hostops import HOST_FUNCTIONS
from dycl.ir.nodes import HostOp
from dycl.ir.numerics import ERRORS
from dycl.ir.trees import leaves
from dycl.ir.values import Lit, Operand, ScalarKind, ScalarType
from dycl.passes.specialize import scalars
from dycl.passes.specialize.conditions import normal_condition
from dycl.passes.specialize.extremes import is_nested, learn_extreme
from dycl.passes.specialize.failures import check_failure, note_integer
from dycl.passes.specialize.operands import Operands
from dycl.passes.specialize.ranges import range_of
from dycl.passes.specialize.readings import computed
from dycl.passes.specialize.signals import Question, Restart, Unknown
from dycl.passes.specialize.values import NOWHERE, Origin, Scalar


class Numbers(Operands):
    """The part of the machine that computes with run-time numbers."""

    def decide_expr(self, expr: sympy.Basic) -> sympy.Basic | None:
        """The value of an expression on this path, or None."""
        known = self.state.facts.decide(expr)
        if known is not None or (normal := normal_condition(expr, self.state.facts)) == expr:
            return known
        return self.state.facts.decide(normal)

    def is_unborn(self, expr: sympy.Basic) -> bool:
        """Whether an expression is about a symbol that the operation being recorded is still making."""
        return any(symbol not in self.values.symbols for symbol in expr.free_symbols)

    def ask_expr(self, expr: sympy.Basic) -> Any:
        """The value of an expression that torch wants to know: an answer from the facts, or a fork."""
        if self.is_unborn(expr):
            raise Unknown(f"torch asks {expr}")
        if isinstance(expr, sympy.logic.boolalg.Boolean) and not expr.is_Symbol:
            answer = self.compute(expr)
            outcome = self.truth(answer) if isinstance(answer, Scalar) else bool(answer)
            self.state.facts.learn(expr, outcome)
            return sympy.sympify(outcome)
        return sympy.sympify(self.concrete(self.scalar_of_expr(expr)))

    def truth(self, value: Any) -> bool:
        """Whether the number is true on this path; raises `Question` if the facts do not tell."""
        if not isinstance(value, Scalar):
            return bool(value)
        if value.kind is ScalarKind.STR:
            raise UnsupportedError("DY204", self.loc(), "the truth of a run-time text")
        if value.kind is not ScalarKind.BOOL:
            return self.truth(self.host("ne", value, 0))
        facts = self.state.facts
        if value.vid in facts.bools:
            return facts.bools[value.vid]
        if value.expr is not None and (known := facts.decide(value.expr)) is not None:
            return bool(known)
        raise Question(value)

    def concrete(self, value: Any) -> Any:
        """The number itself, which compile-time code demands: known, or one branch for each possible value."""
        if not isinstance(value, Scalar):
            return value
        if value.kind is ScalarKind.BOOL:
            return self.truth(value)
        if value.expr is not None and (known := self.decide_expr(value.expr)) is not None:
            return int(known)
        if value.origin and self.hints.pin(value.origin):
            raise Restart("a generalised number is needed at compile time")
        low, high = self.state.facts.bounds(value.expr) if value.expr is not None else (-int_oo, int_oo)
        if value.kind is ScalarKind.INT and high - low <= 64:
            for candidate in range(int(low), int(high)):
                if self.truth(self.host("eq", value, candidate)):
                    return candidate
            return int(high)
        raise UnsupportedError(
            "DY204",
            self.loc(),
            f"the value of a run-time {value.kind.value} is needed at compile time",
            hint="bound it by a comparison first, or compute with it in tensors",
        )

    def host(self, name: str, *args: Any) -> Any:
        """The result of a host function: computed now if everything is static, else an operation of the program."""
        args = tuple(
            self.scalar_of(arg) if isinstance(arg, (torch.SymInt, torch.SymBool, torch.SymFloat)) else arg
            for arg in args
        )
        if not any(isinstance(arg, Scalar) for arg in args):
            return HOST_FUNCTIONS[name].call(*args)
        expr = scalars.result_expr(name, args)
        if expr is not None and expr.is_Symbol:  # `0 + n` is n: one number has one name
            if (known := self.decide_expr(expr)) is not None:
                return int(known)
            same = self.scalar_of_expr(expr)
            same.origin = frozenset().union(*[arg.origin for arg in args if isinstance(arg, Scalar)])
            return same
        call = (
            name,
            tuple(("s", arg.vid, str(arg.expr)) if isinstance(arg, Scalar) else (type(arg), repr(arg)) for arg in args),
        )
        found, out = self.replayed(call)
        if found:
            return out
        if call in self.state.facts.results:
            self.log(call, self.state.facts.results[call])
            return self.state.facts.results[call]
        if expr is not None and (known := self.decide_expr(expr)) is not None:
            return bool(known) if isinstance(known, sympy.logic.boolalg.BooleanAtom) else int(known)
        kind = scalars.result_kind(name, args)
        if (
            kind is None
            and name == "pow"
            and {scalars.kind_of(arg) for arg in args} <= {ScalarKind.INT, ScalarKind.BOOL}
        ):
            kind = ScalarKind.INT if self.truth(self.host("ge", args[1], 0)) else ScalarKind.FLOAT
        if kind is None:
            raise UnsupportedError("DY204", self.loc(), f"the type of {name}() depends on run-time numbers")
        name = scalars.real_power(name, kind, args)
        check_failure(self, name, args)  # type: ignore[arg-type]
        result = self.host_op(name, tuple(self.operand(arg) for arg in args), kind)
        if expr is not None and is_nested(expr):
            self._give_symbol(result)
            learn_extreme(self.state.facts, result.expr, expr)
            parts = tuple(arg.expr for arg in args if isinstance(arg, Scalar))
            if len(parts) == 2:
                self.state.facts.results["extreme", name, result.expr] = parts
        elif expr is not None:
            result.expr = expr
        elif kind is ScalarKind.INT:
            self._give_symbol(result)
            if name == "int" and scalars.kind_of(args[0]) is ScalarKind.BOOL:
                self.bound_symbol(result.expr, 0, 1)
            elif name == "error_of":
                self.bound_symbol(result.expr, 0, len(ERRORS))
        note_integer(self, name, args, result)  # type: ignore[arg-type]
        numbers = [arg for arg in args if isinstance(arg, Scalar)]
        result.origin = NOWHERE.union(*[number.origin for number in numbers])
        if result.expr is not None and result.expr.is_Symbol:
            self.origins[result.expr] = NOWHERE.union(*[self.origin_of(number) for number in numbers])
        self.state.facts.results[call] = result
        self.log(call, result)
        return result

    def origin_of(self, scalar: Scalar) -> Origin:
        """What a run-time number was generalised from, and what the symbols of its expression were."""
        return scalar.origin if scalar.expr is None else scalar.origin | self.origin_of_expr(scalar.expr)

    def origin_of_expr(self, expr: sympy.Basic) -> Origin:
        """What the symbols of an expression were generalised from, or come from."""
        return NOWHERE.union(*[self.origins.get(symbol, NOWHERE) for symbol in expr.free_symbols])

    def _give_symbol(self, scalar: Scalar) -> None:
        symbol = self.env.create_unbacked_symint().node.expr
        self.env.pending_fresh_unbacked_symbols.clear()
        self.values.symbols[symbol] = scalar.vid
        scalar.expr = symbol

    def host_op(self, name: str, operands: tuple[Operand, ...], kind: ScalarKind) -> Scalar:
        """Emit one host operation."""
        vid = self.values.new(ScalarType(kind))
        self.emit(HostOp(function=name, args=operands, result=self.value(vid), loc=self.loc()))
        return Scalar(kind, vid)

    def item(self, tensor: torch.Tensor) -> Any:
        """The Python number of a one-element tensor."""
        return self.element(tensor, None)

    def element(self, tensor: torch.Tensor, index: int | None, *, function: str = "item") -> Any:
        """The Python number at a flat index (None: the only one)."""
        tensor = self.substituted(tensor)
        known = self.known_value(tensor)
        if known is not None:
            with unset_fake_temporarily(), torch._C.DisableTorchFunction():
                return known.item() if index is None else known.reshape(-1)[index].item()
        content = self.current_vid(tensor) if isinstance(tensor, FakeTensor) else id(tensor)
        if index is None and (number := computed(self, content, function)) is not None:  # type: ignore[arg-type]
            return number
        call = ("item", content, index)
        found, out = self.replayed(call)
        if found:
            return out
        if call in self.state.facts.results:
            self.log(call, self.state.facts.results[call])
            return self.state.facts.results[call]
        kind = item_kind(tensor.dtype)
        if kind is None:
            raise UnsupportedError("DY203", self.loc(), f"a number of {tensor.dtype} in Python")
        args = (self.operand(tensor),) if index is None else (self.operand(tensor), Lit(index))
        scalar = self.host_op(function if index is None else "item_at", args, kind)
        if kind is ScalarKind.INT:
            self._give_symbol(scalar)
            bounds = range_of(self, tensor)  # type: ignore[arg-type]
            if bounds is not None:
                self.state.facts.intervals[scalar.expr] = bounds
        self.state.facts.results[call] = scalar
        self.log(call, scalar)
        return scalar

    def bound_elements(self, tensor: torch.Tensor, low: int, high: int) -> None:
        """The bounds of a tensor's elements, as the operation that made it promises."""
        self.state.facts.ranges[self.current_vid(tensor)] = (sympy.Integer(low), sympy.Integer(high))

    def bound_number(self, number: Scalar, low: int, high: int) -> None:
        """The bounds of a run-time int on this path."""
        self.state.facts.intervals[number.expr] = (sympy.Integer(low), sympy.Integer(high))

    def tolist(self, tensor: torch.Tensor) -> Any:
        """Nested lists of the elements."""
        if tensor.dim() and not isinstance(tensor.shape[0], int):
            return self.list_of_rows(tensor)
        if any(not isinstance(size, int) for size in tensor.shape):
            raise UnsupportedError(
                "DY204", self.loc(), "a list of run-time length", hint="tolist() of a tensor whose size depends on data"
            )
        if tensor.dim() == 0:
            return self.element(tensor, None)
        flat = [self.element(tensor, index) for index in range(tensor.numel())]
        for size in reversed(tensor.shape[1:]):
            flat = [flat[i : i + size] for i in range(0, len(flat), size)] if size else []
        return flat

    def list_of_rows(self, tensor: torch.Tensor) -> Any:
        """tolist() of a tensor whose size only the run knows (`RuntimeLists`)."""
        raise NotImplementedError

    def convert(self, kind: type, value: Any) -> Any:
        """`int(x)`, `float(x)`, `bool(x)` of a number."""
        if isinstance(value, Scalar):
            if value.kind.value == kind.__name__:
                return value
            return self.host(kind.__name__, value)
        return kind(value)

    def compute(self, expr: sympy.Basic) -> Any:
        """An exact integer or boolean expression as host operations."""
        known = self.decide_expr(expr)
        if known is not None:
            return bool(known) if isinstance(known, sympy.logic.boolalg.BooleanAtom) else int(known)
        if expr.is_Symbol:
            return self.scalar_of_expr(expr)
        if isinstance(expr, sympy.Add) and expr.args[0].is_Integer:  # sympy has the constant first
            rest, constant = self.compute(expr - expr.args[0]), int(expr.args[0])
            return self.host("add", rest, constant) if constant > 0 else self.host("sub", rest, -constant)
        parts = [self.compute(arg) for arg in expr.args]
        if isinstance(expr, (sympy.And, sympy.Or)):
            decisive = isinstance(expr, sympy.Or)
            if decisive in [part for part in parts if isinstance(part, bool)]:
                return decisive
            parts = [part for part in parts if not isinstance(part, bool)]
            if not parts:
                return not decisive
        for node, name in _EXPRESSIONS:
            if isinstance(expr, node):
                total = parts[0]
                for part in parts[1:]:
                    total = self.host(name, total, part)
                return total
        if isinstance(expr, sympy.Not):
            return self.host("not_", parts[0])
        raise UnsupportedError("DY201", self.loc(), f"torch asks about {expr}")

    def inferred_dtype(self, data: Any) -> torch.dtype:
        """The dtype `torch.tensor(data)` would have."""
        found = list(leaves(data))
        if found and all(isinstance(leaf, torch.Tensor) for leaf in found):
            dtype: torch.dtype = found[0].dtype
            for leaf in found[1:]:
                dtype = torch.promote_types(dtype, leaf.dtype)
            return dtype
        kinds = {
            scalars.kind_of(leaf) if not isinstance(leaf, torch.Tensor) else item_kind(leaf.dtype) for leaf in found
        }
        if ScalarKind.FLOAT in kinds:
            return torch.get_default_dtype()
        return torch.bool if kinds == {ScalarKind.BOOL} else torch.int64


_EXPRESSIONS: tuple[tuple[type, str], ...] = (
    (sympy.Add, "add"),
    (sympy.Mul, "mul"),
    (FloorDiv, "floordiv"),
    (PythonMod, "mod"),
    (Mod, "mod"),
    (Max, "max"),
    (Min, "min"),
    (sympy.Pow, "pow"),
    (sympy.Eq, "eq"),
    (sympy.Ne, "ne"),
    (sympy.Lt, "lt"),
    (sympy.Le, "le"),
    (sympy.Gt, "gt"),
    (sympy.Ge, "ge"),
    (sympy.And, "and_"),
    (sympy.Or, "or_"),
)


def item_kind(dtype: torch.dtype) -> ScalarKind | None:
    if dtype == torch.bool:
        return ScalarKind.BOOL
    if dtype.is_floating_point:
        return ScalarKind.FLOAT
    return None if dtype.is_complex else ScalarKind.INT
