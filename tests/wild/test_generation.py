"""Decoders that write one piece after another: pytorch-crf, and a pointer network as researchers write it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional


class Tagger(nn.Module):
    """The best tags of a text that a mask may cut short."""

    def __init__(self) -> None:
        super().__init__()
        crf = pytest.importorskip("torchcrf")
        self.embed = nn.Embedding(30, 8)
        self.emit = nn.Linear(8, 4)
        self.crf = crf.CRF(4, batch_first=True)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> Any:
        return self.crf.decode(self.emit(self.embed(ids)), mask=mask)


class Pointer(nn.Module):
    """Points at its inputs one after another, at each once, until it points at the first."""

    def __init__(self, hidden: int = 16) -> None:
        super().__init__()
        self.embed = nn.Linear(2, hidden)
        self.encoder = nn.LSTM(hidden, hidden, batch_first=True)
        self.decoder = nn.LSTMCell(hidden, hidden)
        self.query, self.key = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.score = nn.Linear(hidden, 1)
        self.start = nn.Parameter(torch.randn(hidden))

    def forward(self, points: torch.Tensor) -> Any:
        batch, count, _ = points.shape
        x = self.embed(points)
        encoded, (hn, cn) = self.encoder(x)
        h, c = hn[0], cn[0]
        mask = torch.zeros(batch, count, dtype=torch.bool)
        given = self.start.unsqueeze(0).expand(batch, -1)
        tour, logs, done = [], [], [False] * batch
        for _ in range(count):
            h, c = self.decoder(given, (h, c))
            scores = self.score(torch.tanh(self.key(encoded) + self.query(h).unsqueeze(1))).squeeze(2)
            log, index = functional.log_softmax(scores.masked_fill(mask, -1e9), dim=-1).max(dim=1)
            tour.append(index)
            logs.append(log)
            mask = mask.clone()
            for b in range(batch):
                mask[b][index[b]] = True
                if index[b] == 0:
                    done[b] = True
            if all(done):
                break
            given = x[torch.arange(batch), index]
        return torch.stack(tour, 1), torch.stack(logs, 1).sum(1), len(tour)


def text(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.Generator().manual_seed(seed)
    mask = torch.arange(6) < torch.randint(1, 7, (2, 1), generator=made)
    mask[0] = True
    return torch.randint(0, 30, (2, 6), generator=made), mask


def points(seed: int) -> torch.Tensor:
    return 2 * torch.randn(1, 7, 2, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("make", "inputs"),
    [
        (Tagger, text),
        (Pointer, points),
    ],
)
def test_a_decoder_compiles_unchanged(
    compare: Callable[..., Any], make: Callable[[], nn.Module], inputs: Callable[[int], Any]
) -> None:
    torch.manual_seed(0)
    compare(make(), inputs, calls=20, paths=2)
