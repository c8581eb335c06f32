"""Arrays of objects. What they hold decides who works on them.

Python numbers of one kind: an array of the host as any other (`ArrayForm.OBJECTS`), on which numpy works at run time.
Anything else, as None or arrays of different lengths: an array of numpy's now, whose objects are values of the machine;
numpy moves them at compile time. Which of the two `np.array(..., dtype=object)` makes, and of which shape, depends on
which sizes are equal: that is asked, and then numpy itself tells, from dummies of such sizes.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dycl.diagnostics import UnsupportedError
from dycl.ir.nodes import HostOp
from dycl.ir.trees import leaves
from dycl.ir.values import ArrayForm, ArrayType, Operand, Ref, Seq, SeqKind
from dycl.passes.specialize.arrayvalue import Array, has_runtime, number_dtype
from dycl.passes.specialize.values import KIND_TYPES, Scalar, Text

if TYPE_CHECKING:
    from dycl.passes.specialize.arrays import Arrays

# Of these the kind of every number in the result follows from the kinds of the operands' numbers.
_OF_NUMBERS_TEXT = """
    array copy asarray getitem setitem concatenate stack vstack hstack expand_dims reshape ravel transpose squeeze flip
    argsort sort argmax argmin max min amax amin shape ndim size astype flatten
    operator.add operator.sub operator.mul operator.truediv operator.floordiv operator.mod operator.neg operator.pos
    operator.abs operator.eq operator.ne operator.lt operator.le operator.gt operator.ge
    operator.iadd operator.isub operator.imul
    add subtract multiply divide true_divide maximum minimum equal not_equal less less_equal greater greater_equal
    float16 float32 float64 where
"""
_OF_NUMBERS = frozenset(_OF_NUMBERS_TEXT.split())
_NEVER_FAIL_TEXT = """
    add sub mul neg pos abs eq ne lt le gt ge iadd isub imul subtract multiply maximum minimum equal not_equal less
    less_equal greater greater_equal
"""
_NEVER_FAIL = frozenset(_NEVER_FAIL_TEXT.split())
# What moves the objects of an array and asks nothing of them.
_MOVES = (np.ndarray.copy, np.ndarray.tolist, np.copy, operator.getitem, list, tuple, iter, len)


def is_of_objects(value: Any) -> bool:
    """Whether it is an array of objects of either sort."""
    if isinstance(value, Array):
        return value.form is ArrayForm.OBJECTS
    return isinstance(value, np.ndarray) and value.dtype.hasobject


def holds_values(value: Any) -> bool:
    """Whether it is an array of numpy's, of objects that only the run knows."""
    if not isinstance(value, np.ndarray) or not value.dtype.hasobject:
        return False
    return any(isinstance(leaf, (Array, Scalar, Text, torch.Tensor)) for item in value.flat for leaf in leaves(item))


def check_known(machine: Arrays, name: str, whole: Any) -> None:
    """Refuse a function of which nobody knows what it does with objects."""
    if any(isinstance(leaf, Array) and is_of_objects(leaf) for leaf in leaves(whole)):
        base = name.removeprefix("ndarray.").partition("[")[0]
        if base not in _OF_NUMBERS:
            raise _refused(machine, f"numpy.{name} of an array of objects")


def can_fail(name: str, whole: Any) -> bool:
    """Whether arithmetic of Python, which is what numpy does with objects, may raise for some numbers."""
    return any(is_of_objects(leaf) for leaf in leaves(whole)) and name.removeprefix("operator.") not in _NEVER_FAIL


def check_store(machine: Arrays, target: Array, value: Any) -> None:
    """Refuse to store what would make numbers of another kind of some of the array's."""
    if target.form is not ArrayForm.OBJECTS:
        return
    if isinstance(value, Array) and not value.is_scalar:
        fits = np.dtype(type(np.zeros((), number_dtype(value)).item())) == number_dtype(target)
    else:
        kind = KIND_TYPES[value.kind] if isinstance(value, Scalar) else type(value)
        fits = kind in (bool, int, float) and np.dtype(kind) == number_dtype(target)
    if not fits:
        raise _refused(machine, "a value of another kind is written into an array of objects")


