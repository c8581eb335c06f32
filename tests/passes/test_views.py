"""Views that are taken once more where their memory is written: of the same block, and of blocks before."""

from __future__ import annotations

import pytest

from dycl.diagnostics import UnsupportedError
from dycl.ir.environment import Environment
from dycl.ir.parser import parse_ir
from dycl.ir.printer import print_ir
from dycl.ir.program import Program
from dycl.passes.partition import run

PROGRAM = """\
program M method forward
param x: positional_or_keyword = input 0: float32[1, 4]
entry b0

b0(%0 x: float32[1, 4]):
  %1 own: float32[1, 4] = call torch.Tensor.clone(%0)
  %2 part: float32[4] = call torch.Tensor.__getitem__(%1, 0)
  %3: bool[] = call torch.Tensor.any(%0)
  %4: bool = host item(%3)
  branch %4 ? b1 : b2

b1:
  %5: float32[4] = call torch.Tensor.add_(%2, 1) mutates %1 -> %6 own: float32[1, 4], %2 -> %7 part: float32[4]
  jump b3({first})

b2:
  jump b3({second})

b3(%8 own: float32[1, 4], %9 part: float32[4]):
  %10: float32[1, 4] = call torch.Tensor.mul_(%8, 2) mutates %8 -> %11 own: float32[1, 4], %9 -> %12 part: float32[4]
  return (%11, %12)
"""


def partitioned(first: str, second: str) -> Program:
    return run(parse_ir(PROGRAM.format(first=first, second=second)), Environment())


def test_a_view_of_a_block_before_is_taken_again() -> None:
    text = print_ir(partitioned("%6, %7", "%1, %2"))
    last = text[text.index("torch.Tensor.mul_") - 400 :]
    assert text.count("torch.Tensor.__getitem__") == 3, text  # where it was made, and where each side writes
    assert "torch.Tensor.__getitem__" in last


def test_what_is_a_view_on_one_way_only_is_none() -> None:
    text = PROGRAM.replace("b2:\n", "b2:\n  %13: float32[4] = call torch.Tensor.__getitem__(%0, 0)\n")
    with pytest.raises(UnsupportedError, match="DY301"):
        run(parse_ir(text.format(first="%6, %7", second="%1, %13")), Environment())


def test_two_names_of_one_tensor() -> None:
    text = PROGRAM.replace("part: float32[4]", "part: float32[1, 4]").replace("__getitem__(%1, 0)", "detach(%1)")
    text = text.replace("%5: float32[4]", "%5: float32[1, 4]")
    found = print_ir(run(parse_ir(text.format(first="%6, %6", second="%1, %1")), Environment()))
    assert "torch.Tensor.detach(%0)" in found[found.index("torch.Tensor.add_") :]
