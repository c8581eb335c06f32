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


class RoutedExperts(nn.Module):
    """Experts, modules in a dict, attributes and functions, chosen by run-time numbers one after the other."""

    def __init__(self):
        super().__init__()
        self.route = nn.Linear(4, 4)
        self.experts = nn.ModuleList([nn.Linear(4, 4) for _ in range(4)])
        self.named = {f"expert{i}": nn.Linear(4, 4) for i in range(4)}
        for i in range(4):
            setattr(self, f"block{i}", nn.Linear(4, 4))
        for name, module in self.named.items():
            self.add_module(f"own_{name}", module)

    def forward(self, x):
        i = self.route(x).argmax(-1).item()
        x = self.experts[i](x)
        j = int(self.route(x).topk(2).indices[0, 1])
        x = self.named[f"expert{j}"](x)
        k = self.route(x).argmax()
        x = getattr(self, f"block{k}")(x)
        functions = [torch.relu, torch.tanh, lambda v: v * 2]
        return functions[k % 3](x), [1.5, 2.5, 3.5, 4.5][k], (i, j)


class TopKLoop(nn.Module):
    """A loop over the chosen experts."""

    def __init__(self):
        super().__init__()
        self.route = nn.Linear(4, 6)
        self.experts = nn.ModuleList([nn.Linear(4, 4) for _ in range(6)])

    def forward(self, x):
        weights, chosen = torch.softmax(self.route(x * 3), -1).topk(2)
        out = torch.zeros_like(x)
        for n in range(2):
            out = out + weights[0, n] * self.experts[chosen[0, n].item()](x)
        return out


class AnyIndex(nn.Module):
    """An index of which nothing is known: negative, out of range, into modules, tensors and numbers."""

    def __init__(self):
        super().__init__()
        self.experts = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])

    def forward(self, x, i):
        table = [10, 20, 30]
        out = []
        try:
            out.append(table[i])
        except IndexError as error:
            out.append(str(error))
        try:
            out.append((x, x * 2, x * 3)[i.item()])
        except IndexError as error:
            out.append(str(error))
        return self.experts[i](x), out


class TableOfSizes(nn.Module):
    """A number from a table turns out to be needed at compile time; another one is not."""

    def forward(self, x):
        i = x.argmax().item()
        width = [1, 2, 4, 2][i]
        scale = (0.5, 1.0, 2.0, 4.0)[i]
        return x.reshape(-1, width) * scale, "abcd"[i]


class TableOfRuntimeNumbers(nn.Module):
    """A list of numbers read from a tensor, indexed by another."""

    def forward(self, x):
        numbers = x[0].tolist()
        best = 0
        for i in range(1, 4):
            if numbers[i] > numbers[best]:
                best = i
        order = x[0].argsort().tolist()
        return numbers[order[0]], numbers[best], numbers[order[-1]] - numbers[order[1]]


class TensorCounters(nn.Module):
    """0-d tensors as loop counters, bounds and list indices."""

    def forward(self, x):
        i = torch.tensor(0)
        n = x.abs().sum().round().long()
        while i < n:
            x = x * 0.9
            i += 1
        total = 0
        for j in range(n % 3 + 1):
            total += j
        return x, i, [x, x + 1, x + 2, x + 3][n % 4], total


class DictOfNumbers(nn.Module):
    """A dict with integer keys that are no range."""

    def forward(self, x):
        scales = {0: 0.5, 3: 2.0, 2: -1.0}
        k = int(x.argmax())
        return x * scales.get(k, 7.0) if k in scales else x - 1, scales[k]


class IndexAfterWrite(nn.Module):
    """A write into the tensor of indices ends what is known about it."""

    def forward(self, x):
        order = x[0].argsort()
        first = [x, -x, x * 2, x * 3][order[0].item()]
        order[0] = 7
        try:
            return first, [x, x, x, x][order[0].item()]
        except IndexError:
            return first, None


class JoinedIndex(nn.Module):
    """An index that is an argmax on one side only."""

    def forward(self, x):
        if x.sum() > 0:
            i = x.argmax()
        else:
            i = (x.sum() * 2).round().long()
        items = [x, x + 1, x + 2, x + 3]
        return items[i]


class Wrapped(nn.Module):
    """A module that wraps a function of the model: a solver makes one for each call."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.calls = 0

    def forward(self, t, y):
        self.calls += 1
        return self.function(y) * t


class ModuleOfTheRun(nn.Module):
    """A module made in the run is written on both sides of a branch; `nonlocal` steps until one of two breaks."""

    def __init__(self):
        super().__init__()
        self.field = nn.Linear(4, 4)

    def forward(self, x):
        function = Wrapped(self.field)
        t, dt, rejected = 0.0, 0.5, 0

        def step(y):
            nonlocal t, dt, rejected
            new = y + dt * function(1.0, y)
            error = (new - y).abs().max().item()
            if error > 0.4:
                dt = dt * 0.5
                rejected += 1
                return y
            t, dt = t + dt, min(dt * 1.5, 0.6)
            return new

        y = x
        while True:
            y = step(y)
            if t >= 1.0:
                break
            if rejected > 3:
                break
        return y, t, rejected, function.calls


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
    _case(RoutedExperts, vectors),
    _case(TopKLoop, vectors),
    _case(AnyIndex, indices),
    _case(TableOfSizes, vectors),
    _case(TableOfRuntimeNumbers, vectors),
    _case(TensorCounters, vectors),
    _case(DictOfNumbers, vectors),
    _case(IndexAfterWrite, vectors),
    _case(JoinedIndex, vectors),
    _case(ModuleOfTheRun, vectors),
]