def objects_call(machine: Arrays, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a call makes of arrays of objects, where that is not as with other arrays; else NotImplemented."""
    makes_array = function in (np.array, np.asarray)
    dtype = kwargs.get("dtype", args[1] if len(args) > 1 else None) if makes_array else None
    held = any(holds_values(leaf) for leaf in leaves((args, kwargs)))
    if held and function in _MOVES:
        return NotImplemented
    if makes_array and len(args) + len(kwargs) == 1 + (dtype is not None):
        if held and isinstance(args[0], np.ndarray) and (dtype is None or np.dtype(dtype).hasobject):
            return args[0] if function is np.asarray else args[0].copy()
        if dtype is not None and not isinstance(dtype, str | type | np.dtype):
            return NotImplemented
        if dtype is not None and np.dtype(dtype).hasobject and has_runtime(args[0]):
            return _made(machine, args[0])
    if held:
        raise _refused(machine, f"{getattr(function, '__name__', function)} of an array of objects")
    return NotImplemented


def array_of_objects(machine: Arrays, array: np.ndarray, operand: Callable[[Any], Operand]) -> Operand:
    """An array of numpy's that leaves the program with its objects."""
    vid = machine.values.new(ArrayType("object", array.shape, ArrayForm.OBJECTS))
    arguments = (machine.operand(array.shape), Seq(SeqKind.LIST, tuple(operand(item) for item in array.flat)))
    result = machine.value(vid)
    machine.emit(HostOp(function="np.of_objects", args=arguments, result=result, loc=machine.loc()))
    return Ref(vid)


# ---------------------------------------------------------------- np.array(..., dtype=object)


def _made(machine: Arrays, data: Any) -> Any:
    """np.array(data, dtype=object)"""
    if isinstance(data, Array):
        return machine.array_call("array", (data,), {"dtype": "object"})
    for leaf in leaves(data):
        if leaf is not None and type(leaf) not in _SHAPED and not isinstance(leaf, np.generic):
            raise _refused(machine, f"numpy.array of objects, one of them a {type(leaf).__name__}")
    numbers = _settled(machine, data)
    try:
        dummy = np.array(_dummy(data, numbers, 0), dtype=object)
    except ValueError as error:
        raise _refused(machine, f"numpy.array of objects ({error})") from None
    has_parts = any(isinstance(item, (list, tuple, np.ndarray)) for item in dummy.flat)
    if not has_parts and all(_is_array(leaf) and not holds_values(leaf) for leaf in leaves(data)):
        return machine.array_call("array", (data,), {"dtype": "object"})
    made = np.empty(dummy.shape, dtype=object)
    for index in np.ndindex(dummy.shape):
        made[index] = _part(machine, data, index)
    return made


_SHAPED = (bool, int, float, str, np.ndarray, Array, Scalar)  # of which it is known whether they have a length


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or (isinstance(value, Array) and not value.is_scalar)


def _shape(array: Any) -> tuple[Any, ...]:
    return tuple(array.fake.shape if isinstance(array, Array) else array.shape)


def _settled(machine: Arrays, data: Any) -> dict[Any, int]:
    """A number for each run-time size at each depth of a nest: the same for sizes that are equal on this path.

    Deeper than where sizes differ numpy does not look.
    """
    static = {size for leaf in leaves(data) if _is_array(leaf) for size in _shape(leaf) if isinstance(size, int)}
    free = (number for number in itertools.count(2) if number not in static and number not in _lengths(data))
    numbers: dict[Any, int] = {}
    level: list[tuple[Any, int]] = [(data, 0)]  # a part, and how many sizes of an array lie above
    for depth in itertools.count():
        known: list[tuple[Any, int]] = []
        sizes = [_size(part, above) for part, above in level]
        for size in sorted(sizes, key=lambda size: not isinstance(size, int)):  # known ones stand for their equals
            number = next((number for other, number in known if _is_same(machine, size, other)), None)
            if number is None:
                number = size if isinstance(size, int) else next(free)
                known.append((size, number))
            numbers[depth, _key(size)] = number
        level = [child for part, above in level for child in _children(part, above)]
        if len(known) > 1 or not level or any(_size(part, above) is None for part, above in level):
            return numbers
    raise AssertionError


def _is_same(machine: Arrays, left: Any, right: Any) -> bool:
    return machine.truth(machine.host("eq", machine.wrapped(left), machine.wrapped(right)))


def _lengths(data: Any) -> set[int]:
    if not isinstance(data, (list, tuple)):
        return set()
    return {len(data)}.union(*[_lengths(item) for item in data])


def _size(part: Any, above: int) -> Any:
    if isinstance(part, (list, tuple)):
        return len(part)
    return _shape(part)[above] if _is_array(part) and above < len(_shape(part)) else None


def _children(part: Any, above: int) -> list[tuple[Any, int]]:
    return [(item, 0) for item in part] if isinstance(part, (list, tuple)) else [(part, above + 1)]


def _key(size: Any) -> Any:
    return size.node.expr if isinstance(size, torch.SymInt) else size


def _dummy(part: Any, numbers: dict[Any, int], depth: int) -> Any:
    """The same nest with arrays of the numbers' sizes."""
    if isinstance(part, (list, tuple)):
        return [_dummy(item, numbers, depth + 1) for item in part]
    if _is_array(part):
        sizes = enumerate(_shape(part), depth)
        return np.zeros([numbers.get((place, _key(size)), _rest(size)) for place, size in sizes])
    return None if isinstance(part, (Scalar, Array)) else part


def _rest(size: Any) -> int:
    return size if isinstance(size, int) else 1


def _part(machine: Arrays, data: Any, index: tuple[int, ...]) -> Any:
    """What stands at a place of a nest: an object of it, or a number of an array in it as Python has it."""
    for depth, position in enumerate(index):
        if isinstance(data, Array):
            return machine.array_element(data, index[depth:])
        if isinstance(data, np.ndarray):
            return data.item(*index[depth:])
        data = data[position]
    return data


def _refused(machine: Arrays, what: str) -> UnsupportedError:
    return UnsupportedError("DY203", machine.loc(), what, hint="keep the arrays in a list, or make them of one dtype")
