"""Random operations and clocks as host operations, under the policy `rng="host"`.

Before: `torch.rand(3)`, `F.dropout(x, 0.5)`, `Categorical(probs).sample()`. After: `random.uniform((3,), ...)` of the
host, in the order of the source, and tensor operations on what it gives. Functions of torch without a model here are
taken to pieces where they are Python, and refused (DY202) where they are not.
"""

from __future__ import annotations

import inspect
import random
import time
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import unset_fake_temporarily

from dycl.ir.nodes import HostOp
from dycl.ir.values import ScalarKind, ScalarType
from dycl.passes.specialize.builtins import model
from dycl.passes.specialize.values import Scalar

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine

RandomModel = Callable[..., Any]
RANDOM: dict[Any, RandomModel] = {}  # functions of torch that draw
_FLOATS = (torch.float32, torch.float64)


def draw(machine: Machine, kind: str, args: tuple[Any, ...], shape: Any, dtype: torch.dtype) -> torch.Tensor:
    """A tensor of random numbers, drawn by the host here and now."""
    call = ("random", kind, tuple(map(_identity, args)), tuple(map(str, shape)), dtype)
    found, out = machine.replayed(call)
    if found:
        return out  # type: ignore[no-any-return]
    operands = tuple(machine.operand(arg) for arg in args)
    with unset_fake_temporarily(), machine.fake, torch._C.DisableTorchFunction():
        made = torch.empty(tuple(shape), dtype=dtype)
    vid = machine.define_result(made)
    machine.emit(HostOp(function=f"random.{kind}", args=operands, result=machine.value(vid), loc=machine.loc()))
    machine.log(call, made, "draw")
    return made


def draw_number(machine: Machine, function: str, args: tuple[Any, ...], kind: ScalarKind) -> Scalar:
    """A Python number that depends on when the host asks for it."""
    call = (function, tuple(map(_identity, args)))
    found, out = machine.replayed(call)
    if found:
        return out  # type: ignore[no-any-return]
    vid = machine.values.new(ScalarType(kind))
    operands = tuple(machine.operand(arg) for arg in args)
    machine.emit(HostOp(function=function, args=operands, result=machine.value(vid), loc=machine.loc()))
    scalar = Scalar(kind, vid)
    if kind is ScalarKind.INT:
        machine._give_symbol(scalar)
    machine.log(call, scalar, "draw")
    return scalar


def _identity(value: Any) -> Any:
    if isinstance(value, Scalar):
        return ("s", value.vid, str(value.expr))
    return id(value) if isinstance(value, torch.Tensor) else repr(value)


def _random(*functions: Any) -> Callable[[RandomModel], RandomModel]:
    def register(made: RandomModel) -> RandomModel:
        for function in functions:
            RANDOM[function] = made
        return made

    return register


# ---------------------------------------------------------------- what torch's functions share


def _check(machine: Machine, dtype: torch.dtype, name: str, generator: Any = None, **rest: Any) -> None:
    """Refuse what the host's streams do not give."""
    if generator is not None:
        raise machine.random_operation(f"{name} with an explicit generator")
    if rest.get("out") is not None:
        raise machine.random_operation(f"{name} with out=")
    if dtype not in _FLOATS:
        raise machine.random_operation(f"{name} of {dtype}")


