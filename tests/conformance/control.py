"""Control flow: decisions, exceptions, context managers."""

from __future__ import annotations

import contextlib
from typing import Any

import torch

from tests.conformance.table import Base, Section

SECTION = Section("Control flow")


@SECTION.yes("`if`, `elif`, `else` on data", "a branch of the host; both sides are compiled")
class If(Base):
    def forward(self, x):
        if x.sum() > 1:
            return self.layers[0](x)
        elif x[0, 0] > 0:
            x = self.layers[1](x)
        else:
            x = self.layers[2](x)
        return x + 1


@SECTION.yes("truth of a one-element tensor", "torch's `bool()`; of more elements: torch's error")
class TensorTruth(Base):
    def forward(self, x):
        if (x > 0).all():
            return x
        if not (x[:, :1] > 0):
            return -x
        return x * 2


@SECTION.yes("`and`, `or`, `not`", "jumps, evaluated as far as Python does; the value is an operand's")
class Short(Base):
    def forward(self, x):
        value = x.sum().item()
        chosen = (x[0, 0] > 0 and value) or "nothing"
        return x * 2 if value > 3 or not x[0, 1] > 0 else x, chosen


@SECTION.yes("chained comparison", "each operand once, as far as Python does")
class Chained(Base):
    def forward(self, x):
        return x * 2 if -1 < x.sum().item() < 1 <= x.abs().max().item() else x


@SECTION.yes("conditional expression")
class Conditional(Base):
    def forward(self, x):
        return x + (1 if x.sum() > 0 else 2 if x[0, 0] > 0 else 3)


@SECTION.yes("`match` on data", "tests and jumps")
class Match(Base):
    def forward(self, x):
        match int(x.argmax()):
            case 0 | 1:
                return x + 1
            case n if n == 2:
                return x + 2
            case _:
                return x


@SECTION.yes("`match` on structure: sequences, mappings, classes, captures")
class MatchStructure(Base):
    def forward(self, x):
        found = ("scaled", x * 2) if x.sum() > 0 else {"kind": "plain", "value": x}
        match found:
            case ("scaled", y):
                return y
            case {"kind": str(kind), "value": y}:
                return y + len(kind)
        return x


@SECTION.yes("walrus")
class Walrus(Base):
    def forward(self, x):
        if (total := x.sum()) > 0:
            return x / total
        return x, [y for layer in self.layers if (y := layer(x)).sum() > 0]


@SECTION.yes("early `return` from nested blocks")
class EarlyReturn(Base):
    def forward(self, x):
        for layer in self.layers:
            with torch.no_grad():
                x = layer(x)
                if x.sum() > 0:
                    return x
        return x * 0


@SECTION.yes("exits with results of different arity", "the type of the result is that of the return taken")
class Arity(Base):
    def forward(self, x):
        x = self.layers[0](x)
        if x.sum() > 0.5:
            return x
        if x[0, 0] > 0:
            return x, self.layers[1](x)
        return {"x": x, "exit": 2}


@SECTION.yes("`raise` that leaves the model", "raised by the host: type, arguments")
class Raise(Base):
    def forward(self, x):
        if x.sum() > 1:
            raise ValueError("too much", 1)
        return x


@SECTION.yes("`assert` on data", "AssertionError with its message")
class Assert(Base):
    def forward(self, x):
        assert x[0, 0] > -0.5, "too little"
        assert x.shape == (1, 4)
        return x * 2


@SECTION.yes("`try`, `except`, `else`, `finally` across frames", "jumps")
class Try(Base):
    def check(self, x):
        if x.sum() > 2:
            raise ValueError("too much", x)
        assert x[0, 0] > -1.5, "too little"

    def forward(self, x):
        note = 0
        try:
            self.check(x)
        except ValueError as error:
            x = error.args[1] * 0.5
        else:
            x = x + 1
        finally:
            note = 1
        return x, note


class Halted(Exception):
    """Carries what was computed so far."""

    def __init__(self, state: Any, step: int) -> None:
        super().__init__(f"halted at {step}: {state.sum().item():.3f}")
        self.state = state
        self.step = step


@SECTION.yes("exception that carries tensors, caught frames up", "an object of the run like any other")
class CarryingException(Base):
    def inner(self, x, step):
        x = self.layers[step](x)
        if x.sum() > 0.3:
            raise Halted(x, step)
        return x

    def outer(self, x):
        for step in range(3):
            x = self.inner(x, step)
        return x

    def forward(self, x):
        try:
            return self.outer(x), -1
        except Halted as halted:
            return halted.state, halted.step, len(halted.args)


