"""Functions: calls, arguments, closures, decorators."""

from __future__ import annotations

import functools
import typing
from functools import partial
from math import *  # noqa: F403  (a star-import, as in much research code)
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from tests.conformance.table import Base, Section

SECTION = Section("Functions")
SCALE = 0.5


def scaled(x, scale=SCALE, *, shift=0.0):
    """A function of the module, with defaults."""
    if x.sum() > 0:
        return x * scale + shift
    return x - shift


@SECTION.yes("module-level functions and constants, keyword-only arguments, defaults")
class ModuleFunction(Base):
    def forward(self, x):
        return scaled(x, shift=1.0) + scaled(x, 2.0) * SCALE


@SECTION.yes("`*args`, `**kwargs`, starred calls, forwarding")
class Forwarding(Base):
    def inner(self, x, *more, scale=1.0, **rest):
        for y in more:
            x = x + y if y.sum() > 0 else x
        return x * scale + len(rest)

    def outer(self, *args, **kwargs):
        return self.inner(*args, **kwargs)

    def forward(self, x):
        options = {"scale": 2.0, "unused": None}
        return self.outer(x, *[x * i for i in range(2)], **options)


def _two(seed: int) -> tuple[Any, ...]:
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(seed))
    return x[0].clone(), x[1].clone()


@SECTION.yes("`forward(self, *args)`", "as many as the example gives", _two)
class StarForward(Base):
    def forward(self, *inputs):
        x, *rest = inputs
        for y in rest:
            x = x + y if y.sum() > 0 else x - y
        return x


@SECTION.yes("`forward` with defaults and optional arguments", "a default may be left out of the call")
class Defaults(Base):
    def forward(self, x, mask=None, scale: float = 2.0, *, flag: bool = True):
        if mask is not None:
            x = x * mask
        return x * scale if flag and x.sum() > 0 else x


@SECTION.yes("nested function with defaults, closure, lambda")
class Closures(Base):
    def forward(self, x):
        offset = 1.0 if x.sum() > 0 else 2.0

        def add(y, amount=offset, *, twice=False):
            y = y + amount
            return add(y) if twice else y

        return add(x, twice=True), (lambda y, k=3: y * k + offset)(x)


@SECTION.yes("function that returns functions, decorators of the model's own")
class OwnDecorator(Base):
    def forward(self, x):
        def repeated(times):
            def decorate(function):
                @functools.wraps(function)
                def wrapper(*args, **kwargs):
                    result = args[0]
                    for _ in range(times):
                        result = function(result, **kwargs)
                    return result

                return wrapper

            return decorate

        @repeated(2)
        def step(y, scale=2.0):
            return y * scale if y.sum() > 0 else y + 1

        return step(x), step.__name__


@SECTION.yes("`functools.partial`")
class Partial(Base):
    def forward(self, x):
        double = partial(scaled, scale=2.0)
        shifted = partial(double, shift=1.0)
        return shifted(x) + double(x)


@functools.lru_cache(maxsize=None)
def table_of(size: int) -> list[int]:
    """Computed once for each size."""
    return [i * i for i in range(size)]


class Cached:
    """Has a cached method."""

    @functools.cache
    def scale(self, n):
        return 2.0**n


@SECTION.yes("`functools.lru_cache`, `functools.cache`", "the function behind it is interpreted")
class LruCache(Base):
    def __init__(self):
        super().__init__()
        self.cached = Cached()

    def forward(self, x):
        return x * table_of(4)[2] if x.sum() > 0 else x * self.cached.scale(3)


@functools.cache
def is_available(name: str) -> bool:
    """A question about the installation, as libraries ask it."""
    return name == "sdpa"


@SECTION.yes("`is` of what a cached function returned")
class CachedAnswer(Base):
    def forward(self, x):
        if is_available("flash") is True:
            return x
        return x * 2 if x.sum() > 0 and is_available("sdpa") is not False else x - 1


@SECTION.refused("DY207", "change of what a cached function returned", "the cache would give the changed object again")
class ChangedCache(Base):
    def forward(self, x):
        table_of(3).append(1)
        return x * len(table_of(3)) if x.sum() > 0 else x


@functools.singledispatch
def describe(value, x):
    """Of anything else."""
    return x


@describe.register(int)
def _(value, x):
    return x * value


@describe.register
def _(value: str, x):
    return x + len(value)


@SECTION.yes("`functools.singledispatch`")
class SingleDispatch(Base):
    def forward(self, x):
        return describe(3 if x.sum() > 0 else "abc", x), describe(None, x)


@SECTION.yes("`functools.cmp_to_key`", "a sort by comparisons, as Python sorts")
class ComparisonKey(Base):
    def forward(self, x):
        items = [x[0, 0].item(), x[0, 1].item()]
        return sorted(items, key=functools.cmp_to_key(lambda a, b: (a > b) - (a < b)))


@SECTION.yes("recursive helper functions, mutual recursion", "unrolled")
class Mutual(Base):
    def even(self, x, n):
        return x if n == 0 else self.odd(x + 1, n - 1)

    def odd(self, x, n):
        return x if n == 0 or x.sum() > 4 else self.even(x * 2, n - 1)

    def forward(self, x):
        return self.even(x, 4)


