"""Adds operations to the block being filled, and keeps what is known of the values they define."""

from __future__ import annotations

from typing import Any

import sympy
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from dycl.diagnostics import InternalError, SourceRange
from dycl.ir.nodes import HostOp, Invoke, TensorOp
from dycl.ir.values import ValueId
from dycl.passes.specialize.hints import Hints
from dycl.passes.specialize.residual import Values
from dycl.passes.specialize.schemas import SchemaTable
from dycl.passes.specialize.shapes import PathShapeEnv
from dycl.passes.specialize.signals import Restart
from dycl.passes.specialize.state import State
from dycl.passes.specialize.values import Generator, RuntimeList, Scalar
from dycl.passes.specialize.weights import WeightNames
from dycl.passes.specialize.worlds import Trial

_MORE_STEPS = 500


class Emission:
    """The part of the machine that writes the residual program."""

    def __init__(self, hints: Hints, weight_names: WeightNames) -> None:
        self.hints = hints
        self.weight_names = weight_names
        self.env = PathShapeEnv(self)  # type: ignore[arg-type]
        self.fake = FakeTensorMode(shape_env=self.env, allow_non_fake_inputs=True)
        self.trial: Trial | None = None  # how questions are answered while an operation is tried
        self.values = Values()
        self.state: State = State()
        self.known: dict[ValueId, torch.Tensor] = {}
        self._kept: dict[int, Any] = {}
        self.keep: list[Any] = []  # whatever is keyed by id must stay alive
        self.position = 0  # in the replay log of the current instruction
        self.fresh_log: list[Any] = []
        self.input_storages: set[int] = set()
        self.input_roots: set[ValueId] = set()  # names of the tensors that are inputs themselves, not views of such
        self.has_input_objects = False  # objects of the caller's may hold anything else that is given
        self.parted: dict[int, Any] = {}  # memory of tensors that are apart though they may be one -> their position
        self.moved_storages: dict[int, int] = {}  # of a fake tensor made anew at a join -> of the one it stands for
        self.shared_at_times: set[int] = set()  # storages of results that are views for some of their sizes alone
        self.schemas = SchemaTable()
        self.stale: set[ValueId] = set()  # content of views whose memory a procedure has written
        self.weight_storages: dict[int, torch.Tensor] = {}
        self.stateful_fakes: dict[int, FakeTensor] = {}
        self.symbol_bounds: dict[sympy.Symbol, tuple[Any, Any]] = {}
        self.symbol_bits: dict[sympy.Basic, int] = {}  # how large integers can be that are not an element of a tensor
        self.float_wholes: set[sympy.Basic] = set()  # integers that a float became: a float is near
        self.growing: set[sympy.Basic] = set()  # integers made of such that a loop may make many times as large
        self.counters: set[sympy.Basic] = set()  # integers that come into a block
        self.origins: dict[sympy.Basic, Any] = {}  # of symbols that come into a block: what they were generalised from
        self.consumed: list[Generator] = []
        self.reshaped: list[tuple[FakeTensor, FakeTensor]] = []  # by the current instruction: tensors, and their views
        self.steps = 0  # instructions that were run
        self.postponed = ""  # why the compile begins again, once more of the same kind is learned
        self._last_step = 0
        self._symfloats: dict[ValueId, Any] = {}
        self._symbools: dict[ValueId, Any] = {}
        self._float_vids: dict[sympy.Basic, ValueId] = {}
        self._bool_vids: dict[sympy.Basic, ValueId] = {}

    def loc(self) -> SourceRange:
        """Where the program is; the machine knows."""
        raise NotImplementedError

    def postpone(self, reason: str) -> None:
        """The compile has to begin again, but this run may go on for as long again: a loop has many joins.

        What it still does stands on assumptions that turned out wrong. So it is thrown away, and its errors are, too.
        """
        if not self.postponed:
            self.postponed, self._last_step = reason, 2 * self.steps + _MORE_STEPS

    def check_postponed(self, *, is_over: bool = False) -> None:
        """Begin again if that was postponed, and has been for long enough."""
        if self.postponed and (is_over or self.steps > self._last_step):
            raise Restart(self.postponed)

    # The parts of the machine need one another in circles; these are filled in further down the chain of classes.

    def host(self, name: str, *args: Any) -> Any:
        """The result of a host function (`Numbers`)."""
        raise NotImplementedError

    def settled(self, scalar: Scalar) -> Any:
        """The scalar with a value of its own, or the number that it is on this path (`Symbols`)."""
        raise NotImplementedError

    def vid_of(self, scalar: Scalar) -> ValueId:
        """The value that holds a scalar (`Symbols`)."""
        raise NotImplementedError

    def scalar_of(self, symbolic: Any) -> Any:
        """Torch's symbolic number as a scalar (`Symbols`)."""
        raise NotImplementedError

    def scalar_of_expr(self, expr: sympy.Basic) -> Scalar:
        """The run-time int that an expression stands for (`Symbols`)."""
        raise NotImplementedError

    def bound_symbol(self, symbol: sympy.Symbol, low: int | None, high: int | None) -> None:
        """A range of a symbol, whatever the path (`Symbols`)."""
        raise NotImplementedError

    def list_length(self, items: RuntimeList) -> Scalar:
        """len() of a run-time list (`Iteration`)."""
        raise NotImplementedError

    def name_value(self, value: Any, register: str) -> None:
        """Remember which source variable holds a value (`Machine`)."""
        raise NotImplementedError

    def may_catch(self) -> bool:
        """Whether an exception raised here would be seen by the model (`Machine`)."""
        raise NotImplementedError

    def switch(self, journal: Any) -> None:
        """Make live objects look as on this path (`Journal`)."""
        raise NotImplementedError

    def memory_group(self, storage: int) -> int:
        """A number for all memory that may be the same (`ArrayMemory`)."""
        raise NotImplementedError

    def is_linked(self, storage: int) -> bool:
        """Whether memory is both a tensor's and an array's (`ArrayMemory`)."""
        raise NotImplementedError

    def renew_memory(self, new: torch.Tensor, old: torch.Tensor) -> None:
        """A fake tensor takes the place of another at a join (`ArrayMemory`)."""
        raise NotImplementedError

    # ------------------------------------------------------------ log and replay

    def replayed(self, call: Any) -> tuple[bool, Any]:
        """(True, result) if this call was already recorded before the instruction was interrupted."""
        log = self.state.replay
        if self.position >= len(log):
            return False, None
        recorded, out, _ = log[self.position]
        if recorded != call:
            # More facts took another way through native code: what was recorded for the old way is dead work.
            if any(effect for _, _, effect in log[self.position :]):
                raise InternalError(f"specialize: a write would be executed twice at {self.loc()}")
            del log[self.position :]
            return False, None
        self.position += 1
        return True, out

    def recalled(self, call: Any, out: Any) -> bool:
        """Whether the result of an earlier instruction serves this one; False if it recorded that result itself."""
        log = self.state.replay
        if self.position < len(log):
            if log[self.position][0] != call:
                return False  # when it first ran, the operation was recorded under its own name: it is replayed as such
            self.position += 1
        else:
            self.log(call, out)
        return True

    def log(self, call: Any, out: Any, has_effect: bool | str = False) -> None:
        """Remember the result of a call for the case that the instruction is interrupted.

        `has_effect`: it must not be done twice; True if what it wrote cannot be taken back either.
        """
        self.fresh_log.append((call, out, has_effect))

    def keep_alive(self, value: Any) -> None:
        """Never let the address of an object that a key names by it be given to another."""
        self._kept[id(value)] = value

    def emit(self, op: TensorOp | HostOp | Invoke) -> None:
        """Add an operation to the block."""
        self.state.block.ops.append(op)
        self.state.is_dirty = True

    # ------------------------------------------------------------ tensors

    # ------------------------------------------------------------ operands

    # ------------------------------------------------------------ symbols

    # ------------------------------------------------------------ questions

    # ------------------------------------------------------------ host operations

    # ------------------------------------------------------------ refusals
