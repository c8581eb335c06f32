"""Adds operations to the block being filled, and keeps what is known of the values they define."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import sympy
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._sympy.functions import FloorDiv, Max, Min, Mod, PythonMod
from torch.utils._sympy.numbers import int_oo

from dycl.diagnostics import InternalError, SourceRange, UnsupportedError
from dycl.ir.hostops import HOST_FUNCTIONS
from dycl.ir.nodes import (
    HostOp,
    Lit,
    Mapping,
    Operand,
    Ref,
    ScalarKind,
    ScalarType,
    Seq,
    SeqKind,
    SliceOf,
    TensorOp,
    TensorType,
    TorchLit,
    Value,
    ValueId,
    Weight,
)
from dycl.ir.resolve import torch_text
from dycl.passes.specialize import scalars
from dycl.passes.specialize.hints import Hints
from dycl.passes.specialize.residual import Values
from dycl.passes.specialize.shapes import PathShapeEnv
from dycl.passes.specialize.signals import Question, Restart, Unknown
from dycl.passes.specialize.state import State
from dycl.passes.specialize.trees import leaves, map_leaves
from dycl.passes.specialize.values import NOWHERE, Generator, Origin, RuntimeList, Scalar, Text, TextPart
from dycl.passes.specialize.weights import WeightNames

LAZY = ValueId(-1)  # an integer expression whose host operations are emitted when somebody needs the value
_SMALL_CONSTANT = 1024


class Emission:
    """The part of the machine that writes the residual program."""

    def __init__(self, hints: Hints, weight_names: WeightNames) -> None:
        self.hints = hints
        self.weight_names = weight_names
        self.env = PathShapeEnv(self)  # type: ignore[arg-type]
        self.fake = FakeTensorMode(shape_env=self.env, allow_non_fake_inputs=True)
        self.values = Values()
        self.state: State = State()
        self.known: dict[ValueId, torch.Tensor] = {}
        self.keep: list[Any] = []  # whatever is keyed by id must stay alive
        self.position = 0  # in the replay log of the current instruction
        self.fresh_log: list[Any] = []
        self.input_storages: set[int] = set()
        self.weight_storages: dict[int, torch.Tensor] = {}
        self.stateful_fakes: dict[int, FakeTensor] = {}
        self.symbol_bounds: dict[sympy.Symbol, tuple[Any, Any]] = {}
        self.consumed: list[Generator] = []
        self._symfloats: dict[ValueId, Any] = {}
        self._symbools: dict[ValueId, Any] = {}
        self._float_vids: dict[sympy.Basic, ValueId] = {}
        self._bool_vids: dict[sympy.Basic, ValueId] = {}

    def loc(self) -> SourceRange:
        """Where the program is; the machine knows."""
        raise NotImplementedError

    # ------------------------------------------------------------ log and replay

    def replayed(self, call: Any) -> tuple[bool, Any]:
        """(True, result) if this call was already recorded before the instruction was interrupted."""
        log = self.state.replay
        if self.position >= len(log):
            return False, None
        recorded, out, has_effect = log[self.position]
        if recorded != call:
            # More facts took another way through native code: what was recorded for the old way is dead work.
            if any(effect for _, _, effect in log[self.position :]):
                raise InternalError(f"specialize: a write would be executed twice at {self.loc()}")
            del log[self.position :]
            return False, None
        self.position += 1
        return True, out

    def log(self, call: Any, out: Any, has_effect: bool = False) -> None:
        """Remember the result of a call for the case that the instruction is interrupted."""
        self.fresh_log.append((call, out, has_effect))

    def emit(self, op: TensorOp | HostOp) -> None:
        """Add an operation to the block."""
        self.state.block.ops.append(op)
        self.state.is_dirty = True

    # ------------------------------------------------------------ tensors

    def value(self, vid: ValueId) -> Value:
        """The definition of a value."""
        return Value(vid, self.values.types[vid])

    def current_vid(self, tensor: Any, state: State | None = None) -> ValueId:
        """The name of the tensor's present content on this path."""
        root = getattr(tensor, "_dycl_root", None)
        if root is None:
            raise InternalError(
                f"specialize: a tensor of unknown origin at {self.loc()}: {type(tensor).__name__}{tuple(tensor.shape)}"
            )
        return (state or self.state).current.get(root, root)

    def tensor_type(self, tensor: torch.Tensor) -> TensorType:
        """Its type in the program."""
        dims = tuple(
            str(size.node.expr) if isinstance(size, torch.SymInt) and not size.node.expr.is_Integer else int(size)
            for size in tensor.shape
        )
        return TensorType(str(tensor.dtype).removeprefix("torch."), dims)

    def adopt(self, tensor: torch.Tensor, name: str = "") -> ValueId:
        """Give a fresh fake tensor its name in the program."""
        vid = self.values.new(self.tensor_type(tensor), name)
        tensor._dycl_root = vid  # type: ignore[attr-defined]
        self.keep.append(tensor)
        storage = tensor.untyped_storage()._cdata
        self.state.aliases[storage] = (*self.state.aliases.get(storage, ()), vid)
        return vid

    def define_result(self, leaf: torch.Tensor) -> ValueId:
        """The name of a result; an argument handed back keeps its own name beside it."""
        if not isinstance(leaf, FakeTensor) or hasattr(leaf, "_dycl_root"):
            return self.values.new(self.tensor_type(leaf))
        leaf.constant = None  # torch's own constants know nothing of paths; `known` does
        return self.adopt(leaf)

    def rename_content(self, roots: tuple[ValueId, ...]) -> list[tuple[ValueId, Value]]:
        """New names for the content of tensors whose memory was written."""
        pairs = []
        for root in roots:
            old = self.state.current.get(root, root)
            new = self.values.new(self.values.types[old], self.values.names.get(old, ""))
            self.state.current[root] = new
            pairs.append((old, self.value(new)))
        return pairs

    def weight_written(self, tensor: torch.Tensor) -> None:
        """A weight turns out to be state: specialise again with it as a value."""
        if self.weight_names.state_name(tensor) is None:
            raise UnsupportedError("DY206", self.loc(), "a tensor outside of the model is written")
        self.hints.stateful[id(tensor)] = tensor
        raise Restart("a weight is written")

    def weight_storage_written(self, storage: int) -> None:
        """A view of a weight was written."""
        if storage in self.weight_storages:
            self.weight_written(self.weight_storages[storage])

    def known_value(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """The value of a small constant tensor."""
        if isinstance(tensor, FakeTensor):
            return self.known.get(self.current_vid(tensor))
        if (
            isinstance(tensor, torch.nn.Parameter)
            or tensor.numel() > _SMALL_CONSTANT
            or id(tensor) in self.hints.stateful
        ):
            return None
        return tensor

    def substituted(self, value: Any) -> Any:
        """Arguments with each stateful weight replaced by the tensor that stands for its content."""
        if not self.stateful_fakes:
            return value
        return map_leaves(lambda leaf: self.stateful_fakes.get(id(leaf), leaf), value)

    # ------------------------------------------------------------ operands

    def operand(self, value: Any) -> Operand:
        """A call's argument as it stands in the program."""
        if isinstance(value, FakeTensor):
            return Ref(self.current_vid(value))
        if isinstance(value, torch.Tensor):
            return self._weight(value)
        if isinstance(value, Text):
            return self.text_operand(value)
        if isinstance(value, Scalar):
            return Ref(self.vid_of(value))
        if isinstance(value, RuntimeList):
            return Ref(value.vid)
        if isinstance(value, (torch.SymInt, torch.SymBool, torch.SymFloat)):
            found = self.scalar_of(value)
            return Ref(self.vid_of(found)) if isinstance(found, Scalar) else Lit(found)
        if value is None or value is Ellipsis or type(value) in (bool, int, float, str):
            return Lit(value)
        if isinstance(value, np.generic) and isinstance(value.item(), (bool, int, float)):
            return Lit(value.item())
        if isinstance(value, (torch.Size, tuple, list)):
            kind = (
                SeqKind.SIZE
                if isinstance(value, torch.Size)
                else SeqKind.LIST
                if isinstance(value, list)
                else SeqKind.TUPLE
            )
            return Seq(kind, tuple(self.operand(item) for item in value))
        if isinstance(value, slice):
            return SliceOf(self.operand(value.start), self.operand(value.stop), self.operand(value.step))
        if isinstance(value, dict):
            return Mapping(tuple((Lit(key), self.operand(item)) for key, item in value.items()))
        text = torch_text(value)
        if text is not None:
            return TorchLit(text)
        if isinstance(value, torch.Generator):
            raise self.random_operation("with an explicit generator")
        raise UnsupportedError("DY203", self.loc(), f"a {type(value).__name__} is handed to an operation of torch")

    def _weight(self, tensor: torch.Tensor) -> Operand:
        if id(tensor) in self.stateful_fakes:
            return Ref(self.current_vid(self.stateful_fakes[id(tensor)]))
        storage = self.fake.from_tensor(tensor, static_shapes=True).untyped_storage()._cdata
        self.weight_storages[storage] = tensor
        return Weight(self.weight_names.name(tensor))

    def text_operand(self, text: Text) -> Operand:
        """A text with run-time parts, put together by the host."""
        total: Any = ""
        for part in text.parts:
            total = (
                self.host("add", total, part if isinstance(part, str) else self._formatted(part))
                if total != ""
                else (part if isinstance(part, str) else self._formatted(part))
            )
        return Ref(total.vid) if isinstance(total, Scalar) else Lit(total)

    def _formatted(self, part: TextPart) -> Any:
        value: Any = part.value
        if part.conversion in ("r", "a"):
            value = self.host("repr", value)
        elif part.conversion == "s":
            value = self.host("str", value)
        return self.host("format", value, part.spec) if part.spec or not part.conversion else value

    # ------------------------------------------------------------ symbols

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

    def bind_size(self, symbol: sympy.Symbol, tensor: torch.Tensor, dim: int) -> None:
        """symbol = tensor.shape[dim]."""
        vid = self.values.new(ScalarType(ScalarKind.INT), "size")
        self.values.symbols[symbol] = vid
        self.emit(
            HostOp(function="size", args=(self.operand(tensor), Lit(dim)), result=self.value(vid), loc=self.loc())
        )
        self.state.facts.intervals.setdefault(symbol, (sympy.Integer(0), int_oo))

    def new_int(self, origin: Origin = NOWHERE) -> Scalar:
        """A fresh run-time int with a symbol of its own."""
        symbol = self.env.create_unbacked_symint().node.expr
        self.env.pending_fresh_unbacked_symbols.clear()
        vid = self.values.new(ScalarType(ScalarKind.INT))
        self.values.symbols[symbol] = vid
        return Scalar(ScalarKind.INT, vid, symbol, origin)

    def new_scalar(self, kind: ScalarKind, origin: Origin = NOWHERE) -> Scalar:
        """A fresh run-time scalar of a kind."""
        if kind is ScalarKind.INT:
            return self.new_int(origin)
        return Scalar(kind, self.values.new(ScalarType(kind)), None, origin)

    def vid_of(self, scalar: Scalar) -> ValueId:
        """The value that holds the scalar, computed now if nobody has yet."""
        if scalar.vid == LAZY:
            made = self.compute(scalar.expr)
            if not isinstance(made, Scalar):
                raise InternalError(f"specialize: {scalar.expr} is not a run-time value")
            scalar.vid = made.vid
        return scalar.vid

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

    def respelled(self, size: Any, respell: dict[sympy.Basic, Scalar]) -> Any:
        """A dimension in new symbols."""
        if isinstance(size, torch.SymInt) and size.node.expr in respell:
            return self.symbolic(respell[size.node.expr])
        return size

    def symbolic(self, value: Any) -> Any:
        """A scalar as torch's symbolic number."""
        if not isinstance(value, Scalar):
            if isinstance(value, RuntimeList):
                raise UnsupportedError(
                    "DY203", self.loc(), "a list of run-time length is handed to an operation of torch"
                )
            return value
        if value.kind is ScalarKind.INT:
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

    # ------------------------------------------------------------ questions

    def decide_expr(self, expr: sympy.Basic) -> sympy.Basic | None:
        """The value of an expression on this path, or None."""
        return self.state.facts.decide(expr)

    def ask_expr(self, expr: sympy.Basic) -> Any:
        """The value of an expression that torch wants to know: an answer from the facts, or a fork."""
        if any(symbol not in self.values.symbols for symbol in expr.free_symbols):
            raise Unknown(f"torch asks {expr}")
        if isinstance(expr, sympy.logic.boolalg.Boolean) and not expr.is_Symbol:
            answer = self.compute(expr)
            outcome = self.truth(answer) if isinstance(answer, Scalar) else bool(answer)
            self.state.facts.relations[expr] = outcome
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

    # ------------------------------------------------------------ host operations

    def host(self, name: str, *args: Any) -> Any:
        """The result of a host function: computed now if everything is static, else an operation of the program."""
        args = tuple(
            self.scalar_of(arg) if isinstance(arg, (torch.SymInt, torch.SymBool, torch.SymFloat)) else arg
            for arg in args
        )
        if not any(isinstance(arg, Scalar) for arg in args):
            return HOST_FUNCTIONS[name].call(*args)
        call = (
            name,
            tuple(("s", arg.vid, str(arg.expr)) if isinstance(arg, Scalar) else (type(arg), repr(arg)) for arg in args),
        )
        found, out = self.replayed(call)
        if found:
            return out
        if call in self.state.facts.results:
            return self.state.facts.results[call]
        expr = scalars.result_expr(name, args)
        if expr is not None and (known := self.decide_expr(expr)) is not None:
            return bool(known) if isinstance(known, sympy.logic.boolalg.BooleanAtom) else int(known)
        kind = scalars.result_kind(name, args)
        if kind is None:
            raise UnsupportedError("DY204", self.loc(), f"the type of {name}() depends on run-time numbers")
        self._check_division(name, args)
        result = self.host_op(name, tuple(self.operand(arg) for arg in args), kind)
        if expr is not None:
            result.expr = expr
        elif kind is ScalarKind.INT:
            self._give_symbol(result)
            if name == "int" and scalars.kind_of(args[0]) is ScalarKind.BOOL:
                self.bound_symbol(result.expr, 0, 1)  # type: ignore[arg-type]
        result.origin = frozenset().union(*[arg.origin for arg in args if isinstance(arg, Scalar)])
        self.state.facts.results[call] = result
        self.log(call, result)
        return result

    def _give_symbol(self, scalar: Scalar) -> None:
        symbol = self.env.create_unbacked_symint().node.expr
        self.env.pending_fresh_unbacked_symbols.clear()
        self.values.symbols[symbol] = scalar.vid
        scalar.expr = symbol

    def _check_division(self, name: str, args: tuple[Any, ...]) -> None:
        """A division that a handler of the model would catch when it fails has to be a decision."""
        if (
            name in ("truediv", "floordiv", "mod")
            and self.may_catch()
            and isinstance(args[1], Scalar)
            and not self.truth(self.host("ne", args[1], 0))
        ):
            raise ZeroDivisionError({"truediv": "division by zero"}.get(name, "integer division or modulo by zero"))

    def may_catch(self) -> bool:
        """Whether an exception raised here would be seen by the model."""
        raise NotImplementedError

    def host_op(self, name: str, operands: tuple[Operand, ...], kind: ScalarKind) -> Scalar:
        """Emit one host operation."""
        vid = self.values.new(ScalarType(kind))
        self.emit(HostOp(function=name, args=operands, result=self.value(vid), loc=self.loc()))
        return Scalar(kind, vid)

    def item(self, tensor: torch.Tensor) -> Any:
        """The Python number of a one-element tensor."""
        return self.element(tensor, None)

    def element(self, tensor: torch.Tensor, index: int | None) -> Any:
        """The Python number at a flat index (None: the only one)."""
        tensor = self.substituted(tensor)
        known = self.known_value(tensor)
        if known is not None:
            with unset_fake_temporarily(), torch._C.DisableTorchFunction():
                return known.item() if index is None else known.reshape(-1)[index].item()
        content = self.current_vid(tensor) if isinstance(tensor, FakeTensor) else id(tensor)
        call = ("item", content, index)
        found, out = self.replayed(call)
        if found:
            return out
        if call in self.state.facts.results:
            return self.state.facts.results[call]
        kind = _item_kind(tensor.dtype)
        if kind is None:
            raise UnsupportedError("DY203", self.loc(), f"a number of {tensor.dtype} in Python")
        args = (self.operand(tensor),) if index is None else (self.operand(tensor), Lit(index))
        scalar = self.host_op("item" if index is None else "item_at", args, kind)
        if kind is ScalarKind.INT:
            self._give_symbol(scalar)
        self.state.facts.results[call] = scalar
        self.log(call, scalar)
        return scalar

    def tolist(self, tensor: torch.Tensor) -> Any:
        """Nested lists of the elements."""
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
        parts = [self.compute(arg) for arg in expr.args]
        for node, name in _EXPRESSIONS:
            if isinstance(expr, node):
                total = parts[0]
                for part in parts[1:]:
                    total = self.host(name, total, part)
                return total
        if isinstance(expr, sympy.Not):
            return self.host("not_", parts[0])
        raise UnsupportedError("DY201", self.loc(), f"torch asks about {expr}")

    # ------------------------------------------------------------ refusals

    def random_operation(self, name: str) -> UnsupportedError:
        """A random kernel would be frozen or differ from run to run."""
        return UnsupportedError(
            "DY202",
            self.loc(),
            f"random operation {name}",
            hint="call eval() on the model, or take the sampled numbers as an input",
        )

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

    def inferred_dtype(self, data: Any) -> torch.dtype:
        """The dtype `torch.tensor(data)` would have."""
        found = list(leaves(data))
        if found and all(isinstance(leaf, torch.Tensor) for leaf in found):
            dtype = found[0].dtype
            for leaf in found[1:]:
                dtype = torch.promote_types(dtype, leaf.dtype)
            return dtype
        kinds = {
            scalars.kind_of(leaf) if not isinstance(leaf, torch.Tensor) else _item_kind(leaf.dtype) for leaf in found
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


def _item_kind(dtype: torch.dtype) -> ScalarKind | None:
    if dtype == torch.bool:
        return ScalarKind.BOOL
    if dtype.is_floating_point:
        return ScalarKind.FLOAT
    return None if dtype.is_complex else ScalarKind.INT
