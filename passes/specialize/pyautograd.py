"""`torch.autograd.Function.apply` as Python source: the machine steps into what the model's own function does forward.

Nothing is differentiated here, so what a function keeps for its gradient is kept, and forgotten with its context.
"""

from __future__ import annotations

from typing import Any

import torch


class Context:
    """What a function is handed as `ctx`: attributes of its own, and what it says of its tensors."""

    def __init__(self, needs_input_grad: Any) -> None:
        self.needs_input_grad = needs_input_grad
        self.saved_tensors: Any = ()
        self.dirty_tensors: Any = ()

    def save_for_backward(self, *tensors: Any) -> None:
        self.saved_tensors = tensors

    def save_for_forward(self, *tensors: Any) -> None:
        pass

    def mark_dirty(self, *tensors: Any) -> None:
        self.dirty_tensors = tensors

    def mark_non_differentiable(self, *tensors: Any) -> None:
        pass

    def set_materialize_grads(self, value: Any) -> None:
        pass


def apply_with_context(function: Any, *args: Any) -> Any:
    """A function whose `forward` takes the context."""
    context = Context(tuple([isinstance(arg, torch.Tensor) and arg.requires_grad for arg in args]))
    return finish(context, args, function.forward(context, *args))


def apply_then_set_up(function: Any, *args: Any) -> Any:
    """A function with a `setup_context`, which runs after `forward`."""
    context = Context(tuple([isinstance(arg, torch.Tensor) and arg.requires_grad for arg in args]))
    made = function.forward(*args)
    function.setup_context(context, args, made)
    return finish(context, args, made)


def finish(context: Any, args: Any, made: Any) -> Any:
    """What `apply` returns: an argument that is returned as it came is another tensor over the same memory."""
    if isinstance(made, tuple):
        return tuple([own(context, args, item) for item in made])
    return own(context, args, made)


def own(context: Any, args: Any, item: Any) -> Any:
    """One result."""
    if not isinstance(item, torch.Tensor) or any([item is tensor for tensor in context.dirty_tensors]):
        return item
    return item.view_as(item) if any([item is arg for arg in args]) else item
