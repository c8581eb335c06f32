"""Which tensors hold places that are there: nothing has to be looked at before they are taken."""

from __future__ import annotations

import pytest

from dycl.ir.dataflow import value_types
from dycl.ir.nodes import TensorOp
from dycl.ir.parser import parse_ir
from dycl.ir.program import Program
from dycl.passes.analysis.places import are_there, find_places

HEAD = """program P method forward
param x: positional_or_keyword = input 0: float32[6]
entry b0

b0(%0 x: float32[6]):
  %1: bool[6] = call torch.Tensor.gt(%0, 0.0)
"""


def _program(text: str) -> Program:
    return parse_ir(HEAD + text)


def _sizes(text: str) -> dict[int, int | str]:
    return dict(find_places(_program(text)))


@pytest.mark.parametrize(
    ("made", "size"),
    [
        ("int64[6] = call torch.arange(6)", 6),
        ("int64[4] = call torch.arange(2, 6, device=torch.device('cpu'))", 6),
        ("int64[8] = call torch.arange(-2, 6)", None),
        ("int64[3] = call torch.arange(0, 6, 2)", None),
        ("int64[u0] = call torch.where(%1)", 6),
        ("int64[u0, 1] = call torch.nonzero(%1)", 6),
        ("int64[u0, 1] = call torch.nonzero(input=%1)", None),
        ("int64[6] = call torch.argsort(%0, -1, True)", 6),
        ("int64[6] = call torch.argsort(%0, dim=0, descending=True)", 6),
        ("int64[6] = call torch.where(%1, 1, 7)", None),
        ("int64[6] = call torch.Tensor.long(%0)", None),
    ],
)
def test_what_makes_places(made: str, size: int | None) -> None:
    assert _sizes(f"  %2: {made}\n  return %2\n").get(2) == size


def test_places_that_are_picked_and_joined_are_places() -> None:
    text = """
  %2: float32[6], %3: int64[6] = call torch.sort(%0)
  %4: int64[u0] = call torch.Tensor.__getitem__(%3, %1)
  %5: int64[2] = call torch.arange(9, 11)
  %6: int64[8] = call torch.cat([%3, %5])
  %7: int64[6] = call torch.Tensor.add(%3, 1)
  %8: int64[7] = call torch.cat([%3, %7])
  return 1
"""
    assert _sizes(text) == {3: 6, 4: 6, 5: 11, 6: 11}


def test_a_name_says_nothing_behind_an_edge() -> None:
    text = """
  %2: float32[u0] = call torch.Tensor.__getitem__(%0, %1)
  %3: int64[u0] = call torch.argsort(%2)
  jump b1(%3)
b1(%4: int64[u0]):
  return %4
"""
    assert _sizes(text) == {3: "u0"}


@pytest.mark.parametrize(("handed", "size"), [("%6", 6), ("%7", None), ("%2", 6)])
def test_around_a_loop(handed: str, size: int | None) -> None:
    text = f"""
  %2: int64[6] = call torch.arange(6)
  jump b1(%2, 0)
b1(%3: int64[6], %4: int):
  %5: int = host add(%4, 1)
  %6: int64[6] = call torch.Tensor.flip(%3, [0])
  %7: int64[6] = call torch.Tensor.mul(%3, 2)
  %8: bool = host lt(%5, 3)
  branch %8 ? b1({handed}, %5) : b2
b2:
  return %3
"""
    assert _sizes(text).get(3) == size


def test_what_the_caller_gives_is_anything() -> None:
    text = """program P method forward
param x: positional_or_keyword = input 0: int64[6]
entry b0

b0(%0 x: int64[6]):
  return %0
"""
    assert find_places(parse_ir(text)) == {}


TAKEN = """
  %2: int64[u0] = call torch.where(%1)
  %3: float32[2, 6] = call torch.zeros(2, 6)
  %4: float32[2, 5] = call torch.zeros(2, 5)
  %5: float32[u0] = call torch.Tensor.__getitem__(%0, %2)
  %6: int64[u0] = call torch.argsort(%5)
  %7: int64[6] = call torch.Tensor.long(%0)
  %8: TAKING
  return 1
"""


@pytest.mark.parametrize(
    ("taking", "expected"),
    [
        ("float32[2, u0] = call torch.index_select(%3, 1, %2)", True),
        ("float32[2, u0] = call torch.index_select(%4, 1, %2)", False),
        ("float32[u0, 6] = call torch.index_select(%3, 0, %2)", False),
        ("float32[2, u0] = call torch.Tensor.index_select(%3, -1, %2)", True),
        ("float32[u0] = call torch.Tensor.__getitem__(%5, %6)", True),
        ("float32[u0] = call torch.Tensor.__getitem__(%5, %2)", False),
        ("float32[u0] = call torch.Tensor.__getitem__(%3, (0, %2))", True),
        ("float32[u0] = call torch.Tensor.__getitem__(%3, (2, %2))", False),
        ("float32[2, 1, u0] = call torch.Tensor.__getitem__(%3, (..., None, %2))", True),
        ("float32[1, u0, 6] = call torch.Tensor.__getitem__(%3, (None, %2, ...))", False),
        ("float32[2, 6] = call torch.Tensor.__getitem__(%3, [0, 5])", False),
        ("float32[] = call torch.Tensor.__getitem__(%5, 0)", False),
        ("float32[6] = call torch.Tensor.__getitem__(%0, %7)", False),
        ("float32[6] = call torch.Tensor.__getitem__(%0, %1)", False),
        ("float32[2, 6] = call torch.ops.aten.index_put(%3, [None, %2], %3)", True),
        ("float32[2, 6] = call torch.ops.aten.index_put(%3, [%2], %3)", False),
        ("float32[2, 6] = call torch.Tensor.add(%3, 1)", False),
    ],
)
def test_what_is_there(taking: str, expected: bool) -> None:
    program = _program(TAKEN.replace("TAKING", taking))
    op = program.blocks[0].ops[-1]
    assert isinstance(op, TensorOp)
    assert are_there(op, value_types(program), find_places(program)) is expected
