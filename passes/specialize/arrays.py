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
from dycl.ir.trees import leaves, map_leaves
from dycl.ir.values import ArrayForm, Operand, ScalarKind
from dycl.passes.specialize.arrayfailures import as_int64, check_array_failure
from dycl.passes.specialize.arraynumbers import ArrayNumbers
from dycl.passes.specialize.arrayoperands import SMALL
from dycl.passes.specialize.arrayshapes import Found, UnknownShapeError, find_results
from dycl.passes.specialize.arrayvalue import Array, array_dtype, array_root, has_runtime, number_dtype
from dycl.passes.specialize.objectarrays import array_of_objects, check_known, check_store, is_of_objects, objects_call
from dycl.passes.specialize.subscripts import Selected, select
from dycl.passes.specialize.values import RuntimeList, Scalar

MAKES_TENSORS = (torch.from_numpy, torch.tensor, torch.as_tensor, torch.asarray)
# Functions that look at a tensor as an array and return an array, not a tensor.
_TAKES_TENSORS_TEXT = """
    array asarray ascontiguousarray concatenate stack vstack hstack dstack column_stack where unique dot linalg.norm
    count_nonzero isin searchsorted interp full append histogram bincount allclose array_equal isclose
"""
_TAKES_TENSORS = frozenset(_TAKES_TENSORS_TEXT.split())


class Arrays(ArrayNumbers):
    """The part of the machine that knows numpy."""

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
        result = self.emit_call(name, whole)
        if name in ("array", "copy", "asarray") or not is_wrapped or name in _TAKES_TENSORS:
            return result
        return self.wrapped_as_tensor(result)

    def emit_call(self, name: str, whole: tuple[Any, ...]) -> Any:
        """The result of a function of numpy, which the host calls."""
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
