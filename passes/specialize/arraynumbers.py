"""The numbers in arrays: one element, and how many there are."""

from __future__ import annotations

from typing import Any

import torch

from dycl.diagnostics import UnsupportedError
from dycl.ir.values import Operand, ScalarKind
from dycl.passes.specialize.arrayfailures import check_array_failure
from dycl.passes.specialize.arrayoperands import ArrayOperands
from dycl.passes.specialize.arrayvalue import Array, array_dtype
from dycl.passes.specialize.numbers import item_kind
from dycl.passes.specialize.values import Scalar


class ArrayNumbers(ArrayOperands):
    """The part of the machine that takes numbers out of arrays."""

    def plain_result(self, host: str, operands: tuple[Operand, ...], kind: ScalarKind) -> Scalar:
        scalar = self.host_op(host, operands, kind)
        if kind is ScalarKind.INT:
            self._give_symbol(scalar)
        return scalar

    def _no_function(self, name: str, what: str = "") -> UnsupportedError:
        return UnsupportedError(
            "DY203",
            self.loc(),
            f"numpy.{name} of run-time values{what}" if not what.startswith(" of") else f"numpy.{name}{what}",
            hint="use the function of torch that does the same, or an operation of numpy that this compiler knows",
        )

    def _tensor_item(self, tensor: torch.Tensor) -> Any:
        with self.recorder:
            return self.recorder.item(tensor)

    def array_number(self, array: Array, what: str) -> Any:
        """The Python number in an array of one element."""
        if any(isinstance(size, torch.SymInt) for size in array.fake.shape):
            raise UnsupportedError("DY204", self.loc(), f"{what} of run-time size is needed as a number")
        if array.fake.numel() != 1:
            if what.startswith("the truth"):
                if array.fake.numel() == 0:
                    raise ValueError(
                        "The truth value of an empty array is ambiguous. Use `array.size > 0` to check that an array "
                        "is not empty."
                    )
                raise ValueError(
                    "The truth value of an array with more than one element is ambiguous. Use a.any() or a.all()"
                )
            raise TypeError("only length-1 arrays can be converted to Python scalars")
        return self._element(array, None)

    def _element(self, array: Array, index: Any) -> Any:
        if index is not None:
            check_array_failure(self, "np.item_at", (array, index))
        call = ("np", "item", self.current_vid(array.fake), getattr(index, "vid", index))
        found, out = self.replayed(call)
        if found:
            return out
        if array.is_scalar and call in self.state.facts.results:  # a scalar never changes
            return self.state.facts.results[call]
        kind = self._item_kind(array)
        operands = (self.array_operand(array),) if index is None else (self.array_operand(array), self.operand(index))
        scalar = self.plain_result("np.item" if index is None else "np.item_at", operands, kind)
        if array.is_scalar:
            self.state.facts.results[call] = scalar
        self.log(call, scalar)
        return scalar

    def _item_kind(self, array: Array) -> ScalarKind:
        kind = item_kind(array.fake.dtype)
        if kind is None:
            raise self._no_function("ndarray.item", " of a complex array")
        return kind

    def array_element(self, array: Array, index: tuple[int, ...]) -> Any:
        """The number at a place, as Python has it."""
        return self._element(array, index if len(index) > 1 else index[0])

    def array_length(self, array: Array) -> Any:
        """len(array)"""
        if not array.fake.dim():
            scalar = f"object of type 'numpy.{array_dtype(array).name}' has no len()"
            raise TypeError(scalar if array.is_scalar else "len() of unsized object")
        return array.fake.shape[0]
