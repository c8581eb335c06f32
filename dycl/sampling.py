"""Inputs to verify a model on: from `sample_inputs` beside it, or perturbations of its example."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from dycl.loading import bind_inputs, split_call

# How far the sampled floats lie from the example's, in units of their standard deviation; None: a fresh draw.
SCALES: tuple[float | None, ...] = (0.1, 0.5, 1.0, 3.0, None)


@dataclass(frozen=True, slots=True)
class Sample:
    """One call of the model and where it comes from."""

    origin: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


def sample_calls(
    model: nn.Module,
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    *,
    method: str,
    sampler: Callable[[int], object] | None,
    count: int,
) -> Iterator[Sample]:
    """The example, then `count` sampled calls; the same every time."""
    yield Sample("the example", args, kwargs)
    for seed in range(count):
        if sampler is not None:
            bound, named = bind_inputs(model, *split_call(sampler(seed)), method)
            yield Sample(f"sample_inputs({seed})", bound, named)
        else:
            generator = torch.Generator().manual_seed(seed)
            scale = SCALES[seed % len(SCALES)]
            moved = tuple(perturb(arg, generator, scale) for arg in args)
            named = {name: perturb(arg, generator, scale) for name, arg in kwargs.items()}
            yield Sample(f"perturbation {seed} of the example", moved, named)


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
