"""Ordinary differential equations: torchdiffeq's own solvers around a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

torchdiffeq = pytest.importorskip("torchdiffeq")


class Field(nn.Module):
    """The derivative."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))

    def forward(self, t: torch.Tensor, y: torch.Tensor) -> Any:
        return self.net(y**3)


class Ode(nn.Module):
    """The solution at three times."""

    def __init__(self, method: str, **options: Any) -> None:
        super().__init__()
        self.field = Field()
        self.method = method
        self.options = options
        self.register_buffer("t", torch.tensor([0.0, 0.5, 1.0]))

    def forward(self, x: torch.Tensor) -> Any:
        return torchdiffeq.odeint(self.field, x, self.t, method=self.method, **self.options)


def _build(method: str, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return Ode(method, **options).eval()


def _start(seed: int) -> tuple[torch.Tensor, ...]:
    """Near the origin little happens; far from it an adaptive solver takes many steps."""
    return (torch.randn(1, 2, generator=torch.Generator().manual_seed(seed)) * (1 + seed / 3),)


def test_fixed_steps(compare: Callable[..., Any]) -> None:
    compare(_build("rk4", options={"step_size": 0.5}), _start, paths=1)


def test_adaptive_steps(compare: Callable[..., Any]) -> None:
    compare(_build("dopri5"), _start, calls=20)
