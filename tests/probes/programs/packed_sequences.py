"""A packed encoder of sorted lengths, attention under a mask of the lengths, a greedy loop with finished flags."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


def sequence_mask(sequence_length, max_len=None):
    if max_len is None:
        max_len = sequence_length.max().item()
    seq_range = torch.arange(0, max_len)
    return seq_range.unsqueeze(0) < sequence_length.unsqueeze(1)


class S2S(nn.Module):
    def __init__(self, vocab=12, d=8, max_len=7):
        super().__init__()
        self.emb = nn.Embedding(vocab, d)
        self.enc = nn.GRU(d, d, bidirectional=True)
        self.dec = nn.GRUCell(d, d)
        self.out = nn.Linear(2 * d, vocab)
        self.max_len, self.sos, self.eos = max_len, 1, 2

    def forward(self, src, lengths):
        lengths, perm = lengths.sort(descending=True)
        src = src[:, perm]
        packed = pack_padded_sequence(self.emb(src), lengths)
        out, hidden = self.enc(packed)
        out, _ = pad_packed_sequence(out)
        out = out[:, :, :8] + out[:, :, 8:]
        h = hidden[-1]
        mask = sequence_mask(lengths)
        y = torch.full((src.size(1),), self.sos, dtype=torch.long)
        finished = torch.zeros(src.size(1), dtype=torch.bool)
        res = []
        for t in range(self.max_len):
            h = self.dec(self.emb(y), h)
            e = torch.einsum("tbd,bd->bt", out, h).masked_fill(~mask, -1e9)
            ctx = torch.bmm(F.softmax(e, 1).unsqueeze(1), out.transpose(0, 1)).squeeze(1)
            y = self.out(torch.cat((h, ctx), 1)).argmax(1)
            y = torch.where(finished, torch.zeros_like(y), y)
            finished |= y.eq(self.eos)
            res.append(y)
            if finished.all():
                break
        _, inv = perm.sort()
        return torch.stack(res)[:, inv], lengths[inv]


def build():
    torch.manual_seed(11)
    m = S2S().eval()
    m.out.weight.data *= 5
    return m


def sample_inputs(seed):
    g = torch.Generator().manual_seed(seed)
    return (torch.randint(3, 12, (6, 3), generator=g), torch.randint(1, 7, (3,), generator=g))
