"""Arrays as what operations of the host take and make."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from dycl.diagnostics import UnsupportedError
from dycl.ir.arrays import ARRAY_FUNCTIONS
from dycl.ir.nodes import HostOp
from dycl.ir.trees import leaves, map_leaves
from dycl.ir.values import ArrayForm, Lit, Mapping, Operand, ScalarKind
from dycl.passes.specialize.arraymemory import ArrayMemory
from dycl.passes.specialize.arrayvalue import Array
from dycl.passes.specialize.templates import Number, Tensor
from dycl.passes.specialize.values import KIND_TYPES, RuntimeList, Scalar

SMALL = 16  # elements up to which a constant array is written out in the host


class ArrayOperands(ArrayMemory):
    """The part of the machine that hands arrays to operations of the host."""

    recorder: Any  # of `Natives`

    def emit_call(self, name: str, whole: tuple[Any, ...]) -> Any:
        """The result of a function of numpy that the host calls (`Arrays`)."""
        raise NotImplementedError

    def native(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of native code (`Natives`)."""
        raise NotImplementedError

    def wrapped(self, value: Any) -> Any:
        """Torch's symbolic numbers as scalars (`Natives`)."""
        raise NotImplementedError

    def array_operands(self, value: Any) -> Any:
        """Arguments of numpy as the host gets them: tensors as arrays, constants as what makes them."""

        def leaf(found: Any) -> Any:
            if isinstance(found, torch.Tensor):
                return self.array_of_tensor(found)
            if isinstance(found, np.ndarray):
                return self.constant_array(found)
            if isinstance(found, np.generic):
                return self._constant_scalar(found)
            if isinstance(found, RuntimeList):
                return self.array_of_list(found)
            if isinstance(found, np.dtype):
                return found.name
            if isinstance(found, type) and (issubclass(found, np.generic) or found in (int, float, bool, object)):
                return np.dtype(found).name
            if isinstance(found, (torch.SymInt, torch.SymFloat, torch.SymBool)):
                return self.wrapped(found)
            return found

        return map_leaves(leaf, value)

    def array_operand(self, value: Any) -> Operand:
        """One argument of a host operation on arrays."""
        if isinstance(value, Array):
            return self.operand(value)
        if isinstance(value, dict):
            return Mapping(tuple((Lit(key), self.array_operand(item)) for key, item in value.items()))
        bad = [leaf for leaf in leaves(value) if not isinstance(leaf, (Array, Scalar)) and not _is_literal(leaf)]
        if bad:
            raise UnsupportedError("DY203", self.loc(), f"a {type(bad[0]).__name__} is handed to a function of numpy")
        return self.operand(value)

    def _constant_scalar(self, value: np.generic) -> Array:
        name = value.dtype.name
        if f"np.{'bool_' if name == 'bool' else name}" not in ARRAY_FUNCTIONS:
            raise UnsupportedError("DY203", self.loc(), f"a {type(value).__name__} is handed to a function of numpy")
        return self.emit_call("bool_" if name == "bool" else name, (value.item(),))  # type: ignore[no-any-return]

    def constant_array(self, array: np.ndarray) -> Array:
        """A static array as the host has it."""
        if array.dtype.kind not in "biuf":
            raise UnsupportedError("DY203", self.loc(), f"an array of {array.dtype} meets run-time values")
        if array.size == 0:
            return self.emit_call("zeros", (array.shape, {"dtype": array.dtype.name}))  # type: ignore[no-any-return]
        if array.size <= SMALL:
            return self.emit_call("array", (array.tolist(), {"dtype": array.dtype.name}))  # type: ignore[no-any-return]
        tensor = self.constant_tensor(array)
        return self.array_of_tensor(tensor)

    def array_of_list(self, items: RuntimeList) -> Array:
        """`np.array` of a list of run-time length: of an empty one it is of float64, whatever it was meant to hold."""
        element = items.element
        is_number = isinstance(element, Number) and element.kind is not ScalarKind.STR
        if not is_number and not (isinstance(element, Tensor) and element.is_scalar):
            raise UnsupportedError("DY204", self.loc(), "an array of a list of run-time length that holds no numbers")
        length = self.list_length(items)
        is_empty = not self.truth(self.host("ne", length, 0))
        call = ("np", "array of list", items.vid)
        found, out = self.replayed(call)
        if found:
            return out  # type: ignore[no-any-return]
        wanted = element.dtype if isinstance(element, Tensor) else KIND_TYPES[element.kind]  # type: ignore[union-attr]
        dtype = np.dtype(float if is_empty else wanted)
        out = self.new_array(dtype, (0 if is_empty else self.symbolic(length),), ArrayForm.ARRAY)
        self.define_array(out, "np.array", (self.operand(items),))
        self.log(call, out)
        return out

    def new_array(self, dtype: np.dtype[Any], sizes: tuple[Any, ...], form: ArrayForm) -> Array:
        """An array that an operation is about to define; sizes that are None get names."""
        torch_dtype = getattr(torch, "bool" if dtype.kind == "b" else dtype.name, None)
        if not isinstance(torch_dtype, torch.dtype) or dtype.byteorder == ">":
            raise UnsupportedError("DY203", self.loc(), f"a numpy array of {dtype}")
        named = [self.symbolic(size) if isinstance(size, Scalar) else size for size in sizes]
        shape = [self._new_size() if size is None else size for size in named]
        return Array(self.fresh_fake(shape, torch_dtype), form)

    def _new_size(self) -> torch.SymInt:
        size = self.env.create_unbacked_symint()
        self.env.pending_fresh_unbacked_symbols.clear()
        self.bound_symbol(size.node.expr, 0, None)
        return size

    def define_array(self, array: Array, host: str, operands: tuple[Operand, ...]) -> None:
        """Emit the operation that makes the array."""
        array.fake._dycl_array = array.form  # type: ignore[attr-defined]
        vid = self.adopt(array.fake)
        self.emit(HostOp(function=host, args=operands, result=self.value(vid), loc=self.loc()))
        for dim, size in enumerate(array.fake.shape):
            expr = size.node.expr if isinstance(size, torch.SymInt) else None
            if expr is not None and expr.is_Symbol and expr not in self.values.symbols:
                self.bind_size(expr, array.fake, dim)

    def emit_write(self, host: str, target: Array, operands: tuple[Operand, ...]) -> None:
        """Emit an operation that writes into the array; its result is the array again."""
        vid = self.values.new(self.values.types[self.current_vid(target.fake)])
        self.emit(HostOp(function=host, args=operands, result=self.value(vid), loc=self.loc()))

    def array_identity(self, arguments: Any) -> tuple[Any, ...]:
        out: list[Any] = []
        for leaf in leaves(arguments):
            if isinstance(leaf, Array):
                out.append(("a", id(leaf.fake)))
            elif isinstance(leaf, Scalar):
                out.append(("s", leaf.vid, leaf.expr))
            else:
                out.append(repr(leaf))
        return tuple(out)


def _is_literal(value: Any) -> bool:
    return value is None or value is Ellipsis or type(value) in (bool, int, float, str)
