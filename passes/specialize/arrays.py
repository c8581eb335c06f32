"""Numpy in models: its calls on run-time values are made again by the host, with numpy itself.

An `Array` is a reference to an array that the host will have. Calls of numpy on static arrays run now, as any static
code. What is written in place is written in place at run time: all views see it. Between tensors and arrays memory is
shared in the source; the program copies there as soon as anything writes into an array, and a write that a living
tensor would see is refused.
"""

from __future__ import annotations

import operator
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from dycl.diagnostics import UnsupportedError
from dycl.ir.arrays import ARRAY_FUNCTIONS
from dycl.ir.nodes import ArrayForm, HostOp, Lit, Mapping, Operand, ScalarKind, TensorType
from dycl.ir.trees import leaves, map_leaves
from dycl.passes.specialize.arrayfailures import as_int64, check_array_failure
from dycl.passes.specialize.arraymemory import ArrayMemory
from dycl.passes.specialize.arrayshapes import Found, UnknownShapeError, find_results
from dycl.passes.specialize.arrayvalue import Array, array_dtype, array_root, has_runtime, number_dtype
from dycl.passes.specialize.numbers import item_kind
from dycl.passes.specialize.objectarrays import array_of_objects, check_known, check_store, is_of_objects, objects_call
from dycl.passes.specialize.subscripts import Selected, select
from dycl.passes.specialize.templates import Number, Tensor
from dycl.passes.specialize.values import KIND_TYPES, RuntimeList, Scalar

MAKES_TENSORS = (torch.from_numpy, torch.tensor, torch.as_tensor, torch.asarray)
SMALL = 16  # elements up to which a constant array is written out in the host
# Functions that look at a tensor as an array and return an array, not a tensor.
_TAKES_TENSORS_TEXT = """
    array asarray ascontiguousarray concatenate stack vstack hstack dstack column_stack where unique dot linalg.norm
    count_nonzero isin searchsorted interp full append histogram bincount allclose array_equal isclose
"""
_TAKES_TENSORS = frozenset(_TAKES_TENSORS_TEXT.split())