@SECTION.yes("exception hierarchy, several handlers, `raise ... from`, re-raise")
class Handlers(Base):
    def check(self, value):
        try:
            if value > 1:
                raise KeyError("high")
            if value < -1:
                raise IndexError("low")
        except KeyError as error:
            raise RuntimeError("checked") from error
        return value

    def forward(self, x):
        try:
            return self.check(x.sum().item())
        except (LookupError, ZeroDivisionError) as error:
            return str(error)
        except RuntimeError:
            if x[0, 0] > 0:
                raise
            return "swallowed"


@SECTION.yes("error of a host operation that the model catches (`1 / n`, `math.log`)", "a decision of the host")
class CaughtDivision(Base):
    def forward(self, x):
        try:
            return 1 / int(x.sum())
        except ZeroDivisionError:
            return 3


@SECTION.yes("missing key or index that the model catches")
class CaughtLookup(Base):
    def forward(self, x):
        table = {"high": x * 2} if x.sum() > 0 else {}
        try:
            return table["high"]
        except KeyError:
            return x


class Quiet:
    """A context manager that swallows errors of one kind."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        return kind is ValueError


@SECTION.yes("`with` a context manager of the model's own", "`__enter__` and `__exit__` are interpreted")
class With(Base):
    def forward(self, x):
        with Quiet():
            if x.sum() > 0:
                raise ValueError
            return x * 2
        return x


@SECTION.yes("`contextlib.contextmanager`", "its generator is interpreted")
class GeneratorManager(Base):
    @contextlib.contextmanager
    def scaled(self, x):
        yield x * 2

    def forward(self, x):
        with self.scaled(x) as y:
            if y.sum() > 0:
                return y
        return x


@SECTION.yes("`contextlib.contextmanager` that handles an exception of the body")
class HandlingManager(Base):
    @contextlib.contextmanager
    def guarded(self, seen):
        seen.append("enter")
        try:
            yield seen
        except ValueError:
            seen.append("error")
        finally:
            seen.append("leave")

    def forward(self, x):
        seen = []
        with self.guarded(seen):
            if x.sum() > 0:
                raise ValueError("positive")
            seen.append("body")
        return x, seen


@SECTION.yes("`contextlib.suppress`, `nullcontext`, `ExitStack`, `closing`")
class ContextLibrary(Base):
    def forward(self, x):
        with contextlib.suppress(ValueError), contextlib.nullcontext(x * 2) as y:
            if y.sum() > 0:
                raise ValueError
            x = y
        return x


@SECTION.yes("several `with` items, `with` inside loops")
class ManyWiths(Base):
    def forward(self, x):
        for layer in self.layers:
            with torch.no_grad(), Quiet() as quiet:
                assert quiet is not None
                if x.sum() > 0:
                    continue
                x = layer(x)
        return x


@SECTION.yes("recursion of bounded depth", "unrolled")
class BoundedRecursion(Base):
    def down(self, x, depth):
        if depth == 3 or x.sum() > 0:
            return x
        return self.down(self.layers[depth](x), depth + 1)

    def forward(self, x):
        return self.down(x, 0)


@SECTION.yes("recursion whose depth depends on the input", "a procedure of the host, which calls itself")
class Recursion(Base):
    def halve(self, x, depth):
        if x.abs().max() > 0.25:
            return self.halve(x * 0.5, depth + 1)
        return x, depth

    def forward(self, x):
        return self.halve(x, 0)


@SECTION.refused("DY208", "recursion that changes a list or an object it is handed")
class ChangingRecursion(Base):
    def halve(self, x, seen):
        seen.append(x.sum().item())
        return self.halve(x * 0.5, seen) if x.abs().max() > 0.25 else x

    def forward(self, x):
        seen = []
        return self.halve(x, seen), len(seen)


@SECTION.refused("DY102", "`async` function")
class Asynchronous(Base):
    async def later(self, x):
        return x

    def forward(self, x):
        self.later(x)
        return x


@SECTION.refused("DY214", "model that always raises", "it is taken for wrong example inputs")
class AlwaysRaises(Base):
    def forward(self, x):
        raise NotImplementedError("later")


@SECTION.refused("DY214", "operation of torch that fails for these shapes", "as above")
class BadShape(Base):
    def forward(self, x):
        return x @ x


@SECTION.yes("a flag and its opposite: `if ~flag`, `torch.logical_not(flag).any()`")
class OppositeFlags(Base):
    def forward(self, x):
        flag = x.sum() > 0
        if ~flag:
            return x + 1
        if not torch.logical_not((x.max() > 2).reshape(1)).any():
            return x * 2
        return x - 1 if flag else x
