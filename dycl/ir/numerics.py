"""Arithmetic of the host that is more than one operator: whether an operation would raise, and powers that stay real.

The reference executor calls these functions; an artifact whose host uses them holds a copy of this file.
"""

from __future__ import annotations

from collections.abc import Callable

ERRORS = (ValueError, OverflowError, ZeroDivisionError)


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