class Arrays(ArrayMemory):
    """The part of the machine that knows numpy."""

    recorder: Any  # of `Natives`

    def native(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of native code (`Natives`)."""
        raise NotImplementedError

    def wrapped(self, value: Any) -> Any:
        """Torch's symbolic numbers as scalars (`Natives`)."""
        raise NotImplementedError

    # ------------------------------------------------------------ calls

    def numpy_call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a native call returns, if it is numpy's and about run-time values; else NotImplemented."""
        if function in (operator.getitem, operator.setitem, operator.contains, operator.delitem):
            return self._subscript(function, args)
        if function in _IN_PLACE_OPERATORS and isinstance(args[0], np.ndarray) and has_runtime((args, kwargs)):
            raise self.lift(args[0])
        if (made := objects_call(self, function, args, kwargs)) is not NotImplemented:
            return self.static_arrays(made, (id(self.state.frames[-1].code), self.state.frames[-1].current))
        name = numpy_name(function)
        if name is None or not has_runtime((args, kwargs)):
            return NotImplemented
        if name.startswith("ndarray.") and isinstance(args[0], np.ndarray) and name not in _METHOD_TABLE:
            return NotImplemented
        return self.array_call(name, args, kwargs)

    def array_call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """One call of numpy by the host, and what it returns."""
        if name.startswith("ndarray.") and (special := _METHODS.get(name.removeprefix("ndarray."))) is not None:
            return special(self, *args, **kwargs)
        if f"np.{name}" not in ARRAY_FUNCTIONS:
            raise self._no_function(name)
        is_wrapped = any(isinstance(arg, torch.Tensor) for arg in (*args, *kwargs.values()))
        if is_wrapped and name not in _TAKES_TENSORS and not isinstance(getattr(np, name, None), np.ufunc):
            raise self._no_function(name, " of a tensor")
        kwargs = {key: value for key, value in kwargs.items() if not (key == "out" and value is None)}
        if "out" in kwargs or "where" in kwargs or "order" in kwargs:
            raise self._no_function(name, " with out=, where= or order=")
        args, kwargs = self.array_operands((args, kwargs))
        check_known(self, name, (args, kwargs))
        args = as_int64(self, name, args)
        whole = (*args, kwargs) if kwargs else args
        result = self._emit_call(name, whole)
        if name in ("array", "copy", "asarray") or not is_wrapped or name in _TAKES_TENSORS:
            return result
        return self.wrapped_as_tensor(result)

    def _emit_call(self, name: str, whole: tuple[Any, ...]) -> Any:
        self.has_reversed |= name in ("flip", "fliplr", "flipud", "rot90")
        results = self._find_results(name, whole)
        check_array_failure(self, f"np.{name}", whole)
        return self.emit_unasked(name, whole, results)

    def emit_unasked(self, name: str, whole: tuple[Any, ...], results: Any = None) -> Any:
        """One call of numpy, whose errors stop the program."""
        results = self._find_results(name, whole) if results is None else results
        call = ("np", name, self.array_identity(whole))
        found, out = self.replayed(call)
        if found:
            return out
        if isinstance(results, Found):
            out = self._emit_result(f"np.{name}", whole, results)
        else:
            parts = [self._emit_result(f"np.{name}[{index}]", whole, part) for index, part in enumerate(results)]
            out = list(parts) if "split" in name or name == "meshgrid" else tuple(parts)
        self.log(call, out)
        return out

    def _find_results(self, name: str, whole: tuple[Any, ...]) -> Any:
        if name.endswith("reshape") and (found := self._reshaped(name, whole)) is not None:
            return found
        if name.endswith("squeeze") and len(whole) == 1 and not _is_static(whole[0]):
            raise self._no_function(name, " of an array of run-time sizes, without an axis")
        try:
            return find_results(name, ARRAY_FUNCTIONS[f"np.{name}"].call, whole)
        except UnknownShapeError as error:
            raise self._no_function(name, f" ({error})" if error.args else "") from None
        except (ValueError, TypeError, IndexError) as error:
            if type(error).__module__.startswith("numpy") or type(error) in (ValueError, TypeError, IndexError):
                raise
            raise self._no_function(name, f" ({error})") from None

    def _reshaped(self, name: str, whole: tuple[Any, ...]) -> Found | None:
        """Of a reshape with run-time sizes: those given are known, -1 is not."""
        array, *rest = whole
        shape = rest[0] if len(rest) == 1 and isinstance(rest[0], (tuple, list)) else rest
        if _is_static(array) and not any(isinstance(size, Scalar) for size in leaves(shape)):
            return None
        if any(isinstance(size, dict) for size in shape) or not isinstance(array, Array):
            raise self._no_function(name, " with keywords")
        sizes = [None if isinstance(size, Scalar) or size == -1 else int(size) for size in shape]
        return Found(number_dtype(array), tuple(sizes), array.form)

    def _emit_result(self, host: str, whole: tuple[Any, ...], found: Found) -> Any:
        if host not in ARRAY_FUNCTIONS:
            raise self._no_function(host.removeprefix("np."), ": it returns several arrays")
        operands = tuple(self.array_operand(arg) for arg in whole)
        if found.is_plain:
            kinds = {"b": ScalarKind.BOOL, "i": ScalarKind.INT, "f": ScalarKind.FLOAT}
            return self.plain_result(host, operands, kinds[found.dtype.kind])
        array = self.new_array(found.dtype, found.sizes, found.form)
        self.define_array(array, host, operands)
        if not array.is_scalar and self.may_view(host, whole):
            for leaf in leaves(whole):
                if isinstance(leaf, Array) and not leaf.is_scalar:
                    self.link_memory(array.fake, leaf.fake)
        return array

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

    # ------------------------------------------------------------ arrays for torch

    def torch_arguments(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Arguments of torch without arrays: numpy's scalars are numbers to it, of arrays it makes tensors."""
        if not any(isinstance(leaf, Array) for leaf in leaves((args, kwargs))):
            return args, kwargs
        if function is operator.setitem:
            return (args[0], self.torch_index(args[0], args[1]), self._tensor_or_number(args[2])), kwargs

        def leaf(found: Any) -> Any:
            if not isinstance(found, Array):
                return found
            if not found.is_scalar:
                name = getattr(function, "__name__", function)
                raise UnsupportedError("DY203", self.loc(), f"{name} of a numpy array", hint="use torch.from_numpy")
            return self.array_number(found, "a numpy scalar")

        return map_leaves(leaf, (args, kwargs))

    def made_tensor(self, function: Any, data: Any, dtype: Any = None, device: Any = None, **kwargs: Any) -> Any:
        """torch.from_numpy and its likes of arrays, or of lists that hold arrays."""
        if isinstance(data, Array):
            if data.is_scalar and function is torch.from_numpy:
                raise TypeError(f"expected np.ndarray (got numpy.{array_dtype(data).name})")
            made = self.tensor_of_array(data, copies=function is torch.tensor)
            return made if dtype is None else self.native(torch.Tensor.to, (made, dtype), {})
        if any(isinstance(leaf, Array) and not leaf.is_scalar for leaf in leaves(data)):
            return self.made_tensor(torch.tensor, self.array_call("array", (data,), {}), dtype)
        wanted = str(dtype or _list_dtype(data)).removeprefix("torch.")
        return self.tensor_of_array(self.array_call("array", (data,), {"dtype": wanted}), copies=True)

    def tensor_of_static(self, function: Any, data: np.ndarray, dtype: Any = None, **kwargs: Any) -> Any:
        """torch.from_numpy and its likes of an array that is known: a constant, or the memory of an array of the run.

        Where array and tensor are one memory, the array could be written later: from the next attempt on it is one of
        the run's, which knows of both.
        """
        if data.dtype.kind not in "biuf":
            raise UnsupportedError("DY203", self.loc(), f"a tensor of a numpy array of {data.dtype}")
        root = array_root(data)
        if function is not torch.tensor and id(root) not in self.known_objects:
            raise self.lift(data)
        made = self.recorder.call(torch.clone, (self.constant_tensor(data),), {})
        return made if dtype is None else self.recorder.call(torch.Tensor.to, (made, dtype), {})

    def check_conversion(self, array: Array, *, copies: bool) -> None:
        """Raise what torch.from_numpy raises on this path, if the model could notice."""
        if not array.is_scalar:
            check_array_failure(self, "np.copy_to_tensor" if copies else "np.to_tensor", (array,))

    def _tensor_or_number(self, value: Any) -> Any:
        if not isinstance(value, Array):
            return value
        if value.is_scalar:
            return self.array_number(value, "a numpy scalar")
        return self.tensor_of_array(value, copies=True)

    def torch_index(self, target: Any, index: Any) -> Any:
        """An index of a tensor or a list, without arrays."""
        if not any(isinstance(leaf, Array) for leaf in leaves(index)):
            return index
        is_tensor = isinstance(target, torch.Tensor)

        def leaf(found: Any) -> Any:
            if not isinstance(found, Array):
                return found
            if is_tensor and not found.is_scalar:
                return self.tensor_of_array(found, copies=True)
            return self.array_number(found, "an array as an index")

        return map_leaves(leaf, index)

    def number_for_text(self, array: Array, conversion: str, spec: str) -> Any:
        """The number that a text shows in a scalar's place, where both look alike."""
        kind = array_dtype(array).kind
        if not array.is_scalar or conversion in ("r", "a") or not (kind in "iu" or (kind == "f" and spec)):
            raise UnsupportedError("DY203", self.loc(), "the text of a numpy array", hint="format its item() instead")
        if kind == "f" and array_dtype(array) != np.float64:
            raise UnsupportedError("DY203", self.loc(), "the text of a numpy scalar", hint="format its item() instead")
        return self.array_number(array, "a numpy scalar")

    def array_result(self, array: Array) -> Operand:
        """An array that leaves the program as one."""
        if array.is_scalar:
            return self.operand(array)
        made = Array(self.fresh_fake(list(array.fake.shape), array.fake.dtype), array.form)
        self.define_array(made, "np.result", (self.operand(array),))
        return self.operand(made)

    def known_array_result(self, array: np.ndarray, operand: Callable[[Any], Operand]) -> Operand:
        """A static array that leaves the program: a new one for each call, as the run has made it."""
        root = array_root(array) if is_of_objects(array) else array
        is_old = id(root) in self.known_objects or id(root) not in self.array_sites
        if is_old or root.base is not None:
            raise UnsupportedError(
                "DY213",
                self.loc(),
                "the result is a numpy array that the model keeps, or a view",
                hint="return a copy() of it",
            )
        if is_of_objects(array):
            return array_of_objects(self, array, operand)
        lifted = self.constant_array(array)
        return self.array_result(lifted if array.size <= SMALL else self.array_call("copy", (lifted,), {}))

    # ------------------------------------------------------------ operators

    def array_operator(self, name: str, left: Any, right: Any) -> Any:
        """left + right and its likes, one of them an array."""
        for value, other, is_left in ((left, right, True), (right, left, False)):
            if isinstance(other, torch.Tensor) and isinstance(value, Array):
                if not value.is_scalar:
                    raise self._no_function(f"operator.{name}", " of an array and a tensor")
                number = self.array_number(value, "a numpy scalar")
                pair = (number, other) if is_left else (other, number)
                return self.native(getattr(operator, name), pair, {})
        if not _is_operand(left) or not _is_operand(right):
            return NotImplemented
        return self.array_call(f"operator.{name}", (left, right), {})

    def array_in_place(self, name: str, left: Any, right: Any) -> Any:
        """left += right and its likes: written into an array, new for a scalar."""
        if left.is_scalar:
            return self.array_operator(name, left, right)
        args, _ = self.array_operands(((left, right), {}))
        host = f"np.operator.i{name.strip('_')}"
        self._find_results(host.removeprefix("np."), args)
        check_known(self, host.removeprefix("np."), args)
        check_store(self, left, right)
        check_array_failure(self, host, args)
        call = ("np", host, self.array_identity(args))
        found, out = self.replayed(call)
        if found:
            return out
        self.check_array_write(left)
        result = Array(left.fake, left.form)
        self.emit_write(host, left, tuple(self.array_operand(arg) for arg in args))
        self.log(call, result, True)
        return left

    # ------------------------------------------------------------ subscripts

    def _subscript(self, function: Any, args: tuple[Any, ...]) -> Any:
        target = args[0]
        if isinstance(target, np.ndarray) and has_runtime(args):
            if function is operator.setitem:
                raise self.lift(target)
            target = self.constant_array(target)
        if not isinstance(target, Array):
            return NotImplemented
        if function is operator.getitem:
            return self.array_item(target, args[1])
        if function is operator.setitem:
            return self.store_array_item(target, args[1], args[2])
        if function is operator.contains:
            return self.truth(self.array_call("contains", (target, args[1]), {}))
        raise self._no_function("ndarray.__delitem__")

    def array_item(self, target: Array, index: Any) -> Any:
        """target[index]"""
        index = self._array_index(index)
        parts = index if isinstance(index, tuple) else (index,)
        selected = self._select(target, parts)
        self.has_reversed |= any(isinstance(part, slice) and _may_reverse(part.step) for part in parts)
        check_array_failure(self, "np.getitem", (target, index))
        call = ("np", "getitem", self.array_identity((target, index)))
        found, out = self.replayed(call)
        if found:
            return out
        out = self._emit_item(target, index, selected)
        self.log(call, out)
        return out

    def _emit_item(self, target: Array, index: Any, selected: Selected) -> Any:
        operands = (self.array_operand(target), self.array_operand(index))
        if selected.is_scalar and target.form is ArrayForm.OBJECTS:
            return self.plain_result("np.getitem", operands, self._item_kind(target))
        out = self.new_array(
            number_dtype(target), selected.sizes, ArrayForm.SCALAR if selected.is_scalar else target.form
        )
        self.define_array(out, "np.getitem", operands)
        if selected.is_view and not selected.is_scalar:
            self.link_memory(out.fake, target.fake)
        return out

    def _select(self, target: Array, parts: tuple[Any, ...]) -> Any:
        """What the index selects; numpy's own error where that does not depend on run-time values."""
        if _is_static(target) and not has_runtime(parts):
            dummy = np.empty(tuple(int(size) for size in target.fake.shape), array_dtype(target))
            dummy[tuple(parts)]
        if target.is_scalar and not all(part is None or part is Ellipsis for part in parts):
            raise IndexError("invalid index to scalar variable.")
        return select(tuple(target.fake.shape), parts)

    def store_array_item(self, target: Array, index: Any, value: Any) -> None:
        """target[index] = value"""
        if target.is_scalar:
            raise TypeError(f"'numpy.{array_dtype(target).name}' object does not support item assignment")
        index = self._array_index(index)
        (value,) = self.array_operands((value,))
        check_store(self, target, value)
        self._select(target, index if isinstance(index, tuple) else (index,))
        check_array_failure(self, "np.setitem", (target, index, value))
        call = ("np", "setitem", self.array_identity((target, index, value)))
        found, _ = self.replayed(call)
        if found:
            return
        self.check_array_write(target)
        self.emit_write("np.setitem", target, tuple(self.array_operand(part) for part in (target, index, value)))
        self.log(call, None, True)

    def _array_index(self, index: Any) -> Any:
        """An index as the host can write it: lists with run-time numbers are arrays, tensors are arrays or numbers."""
        if isinstance(index, tuple):
            return tuple(self._array_index(part) for part in index)
        if isinstance(index, torch.Tensor):
            if index.dim() == 0 and index.dtype is not torch.bool:
                return self._tensor_item(index)
            return self.array_of_tensor(index)
        if isinstance(index, RuntimeList):
            array = self.array_of_list(index)
            return array if isinstance(array.fake.shape[0], torch.SymInt) else self.constant_array(np.zeros(0, np.intp))
        if isinstance(index, list) and has_runtime(index):
            return self.array_call("array", (index,), {})
        if isinstance(index, list):
            return self.constant_array(np.asarray(index, dtype=None if index else np.intp))
        if isinstance(index, np.ndarray):
            return self.constant_array(index)
        if isinstance(index, slice):
            return slice(*[self._bound(part) for part in (index.start, index.stop, index.step)])
        if isinstance(index, Scalar) and index.kind is ScalarKind.BOOL:
            raise self._no_function("ndarray.__getitem__", " by a run-time bool")
        if isinstance(index, Array) and index.is_scalar:
            return self._bound(index)
        if isinstance(index, np.integer):
            return int(index)
        return index

    def _bound(self, part: Any) -> Any:
        if isinstance(part, torch.Tensor):
            return self._tensor_item(part)
        if isinstance(part, Array):
            return self.array_number(part, "a bound")
        return int(part) if isinstance(part, np.integer) else part

    # ------------------------------------------------------------ numbers

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

    def array_rows(self, array: Array) -> Any:
        """The rows of an array whose first size is known."""
        if not array.fake.dim():
            raise TypeError("iteration over a 0-d array")
        size = array.fake.shape[0]
        if isinstance(size, torch.SymInt):
            raise UnsupportedError("DY204", self.loc(), "native code goes through an array of run-time length")
        return [self.array_item(array, index) for index in range(size)]

    # ------------------------------------------------------------ attributes

    def array_attribute(self, array: Array, name: str) -> Any:
        """array.name"""
        shape = array.fake.shape
        if name in ("shape", "size", "ndim", "dtype"):
            found: Any = {
                "shape": tuple(self.wrapped(size) for size in shape),
                "size": self._product(shape),
                "ndim": len(shape),
                "dtype": array_dtype(array),
            }
            return found[name]
        if name == "T":
            return self.array_call("ndarray.transpose", (array,), {})
        if name == "__class__":
            return array_dtype(array).type if array.is_scalar else np.ndarray
        method = getattr(np.ndarray, name, None)
        if isinstance(method, types.MethodDescriptorType):
            return types.MethodType(method, array)
        owner = array_dtype(array).type if array.is_scalar else np.ndarray
        if not hasattr(owner, name):
            raise AttributeError(f"'numpy.{owner.__name__}' object has no attribute '{name}'")
        raise self._no_function(f"ndarray.{name}")

    def _product(self, shape: Any) -> Any:
        sizes = [self.wrapped(size) for size in shape if not (isinstance(size, int) and size == 1)]
        total = sizes[0] if sizes else 1
        for size in sizes[1:]:
            total = self.host("mul", total, size)
        return total

    # ------------------------------------------------------------ operands

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
        return self._emit_call("bool_" if name == "bool" else name, (value.item(),))  # type: ignore[no-any-return]

    def constant_array(self, array: np.ndarray) -> Array:
        """A static array as the host has it."""
        if array.dtype.kind not in "biuf":
            raise UnsupportedError("DY203", self.loc(), f"an array of {array.dtype} meets run-time values")
        if array.size == 0:
            return self._emit_call("zeros", (array.shape, {"dtype": array.dtype.name}))  # type: ignore[no-any-return]
        if array.size <= SMALL:
            return self._emit_call("array", (array.tolist(), {"dtype": array.dtype.name}))  # type: ignore[no-any-return]
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


def numpy_name(function: Any) -> str | None:
    """The name of a function or method of numpy below `numpy`, else None."""
    if isinstance(function, types.MethodDescriptorType) and function.__objclass__ in (np.ndarray, np.generic):
        return f"ndarray.{function.__name__}"
    if isinstance(function, np.ufunc):
        return function.__name__
    if isinstance(function, type) and issubclass(function, np.generic):
        return "bool_" if function is np.bool_ else function.__name__
    module = getattr(function, "__module__", None)
    if not isinstance(module, str) or not (module == "numpy" or module.startswith("numpy.")):
        return None
    name = getattr(function, "__name__", "")
    prefix = "linalg." if module.startswith("numpy.linalg") else ""
    prefix = "random." if module.startswith("numpy.random") else prefix
    home = np.linalg if prefix == "linalg." else np
    if prefix != "random." and getattr(home, name, function) is not function:
        return f"{module.removeprefix('numpy.')}.{name}"  # another of that name: `np.ma.where` is not `np.where`
    return f"{prefix}{name}"


def _is_operand(value: Any) -> bool:
    return isinstance(value, (Array, Scalar, bool, int, float, np.generic, np.ndarray, list, tuple))


def _list_dtype(data: Any) -> torch.dtype:
    """The dtype of `torch.tensor` of a list that holds scalars of numpy."""
    found = torch.bool
    for leaf in leaves(data):
        if isinstance(leaf, Array):
            kind = leaf.fake.dtype
        elif isinstance(leaf, Scalar):
            kind = {ScalarKind.INT: torch.int64, ScalarKind.BOOL: torch.bool}.get(leaf.kind, torch.get_default_dtype())
        else:
            kind = torch.tensor(leaf).dtype
        found = torch.promote_types(found, kind)
    return found


def _is_static(value: Any) -> bool:
    return not isinstance(value, Array) or all(isinstance(size, int) for size in value.fake.shape)


def _may_reverse(step: Any) -> bool:
    return not isinstance(step, (int, type(None))) or (step is not None and step < 0)


def _is_literal(value: Any) -> bool:
    return value is None or value is Ellipsis or type(value) in (bool, int, float, str)


def _item(machine: Arrays, array: Array, *index: Any) -> Any:
    if not index:
        return machine.array_number(array, "item() of an array")
    if len(index) == 1 and isinstance(index[0], int):
        return machine._element(array, index[0])
    return machine.array_number(machine.array_item(array, index if len(index) > 1 else index[0]), "item() of an array")


def _tolist(machine: Arrays, array: Array) -> Any:
    if not _is_static(array):
        raise UnsupportedError("DY204", machine.loc(), "tolist() of an array whose size depends on data")
    if not array.fake.dim():
        return machine._element(array, None)
    flat = [machine._element(array, index) for index in range(array.fake.numel())]
    for size in reversed(array.fake.shape[1:]):
        flat = [flat[i : i + size] for i in range(0, len(flat), size)] if size else []
    return flat


_METHODS: dict[str, Any] = {"item": _item, "tolist": _tolist}
_METHOD_TABLE = frozenset(name.removeprefix("np.") for name in ARRAY_FUNCTIONS if name.startswith("np.ndarray."))
_IN_PLACE_OPERATORS = frozenset(
    getattr(operator, name)
    for name in dir(operator)
    if f"np.operator.{name}" in ARRAY_FUNCTIONS and name.startswith("i") and name != "invert"
)

__all__ = ["Arrays", "TensorType", "numpy_name"]
