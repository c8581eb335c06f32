"""Skip decoding (CALM / SkipDecode): a token leaves at some layer; its hidden state fills the caches of the others."""

import math
import torch
from torch import nn
import torch.nn.functional as F


class Layer(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.q, self.k, self.v, self.o = (nn.Linear(d, d) for _ in range(4))
        self.mlp = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))
        self.heads = heads

    def split(self, x):
        b, t, d = x.shape
        return x.view(b, t, self.heads, d // self.heads).transpose(1, 2)

    def project_kv(self, x):
        x = self.ln1(x)
        return self.split(self.k(x)), self.split(self.v(x))

    def forward(self, x, past):
        k, v = self.project_kv(x)
        if past is not None:
            k = torch.cat([past[0], k], dim=2)
            v = torch.cat([past[1], v], dim=2)
        q = self.split(self.q(self.ln1(x)))
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        t, s = scores.shape[-2:]
        mask = torch.ones(t, s, dtype=torch.bool).tril(s - t)
        scores = scores.masked_fill(~mask, float("-inf"))
        y = (scores.softmax(-1) @ v).transpose(1, 2).reshape(x.shape)
        x = x + self.o(y)
        x = x + self.mlp(self.ln2(x))
        return x, (k, v)


class SkipDecoder(nn.Module):
    def __init__(self, vocab=24, d=16, heads=2, layers=4, max_len=12, threshold=0.35, eos=0):
        super().__init__()
        self.wte = nn.Embedding(vocab, d)
        self.wpe = nn.Embedding(64, d)
        self.layers = nn.ModuleList(Layer(d, heads) for _ in range(layers))
        self.ln_f = nn.LayerNorm(d)
        self.max_len, self.threshold, self.eos = max_len, threshold, eos

    def lm_head(self, x):
        return F.linear(self.ln_f(x), self.wte.weight)

    def should_exit(self, x, i):
        probs = self.lm_head(x)[:, -1].softmax(-1)
        top2 = probs.topk(2, dim=-1).values[0]
        return (top2[0] - top2[1]).item() > self.threshold

    def step(self, ids, past, position):
        t = ids.shape[1]
        x = self.wte(ids) + self.wpe(torch.arange(position, position + t))
        present = []
        exit_layer = len(self.layers)
        for i, layer in enumerate(self.layers):
            if i > exit_layer:
                k, v = layer.project_kv(x)
                if past[i] is not None:
                    k, v = torch.cat([past[i][0], k], dim=2), torch.cat([past[i][1], v], dim=2)
                present.append((k, v))
                continue
            x, kv = layer(x, past[i])
            present.append(kv)
            if t == 1 and i + 1 < len(self.layers) and self.should_exit(x, i):
                exit_layer = i
        return self.lm_head(x)[:, -1], present, exit_layer

    def forward(self, ids):
        past = [None] * len(self.layers)
        out, exits = [], []
        position, current = 0, ids
        for _ in range(self.max_len):
            logits, past, exit_layer = self.step(current, past, position)
            position += current.shape[1]
            exits.append(exit_layer)
            token = logits.argmax(-1)
            if token.item() == self.eos:
                break
            out.append(token.item())
            current = token.unsqueeze(0)
        return out, exits


def build(seed=0):
    torch.manual_seed(seed)
    model = SkipDecoder()
    model.wte.weight.data *= 0.6
    return model.eval()


def example_inputs():
    return sample_inputs(0)


def sample_inputs(seed):
    g = torch.Generator().manual_seed(seed)
    return (torch.randint(1, 24, (1, 5), generator=g),)
