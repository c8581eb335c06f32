"""The interpreter's hook for profilers, borrowed for a while: it is told of every call, that of native code too."""

from __future__ import annotations

import _lsprof
import sys
from collections.abc import Callable
from typing import Any


def borrow(watch: Callable[..., Any]) -> Any:
    """Put this function there; what was there before is to be given back."""
    before = sys.getprofile()
    if isinstance(before, _lsprof.Profiler):  # cProfile: it is no function, and puts itself there and away
        before.disable()
    sys.setprofile(watch)
    return before


def give_back(before: Any) -> None:
    """Put there what `borrow` found."""
    if isinstance(before, _lsprof.Profiler):
        sys.setprofile(None)
        before.enable()
    else:
        sys.setprofile(before)
