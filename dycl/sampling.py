"""Inputs to verify a model on: from `sample_inputs` beside it, or perturbations of its example."""

from __future__ import annotations

import dataclasses
import inspect
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from dycl.ir.dimensions import STATIC, DynamicInputs, add_defaults
from dycl.loading import bind_inputs, split_call

# How far the sampled floats lie from the example's, in units of their standard deviation; None: a fresh draw.
SCALES: tuple[float | None, ...] = (0.1, 0.5, 1.0, 3.0, None)


@dataclass(frozen=True, slots=True)
class Sample:
    """One call of the model, or of one of its further methods, and where it comes from."""

    origin: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    method: str = ""
    is_example: bool = False


def sample_calls(
    model: nn.Module,
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    *,
    method: str,
    sampler: Callable[[int], object] | None,
    count: int,
    dynamic: DynamicInputs = STATIC,
    first: int = 0,
) -> Iterator[Sample]:
    """The example, then `count` sampled calls; the same every time. Named dimensions have other sizes in most.

    `first`: the seed of the first of them.
    """
    example = args, kwargs = _completed(model, args, kwargs, method, dynamic)
    yield Sample("the example", args, kwargs, is_example=True)
    for seed in range(first, first + count):
        if sampler is not None:
            bound, named = bind_inputs(model, *split_call(sampler(seed)), method)
            yield Sample(f"sample_inputs({seed})", *_completed(model, bound, named, method, dynamic))
        else:
            generator = torch.Generator().manual_seed(seed)
            scale = SCALES[seed % len(SCALES)]
            args, kwargs = resized(model, example, method, dynamic, seed)
            moved = tuple(perturb(arg, generator, scale) for arg in args)
            named = {name: perturb(arg, generator, scale) for name, arg in kwargs.items()}
            yield Sample(f"perturbation {seed} of the example", moved, named)


def interleaved(calls: Sequence[Sample], others: Mapping[str, Sequence[Sample]]) -> Iterator[Sample]:
    """The calls of the model with those of further methods between them: all examples, then one after every second."""
    waiting = {name: deque(found) for name, found in others.items()}
    turns = deque(waiting)
    yield from calls[:1]
    yield from (_of(name, found[0]) for name, found in waiting.items())
    for found in waiting.values():
        found.rotate(-1)
    for number, call in enumerate(calls[1:]):
        yield call
        if number % 2 and turns:
            turns.rotate(-1)
            found = waiting[turns[-1]]
            yield _of(turns[-1], found[0])
            found.rotate(-1)


def _of(name: str, sample: Sample) -> Sample:
    return dataclasses.replace(sample, origin=f"{name}: {sample.origin}", method=name)


def _completed(
    model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], method: str, dynamic: DynamicInputs
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    if not dynamic.numbers:
        return args, kwargs
    bound = inspect.signature(getattr(model, method)).bind(*args, **kwargs)
    add_defaults(bound, dynamic)
    return bound.args, bound.kwargs


