"""What the names in a program stand for: the weights and modules of the live model."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

Call = tuple[tuple[object, ...], dict[str, object]]  # positional and named arguments


@dataclass(frozen=True, slots=True)
class Environment:
    """Named weights (shared tensors have one name) and named modules of the model a program was made from.

    `classes` holds the Python classes of the records and exceptions a program makes, by `module:qualname`. `calls` are
    calls of the model, as positional and named arguments, that show which ways through it are usual: what they do may
    decide what is fast, never what is right.
    """

    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    modules: dict[str, torch.nn.Module] = field(default_factory=dict)
    classes: dict[str, type] = field(default_factory=dict)
    calls: tuple[Call, ...] = ()