def _shape(size: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(size[0]) if len(size) == 1 and isinstance(size[0], (tuple, list)) else tuple(size)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _like(tensor: torch.Tensor, dtype: Any) -> tuple[tuple[Any, ...], torch.dtype]:
    return tuple(tensor.shape), dtype or tensor.dtype


def _filled(machine: Machine, tensor: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
    """The tensor, overwritten with what was drawn."""
    return machine.recorder.call(torch.Tensor.copy_, (tensor, drawn), {})  # type: ignore[no-any-return]


# ---------------------------------------------------------------- torch


@_random(torch.rand, torch.randn)
def _rand(machine: Machine, *size: Any, native: Any, dtype: Any = None, **kwargs: Any) -> Any:
    dtype = dtype or torch.get_default_dtype()
    _check(machine, dtype, native.__name__, **kwargs)
    shape = _shape((kwargs["size"],) if "size" in kwargs else size)
    return _standard(machine, native, shape, dtype)


@_random(torch.rand_like, torch.randn_like)
def _rand_like(machine: Machine, tensor: Any, *, native: Any, dtype: Any = None, **kwargs: Any) -> Any:
    shape, dtype = _like(tensor, dtype)
    _check(machine, dtype, native.__name__, **kwargs)
    return _standard(machine, native, shape, dtype)


def _standard(machine: Machine, native: Any, shape: tuple[Any, ...], dtype: torch.dtype) -> Any:
    if native in (torch.rand, torch.rand_like):
        return draw(machine, "uniform", (shape, _name(dtype), 0.0, 1.0), shape, dtype)
    return draw(machine, "normal", (shape, _name(dtype), 0.0, 1.0), shape, dtype)


@_random(torch.randint)
def _randint(machine: Machine, *args: Any, native: Any, dtype: Any = None, **kwargs: Any) -> Any:
    values = [kwargs.pop(name) for name in ("low", "high", "size") if name in kwargs]
    *bounds, shape = (*args, *values)
    low, high = bounds if len(bounds) == 2 else (0, bounds[0])
    return _integers(machine, low, high, tuple(shape), dtype or torch.int64, **kwargs)


@_random(torch.randint_like)
def _randint_like(machine: Machine, tensor: Any, *bounds: Any, native: Any, dtype: Any = None, **kwargs: Any) -> Any:
    bounds = (*bounds, *(kwargs.pop(name) for name in ("low", "high") if name in kwargs))
    low, high = bounds if len(bounds) == 2 else (0, bounds[0])
    shape, dtype = _like(tensor, dtype)
    return _integers(machine, low, high, shape, dtype, **kwargs)


def _integers(machine: Machine, low: Any, high: Any, shape: tuple[Any, ...], dtype: torch.dtype, **rest: Any) -> Any:
    _check(machine, torch.float32, "randint", **rest)
    drawn = draw(machine, "integers", (shape, _name(dtype), low, high), shape, dtype)
    if type(low) is int and type(high) is int and dtype is torch.int64:
        machine.bound_elements(drawn, low, high - 1)
    return drawn


@_random(torch.bernoulli, torch.Tensor.bernoulli)
def _bernoulli(machine: Machine, chances: Any, p: Any = None, *, native: Any, **kwargs: Any) -> Any:
    _check(machine, chances.dtype, "bernoulli", **kwargs)
    name = _name(chances.dtype)
    if p is not None:
        return draw(machine, "bernoulli", (tuple(chances.shape), name, p), chances.shape, chances.dtype)
    return _flips(machine, chances, chances.dtype)


@_random(torch.Tensor.bernoulli_)
def _bernoulli_(machine: Machine, tensor: Any, p: Any = 0.5, *, native: Any, **kwargs: Any) -> Any:
    _check(machine, torch.float32, "bernoulli_", **kwargs)
    if isinstance(p, torch.Tensor):
        if tuple(p.shape) != tuple(tensor.shape):
            raise machine.random_operation("bernoulli_ with chances of another shape")
        return _filled(machine, tensor, _flips(machine, p, tensor.dtype))
    args = (tuple(tensor.shape), _name(tensor.dtype), p)
    return _filled(machine, tensor, draw(machine, "bernoulli", args, tensor.shape, tensor.dtype))


def _flips(machine: Machine, chances: Any, dtype: torch.dtype) -> Any:
    """Ones with a chance each, else zeros. What is drawn depends on no tensor: so it cuts no subgraph."""
    wide = torch.float64 if chances.dtype is torch.float64 else torch.float32
    shape = tuple(chances.shape)
    drawn = draw(machine, "uniform", (shape, _name(wide), 0.0, 1.0), shape, wide)
    below = machine.recorder.call(torch.Tensor.lt, (drawn, chances), {})
    return machine.recorder.call(torch.Tensor.to, (below, dtype), {})


_FILLERS: dict[Any, tuple[str, dict[str, float]]] = {
    torch.Tensor.uniform_: ("uniform", {"from": 0.0, "to": 1.0}),
    torch.Tensor.normal_: ("normal", {"mean": 0.0, "std": 1.0}),
    torch.Tensor.exponential_: ("exponential", {"lambd": 1.0}),
}


@_random(*_FILLERS)
def _fill(machine: Machine, tensor: Any, *args: Any, native: Any, **kwargs: Any) -> Any:
    kind, defaults = _FILLERS[native]
    given = dict(zip(defaults, args, strict=False))
    values = [given.get(name, kwargs.pop(name, default)) for name, default in defaults.items()]
    _check(machine, tensor.dtype, native.__name__, **kwargs)
    numbers = [machine.convert(float, value) for value in values]
    operands = (tuple(tensor.shape), _name(tensor.dtype), *numbers)
    return _filled(machine, tensor, draw(machine, kind, operands, tensor.shape, tensor.dtype))


@_random(torch.normal)
def _normal(machine: Machine, mean: Any, std: Any = 1.0, size: Any = None, *, native: Any, **kwargs: Any) -> Any:
    dtype = kwargs.pop("dtype", None) or next(
        (part.dtype for part in (mean, std) if isinstance(part, torch.Tensor)), torch.get_default_dtype()
    )
    _check(machine, dtype, "normal", **kwargs)
    if size is not None:
        numbers = (machine.convert(float, mean), machine.convert(float, std))
        return draw(machine, "normal", (tuple(size), _name(dtype), *numbers), size, dtype)
    sizes = [part.shape for part in (mean, std) if isinstance(part, torch.Tensor)]
    shape = torch.broadcast_shapes(*sizes)  # type: ignore[no-untyped-call]
    noise = draw(machine, "normal", (tuple(shape), _name(dtype), 0.0, 1.0), shape, dtype)
    scaled = machine.recorder.call(torch.Tensor.mul, (noise, std), {})
    return machine.recorder.call(torch.Tensor.add, (scaled, mean), {})


@_random(torch.multinomial, torch.Tensor.multinomial)
def _multinomial(
    machine: Machine, weights: Any, num_samples: Any, replacement: Any = False, *, native: Any, **kwargs: Any
) -> Any:
    _check(machine, weights.dtype, "multinomial", **kwargs)
    count, size = machine.concrete(num_samples), weights.shape[-1]
    if isinstance(size, int) and not replacement and count > size:
        raise RuntimeError("cannot sample n_sample > prob_dist.size(-1) samples without replacement")
    shape = (*weights.shape[:-1], count)
    drawn = draw(machine, "multinomial", (weights, count, bool(replacement)), shape, torch.int64)
    if isinstance(size, int):
        machine.bound_elements(drawn, 0, size - 1)
    return drawn


@_random(torch.randperm)
def _randperm(machine: Machine, n: Any, *, native: Any, dtype: Any = None, **kwargs: Any) -> Any:
    _check(machine, torch.float32, "randperm", **kwargs)
    dtype = dtype or torch.int64
    return draw(machine, "permutation", (n, _name(dtype)), (n,), dtype)


@_random(torch.nn.functional.dropout, torch.dropout)
def _dropout(
    machine: Machine, x: Any, p: Any = 0.5, training: Any = True, inplace: Any = False, *, native: Any, **kwargs: Any
) -> Any:
    training = kwargs.get("train", training)
    if not machine.truth(training) or p == 0:
        return x
    return _dropped(machine, x, tuple(x.shape), p, inplace)


@_random(torch.nn.functional.dropout1d, torch.nn.functional.dropout2d, torch.nn.functional.dropout3d)
def _feature_dropout(
    machine: Machine, x: Any, p: Any = 0.5, training: Any = True, inplace: Any = False, *, native: Any
) -> Any:
    wanted = {"dropout1d": 3, "dropout2d": 4, "dropout3d": 5}[native.__name__]
    if not machine.truth(training) or p == 0:
        return x
    if x.dim() != wanted:
        raise machine.random_operation(f"{native.__name__} of an input without a batch dimension")
    return _dropped(machine, x, (x.shape[0], x.shape[1], *([1] * (wanted - 2))), p, inplace)


def _dropped(machine: Machine, x: Any, shape: tuple[Any, ...], p: Any, inplace: Any) -> Any:
    _check(machine, x.dtype, "dropout")
    multiply = torch.Tensor.mul_ if inplace else torch.Tensor.mul
    if p == 1:
        return machine.recorder.call(multiply, (x, 0.0), {})
    kept = draw(machine, "bernoulli", (shape, _name(x.dtype), 1 - p), shape, x.dtype)
    noise = machine.recorder.call(torch.Tensor.div, (kept, 1 - p), {})
    return machine.recorder.call(multiply, (x, noise), {})


# ---------------------------------------------------------------- Python and numpy


_PYTHON_FLOATS = ("random", "uniform", "gauss", "normalvariate", "expovariate", "betavariate", "triangular")
_NUMPY_FLOATS = ("rand", "random", "random_sample", "uniform", "normal", "randn", "standard_normal", "exponential")


def _numbers_only(args: tuple[Any, ...]) -> bool:
    return all(isinstance(arg, (bool, int, float, Scalar)) for arg in args)


_SHARED: tuple[Any, ...] = (random.random.__self__, np.random.mtrand._rand)  # type: ignore[attr-defined]


def _is_shared(args: tuple[Any, ...]) -> bool:
    """Whether a method of a generator is called on the one of its module."""
    return bool(args) and any(args[0] is shared for shared in _SHARED)


def _python_number(machine: Machine, *args: Any, native: Any, **kwargs: Any) -> Any:
    name = native.__name__
    if isinstance(native, types.FunctionType):
        if not _is_shared(args):
            return NotImplemented
        args = args[1:]
    if not machine.hints.draws or kwargs or not _numbers_only(args):
        return NotImplemented
    kind = ScalarKind.FLOAT if name in _PYTHON_FLOATS else ScalarKind.INT
    found = draw_number(machine, "random.of_python", (name, *args), kind)
    bounds = (args[0], args[1]) if name == "randint" else (0, args[0] - 1) if len(args) == 1 else None
    if kind is ScalarKind.INT and bounds is not None and all(type(bound) is int for bound in bounds):
        machine.bound_number(found, *bounds)
    return found


def _python_choice(machine: Machine, owner: Any, items: Any, *, native: Any) -> Any:
    if (
        not _is_shared((owner,))
        or not machine.hints.draws
        or not isinstance(items, (list, tuple, str, range))
        or not items
    ):
        return NotImplemented
    found = draw_number(machine, "random.of_python", ("randrange", len(items)), ScalarKind.INT)
    machine.bound_number(found, 0, len(items) - 1)
    return items[machine.concrete(found)]


def _numpy_number(machine: Machine, *args: Any, native: Any, **kwargs: Any) -> Any:
    name = native.__name__
    if args and _is_shared(args[:1]):
        args = args[1:]
    is_scalar = not args if name in ("rand", "randn", "random", "random_sample", "standard_normal") else len(args) <= 2
    if not machine.hints.draws or kwargs or not is_scalar or not _numbers_only(args):
        return NotImplemented
    kind = ScalarKind.FLOAT if name in _NUMPY_FLOATS else ScalarKind.INT
    return draw_number(machine, "random.of_numpy", (name, *args), kind)


# A bound method of the module's own generator is taken apart before it is looked up.
_METHODS = [getattr(random, name) for name in (*_PYTHON_FLOATS, "randint", "randrange")]
model(*[getattr(method, "__func__", method) for method in _METHODS])(_python_number)
model(random.Random.choice)(_python_choice)
_NUMPY_METHODS = [getattr(np.random, name) for name in (*_NUMPY_FLOATS, "randint")]
model(*[getattr(method, "__func__", method) for method in _NUMPY_METHODS])(_numpy_number)
_NUMPY_SEED = getattr(np.random.seed, "__func__", np.random.seed)


@model(inspect.unwrap(torch.random.manual_seed), random.Random.seed, _NUMPY_SEED)
def _seed(machine: Machine, *args: Any, native: Any) -> Any:
    if native.__name__ != "manual_seed":
        if not _is_shared(args):
            return NotImplemented
        args = args[1:]
    if not machine.hints.draws or len(args) != 1 or not _numbers_only(args):
        return NotImplemented
    family = "torch" if native.__name__ == "manual_seed" else "numpy" if native is _NUMPY_SEED else "python"
    draw_number(machine, f"random.seed_{family}", (machine.convert(int, args[0]),), ScalarKind.INT)
    return None


# ---------------------------------------------------------------- clocks

_CLOCKS = ("time", "perf_counter", "monotonic", "process_time", "thread_time")


@model(*[getattr(time, name + suffix) for name in _CLOCKS for suffix in ("", "_ns")])
def _clock(machine: Machine, *, native: Any) -> Any:
    kind = ScalarKind.INT if native.__name__.endswith("_ns") else ScalarKind.FLOAT
    return draw_number(machine, "clock", (native.__name__,), kind)
