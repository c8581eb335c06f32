"""Operations whose result has another rank or size where a run-time size is 1, as operations that say what they do.

An exporter meets such an operation without the facts of the path: it would decide by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from dycl.passes.specialize.recorder import Recorder


def _squeeze(recorder: Recorder, tensor: torch.Tensor, *dims: Any, dim: Any = None) -> Any:
    """`squeeze`: whether a run-time size is 1 is a decision, and one that is, is selected. None: none is."""
    wanted = dims[0] if len(dims) == 1 else dims or dim
    if wanted is None or wanted == ():
        wanted = range(tensor.dim())
    places = [place % tensor.dim() for place in ((wanted,) if isinstance(wanted, int) else wanted)]
    ones = {place for place in places if bool(tensor.shape[place] == 1)}
    if not any(isinstance(tensor.shape[place], torch.SymInt) for place in ones):
        return None
    for place in sorted(ones, reverse=True):
        tensor = recorder.call(torch.select, (tensor, place, 0), {})
    return tensor


def sorted_topk(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """`topk` without an order is in order: torch promises none, so each of its kernels and each target has its own."""
    if len(args) > 4:
        args = (*args[:4], True)
    return args, (kwargs | {"sorted": True} if "sorted" in kwargs else kwargs)


def _masked_select(recorder: Recorder, input: Any, mask: Any) -> Any:
    """`masked_select` is an index of both broadcast together."""
    if tuple(map(str, input.shape)) != tuple(map(str, mask.shape)):
        input, mask = recorder.call(torch.broadcast_tensors, (input, mask), {})
    return recorder.call(torch.Tensor.__getitem__, (input, mask), {})


MODELS: dict[str, Callable[..., Any]] = {"squeeze": _squeeze, "masked_select": _masked_select}
