"""The table of docs/semantics.md: one model for each construct, in sections; `python docs/semantics.py` writes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

Inputs = Callable[[int], tuple[Any, ...]]

_COLUMNS = ("Construct", "Result", "How", "Example")


def vectors(seed: int) -> tuple[Any, ...]:
    """The one float32[1, 4] that most models take."""
    return (torch.randn(1, 4, generator=torch.Generator().manual_seed(seed)) * 1.5,)


@dataclass(frozen=True)
class Construct:
    """A row of the table: what the model shows, and the code with which it is refused (empty: it is supported)."""

    row: str
    how: str
    model: type[nn.Module]
    inputs: Inputs
    code: str = ""
    is_gap: bool = False  # meant to work, does not yet
    unreachable: int = 0  # edges of the program that no run can take, forced or not

    @property
    def result(self) -> str:
        """What the table says of it."""
        return "not yet" if self.is_gap else self.code or "yes"


Register = Callable[[type[nn.Module]], type[nn.Module]]


class Section:
    """Some rows under one heading; its methods are decorators of the models."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.constructs: list[Construct] = []

    def yes(self, row: str, how: str = "", inputs: Inputs = vectors, *, unreachable: int = 0) -> Register:
        """The construct is supported."""
        return self._register(row, how, inputs, unreachable=unreachable)

    def refused(self, code: str, row: str, how: str = "", inputs: Inputs = vectors) -> Register:
        """The construct is refused, on purpose."""
        return self._register(row, how, inputs, code=code)

    def not_yet(self, row: str, how: str = "", inputs: Inputs = vectors) -> Register:
        """The construct should be supported; when it is, the test fails and the row becomes a `yes`."""
        return self._register(row, how, inputs, is_gap=True)

    def _register(self, row: str, how: str, inputs: Inputs, **rest: Any) -> Register:
        def register(model: type[nn.Module]) -> type[nn.Module]:
            self.constructs.append(Construct(row, how, model, inputs, **rest))
            return model

        return register


class Base(nn.Module):
    """What the models share: three layers that fit their input."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
        self.limit = 0.5


def write_table(sections: list[Section]) -> str:
    """The sections as Markdown."""
    parts = []
    for section in sections:
        rows = [_COLUMNS, ("---",) * len(_COLUMNS), *map(_cells, section.constructs)]
        lines = "\n".join(f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in rows)
        parts.append(f"### {section.title}\n\n{lines}\n")
    return "\n".join(parts)


def _cells(construct: Construct) -> tuple[str, ...]:
    file = Path(construct.model.__module__.replace(".", "/")).name
    example = f"[{construct.model.__name__}](../tests/conformance/{file}.py)"
    return construct.row, construct.result, construct.how, example
