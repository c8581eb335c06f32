"""Generation with no-repeat n-grams and a repetition penalty, as the older transformers did it in Python dicts."""

import torch
from torch import nn


def banned_tokens(ids, n):
    generated = {}
    for ngram in zip(*[ids[i:] for i in range(n)]):
        prefix = tuple(ngram[:-1])
        generated[prefix] = generated.get(prefix, []) + [ngram[-1]]
    return generated.get(tuple(ids[len(ids) + 1 - n :]), [])


class Generator(nn.Module):
    def __init__(self, vocab=10, d=8, max_len=8, eos=0, penalty=1.2):
        super().__init__()
        self.embed, self.cell, self.out = nn.Embedding(vocab, d), nn.GRUCell(d, d), nn.Linear(d, vocab)
        self.max_len, self.eos, self.penalty = max_len, eos, penalty

    def forward(self, h):
        ids = [1]
        for _ in range(self.max_len):
            h = self.cell(self.embed(torch.tensor([ids[-1]])), h)
            logits = self.out(h)[0]
            for t in set(ids):
                if logits[t] < 0:
                    logits[t] *= self.penalty
                else:
                    logits[t] /= self.penalty
            for t in banned_tokens(ids, 2):
                logits[t] = -float("inf")
            token = logits.argmax().item()
            ids.append(token)
            if token == self.eos:
                break
        return ids


def build(seed=0):
    torch.manual_seed(seed)
    model = Generator()
    model.out.weight.data *= 2
    return model.eval()


def example_inputs():
    return sample_inputs(0)


def sample_inputs(seed):
    g = torch.Generator().manual_seed(seed)
    return (torch.randn(1, 8, generator=g),)
