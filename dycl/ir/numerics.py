"""What the host computes that is more than one operator: errors that would be raised, real powers, places in lists.

The reference executor calls these functions; an artifact whose host uses them holds a copy of this file.
"""

from __future__ import annotations

import ctypes
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

ERRORS_OF_NUMBERS = (ValueError, OverflowError, ZeroDivisionError)
ERRORS = (*ERRORS_OF_NUMBERS, IndexError)  # of operations on arrays as well


def error_of(function: Callable[..., object], *args: object) -> int:
    """0 if the call succeeds; else the number, from 1, of the error among `ERRORS` that it raises."""
    try:
        function(*args)
    except ERRORS as error:
        return next(number for number, kind in enumerate(ERRORS, 1) if isinstance(error, kind))
    return 0


def error_text(function: Callable[..., object], *args: object) -> str:
    """What the error that the call raises says."""
    try:
        function(*args)
    except ERRORS as error:
        return str(error.args[-1])
    return ""


def real_pow(base: float, exponent: float) -> float:
    """`base ** exponent`, which Python makes a complex number where the base is negative and the exponent is not whole.

    A program has no complex numbers in its host: such a result stops the call.
    """
    result: float | complex = base**exponent
    if isinstance(result, complex):
        raise NotImplementedError(f"{base!r} ** {exponent!r} is complex, and a compiled model has real numbers only")
    return result


def from_front(index: int, size: int) -> int:
    """The index counted from the first of so many items: a negative one counts from behind the last."""
    return index + size if index < 0 else index


def spliced(items: list[Any], start: int | None, stop: int | None, new: list[Any]) -> list[Any]:
    """The list after `items[start:stop] = new`."""
    made = list(items)
    made[start:stop] = new
    return made


def place_of(items: list[Any], key: object) -> int:
    """The place of what is the key, or equal to it, as a dict finds it; -1 if it is not there."""
    return next((place for place, item in enumerate(items) if item is key or item == key), -1)


def hash_order(items: list[Any]) -> list[Any]:
    """The items of a list as a set of them is gone through."""
    return list(set(items))


def rows(tensor: Any) -> list[Any]:
    """The rows of a tensor or array, as views."""
    return [tensor[place, ...] for place in range(tensor.shape[0])]


def take_rows(array: Any, places: Any) -> Any:
    """The rows of an array at these places, as a new array; the error for one that is not there is torch's."""
    try:
        return array.take(places, 0)
    except IndexError as error:
        text = (
            str(error).replace("axis", "dimension")
            if len(array)
            else "index is out of bounds for dimension with size 0"
        )
        raise IndexError(text) from None


def pieces(tensor: Any, sizes: list[int], dim: int) -> list[Any]:
    """The parts of these sizes of a dimension, as views."""
    before = (slice(None),) * dim
    ends = itertools.accumulate(sizes)
    return [tensor[(*before, slice(end - size, end))] for end, size in zip(ends, sizes, strict=True)]


def chunks(tensor: Any, size: int, dim: int) -> list[Any]:
    """The parts of this size of a dimension, the last one shorter, as views; of nothing there is one part."""
    whole = tensor.shape[dim]
    counts = [min(size, whole - start) for start in range(0, max(whole, 1), size)]
    return pieces(tensor, counts, dim)


def least(numbers: list[int]) -> int:
    """The least of the numbers, or 0 if there is none below."""
    return min(numbers, default=0)


def clip(bound: int, size: int) -> int:
    """Where the bound of a slice falls among so many items."""
    if bound < 0:
        bound += size
        return bound if bound > 0 else 0
    return bound if bound < size else size


def span(start: int, stop: int) -> int:
    """How many items a slice between places inside takes: none where it ends before it begins."""
    return stop - start if stop > start else 0


def single(number: float) -> float:
    """The number as `float32` has it."""
    return ctypes.c_float(number).value


_WHOLE = 2.0**52  # from here on every number is whole


def rounded(number: float) -> float:
    """The nearest whole number, of two the even one, as a tensor is rounded: with the sign of the number."""
    return math.copysign(round(number), number) if -_WHOLE < number < _WHOLE else number


def floored(number: float) -> float:
    """The greatest whole number that is not greater, as of an element."""
    return math.copysign(math.floor(number), number) if -_WHOLE < number < _WHOLE else number


def ceiled(number: float) -> float:
    """The least whole number that is not less, as of an element."""
    return math.copysign(math.ceil(number), number) if -_WHOLE < number < _WHOLE else number


def truncated(number: float) -> float:
    """The whole number towards zero, as of an element."""
    return math.copysign(math.trunc(number), number) if -_WHOLE < number < _WHOLE else number


def int32(number: float) -> int:
    """The number as an element of `int32`."""
    return int(number) if -2147483649.0 < number < 2147483648.0 else _converted(number, np.int32)


def nearest_int32(number: float) -> int:
    """The nearest whole number, as `rounded` has it, as an element of `int32`."""
    return round(number) if -2147483648.0 < number < 2147483647.0 else int32(rounded(number))


def int64(number: float) -> int:
    """The number as an element of `int64`."""
    return int(number) if -9223372036854775808.0 <= number < 9223372036854775808.0 else _converted(number, np.int64)


def _converted(number: float, dtype: Any) -> int:
    """What this processor makes of a number that does not fit."""
    with np.errstate(invalid="ignore"):
        return int(np.array([number]).astype(dtype)[0])


def order_of(reverse: bool, *keys: list[float]) -> list[int]:
    """The places of the items in the order of their keys; several columns of keys compare as tuples do."""
    return sorted(range(len(keys[0])), key=_key_of(keys), reverse=reverse)


def place_of_max(*keys: list[float]) -> int:
    """The place of the item that `max` takes."""
    return max(range(len(keys[0])), key=_key_of(keys))


def place_of_min(*keys: list[float]) -> int:
    """The place of the item that `min` takes."""
    return min(range(len(keys[0])), key=_key_of(keys))


def _key_of(keys: tuple[list[float], ...]) -> Callable[[int], Any]:
    if len(keys) == 1:
        return keys[0].__getitem__
    return lambda place: tuple(column[place] for column in keys)
