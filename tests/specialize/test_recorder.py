"""What the recorder takes for one call when an instruction runs again."""

from __future__ import annotations

import torch

from dycl.passes.specialize.recorder import _identity


def test_calls_that_cut_elsewhere_are_not_the_same() -> None:
    x = torch.zeros(4)
    assert _identity((x, slice(0, 2))) == _identity((x, slice(0, 2)))
    assert _identity((x, slice(0, 2))) != _identity((x, slice(0, 3)))
