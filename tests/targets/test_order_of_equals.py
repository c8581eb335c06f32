"""Which of equal elements comes first torch leaves open: its kernels for many elements take them in another order."""

from pathlib import Path

import torch

import dycl


class Ranks(torch.nn.Module):
    def forward(self, scores: torch.Tensor, chosen: torch.Tensor) -> tuple[torch.Tensor, ...]:
        kept = scores[torch.where(chosen > 0)[0]]
        return kept.argsort(descending=True), kept.sort()[1], kept.topk(min(3, kept.shape[0]))[1]


def test_the_order_of_equals_is_not_compared(tmp_path: Path) -> None:
    """Of the random numbers that subgraphs are checked with, many are picked more than once."""
    scores, chosen = torch.tensor([0.1, 0.9, 0.5, 0.3]), torch.tensor([1.0, 1.0, -1.0, 1.0])
    compiled = dycl.compile(Ranks(), (scores, chosen), output=tmp_path / "artifact")
    for given in (chosen, -chosen):
        for expected, actual in zip(Ranks()(scores, given), compiled(scores, given), strict=True):
            assert torch.equal(expected, actual)
