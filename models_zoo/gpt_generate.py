"""Greedy generation by a small GPT with a cache of keys and values.

Radford et al., Improving Language Understanding by Generative Pre-Training, 2018. Dynamic: the text is written until
the end token or until it is long enough; each layer's cache grows by one position a token.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn


class CausalSelfAttention(nn.Module):
    def __init__(self, dim, n_head):
        super().__init__()
        self.n_head = n_head
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def split(self, x):
        batch, length, dim = x.shape
        return x.view(batch, length, self.n_head, dim // self.n_head).transpose(1, 2)

    def forward(self, x, past=None):
        q, k, v = (self.split(part) for part in self.qkv(x).chunk(3, dim=-1))
        if past is not None:
            k = torch.cat([past[0], k], dim=2)
            v = torch.cat([past[1], v], dim=2)
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))
        if q.size(2) > 1:
            future = torch.ones(q.size(2), k.size(2), dtype=torch.bool).triu(k.size(2) - q.size(2) + 1)
            scores = scores.masked_fill(future, float("-inf"))
        y = F.softmax(scores, dim=-1) @ v
        y = y.transpose(1, 2).reshape(x.shape)
        return self.proj(y), (k, v)


class Block(nn.Module):
    def __init__(self, dim, n_head):
        super().__init__()
        self.ln1 = nn.LayerNorm(dim)
        self.attn = CausalSelfAttention(dim, n_head)
        self.ln2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x, past=None):
        y, present = self.attn(self.ln1(x), past)
        x = x + y
        return x + self.mlp(self.ln2(x)), present


class GPT(nn.Module):
    def __init__(self, vocab=32, dim=32, n_head=4, n_layer=2, block_size=64, eos=0, max_new_tokens=24):
        super().__init__()
        self.block_size, self.eos, self.max_new_tokens = block_size, eos, max_new_tokens
        self.wte = nn.Embedding(vocab, dim)
        self.wpe = nn.Embedding(block_size, dim)
        self.blocks = nn.ModuleList([Block(dim, n_head) for _ in range(n_layer)])
        self.ln_f = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, vocab, bias=False)

    def step(self, idx, past=None):
        """The logits of the next token, and each layer's keys and values so far."""
        offset = 0 if past is None else past[0][0].size(2)
        assert offset + idx.size(1) <= self.block_size, "the text is longer than the model's context"
        positions = torch.arange(offset, offset + idx.size(1))
        x = self.wte(idx) + self.wpe(positions)
        presents = []
        for i, block in enumerate(self.blocks):
            x, present = block(x, None if past is None else past[i])
            presents.append(present)
        return self.head(self.ln_f(x[:, -1])), presents

    def forward(self, idx):
        past = None
        new = idx
        for _ in range(self.max_new_tokens):
            logits, past = self.step(new, past)
            new = logits.argmax(dim=-1, keepdim=True)
            idx = torch.cat([idx, new], dim=1)
            if new.item() == self.eos:
                break
        return idx


def build(seed=0, max_new_tokens=24):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = GPT(max_new_tokens=max_new_tokens)
        for parameter in model.parameters():  # sharper than PyTorch's default: texts differ and most of them end
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.35)
    return model.eval()


def example_inputs():
    return sample_inputs(0)


def sample_inputs(seed):
    """A prompt of four tokens."""
    rng = torch.Generator().manual_seed(seed)
    return (torch.randint(1, 32, (1, 4), generator=rng),)