@SECTION.yes("typing annotations, `cast`, `TYPE_CHECKING`, `Optional`")
class Annotations(Base):
    def forward(self, x: torch.Tensor, flag: typing.Optional[bool] = None) -> typing.Tuple[torch.Tensor, int]:
        total: torch.Tensor = typing.cast(torch.Tensor, x.sum())
        count: int
        if total > 0:
            count = 1
        else:
            count = 2
        return x, count


@SECTION.yes("star-import, import inside a function, aliases (`import torch.nn.functional as F`)")
class Imports(Base):
    def forward(self, x):
        import math as m

        from torch.nn.functional import relu

        return F.gelu(x) if x.sum() > 0 else relu(x) * sqrt(m.pi)  # noqa: F405


@torch.jit.script
def scripted_step(x: torch.Tensor) -> torch.Tensor:
    """A function that TorchScript has compiled, without decisions."""
    return torch.tanh(x) * 2


@SECTION.yes("`@torch.jit.script` function without decisions")
class Scripted(Base):
    def forward(self, x):
        return scripted_step(x) if x.sum() > 0 else x


@torch.jit.ignore
def ignored_step(x):
    """TorchScript leaves it alone."""
    return x * 2 if x.sum() > 0 else x


@SECTION.yes("`@torch.jit.ignore`, `@torch.jit.unused`, `torch.jit.is_scripting`")
class JitMarks(Base):
    @torch.jit.unused
    def unused(self, x):
        return x + 1

    def forward(self, x):
        if torch.jit.is_scripting():
            return x
        return self.unused(ignored_step(x))


@torch.compile(backend="eager")  # the wrapper is the same, and Inductor is not imported for it
def compiled_step(x):
    """A function that is compiled when it is first called."""
    if x.sum() > 0:
        return x * 2
    return x + 1


@SECTION.yes("`@torch.compile`d function", "the function behind it")
class TorchCompiled(Base):
    def forward(self, x):
        return compiled_step(x)


class Square(torch.autograd.Function):
    """A function with a gradient of its own."""

    @staticmethod
    def forward(ctx, x, scale):
        ctx.save_for_backward(x)
        ctx.scale = scale
        return x * x * scale

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * 2 * x * ctx.scale, None


class Threshold(torch.autograd.Function):
    """Straight-through: a hard decision forward."""

    @staticmethod
    def forward(ctx, x):
        return (x > 0).float() if x.sum() > 0 else torch.zeros_like(x)

    @staticmethod
    def backward(ctx, grad):
        return grad


class Blocks(torch.autograd.Function):
    """Runs modules, which it is handed, and appends to a list, as a reversible network does."""

    @staticmethod
    def forward(ctx, x, blocks, seen):
        for block in blocks:
            x = block(x)
            seen.append(x.mean())
            if seen[-1] > 0:
                break
        ctx.save_for_backward(x.detach())
        ctx.blocks = blocks
        return x

    @staticmethod
    def backward(ctx, grad):
        return grad, None, None


class Same(torch.autograd.Function):
    """With the context set up afterwards; returns its argument, and something that is no tensor."""

    @staticmethod
    def forward(x, scale):
        return x, x * scale, "scaled"

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, ctx.scale = inputs
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx, *grads):
        return grads[0], None


@SECTION.yes("an `autograd.Function` over modules and containers, or with a `setup_context`", "interpreted too")
class FunctionOfModules(Base):
    def forward(self, x):
        seen = []
        y = Blocks.apply(x, self.layers, seen)
        held = x + 1
        same, scaled, how = Same.apply(held, 3.0)
        if same is held:  # it is another tensor over the same memory
            return y
        same.mul_(2)
        return y + held if len(seen) > 1 else y - scaled, how


@SECTION.yes("custom `autograd.Function` at inference", "its `forward` is interpreted")
class CustomFunction(Base):
    def forward(self, x):
        spikes = Threshold.apply(x)
        return Square.apply(x, 2.0) if x[0, 0] > 0 else spikes


@SECTION.yes("`@torch.no_grad()`, `@torch.inference_mode()` on forward, `with torch.no_grad()`")
class NoGrad(Base):
    @torch.no_grad()
    def forward(self, x):
        with torch.inference_mode():
            return self.helper(x) if x.sum() > 0 else x

    @torch.inference_mode()
    def helper(self, x):
        return x * 2


@SECTION.yes("`torch.is_tensor`, `torch.is_grad_enabled`, `requires_grad`, `detach`, `.data`, `.cpu()`, `.to(device)`")
class Housekeeping(Base):
    def forward(self, x):
        if torch.is_tensor(x) and not torch.is_grad_enabled() and not x.requires_grad:
            x = x.detach().to(self.layers[0].weight.device).cpu().contiguous()
        return x.data if x.sum() > 0 else x.float()


@SECTION.yes("`type(x) is Tensor`, `isinstance(x, torch.Tensor)`")
class TensorType(Base):
    def forward(self, x):
        if type(x) is torch.Tensor and isinstance(x, torch.Tensor) and not isinstance(x, nn.Parameter):
            return x * 2 if x.sum() > 0 else x
        return None


@SECTION.yes("`torch.vmap`-free `einsum`, `einops.rearrange`, `repeat`, `reduce`")
class Einops(Base):
    def forward(self, x):
        import einops

        y = einops.rearrange(x, "b (h w) -> b h w", h=2)
        if x.sum() > 0:
            return einops.reduce(y, "b h w -> b h", "mean")
        return einops.repeat(y, "b h w -> b h w k", k=2), torch.einsum("bhw,bhv->bwv", y, y)
