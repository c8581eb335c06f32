"""Numbers and sizes of the run in exported models: fewer kernels, and the same results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnx_ir
import onnxruntime as ort
import pytest
import torch
from torch import nn
from torch.nn import functional

import dycl
from dycl.targets.onnx import numbers
from dycl.targets.onnx.tidy import tidy
from tests.graphs import read_graphs

GRID = torch.linspace(-3, 3, 60).tan().reshape(1, 2, 6, 5)
WIDE = torch.linspace(-3, 3, 2 * 31 * 33).tan().reshape(1, 2, 31, 33)


class Function(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: torch.Tensor) -> Any:
        return self.function(*args)


def _kernels(artifact: Path) -> Counter[str]:
    return Counter(node.op_type for model in read_graphs(artifact).values() for node in model.graph.node)


def _cut(x: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    start, end = place.tolist()
    return x[:, :, start:end, 1:end].exp()


def _region(x: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    start, end = place.tolist()
    return x[:, :, start : max(end, start + 1), 1 : max(end, 3)].log()


def _piece(x: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    start, end = place.tolist()
    return x[:, :, start : max(end, start + 1), 1 : max(end, 3)]


SMALL = {  # what is compiled, its inputs, and the kernels that it takes
    "a cut": (_cut, [(GRID, torch.tensor(p)) for p in ([1, 4], [0, 6], [2, 5], [-3, 5], [1, 9])], 17),
    "places": (lambda x: torch.where(x > 0)[0], [(GRID[0, 0, 0] * s,) for s in (1.0, -1.0, 0.0)], 3),
    "places in rows and columns": (
        lambda x: (torch.where(x > 0)[0] * 2, torch.where(x > 0)[1]),
        [(GRID[0, 0] * s,) for s in (1.0, -1.0, 0.0)],
        5,
    ),
    "what a mask keeps": (lambda x: x[x > 0], [(GRID[0, 0, 0] * s,) for s in (1.0, -1.0, 0.0)], 4),
    "a flat row of each": (
        lambda x: x[:, x[0, :, 0, 0] > 0].transpose(0, 1).flatten(1),
        [(GRID * torch.tensor(s).reshape(1, 2, 1, 1),) for s in ([1.0, -1.0], [1.0, 1.0], [-1.0, -1.0])],
        9,
    ),
    "an order": (
        lambda x: x[x > 0].sort(descending=True)[1],
        [(GRID[0, 0, 0] * s,) for s in (1.0, -1.0, 0.0)],
        6,
    ),
    "columns put together": (lambda x: torch.stack([x[:, 1], x[:, 0]], 1), [(GRID[0, 0],)], 3),
    "one index behind others": (lambda x, i: x[:, :, i], [(GRID, torch.tensor([2, 0, -1]))], 1),
    "windows of run-time size": (
        lambda x, p: functional.adaptive_max_pool2d(_region(x, p), (3, 2)),
        [(GRID * s, torch.tensor(p)) for s, p in ((1.0, [1, 4]), (-1.0, [0, 6]), (1.0, [2, 5]), (torch.nan, [1, 3]))],
        39,
    ),
    "windows of a cut": (
        lambda x, p: functional.adaptive_max_pool2d(_piece(x, p), (3, 2)),
        [(GRID * s, torch.tensor(p)) for s, p in ((1.0, [1, 4]), (-1.0, [0, 6]), (1.0, [-2, 5]), (torch.nan, [5, 3]))],
        33,
    ),
    "windows of one of many run-time sizes": (
        lambda x, p: functional.adaptive_max_pool2d(_region(x, p), (3, 2)),
        [(WIDE * s, torch.tensor(p)) for s, p in ((1.0, [1, 4]), (-1.0, [0, 31]), (1.0, [2, 29]), (torch.nan, [5, 9]))],
        62,
    ),
    "whole numbers divided": (
        lambda x: (torch.div(x, 3, rounding_mode="trunc"), torch.div(x, x - 2, rounding_mode="trunc")),
        [(torch.tensor([7, -7, 3 * (1 << 40) + 3, -(1 << 40), (1 << 24) + 1]),)],
        3,
    ),
    "whole numbers divided downwards": (
        lambda x: torch.div(x, 3, rounding_mode="floor"),
        [(torch.tensor([7, -7, 3 * (1 << 40) + 3, -(1 << 40), (1 << 24) + 1]),)],
        8,
    ),
}


@pytest.mark.parametrize("name", SMALL)
def test_they_take_few_kernels(name: str, tmp_path: Path) -> None:
    function, inputs, most = SMALL[name]
    compiled = dycl.compile(Function(function), inputs[0], output=tmp_path / "artifact")
    for args in inputs:
        torch.testing.assert_close(compiled(*args), function(*args), equal_nan=True)
    kernels = _kernels(tmp_path / "artifact")
    assert kernels.total() <= most, kernels


def test_a_shape_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    """What one size of a shape is may not be left to the rest of it where that could be something else."""

    def shaped(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x[x > 0].reshape(y[y > 0].shape[0], 2)

    x, y = torch.tensor([1.0, 2.0, 3.0, 4.0, -1.0]), torch.tensor([1.0, 2.0, -1.0])
    compiled = dycl.compile(Function(shaped), (x, y), output=tmp_path / "artifact")
    torch.testing.assert_close(compiled(x, y), shaped(x, y))
    with pytest.raises(RuntimeError):
        compiled(x, y.abs())


def test_a_division_by_zero_raises(tmp_path: Path) -> None:
    def divided(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.div(x, y, rounding_mode="trunc")

    x = torch.tensor([4, -5])
    compiled = dycl.compile(Function(divided), (x, torch.tensor([3, 3])), output=tmp_path / "artifact")
    for y in (torch.tensor([3, 3]), torch.tensor([-2, 2])):
        torch.testing.assert_close(compiled(x, y), divided(x, y))
    with pytest.raises(RuntimeError):
        divided(x, torch.tensor([1, 0]))
    with pytest.raises(Exception, match="division by zero"):
        compiled(x, torch.tensor([1, 0]))


def test_a_look_up_that_does_not_say_its_dimension_goes_along_the_first() -> None:
    text = """<ir_version: 8, opset_import: ["": 18]> graph (float[3, 4] x, int64[2] i) => (float[3, 2] y) {
        t = Transpose <perm = [1, 0]> (x)
        g = Gather (t, i)
        y = Transpose <perm = [1, 0]> (g)
    }"""
    model = onnx_ir.from_proto(onnx.parser.parse_model(text))
    tidy(model)
    last = model.graph.outputs[0].producer()
    assert last is not None
    assert (last.op_type, last.attributes["axis"].as_int()) == ("Gather", 1)
    assert [value.name for value in last.inputs if value is not None] == ["x", "i"]


CUT = """
<ir_version: 8, opset_import: ["" : 18]>
g (float[6, 2] x, int64 begin, int64 length) => (float[2, 1, 2] y)
<int64[1] row = {-1}, int64[1] six = {6}, int64[1] axis = {0}, int64[1] step = {1}, int64[4, 2, 1] table = {TABLE}>
{
  given = Reshape(begin, row)
  first = Mod(given, six)
  long = Reshape(length, row)
  last = Add(first, long)
  cut = Slice(x, first, last, axis, step)
  places = Gather <axis = 0> (table, length)
  y = Gather <axis = 0> (cut, places)
}
"""


def _cut_model(table: str, *, is_ours: bool, text: str = CUT) -> onnx_ir.Model:
    model = onnx_ir.from_proto(onnx.parser.parse_model(text.replace("TABLE", table)))
    if is_ours:
        begin, length = model.graph.inputs[1:]
        next(node for node in model.graph if node.op_type == "Slice").meta[numbers._CUT] = begin, length
    numbers.simplify_numbers(model)
    return model


def _run(model: onnx_ir.Model, begin: int, length: int) -> list[np.ndarray]:
    session = ort.InferenceSession(onnx_ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    given = {"x": np.arange(12, dtype=np.float32).reshape(6, 2), "begin": np.array(begin), "length": np.array(length)}
    return session.run(None, given)


@pytest.mark.parametrize("table", ["0, 0, 0, 0, 0, 1, 0, 2", "0, 0, 0, 0, 1, 0, 2, 1"])
def test_what_is_taken_from_a_cut_is_taken_from_the_whole(table: str) -> None:
    whole, cut = _cut_model(table, is_ours=True), _cut_model(table, is_ours=False)
    assert "Slice" not in {node.op_type for node in whole.graph}
    assert "Slice" in {node.op_type for node in cut.graph}
    for begin, length in [(0, 1), (1, 3), (4, 2), (5, 1), (-2, 2), (-6, 3), (-1, 1)]:
        np.testing.assert_array_equal(_run(whole, begin, length)[0], _run(cut, begin, length)[0])


def test_a_cut_of_no_length_has_nothing_to_take() -> None:
    model = _cut_model("0, 0, 0, 0, 0, 1, 0, 2", is_ours=True)
    for begin in range(-6, 6):
        with pytest.raises(Exception, match="out of"):
            _run(model, begin, 0)


@pytest.mark.parametrize("table", ["0, 0, 0, 1, 0, 1, 0, 2", "0, 0, 0, 0, 0, 1, 0, -1"])
def test_what_may_lie_behind_a_cut_is_taken_from_it(table: str) -> None:
    assert "Slice" in {node.op_type for node in _cut_model(table, is_ours=True).graph}


def test_what_is_handed_out_on_the_way_stays_as_long_as_it_is() -> None:
    text = CUT.replace("=> (float[2, 1, 2] y)", "=> (float[2, 1, 1] y, float[n, 1] part)")
    text = text.replace("int64[1] step = {1}", "int64[1] step = {1}, int64[1] none = {0}")
    text = text.replace("Gather <axis = 0> (cut, places)", "Gather <axis = 0> (part, places)")
    text = text.replace("  places =", "  part = Slice(cut, none, step, step, step)\n  places =")
    whole, cut = (_cut_model("0, 0, 0, 0, 0, 1, 0, 2", is_ours=ours, text=text) for ours in (True, False))
    for begin, length in [(1, 3), (4, 2), (-2, 2)]:
        for found, wanted in zip(_run(whole, begin, length), _run(cut, begin, length), strict=True):
            np.testing.assert_array_equal(found, wanted)
