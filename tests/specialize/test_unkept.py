"""What the machine does not keep is refused where the model would notice: each of these gave a wrong answer once."""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

from dycl.diagnostics import UnsupportedError
from dycl.passes.specialize.specializer import specialize
from tests.specialize.comparison import find_mismatch
from tests.specialize.programs import Case

X = torch.arange(4.0).reshape(1, 4) - 1


def rows(seed: int) -> tuple[torch.Tensor, ...]:
    return (torch.randn(1, 4, generator=torch.Generator().manual_seed(seed)),)


class Made(nn.Module):
    """A model around a plain function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)


def noted(x: torch.Tensor, notes: list[Any]) -> Iterator[torch.Tensor]:
    try:
        for _ in range(3):
            x = x * 0.5
            yield x
    finally:
        notes.append("closed")


def picky(x: torch.Tensor) -> Iterator[torch.Tensor]:
    for _ in range(3):
        try:
            x = x * 0.5
            yield x
        except (ValueError, KeyError):
            x = x + 1


@functools.lru_cache
def table(size: int) -> list[int]:
    return [size]


def leaves_generator(x):
    notes: list[Any] = []
    for v in noted(x, notes):
        if v.sum() > 0:
            break
    return notes, v


def takes_one(x):
    notes: list[Any] = []
    first = next(noted(x, notes))
    notes.append("after")
    return notes, first if x.sum() > 0 else x


def changes_cached(x):
    table(2).append(3)
    return len(table(2)), x if x.sum() > 0 else -x


def compares_cached(x):
    return table(2) is table(2), x if x.sum() > 0 else -x


def changes_listed(x):
    items, shared = [], [0]
    for _ in range(int((x > 0).sum()) * 5):
        items.append(shared)
        if x.sum() > 0:
            x = x + 0
    shared.append(2)
    return [len(item) for item in items]


class Holder:
    def __init__(self, value):
        self.value = value


def changes_attributes_of_listed(x):
    items = []
    for step in range(14):
        if (x - step).sum() > 0:
            items.append(Holder(x.max().item()))
            x = x + 0
    if items:
        items[0].__dict__["value"] = 100.0
    return sum(item.value for item in items)


def asks_context(x):
    try:
        try:
            if x.sum() > 0:
                raise ValueError("first")
        finally:
            if x.max() > 1:
                raise KeyError("second")
    except (ValueError, KeyError) as error:
        return error.__context__ is None
    return x


def asks_traceback(x):
    try:
        if x.sum() > 0:
            raise ValueError("first")
    except ValueError:
        return traceback.format_exc()
    return ""


def asks_info(x):
    try:
        if x.sum() > 0:
            raise ValueError("first")
    except ValueError:
        return sys.exc_info()[2] is None
    return x


@pytest.mark.parametrize(
    ("function", "code"),
    [
        (leaves_generator, "DY203"),
        (takes_one, "DY203"),
        (changes_cached, "DY207"),
        (compares_cached, "DY204"),
        (changes_listed, "DY207"),
        (changes_attributes_of_listed, "DY207"),
        (asks_context, "DY203"),
        (asks_traceback, "DY203"),
        (asks_info, "DY203"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_refused(function: Callable[..., Any], code: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        specialize(Made(function).eval(), (X,))
    assert caught.value.code == code and caught.value.hint and caught.value.loc.line


def runs_out(x):
    notes: list[Any] = []
    y = x
    for v in noted(x, notes):
        if v.sum() > 0:
            y = y + v
    return y, notes


def lets_exit_pass(x):
    for v in picky(x):
        if v.sum() > 0:
            break
    return v


def reads_cached(x):
    return x * table(3)[0] if x.sum() > 0 else table(4)[0]


def reads_error(x):
    try:
        if x.sum() > 0:
            raise ValueError("first")
    except ValueError:
        return str(sys.exception())
    return sys.exc_info()


@pytest.mark.parametrize("function", [runs_out, lets_exit_pass, reads_cached, reads_error])
def test_nothing_is_missed(function: Callable[..., Any]) -> None:
    """Where nobody can notice, nothing is refused."""
    case = Case(lambda: Made(function), rows)
    assert find_mismatch(case) is None
