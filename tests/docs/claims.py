"""One model for each row of the table in docs/semantics.md, under the row's name."""

from __future__ import annotations

import contextlib
import copy
import itertools
import logging
import math
import random
import time
import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

log = logging.getLogger(__name__)
SEEN: list[int] = []


@dataclass(frozen=True)
class Claim:
    """A row of the table: what the model does, and the code with which it is refused (empty: it is supported)."""

    row: str
    model: type[nn.Module]
    code: str = ""
    is_gap: bool = False  # supported one day: listed under "Known gaps"


CLAIMS: list[Claim] = []


def claim(row: str, code: str = "", *, is_gap: bool = False) -> Any:
    """Make a claim of a model."""

    def register(model: type[nn.Module]) -> type[nn.Module]:
        CLAIMS.append(Claim(row, model, code, is_gap))
        return model

    return register


def gap(row: str) -> Any:
    """What does not work yet, but should."""
    return claim(row, is_gap=True)


class Base(nn.Module):
    """What the models share: they take one float32[1, 4]."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
        self.limit = 0.5


# ---------------------------------------------------------------- control flow


@claim("`if`, `while`, `for`, `break`, `else` on data")
class Control(Base):
    def forward(self, x):
        for layer in self.layers:
            if x.mean() > 0:
                break
            x = layer(x)
        else:
            x = -x
        steps = 0
        while x.abs().max() > 0.25:
            x, steps = x * 0.5, steps + 1
        return x, steps


@claim("`match` on data")
class Match(Base):
    def forward(self, x):
        match int(x.argmax()):
            case 0 | 1:
                return x + 1
            case n if n == 2:
                return x + 2
            case _:
                return x


@claim("`and`, `or`, `not`, chained comparison, conditional expression")
class Short(Base):
    def forward(self, x):
        value = x.sum().item()
        inside = -1 < value < 1 and not x[0, 0] > 0
        return x * 2 if inside or value > 3 else x


@claim("`raise`, `assert`, `try`, `finally` across frames")
class Raises(Base):
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
        finally:
            note = 1
        return x, note


class Quiet:
    """A context manager that swallows errors of one kind."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        return kind is ValueError


@claim("`with` a context manager of the model's own")
class With(Base):
    def forward(self, x):
        with Quiet():
            if x.sum() > 0:
                raise ValueError
            return x * 2
        return x


@claim("`contextlib.contextmanager` (a class with `__enter__` works)")
class GeneratorManager(Base):
    @contextlib.contextmanager
    def scaled(self, x):
        yield x * 2

    def forward(self, x):
        with self.scaled(x) as y:
            if y.sum() > 0:
                return y
        return x


@claim("error of a host operation that the model catches (`1 / n`, `math.log`)")
class CaughtDivision(Base):
    def forward(self, x):
        try:
            return 1 / int(x.sum())
        except ZeroDivisionError:
            return 3


@claim("comprehension, generator, closure, lambda")
class Comprehension(Base):
    def parts(self, x):
        for layer in self.layers:
            yield layer(x)

    def forward(self, x):
        kept = [part for part in self.parts(x) if part.sum() > 0]
        return sum(map(lambda part: part * 2, kept), torch.zeros(1, 4))


@claim("range of a run-time number")
class Range(Base):
    def forward(self, x):
        total = torch.zeros(1, 4)
        for index in range(int(x.abs().sum())):
            total = total + x * index
        return total


@claim("recursion whose depth depends on the input", "DY208")
class Recursion(Base):
    def halve(self, x, depth):
        if x.abs().max() > 0.25:
            return self.halve(x * 0.5, depth + 1)
        return x, depth

    def forward(self, x):
        return self.halve(x, 0)


@claim("recursion of bounded depth")
class BoundedRecursion(Base):
    def down(self, x, depth):
        if depth == 3 or x.sum() > 0:
            return x
        return self.down(self.layers[depth](x), depth + 1)

    def forward(self, x):
        return self.down(x, 0)


