"""Mixture of experts for a small transformer: each token is computed by its top two experts, and by no others.

Shazeer et al., "Outrageously Large Neural Networks: The Sparsely-Gated Mixture-of-Experts Layer" (ICLR 2017); the loop
over the experts that were hit is the one of Mixtral (Jiang et al., 2024). What is dynamic: which experts run at all in
a layer, and how many tokens each of them gets.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class Expert(nn.Module):
    """A gated feed-forward network."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden, bias=False)
        self.gate = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class SparseExperts(nn.Module):
    """Routes each token to its `top_k` experts and adds up what they say, weighted by the router."""

    def __init__(self, width: int, hidden: int, experts: int, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k
        self.num_experts = experts
        self.router = nn.Linear(width, experts, bias=False)
        self.experts = nn.ModuleList([Expert(width, hidden) for _ in range(experts)])

    def forward(self, hidden_states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        batch, length, width = hidden_states.shape
        tokens = hidden_states.view(-1, width)
        logits = self.router(tokens)
        weights = F.softmax(logits, dim=1)
        weights, selected = torch.topk(weights, self.top_k, dim=-1)
        weights = weights / weights.sum(dim=-1, keepdim=True)

        out = torch.zeros_like(tokens)
        expert_mask = F.one_hot(selected, num_classes=self.num_experts).permute(2, 1, 0)
        expert_hit = torch.greater(expert_mask.sum(dim=(-1, -2)), 0).nonzero()
        for hit in expert_hit:
            expert_index = hit[0]
            rank, token = torch.where(expert_mask[expert_index])
            current = self.experts[expert_index](tokens[token]) * weights[token, rank, None]
            out.index_add_(0, token, current)
        return out.view(batch, length, width), logits


class Layer(nn.Module):
    """Self-attention and experts, each around a residual connection."""

    def __init__(self, width: int, heads: int, hidden: int, experts: int, top_k: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.moe = SparseExperts(width, hidden, experts, top_k)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        y, logits = self.moe(self.norm2(x))
        return x + y, logits


class MixtureOfExperts(nn.Module):
    """Token ids in; logits over the vocabulary and the router's logits of each layer out."""

    def __init__(
        self, vocabulary: int = 32, width: int = 16, layers: int = 2, experts: int = 4, top_k: int = 2
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList([Layer(width, 2, 2 * width, experts, top_k) for _ in range(layers)])
        self.head = nn.Linear(width, vocabulary)

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        x = self.embedding(ids)
        routed = []
        for layer in self.layers:
            x, logits = layer(x)
            routed.append(logits)
        return self.head(x), tuple(routed)


def build(seed: int = 0) -> nn.Module:
    """The network with random weights; few tokens, so that seldom all experts are hit."""
    torch.manual_seed(seed)
    return MixtureOfExperts().eval()


def example_inputs() -> tuple[torch.Tensor, ...]:
    """Three tokens."""
    return sample_inputs(0)


def sample_inputs(seed: int) -> tuple[torch.Tensor, ...]:
    """Three tokens, now and then the same three times."""
    made = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 32, (1, 3), generator=made)
    return (ids[:, :1].repeat(1, 3) if seed % 4 == 1 else ids,)
