"""Torch's symbolic shapes, with the facts of the machine's path in place of torch's process-wide knowledge."""

from __future__ import annotations

import contextlib
import sys
import types
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import sympy
import torch
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from dycl.passes.specialize.conditions import normal_condition
from dycl.passes.specialize.results import Asked

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine

# Questions about memory layout alone: any consistent answer gives the same values, so torch's own fallback is taken.
# Everything else that torch would assume silently ("size oblivious", `guard_or_false`) is asked.
_LAYOUT_FUNCTIONS = frozenset(
    {
        "is_contiguous_or_false",
        "is_contiguous",
        "is_contiguous_for_memory_format",
        "is_channels_last_contiguous_2d",
        "is_channels_last_contiguous_3d",
        "is_non_overlapping_and_dense",
        "is_non_overlapping_and_dense_or_false",
        "compute_elementwise_output_strides",
        "_compute_elementwise_output_logical_to_physical_perm",
        "compute_elementwise_output_logical_to_physical_perm",
        "make_contiguous_strides_for",
        "suggest_memory_format",
        "validate_strides",
        "extract_tensor_metadata",
    }
)


# What stands between a constructor's C++ (which asks how much memory an empty tensor takes) and the question.
_PASSING_FILES = (__file__, "symbolic_shapes.py", "sym_node.py", "_ops.py")
_ALLOCATORS = frozenset(
    {"constructors", "_get_output_tensor_from_cache_entry", "meta_index_Tensor", "_restride_src", "remembered_tensor"}
)


def _asks_about_layout() -> bool:
    """Whether the question comes from a layout computation of torch, or from C++ that allocates a new tensor."""
    is_direct = True
    for code in _callers():
        if code.co_name in _LAYOUT_FUNCTIONS or (is_direct and code.co_name in _ALLOCATORS):
            return True
        is_direct = is_direct and code.co_filename.endswith(_PASSING_FILES)
    return False


def _allocates_remembered() -> bool:
    """Whether it is a result made again whose size is asked about: it was one before."""
    asking = _asking_frame()
    return asking is not None and asking.f_code.co_name == "remembered_tensor"


def _asks_to_broadcast() -> bool:
    """Whether broadcasting asks: what it assumes when told no, it asserts afterwards."""
    asking = _asking_frame()
    return asking is not None and asking.f_code.co_name == "_broadcast_shapes"


def _broadcast_pair() -> tuple[Any, Any] | None:
    """The two sizes that broadcasting compares, if it is broadcasting that asks."""
    asking = _asking_frame()
    if asking is None:
        return None
    found = asking.f_locals
    match asking.f_code.co_name:
        case "infer_size" if "sizeA" in found and "sizeB" in found:
            return found["sizeA"], found["sizeB"]
        case "_broadcast_shapes" if "common_shape" in found and "idx" in found:
            return found["shape"][found["idx"]], found["common_shape"][found["idx"]]
        case "should_expand" if "x" in found and "y" in found:
            return found["x"], found["y"]
    return None


def _expression(size: Any) -> sympy.Basic:
    return size.node.expr if isinstance(size, torch.SymInt) else sympy.sympify(size)


def _asking_frame() -> types.FrameType | None:
    """Where the question is asked, behind what merely hands it on."""
    return next((frame for frame in _frames() if not frame.f_code.co_filename.endswith(_PASSING_FILES)), None)


def _callers() -> Iterator[types.CodeType]:
    """The code below the question, innermost first."""
    return (frame.f_code for frame in _frames())


def _frames() -> Iterator[types.FrameType]:
    frame: types.FrameType | None = sys._getframe(1)
    for _ in range(40):
        if frame is None:
            return
        yield frame
        frame = frame.f_back


