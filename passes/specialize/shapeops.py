"""Operations whose result has another rank or size where a run-time size is 1, as operations that say what they do.

An exporter meets such an operation without the facts of the path: it would decide by itself.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch._prims_common import suggest_memory_format

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


def executed(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result on fake tensors. Torch's rule for `reshape` fails where rows lie so that they have to be copied."""
    if function in _RECURRENCES and any(isinstance(size, torch.SymInt) for size in args[0].shape):
        return _recurrence(function is torch.lstm, *args)
    if function in _RESIZES and not kwargs and (resized := _resized(*args)) is not None:
        return resized
    try:
        return function(*args, **kwargs)
    except ValueError as error:
        if getattr(function, "__name__", "") not in _RESHAPES or not str(error).startswith("Cannot view a tensor"):
            raise
        return function(args[0].clone(memory_format=torch.contiguous_format), *args[1:], **kwargs)


def _recurrence(
    is_lstm: bool,
    steps: torch.Tensor,
    state: Any,
    weights: Any,
    has_biases: bool,
    layers: int,
    dropout: float,
    is_training: bool,
    is_bidirectional: bool,
    is_batch_first: bool,
) -> Any:
    """The shapes of `torch.lstm`, `torch.gru`, ... for a run-time number of steps, which torch would unroll."""
    hidden = state[0] if is_lstm else state
    torch._check(hidden.shape[1] == steps.shape[0 if is_batch_first else 1])  # type: ignore[no-untyped-call]
    out = steps.new_empty([*steps.shape[:2], hidden.shape[2] * (2 if is_bidirectional else 1)])
    return (out, *[torch.empty_like(one) for one in state]) if is_lstm else (out, torch.empty_like(state))


def _resized(image: torch.Tensor, sizes: Any, *options: Any) -> Any:
    """The shape of an image of run-time sizes brought to known ones, for which torch's rule wants numbers.

    None where an image may be empty, or the result's sizes are not known.
    """
    is_known = isinstance(sizes, (list, tuple)) and all(type(size) is int and size > 0 for size in sizes)
    if not is_known or not any(isinstance(size, torch.SymInt) for size in image.shape[2:]):
        return None
    if image.dim() != 4 or not all(bool(size > 0) for size in image.shape[1:]):
        return None
    return image.new_empty([*image.shape[:2], *sizes]).to(memory_format=suggest_memory_format(image))


_RESIZES: frozenset[Any] = frozenset({torch._C._nn.upsample_bilinear2d, torch._C._nn.upsample_bicubic2d})
_RECURRENCES: frozenset[Any] = frozenset({torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu})
_RESHAPES = frozenset({"reshape", "reshape_as", "flatten", "ravel"})


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


def unique_consecutive(
    recorder: Recorder,
    native: Any,
    input: Any,
    return_inverse: Any = False,
    return_counts: Any = False,
    dim: int | None = None,
) -> Any:
    """The first of each run of equal neighbours; for a dimension counted from the end torch's fake kernel is wrong.

    The operator itself always has three results, what torch documents has those that are asked for.
    """
    call = recorder.call

    def item(tensor: Any, index: Any) -> Any:
        return call(torch.Tensor.__getitem__, (tensor, index), {})

    rows = call(torch.Tensor.reshape, (input, (-1,)), {}) if dim is None else call(torch.movedim, (input, dim, 0), {})
    changes = call(torch.ne, (item(rows, slice(1, None)), item(rows, slice(None, -1))), {})
    if rows.dim() > 1:
        changes = call(torch.any, (call(torch.flatten, (changes, 1), {}), 1), {})
    first = call(
        torch.ones_like,
        (item(call(torch.Tensor.reshape, (rows, (rows.shape[0], -1)), {}), (slice(1), 0)),),
        {"dtype": torch.bool},
    )
    is_new = call(torch.cat, ([first, changes],), {})
    found = call(torch.nonzero, (is_new,), {})
    if isinstance(rows.shape[0], int) and rows.shape[0] > 0 and isinstance(found.shape[0], torch.SymInt):
        recorder.machine.bound_symbol(found.shape[0].node.expr, 1, rows.shape[0])
    starts = item(found, (slice(None), 0))
    kept = call(torch.index_select, (rows, 0, starts), {})
    results = [kept if dim is None else call(torch.movedim, (kept, 0, dim), {})]
    is_operator = isinstance(native, types.BuiltinFunctionType)
    if is_operator or return_inverse:
        places = call(torch.sub, (call(torch.cumsum, (is_new, 0), {}), 1), {})
        results.append(call(torch.Tensor.reshape, (places, input.shape), {}) if dim is None else places)
    if is_operator or return_counts:
        ends = call(torch.cat, ([starts, call(torch.full, ((1,), rows.shape[0]), {"dtype": torch.int64})],), {})
        results.append(call(torch.sub, (item(ends, slice(1, None)), starts), {}))
    return results[0] if len(results) == 1 else tuple(results)


def _bilinear(recorder: Recorder, input1: Any, input2: Any, weight: Any, bias: Any = None) -> Any:
    """`bilinear` as the sum that it is: torch's own rule fails where sizes are run-time numbers."""
    if tuple(map(str, input1.shape[:-1])) != tuple(map(str, input2.shape[:-1])):
        return None
    if weight.shape[1:] != (input1.shape[-1], input2.shape[-1]):
        return None
    out = recorder.call(torch.einsum, ("...i,oij,...j->...o", input1, weight, input2), {})
    return out if bias is None else recorder.call(torch.add, (out, bias), {})


MODELS: dict[str, Callable[..., Any]] = {
    "bilinear": _bilinear,
    "masked_select": _masked_select,
    "squeeze": _squeeze,
}