@claim("`async` function", "DY102")
class Asynchronous(Base):
    async def later(self, x):
        return x

    def forward(self, x):
        self.later(x)
        return x


# ---------------------------------------------------------------- numbers


@claim("host arithmetic on `.item()`")
class Item(Base):
    def forward(self, x):
        value = x[0, 0].item()
        whole = int(value * 1000) // 7
        return value / 3.0 + 1e-17, whole % -5, round(value, 2), math.exp(value) if value < 10 else 0.0


@claim("a run-time number in a tensor operation")
class ScalarToTensor(Base):
    def forward(self, x):
        value = x.sum().item()
        return x * value, x[:, : int(x.argmax()) + 1].sum()


@claim("`max`, `min`, `sorted`, `any`, `all` of run-time numbers")
class Extremes(Base):
    def forward(self, x):
        numbers = x[0, :3].tolist()
        first, second = sorted(numbers[:2])
        return max(numbers), min(first, second), any(n > 1 for n in numbers), max(int(x.argmax()), numbers[0])


@claim("several `max`, `sorted` over longer lists of run-time numbers in one function")
class ManyExtremes(Base):
    def forward(self, x):
        numbers = x[0].tolist()
        return max(numbers), sorted(numbers), sum(numbers), any(n > 1 for n in numbers)


@gap("size that depends on data (`x[x > 0]`, `nonzero`, `masked_select`)")
class Sizes(Base):
    def forward(self, x):
        kept = x[x > 0]
        if kept.numel() > 2:
            return kept.sum(), len(kept)
        return x.sum(), 0


@claim("f-string with run-time numbers, in a result or an error")
class FormattedText(Base):
    def forward(self, x):
        if x.sum() > 2:
            raise ValueError(f"sum {x.sum().item():.2f} of {len(x)}")
        return f"{int(x.argmax())}"


@claim("characters of a run-time text", "DY204")
class Characters(Base):
    def forward(self, x):
        text = f"{x.sum().item():.2f}"
        return text.upper()


# ---------------------------------------------------------------- collections


@claim("list that grows in a loop (numbers)")
class Growing(Base):
    def forward(self, x):
        found = []
        while x.abs().max() > 0.1:
            found.append(x.sum().item())
            x = x * 0.5
        return found, len(found)


@claim("list, dict or module list indexed by a run-time number")
class Indexed(Base):
    def forward(self, x):
        return self.layers[int(x.argmax()) % 3](x), {0: "a", 1: "b", 2: "c", 3: "d"}[int(x.argmin())]


@claim("itertools, `zip`, `enumerate`, `map`, `functools.partial`")
class Iterators(Base):
    def forward(self, x):
        total = x
        for index, (a, b) in enumerate(itertools.pairwise(self.layers)):
            if x.sum() > index:
                total = total + a(b(x))
        return total


@claim("element of a run-time list assigned", "DY207")
class AssignInList(Base):
    def forward(self, x):
        found = []
        while x.abs().max() > 0.01:
            found.append(1)
            x = x * 0.5
        if found:
            found[0] = 2
        return found


@claim("dataclass, named tuple, dict as a result")
class Records(Base):
    def forward(self, x):
        return {"pair": Pair(x, 1), "logits": x * 2}


class Pair(NamedTuple):
    """A result of two."""

    left: Any
    right: Any


class Opaque:
    """An object that only the model's code knows."""

    def __init__(self, x: Any) -> None:
        self.x = x


@claim("object of another class as a result", "DY213")
class ReturnsObject(Base):
    def forward(self, x):
        return Opaque(x)


@claim("object of another class inside the run")
class UsesObject(Base):
    def forward(self, x):
        held = Opaque(x)
        if x.sum() > 0:
            held.x = x * 2
        return held.x


# ---------------------------------------------------------------- state and memory