def resized(
    model: nn.Module, example: tuple[tuple[Any, ...], Mapping[str, Any]], method: str, dynamic: DynamicInputs, seed: int
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """The example with sizes of its named dimensions and values of its free numbers drawn anew."""
    if dynamic == STATIC:
        return example
    bound = inspect.signature(getattr(model, method)).bind(*example[0], **example[1])
    drawn = _Drawn(dynamic, random.Random(seed))
    for name, value in bound.arguments.items():
        drawn.note(name, value)
    bound.arguments.update({name: drawn.value(name, value) for name, value in bound.arguments.items()})
    return bound.args, bound.kwargs


class _Drawn:
    """The sizes and numbers of one sample."""

    def __init__(self, dynamic: DynamicInputs, source: random.Random) -> None:
        self._dynamic = dynamic
        self._random = source
        self._sizes: dict[str, int] = {}

    def note(self, path: str, value: Any) -> None:
        """Draw sizes for the named dimensions of the tensors at and below a path."""
        for name, item in _parts(value):
            self.note(f"{path}.{name}", item)
        for dim, name in self._dynamic.dims.get(path, {}).items():
            self._sizes.setdefault(name, self._size(name, value.shape[dim]))

    def _size(self, name: str, example: int) -> int:
        dimension = next(known for known in self._dynamic.dimensions if known.name == name)
        sizes = {dimension.low, dimension.low + 1, 2, 3, example - 1, example, example + 1, 2 * example}
        if dimension.high is not None and dimension.high <= 4 * example:
            sizes.add(dimension.high)
        return self._random.choice(sorted(size for size in sizes if dimension.admits(size)))

    def value(self, path: str, value: Any) -> Any:
        """The value at a path in these sizes."""
        if path in self._dynamic.numbers:
            ends = [end for end in self._dynamic.bounds.get(path, ()) if end is not None]
            found = self._clamped(path, self._number(value))
            return self._random.choice([found, *ends]) if ends else found
        if isinstance(value, torch.Tensor):
            for dim, name in self._dynamic.dims.get(path, {}).items():
                index = torch.arange(self._sizes[name]) % max(value.shape[dim], 1)
                value = value.index_select(dim, index.to(value.device))
            return value
        parts = {name: self.value(f"{path}.{name}", item) for name, item in _parts(value)}
        if isinstance(value, dict):
            return type(value)(zip(value, parts.values(), strict=True))
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*parts.values())
        return type(value)(parts.values()) if isinstance(value, tuple | list) else value

    def _clamped(self, path: str, number: Any) -> Any:
        """The number, or the end of its range that is nearest."""
        low, high = self._dynamic.bounds.get(path, (None, None))
        number = number if low is None else max(number, low)
        return number if high is None else min(number, high)

    def _number(self, value: Any) -> Any:
        match value:
            case bool():
                return self._random.random() < 0.5
            case int():
                return self._random.randint(min(value, max(value - 2, 0)), value + 3)
            case float():
                return value * self._random.uniform(0.25, 2.0)
            case _:
                return value


def _parts(value: Any) -> list[tuple[str, Any]]:
    """What a container of inputs holds, by name."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return list(zip(value._fields, value, strict=True))
    if isinstance(value, tuple | list):
        return [(str(index), item) for index, item in enumerate(value)]
    return [(str(key), item) for key, item in value.items()] if isinstance(value, dict) else []


def perturb(value: Any, generator: torch.Generator, scale: float | None) -> Any:
    """The value with its tensors changed at random: floats moved, integers drawn again from their range."""
    return map_tensors(value, lambda tensor: _perturb_tensor(tensor, generator, scale))


def _perturb_tensor(tensor: torch.Tensor, generator: torch.Generator, scale: float | None) -> torch.Tensor:
    if tensor.numel() == 0:
        return tensor.clone()
    if tensor.is_complex():
        return torch.view_as_complex(_perturb_tensor(torch.view_as_real(tensor).contiguous(), generator, scale))
    if tensor.is_floating_point():
        noise = torch.randn(tensor.shape, generator=generator)
        spread = tensor.float().std(correction=0)
        spread = spread if spread > 0 else torch.tensor(1.0)
        moved = noise * spread + tensor.float().mean() if scale is None else tensor.float() + noise * spread * scale
        return moved.to(tensor.dtype)
    low, high = int(tensor.min()), int(tensor.max())
    if tensor.dtype == torch.bool:
        low, high = 0, 1
    drawn = torch.randint(low, high + 1, tensor.shape, generator=generator).to(tensor.dtype)
    if scale is None or scale >= 1:
        return drawn
    return torch.where(torch.rand(tensor.shape, generator=generator) < scale, drawn, tensor)


def map_tensors(value: Any, change: Callable[[torch.Tensor], Any]) -> Any:
    """A new value of the same nesting with every tensor changed; a leaf that is no tensor stays."""
    return map_leaves(value, lambda leaf: change(leaf) if isinstance(leaf, torch.Tensor) else leaf)


def map_leaves(value: Any, change: Callable[[Any], Any]) -> Any:
    """A new value of the same nesting with every leaf changed."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_leaves(item, change) for item in value))
    if isinstance(value, tuple | list):
        return type(value)(map_leaves(item, change) for item in value)
    if isinstance(value, dict):
        pairs = {key: map_leaves(item, change) for key, item in value.items()}
        return type(value)(**pairs) if dataclasses.is_dataclass(value) else type(value)(pairs)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        made = object.__new__(type(value))
        for name in (item.name for item in dataclasses.fields(value)):
            object.__setattr__(made, name, map_leaves(getattr(value, name), change))
        return made
    return change(value)
