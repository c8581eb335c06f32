"""Einsums that are products of matrices as what they are: ONNX Runtime's own kernel divides by sizes, and by zero.

An empty tensor ends the whole process there (SIGFPE). `MatMul` takes it.

    einsum("blhd,bshd->blhs", x, y)    ->    permute(permute(x, b h l d) @ permute(y, b h d s), b l h s)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dycl.targets.onnx.replacements import replaces

_aten = torch.ops.aten


@dataclass(frozen=True, slots=True)
class _Product:
    """Letters: those of both factors and the result, of the rows, of the columns, and the one that is summed over."""

    batch: str
    rows: str
    columns: str
    summed: str


@replaces(_aten.einsum.default)
def _einsum(equation: str, tensors: Sequence[torch.Tensor], *, path: Any = None) -> Any:
    left, _, right = equation.replace(" ", "").partition("->")
    factors = left.split(",")
    found = _find_product(factors, right) if len(factors) == len(tensors) == 2 and "->" in equation else None
    if found is None or not _fits(found.summed, factors, tensors):
        return NotImplemented
    x = _ordered(tensors[0], factors[0], found.batch + found.rows + found.summed)
    y = _ordered(tensors[1], factors[1], found.batch + found.summed + found.columns)
    product = (x if found.rows else x.unsqueeze(-2)) @ (y if found.columns else y.unsqueeze(-1))
    if not found.columns:
        product = product.squeeze(-1)
    if not found.rows:
        product = product.squeeze(-1 if not found.columns else -2)
    return _ordered(product, found.batch + found.rows + found.columns, right)


def _find_product(factors: Sequence[str], result: str) -> _Product | None:
    """The equation as a product of matrices; None if it is something else."""
    x, y = factors
    if any(not text.isalpha() and text for text in (x, y, result)) or any(len(set(t)) < len(t) for t in (x, y, result)):
        return None
    batch = "".join(letter for letter in x if letter in y and letter in result)
    rows = "".join(letter for letter in x if letter not in y)
    columns = "".join(letter for letter in y if letter not in x)
    summed = "".join(letter for letter in x if letter in y and letter not in result)
    is_whole = set(result) == set(batch + rows + columns)
    if not is_whole or len(rows) > 1 or len(columns) > 1 or len(summed) != 1:
        return None
    return _Product(batch, rows, columns, summed)


def _fits(summed: str, factors: Sequence[str], tensors: Sequence[torch.Tensor]) -> bool:
    """Whether no factor is one element wide where the other is not: an einsum repeats it, a product does not."""
    sizes = [tensor.shape[text.index(summed)] for tensor, text in zip(tensors, factors, strict=True)]
    ones = [isinstance(size, int) and size == 1 for size in sizes]
    return ones[0] == ones[1]


def _ordered(tensor: torch.Tensor, letters: str, wanted: str) -> torch.Tensor:
    return tensor if letters == wanted else tensor.permute([letters.index(letter) for letter in wanted])