@claim("attribute of the model written")
class Attribute(Base):
    def __init__(self):
        super().__init__()
        self.calls = 0
        self.last = None

    def forward(self, x):
        before = self.last
        self.last = x * 1
        self.calls += 1
        return (x if before is None else x + before), self.calls


@claim("buffer written in place")
class Buffer(Base):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, 4))

    def forward(self, x):
        if x.sum() > 0:
            self.mean.mul_(0.5).add_(x)
        return self.mean + 0


@claim("write in place into a tensor made in the run")
class InPlace(Base):
    def forward(self, x):
        y = x.clone()
        if x.sum() > 0:
            y.mul_(2).add_(1)
        return y


@claim("assignment to a part of a tensor (`y[:, 1] = 7.0`)")
class AssignPart(Base):
    def forward(self, x):
        y = x.clone()
        if x.sum() > 0:
            y[:, 1] = 7.0
        return y


@claim("write through a view that was made before a decision", "DY301")
class WriteThroughView(Base):
    def forward(self, x):
        y = x.clone()
        row = y[0]
        if x.sum() > 0:
            row.mul_(2)
        return y


@claim("write in place into an input", "DY212")
class InputWritten(Base):
    def forward(self, x):
        x.add_(1)
        return x


@claim("metadata of a tensor changed in place (`squeeze_`)", "DY211")
class Squeezed(Base):
    def forward(self, x):
        y = x.clone()
        y.squeeze_(0)
        return y


@claim("global list or another object written", "DY206")
class Global(Base):
    def forward(self, x):
        SEEN.append(1)
        return x


@gap("list of numbers kept on the model that grows with every call")
class GrowingState(Base):
    def __init__(self):
        super().__init__()
        self.sums = []

    def forward(self, x):
        self.sums.append(x.sum().item())
        return len(self.sums)


@claim("parameter replaced", "DY206")
class Replaced(Base):
    def forward(self, x):
        self.layers[0].weight = nn.Parameter(x)
        return x


# ---------------------------------------------------------------- effects


@claim("`print`, `warnings.warn`, logging")
class Prints(Base):
    def forward(self, x):
        print("sum", x.sum().item())
        warnings.warn("slow", stacklevel=2)
        log.info("%s", x)
        return x + 1


@claim("dropout in train mode, `torch.rand`, sampling", "DY202")
class Random(Base):
    def forward(self, x):
        return x + torch.rand(1, 4)


@claim("`random`, `numpy.random`", "DY210")
class PythonRandom(Base):
    def forward(self, x):
        return x * random.random()


@claim("clock, environment, files", "DY210")
class Clock(Base):
    def forward(self, x):
        return x, time.time()


@claim("`id()`", "DY210")
class Identity(Base):
    def forward(self, x):
        return id(self)


@claim("`torch.no_grad`, `inference_mode`")
class NoGrad(Base):
    @torch.no_grad()
    def forward(self, x):
        with torch.inference_mode():
            return x * 2 if x.sum() > 0 else x


@claim("`torch.autocast`, enabled", "DY203")
class Autocast(Base):
    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.layers[0](x)


@claim("unknown native function on run-time values", "DY203")
class Native(Base):
    def forward(self, x):
        return math.comb(int(x.argmax()), 2)


@claim("forward hook")
class Hook(Base):
    def __init__(self):
        super().__init__()
        self.layers[0].register_forward_hook(lambda module, args, out: out * 2 if out.sum() > 0 else out)

    def forward(self, x):
        return self.layers[0](x)


@claim("`copy.deepcopy`, `copy.copy` of a list of tensors")
class Copied(Base):
    def forward(self, x):
        rows = [x, x * 2]
        other = copy.copy(rows)
        if x.sum() > 0:
            other.append(x)
        return len(rows), len(other)


@claim("model that always raises", "DY214")
class AlwaysRaises(Base):
    def forward(self, x):
        raise NotImplementedError("later")


@claim("operation of torch that fails for these shapes", "DY214")
class BadShape(Base):
    def forward(self, x):
        return x @ x
