"""Operators that the exporter lacks or converts wrongly: what is put in their place is what torch computes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

import dycl
from tests.graphs import read_graphs

EDGES = torch.tensor([0.0, -0.0, 1.0, -1.0, 2.0, -2.0, float("inf"), -float("inf"), float("nan"), 0.5])
ALL_Y, ALL_X = (part.contiguous() for part in torch.meshgrid(EDGES, EDGES, indexing="ij"))
INTS = torch.tensor([[3, -1, 0, 2, -3], [0, 0, 1, -2, 2]])
NANS = torch.tensor([[1.0, 3.0, 3.0, 2.0, 5.0], [float("nan"), 1.0, 2.0, float("nan"), 0.0]])
GRID = torch.linspace(-2, 2, 24).reshape(2, 3, 4)
SORTED = torch.tensor([[-1.0, 0.0, 0.0, 2.0], [0.5, 0.5, 1.0, 3.0]])

CASES: dict[str, tuple[Callable[..., Any], tuple[torch.Tensor, ...]]] = {
    "squeeze": (lambda x: (x.squeeze(1), x.squeeze(0), torch.squeeze(x, (0, 1))), (GRID[:1].clone(),)),
    "cdist": (lambda x, y: [torch.cdist(x, y, p=p) for p in (0.0, 1.0, 2.0, 3.0, float("inf"))], (GRID, -GRID[:, :2])),
    "fmax": (lambda x, y: (torch.fmax(x, y), torch.fmin(x, y)), (ALL_Y, ALL_X)),
    "fmax of ints": (lambda x, y: (torch.fmax(x, y), torch.fmin(x, y)), (INTS, -INTS)),
    "signbit": (lambda x, i: (torch.signbit(x), torch.signbit(i)), (EDGES[:6].clone(), INTS)),
    "copysign": (
        lambda x, y: (torch.copysign(x, y), torch.copysign(x, -1.0)),
        (ALL_Y[:8, :8].clone(), ALL_X[:8, :8].clone()),
    ),
    "atan2": (torch.atan2, (ALL_Y, ALL_X)),
    "atan2 of ints": (torch.atan2, (INTS, INTS.flip(1))),
    "einsums that are products": (
        lambda x, y: (
            torch.einsum("ijk,ljk->ijl", x, y),
            torch.einsum("ijk , k -> ij", x, y[0, 0]),
            torch.einsum("k,jk->j", x[0, 0], y[0]),
            torch.einsum("bij,bkj->kbi", x, y),
            torch.einsum("bij,bij->bi", x, y),
            torch.einsum("bij,bij", x, y),
            torch.einsum("bij,bik->b", x, y[..., :1]),
            torch.einsum("bij,bkj->bik", x, y[..., :1]),
        ),
        (GRID, GRID.flip(2).cos()),
    ),
    "einsums over nothing": (  # ONNX Runtime's Einsum divides by zero here, which ends the process
        lambda x, y, mask: (
            torch.einsum("blhd,bshd->blhs", x, y[:, mask]),
            torch.einsum("bik,bil->bkl", x[0, mask], y[0, mask]),
        ),
        (GRID.reshape(1, 3, 2, 4), GRID.cos().reshape(1, 3, 2, 4), torch.zeros(3, dtype=torch.bool)),
    ),
    "choices between bools": (
        lambda x, y: (
            torch.where(x > y, x > 0, y > 1),
            (x > 0).masked_fill(y > 0, True),
            (x > 0).masked_fill(y > 0, False),
            (x > 0).masked_fill(y > 0, torch.tensor(True)),
        ),
        (ALL_Y, ALL_X),
    ),
    "extremes of bools": (
        lambda x: (*(x > 0).max(1), *(x > 0).min(0, True), (x > 1).amax((0, 1)), (x > 1).amin(), (x > 0).max()),
        (ALL_Y,),
    ),
    "extremes of integers": (
        lambda x: (x.amax(), x.amin(), x.max(), x.min(), x.amax(0), x.amin((0, 1), True), *x.max(0)),
        (INTS,),
    ),
    "extremes over nan": (
        lambda x: (x.max(), x.min(), x.amax(0), x.amin((0, 1)), x.argmax(), x.argmin(), *x.max(1), *x.min(0, True)),
        (NANS,),
    ),
    "places over nan": (
        lambda x: (x.argmax(1), x.argmin(0), x.argmax(-1, keepdim=True), x.amax(1, True), x.sign()),
        (NANS,),
    ),
    "extremes over infinities": (lambda x: (*x.max(1), x.argmax(0), x.argmin(1), x.amin()), (ALL_Y[:8],)),
    "cumprod": (lambda x, i: (x.cumprod(1), x.cumprod(0), i.cumprod(-1)), (GRID, INTS)),
    "cummax": (lambda x, i: (*x.cummax(1), *x.cummin(0), *i.cummin(1)), (NANS, INTS)),
    "searchsorted": (
        lambda e, v: (torch.searchsorted(e, v), torch.searchsorted(e, v, right=True), torch.bucketize(v, e[0])),
        (SORTED, torch.tensor([[0.0, -3.0, 2.0], [0.5, 9.0, 0.75]])),
    ),
    "kthvalue": (lambda x: (*x.kthvalue(2, 1), *x.kthvalue(1, -1, True)), (GRID,)),
    "adaptive pooling": (
        lambda x: (
            functional.adaptive_avg_pool2d(x, (3, 2)),
            *functional.adaptive_max_pool2d(x, (2, 3), return_indices=True),
        ),
        (torch.linspace(-3, 3, 140).sin().reshape(1, 4, 5, 7),),
    ),
    "adaptive pooling of equal windows": (
        lambda x, y: (functional.adaptive_max_pool2d(x, (3, 2)), *functional.adaptive_max_pool2d(y, (2, 1), True)),
        (torch.linspace(-3, 3, 72).tan().reshape(3, 6, 4), NANS.repeat(2, 1)[None].log()),
    ),
    "places of adaptive pooling": (
        lambda x, y: (
            *functional.adaptive_max_pool2d(x, (2, 3), return_indices=True),
            *functional.adaptive_max_pool2d(y, 2, return_indices=True),
        ),
        (torch.linspace(-3, 3, 140).sin().relu().reshape(1, 4, 5, 7), NANS[None].repeat(1, 2, 1)),
    ),
    "the largest in windows with nan": (
        lambda x, rows: (functional.adaptive_max_pool2d(x[:, rows], (2, 2)), functional.adaptive_max_pool1d(x[0], 2)),
        (NANS[None].repeat(1, 2, 1), torch.arange(2 * NANS.shape[0]) % 4 != 1),
    ),
    "adaptive pooling of run-time sizes": (
        lambda x, rows, columns: (
            functional.adaptive_avg_pool2d(x[:, rows][:, :, columns], (3, 2)),
            *functional.adaptive_max_pool2d(x[:, rows][:, :, columns], (2, 3), return_indices=True),
        ),
        (
            torch.linspace(-3, 3, 120).sin().relu().reshape(1, 12, 10),
            torch.arange(12) % 5 != 1,
            torch.arange(10) % 3 != 0,
        ),
    ),
    "avg_pool2d with a divisor": (lambda x: functional.avg_pool2d(x[None], 2, divisor_override=3), (GRID,)),
    "stable sort": (
        lambda x: (*torch.sort(x, dim=1, stable=True), x.argsort(dim=1, descending=True, stable=True)),
        (INTS,),
    ),
    "log sigmoid": (functional.logsigmoid, (GRID * 20,)),
    "attention of three dimensions": (
        lambda x, m: (
            functional.scaled_dot_product_attention(x, -x, x),
            functional.scaled_dot_product_attention(x, x, x, attn_mask=m, scale=0.3),
            functional.scaled_dot_product_attention(x[0], x[1], x[0], is_causal=True),
        ),
        (GRID, torch.tensor([[True, False, True], [True, True, True], [False, True, False]])),
    ),
    "questions about ints": (lambda x: (x.isnan(), x.isinf(), x.isfinite(), x.float().isnan()), (INTS,)),
    "linear of ints": (lambda x, w: functional.linear(x, w), (INTS, INTS.clone())),
    "addmm of ints": (
        lambda b, x, y: torch.addmm(b, x, y, beta=2, alpha=3),
        (INTS[:, :2].clone(), INTS, INTS.T.clone()),
    ),
    "rounding of ints": (lambda x: (x.ceil(), x.floor(), x.round(), x.trunc()), (INTS,)),
    "cat of nothing but empty rows": (
        lambda i: (torch.cat([i[0, :0], i[1, :0]]), torch.cat([i[0, :0], i[1, :0].float()]), i.sum()),
        (INTS,),
    ),
    "cat with empty rows of another type": (
        lambda x, i: (torch.cat([x[0, 0, :0], i[0]]), torch.cat([i, x[0, 0, :0], i], 1), torch.cat([x[0], i[0, :0]])),
        (GRID, INTS),
    ),
    ".data": (lambda x: torch.sigmoid(x.data) > 0.5, (GRID,)),
}


class Function(torch.nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: torch.Tensor) -> Any:
        return self.function(*args)


@pytest.mark.parametrize("name", CASES)
def test_compiled_is_what_torch_computes(name: str, tmp_path: Path) -> None:
    function, args = CASES[name]
    compiled = dycl.compile(Function(function), args, output=tmp_path / "artifact")
    torch.testing.assert_close(compiled(*args), function(*args), equal_nan=True)


@pytest.mark.parametrize("rows", [6, 7])  # windows are equally large, or not
def test_places_that_nobody_asks_for_are_not_searched(tmp_path: Path, rows: int) -> None:
    x = torch.linspace(-3, 3, 24 * rows).sin().reshape(1, 2, rows, 12)
    dycl.compile(Function(lambda x: functional.adaptive_max_pool2d(x, (3, 4))), (x,), output=tmp_path / "artifact")
    (model,) = read_graphs(tmp_path / "artifact").values()
    operators = {node.op_type for node in model.graph.node}
    assert "ReduceMax" in operators
    assert operators.isdisjoint({"ArgMax", "GatherElements"})