class PathShapeEnv(ShapeEnv):
    """A ShapeEnv that asks the machine, which answers from the facts of its path or forks."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self._machine = machine
        self._asked: list[Asked | None] = []
        self._is_remaking = False

    def part(self) -> None:
        """Let go of the machine, whose tensors and states would otherwise stay for ever once all is done.

        A view holds its base where the garbage collector does not see it, and every fake tensor leads here. So do
        torch's caches of what a shape environment was asked, which hold the environment: what torch remembers here of
        operations goes too.
        """
        del self._machine
        self.fake_tensor_cache.clear()

    @contextlib.contextmanager
    def remaking(self) -> Iterator[None]:
        """While a tensor is made like one that there is: torch asks whether its sizes are not negative."""
        self._is_remaking = True
        try:
            yield
        finally:
            self._is_remaking = False

    @contextlib.contextmanager
    def asking(self) -> Iterator[list[Asked | None]]:
        """Collects what torch asks meanwhile, with what the facts say to it; None where the program has to ask."""
        before, self._asked = self._asked, []
        try:
            yield self._asked
        finally:
            self._asked = before

    def _decide(self, expr: sympy.Basic) -> sympy.Basic | None:
        known = self._machine.decide_expr(expr)
        self._asked.append((expr, known))
        return known

    def _ask(self, expr: sympy.Basic, fallback: Any = None) -> Any:
        """The machine's answer; while an operation is tried, the answer in that world."""
        self._asked.append(None)
        expr = normal_condition(expr, self._machine.state.facts)
        trial, is_condition = self._machine.trial, isinstance(expr, sympy.logic.boolalg.Boolean)
        if trial is None or not is_condition or expr.is_Symbol or self._machine.is_unborn(expr):
            return self._machine.ask_expr(expr)
        return trial.answer(self._machine, expr, fallback)

    def evaluate_expr(
        self,
        orig_expr: Any,
        hint: Any = None,
        fx_node: Any = None,
        size_oblivious: bool = False,
        fallback_value: Any = None,
        *,
        forcing_spec: bool = False,
    ) -> Any:
        """The value of the expression on this path; raises `Question` where it has none."""
        if not getattr(orig_expr, "free_symbols", None):
            return sympy.sympify(orig_expr)
        known = self._decide(orig_expr)
        if known is not None:
            return known
        if (size_oblivious or fallback_value is not None) and _asks_about_layout():
            return sympy.sympify(bool(fallback_value))
        if isinstance(orig_expr, sympy.Ge) and orig_expr.rhs == 0 and (self._is_remaking or _allocates_remembered()):
            return sympy.true
        if fallback_value is False and self._machine.is_unborn(orig_expr) and _asks_to_broadcast():
            return sympy.false
        if fallback_value is False and (pair := _broadcast_pair()) is not None and self._are_equal(*pair):
            return sympy.false
        return self._ask(orig_expr, fallback_value)

    def _are_equal(self, left: Any, right: Any) -> bool:
        """Whether two sizes that are broadcast together are one: the result is the same whether it is 1 or not.

        A size is broadcast to a literal 1 as to itself. Two run-time sizes are equal as a rule, so that is asked first.
        """
        one, other = _expression(left), _expression(right)
        if one == other or sympy.S.One in (one, other):
            return True
        if not (one.free_symbols and other.free_symbols):
            return False
        equal = sympy.Eq(one, other)
        known = self._decide(equal)
        return bool(known if known is not None else self._ask(equal))

    def guard_or_defer_runtime_assert(  # type: ignore[override]  # torch wraps its own in a cache
        self, orig_expr: Any, msg: str, fx_node: Any = None
    ) -> bool:
        """Whether the asserted condition holds; both answers are explored: a failing check raises as in torch.

        What torch asserts of a size that the operation is still making holds wherever the operation succeeds.
        """
        if getattr(orig_expr, "free_symbols", None) and self._machine.is_unborn(orig_expr):
            self._machine.state.facts.learn(orig_expr, True)
            return True
        return bool(self.evaluate_expr(orig_expr))

    def _set_replacement(self, a: sympy.Symbol, tgt: sympy.Expr, msg: str) -> None:
        """Nothing: an equality learned on one path must not reach another."""

    def constrain_symbol_range(  # type: ignore[override]  # torch wraps its own in a cache
        self, s: sympy.Symbol, compiler_min: int, compiler_max: int
    ) -> None:
        """A range that torch guarantees for a symbol it has just made (sizes are not negative)."""
        self._machine.bound_symbol(s, compiler_min, compiler_max)
