"""ACT: a Universal Transformer encoder with adaptive computation time.

Graves: "Adaptive Computation Time for Recurrent Neural Networks", arXiv 2016. Dehghani, Gouws, Vinyals, Uszkoreit,
Kaiser: "Universal Transformers", ICLR 2019.

Dynamic: one layer is applied again and again. After each step every position adds to its halting probability; positions
above the threshold keep their state, and the loop ends when all have halted or have had `max_hops` updates.
"""

import math

import torch
from torch import nn


def timing_signal(length, channels, max_timescale=1.0e4):
    """Sinusoids of different frequencies: [1, length, channels]."""
    position = torch.arange(length, dtype=torch.float32)
    count = channels // 2
    increment = math.log(max_timescale) / max(count - 1, 1)
    scales = torch.exp(torch.arange(count, dtype=torch.float32) * -increment)
    angles = position[:, None] * scales[None, :]
    return torch.cat([torch.sin(angles), torch.cos(angles)], dim=1)[None]


class EncoderLayer(nn.Module):
    def __init__(self, hidden_size, num_heads):
        super().__init__()
        self.attention = nn.MultiheadAttention(hidden_size, num_heads, batch_first=True)
        self.transition = nn.Sequential(
            nn.Linear(hidden_size, 2 * hidden_size), nn.ReLU(), nn.Linear(2 * hidden_size, hidden_size)
        )
        self.norm_attention = nn.LayerNorm(hidden_size)
        self.norm_transition = nn.LayerNorm(hidden_size)

    def forward(self, x):
        normed = self.norm_attention(x)
        x = x + self.attention(normed, normed, normed, need_weights=False)[0]
        return x + self.transition(self.norm_transition(x))


class AdaptiveComputationTime(nn.Module):
    """Calls a function until every position has halted."""

    def __init__(self, hidden_size, threshold=0.9):
        super().__init__()
        self.p = nn.Linear(hidden_size, 1)
        self.threshold = threshold

    def forward(self, state, function, time_encoding, position_encoding, max_hops):
        shape = state.shape[:2]
        halting_probability = torch.zeros(shape)
        remainders = torch.zeros(shape)
        n_updates = torch.zeros(shape)
        previous_state = torch.zeros_like(state)
        step = 0
        while ((halting_probability < self.threshold) & (n_updates < max_hops)).any():
            state = state + position_encoding[:, : state.shape[1]]
            state = state + time_encoding[:, step].unsqueeze(1)
            p = torch.sigmoid(self.p(state)).squeeze(-1)

            still_running = (halting_probability < 1.0).float()
            new_halted = (halting_probability + p * still_running > self.threshold).float() * still_running
            still_running = (halting_probability + p * still_running <= self.threshold).float() * still_running
            halting_probability = halting_probability + p * still_running
            remainders = remainders + new_halted * (1 - halting_probability)
            halting_probability = halting_probability + new_halted * remainders
            n_updates = n_updates + still_running + new_halted

            update_weights = (p * still_running + new_halted * remainders).unsqueeze(-1)
            state = function(state)
            previous_state = state * update_weights + previous_state * (1 - update_weights)
            step += 1
        return previous_state, remainders, n_updates, step


class UniversalTransformer(nn.Module):
    def __init__(self, vocab_size=32, max_length=12, hidden_size=32, num_heads=4, max_hops=10, num_classes=5):
        super().__init__()
        self.max_hops = max_hops
        self.embedding = nn.Embedding(vocab_size, hidden_size)
        self.layer = EncoderLayer(hidden_size, num_heads)
        self.act = AdaptiveComputationTime(hidden_size)
        self.norm = nn.LayerNorm(hidden_size)
        self.classifier = nn.Linear(hidden_size, num_classes)
        self.register_buffer("position_signal", timing_signal(max_length, hidden_size))
        self.register_buffer("time_signal", timing_signal(max_hops, hidden_size))

    def forward(self, tokens):
        x = self.embedding(tokens)
        x, remainders, n_updates, steps = self.act(x, self.layer, self.time_signal, self.position_signal, self.max_hops)
        logits = self.classifier(self.norm(x).mean(dim=1))
        return {"logits": logits, "ponder": (n_updates + remainders).mean(), "steps": steps}


def build(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = UniversalTransformer()
        nn.init.normal_(model.act.p.weight, std=0.25)
        nn.init.constant_(model.act.p.bias, -1.5)
    return model.eval()


def example_inputs():
    return sample_inputs(0)


def sample_inputs(seed):
    """Twelve tokens out of a few words: some sentences settle at once, others ponder."""
    rng = torch.Generator().manual_seed(seed)
    words = torch.randperm(32, generator=rng)[: 1 + seed % 6]
    return (words[torch.randint(0, len(words), (1, 12), generator=rng)],)
