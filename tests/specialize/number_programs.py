"""Small models of host arithmetic: errors of its operations where the model sees them, run-time indices, dispatch."""

from __future__ import annotations

import math

import torch
from torch import nn

from tests.specialize.programs import Case, vectors

_SPECIAL = (0.0, -1.5, 2.5, math.inf, -math.inf, math.nan, 1e300, -0.5, 710.0, 1e-320, 0.5, 4.0, -3.0)


def specials(seed: int) -> tuple[torch.Tensor, ...]:
    """Two doubles, among them what host operations cannot take."""
    return (torch.tensor([_SPECIAL[seed % 13], _SPECIAL[(seed // 2 + 3 * seed) % 13]], dtype=torch.float64),)


def indices(seed: int) -> tuple[torch.Tensor, ...]:
    """A vector, and an index in -4 .. 4."""
    return (*vectors(seed), torch.tensor(seed % 9 - 4))


class CaughtConversions(nn.Module):
    """int, round, floor, ceil, trunc of what is not finite, inside of `try`."""

    def forward(self, x):
        out = []
        for function in (int, round, math.floor, math.ceil, math.trunc):
            try:
                out.append(function(x[0].item()))
            except ValueError as error:
                out.append(("value", str(error)))
            except OverflowError as error:
                out.append(("overflow", str(error)))
        return out


class CaughtFunctions(nn.Module):
    """Functions of math that fail for some floats."""

    functions = (math.exp, math.acos, math.gamma)

    def forward(self, x):
        a = x[0].item()
        out = []
        for function in self.functions:
            try:
                out.append(function(a))
            except (ValueError, OverflowError) as error:
                out.append((type(error).__name__, error.args))
        return out


class MoreCaughtFunctions(CaughtFunctions):
    """As above."""

    functions = (math.sqrt, math.sin, math.cosh)


class CaughtPowers(nn.Module):
    """Powers: zero to a negative power, too large, of an integer."""

    def forward(self, x):
        a, b = abs(x[0].item()), x[1].item()
        try:
            c = a**b
        except ZeroDivisionError as error:
            c = error.args
        except OverflowError as error:
            c = error.args
        try:
            d = math.pow(x[0].item(), b)
        except Exception as error:
            d = str(error)
        try:
            e = 2.0 ** (a * 1000)
        except ArithmeticError:
            e = None
        return c, d, e


class StateThenError(nn.Module):
    """What was written before an uncaught error stays written."""

    def __init__(self):
        super().__init__()
        self.calls = 0
        self.last = 0.0
        self.register_buffer("total", torch.zeros(2, dtype=torch.float64))

    def forward(self, x):
        self.calls += 1
        steps = int(x[0].item())
        self.last = math.exp(x[1].item())
        return steps


class BufferThenError(nn.Module):
    """A buffer written in place before an uncaught error."""

    def __init__(self):
        super().__init__()
        self.register_buffer("total", torch.zeros(2))

    def forward(self, x):
        self.total.add_(1)
        return round(x[0].item()), self.total * 2


class CleanUp(nn.Module):
    """`finally` and a context manager see the error."""

    def forward(self, x):
        log = []
        try:
            try:
                log.append(math.sqrt(x[0].item()))
            finally:
                log.append("finally")
            log.append(math.floor(x[1].item()))
        except Exception as error:
            log.append(type(error).__name__)
        return log


class LargeIntegers(nn.Module):
    """An integer that a loop doubles becomes too large for a float."""

    def forward(self, x):
        n = 1
        rounds = 900 if x[0] > 0 else 1100
        i = 0
        while i < rounds + int(x[2] > 0):
            n = n * 2
            i += 1
        try:
            return n * 0.5
        except OverflowError as error:
            return str(error)


class LargeWholes(nn.Module):
    """The integer of a large float, and its multiples."""

    def forward(self, x):
        try:
            n = int(abs(x[0].item()))
            return n / 2, n * 1.0, float(n * 10**20)
        except ArithmeticError as error:
            return str(error)
        except ValueError:
            return "nan"


class ErrorInCallee(nn.Module):
    """The handler is two calls up, and reads the error."""

    def inner(self, v):
        return math.log(v) / v

    def outer(self, v):
        return [self.inner(w) for w in v]

    def forward(self, x):
        try:
            return self.outer(x.tolist())
        except (ValueError, ZeroDivisionError) as error:
            return f"failed: {error}"


def _case(cls, inputs):
    return Case(cls, inputs)


CASES = [
    _case(CaughtConversions, specials),
    _case(CaughtFunctions, specials),
    _case(MoreCaughtFunctions, specials),
    _case(CaughtPowers, specials),
    _case(StateThenError, specials),
    _case(BufferThenError, specials),
    _case(CleanUp, specials),
    _case(LargeIntegers, lambda seed: (torch.randn(4, generator=torch.Generator().manual_seed(seed)),)),
    _case(LargeWholes, specials),
    _case(ErrorInCallee, specials),
]
