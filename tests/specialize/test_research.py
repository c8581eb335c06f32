"""Mechanisms that programs in the style of research code have brought up."""

from __future__ import annotations

import pytest
from torch import nn

from dycl.diagnostics import UnsupportedError
from tests.specialize import research_programs
from tests.specialize.comparison import compile_case, find_mismatch
from tests.specialize.programs import Case


@pytest.mark.parametrize("case", research_programs.CASES, ids=[case.name for case in research_programs.CASES])
def test_program_does_what_the_model_does(case: Case) -> None:
    assert find_mismatch(case) is None


class _HeldWeight(nn.Module):
    """The weight is kept elsewhere, where its other dtype would be seen."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 4)
        self.kept = [self.head.weight]

    def forward(self, x):
        self.head.double()
        return self.kept[0].sum()


class _LocalWeight(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 4)

    def forward(self, x):
        weight = self.head.weight
        self.head.double()
        return weight.sum()


class _Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.LSTM(4, 4)

    def forward(self, x):
        return self.cell.double()(x.double())[0]


@pytest.mark.parametrize("model", [_HeldWeight, _LocalWeight, _Recurrent])
def test_cast_of_a_weight_that_others_hold_is_refused(model: type[nn.Module]) -> None:
    with pytest.raises(UnsupportedError) as caught:
        compile_case(Case(model))
    assert caught.value.code == "DY206"
