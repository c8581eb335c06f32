"""How an instruction tells the driver that it cannot simply go on. None of these ever reaches the user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dycl.diagnostics import UnsupportedError
    from dycl.passes.specialize.values import Generator, Scalar


class Signal(BaseException):
    """Not an `Exception`: no handler of the model, of torch or of Python's own C code may swallow it."""


class Question(Signal):
    """The facts of this path do not decide `cond`: fork, and run the same instruction on both sides."""

    def __init__(self, cond: Scalar) -> None:
        super().__init__("undecided")
        self.cond = cond


class Unknown(Signal):
    """Torch asked about something that no recorded operation defines: the question lies inside the call."""

    def __init__(self, what: str) -> None:
        super().__init__(what)


class CallsBack(Unknown):
    """Native code calls Python of the model's own: it is interpreted instead, or refused with this error."""

    def __init__(self, error: UnsupportedError) -> None:
        super().__init__(error.message)
        self.error = error


class Drain(Signal):
    """Native code wants the elements of a machine generator: run it to its end, then run the instruction again."""

    def __init__(self, generator: Generator) -> None:
        super().__init__("drain")
        self.generator = generator


class Enter(Signal):
    """Native code met a function that has to be interpreted."""

    def __init__(self, function: Any) -> None:
        super().__init__("enter")
        self.function = function


class Restart(Signal):
    """What was learned (in the hints) changes decisions already made: specialise again from the start."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Impossible(Signal):
    """The facts of this path contradict one another as far as can be told: it ends with an error at run time."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class Abandoned(Signal):
    """The path ends at a call that, as far as is known, never comes back."""

    def __init__(self) -> None:
        super().__init__("abandoned")
