"""Remembered results of fake execution: the program is the same as without them, and they serve again."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from dycl.ir.printer import print_ir
from dycl.passes.specialize.results import Results
from dycl.passes.specialize.specializer import specialize
from tests.specialize import programs, question_programs, shape_programs, size_programs, tensor_programs
from tests.specialize.comparison import find_mismatch
from tests.specialize.programs import Case


class PoolThatGrows(nn.Module):
    """The same module is called twice, with another kernel in between."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(2, stride=1)

    def forward(self, x):
        self.pool.kernel_size = 2
        first = self.pool(x)
        self.pool.kernel_size = 3
        return first, self.pool(x)


class FactsDiffer(nn.Module):
    """The same call on both sides of a branch, where the shape of its result depends on the side."""

    def forward(self, x):
        rows = x[x[:, 0] > 0]
        if rows.shape[0] == 1:
            return rows.squeeze(0) + 1
        return rows.squeeze(0) * 2


class WrittenView(nn.Module):
    """A view that was remembered is a view: what is written into it is seen through the other."""

    def forward(self, x):
        results = []
        for scale in (1.0, 2.0):
            base = x * scale
            base.view(2, 4)[0].mul_(3)
            if x.sum() > 0:
                base.view(2, 4)[1].add_(1)
            results.append(base)
        return results


class NewEachTime(nn.Module):
    """Equal calls give tensors of their own: writing into one leaves the other."""

    def forward(self, x):
        first, second = torch.relu(x), torch.relu(x)
        if x.sum() > 0:
            first.add_(1)
        return first, second, first is second


class OwnMemoryWritten(nn.Module):
    """Torch writes into memory of its own inside of a cell; its results are remembered all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(4, 4)

    def forward(self, x):
        hidden = torch.zeros(2, 4)
        for _ in range(6):
            hidden = self.cell(x, hidden)
            if hidden.sum() > 1:
                break
        return hidden


class SizesTriedTwice(nn.Module):
    """Layers of one structure work on fewer rows each time: what torch asks of one number it asks of the next."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

    def forward(self, x):
        rows = x[None]
        for layer in self.layers:
            rows = layer(rows).view(1, rows.shape[1], 2, 2).transpose(1, 2).flatten(2)
            rows = rows.transpose(1, 2).repeat(1, 1, 2)
            rows = rows[:, rows[0, :, 0] > -0.3]
        return rows


class KnownDiffers(nn.Module):
    """The same call where less is known of its sizes, and where more is."""

    def forward(self, x):
        rows, others = x[x[:, 0] > 0], x[x[:, 1] > 0]
        first = rows.sum(0, keepdim=True) + others
        if others.shape[0] == 1:
            return first, rows + others
        if others.shape[0] == rows.shape[0]:
            return first, rows + others
        return first, rows.mean() + others


def signed(*shape: int) -> Any:
    return lambda seed: (torch.randn(*shape, generator=torch.Generator().manual_seed(seed)),)


OWN = [
    Case(PoolThatGrows, signed(1, 1, 4, 4)),
    Case(FactsDiffer, signed(3, 2)),
    Case(WrittenView, signed(8)),
    Case(NewEachTime, signed(3)),
    Case(OwnMemoryWritten, signed(2, 4)),
    Case(SizesTriedTwice, signed(6, 4)),
    Case(KnownDiffers, signed(4, 2)),
]


@pytest.mark.parametrize("case", OWN, ids=lambda case: case.name)
def test_the_program_does_what_the_model_does(case: Case) -> None:
    assert find_mismatch(case) is None


def _text(case: Case) -> str:
    torch.manual_seed(0)
    return print_ir(specialize(case.build().eval(), case.inputs(0)).program)


FINDERS = ("find", "find_tried", "find_question")
ASKING = {"PositionsOfMany", "ScoresOfPairs", "KeptViewOfOneRow", "ZeroIterations"}
EVERY = [
    *OWN,
    *programs.CASES[::60],
    *tensor_programs.CASES[::60],
    *shape_programs.CASES[::60],
    *size_programs.CASES[::60],
]
EVERY += [case for case in (*question_programs.CASES, *size_programs.CASES) if case.name in ASKING]


def test_programs_are_the_same_without_remembering(monkeypatch: pytest.MonkeyPatch) -> None:
    served = dict.fromkeys(FINDERS, 0)

    def counted(name: str) -> Any:
        find = getattr(Results, name)

        def counting(self: Results, *args: Any) -> Any:
            found = find(self, *args)
            served[name] += found is not None
            return found

        return counting

    for case in EVERY:
        try:
            with monkeypatch.context() as patch:
                for name in FINDERS:
                    patch.setattr(Results, name, lambda *args: None)
                expected = _text(case)
        except Exception:  # what is refused is told by other tests
            continue
        with monkeypatch.context() as patch:
            for name in FINDERS:
                patch.setattr(Results, name, counted(name))
            assert _text(case) == expected, case.name
    assert served["find"] > 40
    assert served["find_tried"] > 3
    assert served["find_question"] > 0


def test_layers_of_one_structure_are_executed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []
    keep = Results.keep
    monkeypatch.setattr(Results, "keep", lambda self, call, *args: kept.append(call.key) or keep(self, call, *args))

    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(6))

        def forward(self, x):
            for layer in self.layers:
                if x.sum() > 0:
                    x = layer(x)
            return x

    specialize(Deep(), (torch.ones(1, 4),))
    assert len(kept) == len(set(kept)) == 3  # the layer, the sum, the comparison
