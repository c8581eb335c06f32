"""Recurrent and attentive networks of packages: spiking neurons, liquid time constants, decoders, windows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

Compare = Callable[..., list[Any]]


def _normal(seed: int, *shape: int, scale: float = 1.0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


# ---------------------------------------------------------------- snntorch


class SpikingClassifier(nn.Module):
    """Two layers of leaky neurons over time; stops when one class is ahead of the others."""

    def __init__(self, steps: int = 12, margin: float = 3.0) -> None:
        super().__init__()
        snn = pytest.importorskip("snntorch")
        self.fc1 = nn.Linear(8, 16)
        self.lif1 = snn.Leaky(beta=0.9, spike_grad=snn.surrogate.fast_sigmoid(slope=25))
        self.fc2 = nn.Linear(16, 4)
        self.lif2 = snn.Leaky(beta=0.8, reset_mechanism="zero")
        self.steps = steps
        self.margin = margin

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, int]:
        mem1 = self.lif1.init_leaky()
        mem2 = self.lif2.init_leaky()
        counts: Any = 0
        steps = 0
        while steps < self.steps:
            steps += 1
            spk1, mem1 = self.lif1(self.fc1(x), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            counts = counts + spk2
            top = counts.topk(2, dim=1).values
            if (top[:, 0] - top[:, 1]).min() >= self.margin:
                break
        return counts, steps


class HiddenStateSpiking(nn.Module):
    """Neurons that keep their own membranes: reset for a new input, carried on for a continued one."""

    def __init__(self) -> None:
        super().__init__()
        snn = pytest.importorskip("snntorch")
        self.net = nn.Sequential(
            nn.Linear(8, 12),
            snn.Leaky(beta=0.9, init_hidden=True),
            nn.Linear(12, 6),
            snn.Synaptic(alpha=0.8, beta=0.7, init_hidden=True),
            nn.Linear(6, 3),
            snn.RLeaky(beta=0.9, linear_features=3, init_hidden=True, output=True),
        )

    def forward(self, x: torch.Tensor, fresh: torch.Tensor) -> torch.Tensor:
        if fresh:
            for layer in self.net:
                if hasattr(layer, "reset_mem"):
                    layer.reset_mem()
        spikes, membrane = self.net(x)
        if spikes.sum() == 0:
            return membrane
        return membrane + spikes


def test_spiking_classifier_stops_early(compare: Compare) -> None:
    pytest.importorskip("snntorch")
    torch.manual_seed(0)
    compare(SpikingClassifier(), lambda seed: _normal(seed, 1, 8, scale=4.0), calls=30, paths=3)


def test_spiking_network_keeps_membranes(compare: Compare) -> None:
    pytest.importorskip("snntorch")
    torch.manual_seed(0)
    compare(
        HiddenStateSpiking(),
        lambda seed: (_normal(seed, 1, 8, scale=3.0), torch.tensor(seed % 4 == 0)),
        calls=24,
        paths=2,
    )


# ---------------------------------------------------------------- ncps


class LiquidController(nn.Module):
    """A wired liquid network steps through observations until its output settles."""

    def __init__(self, kind: str, tolerance: float) -> None:
        super().__init__()
        ncps = pytest.importorskip("ncps.torch")
        wirings = pytest.importorskip("ncps.wirings")
        wiring = wirings.AutoNCP(12, 2)
        self.rnn = {
            "cfc": lambda: ncps.CfC(4, 10, proj_size=2, batch_first=True),
            "wired cfc": lambda: ncps.CfC(4, wiring, batch_first=True),
            "mixed cfc": lambda: ncps.CfC(4, 10, proj_size=2, batch_first=True, mixed_memory=True),
            "ltc": lambda: ncps.LTC(4, wiring, batch_first=True),
        }[kind]()
        self.tolerance = tolerance

    def forward(self, x: torch.Tensor, timespans: torch.Tensor) -> tuple[torch.Tensor, int]:
        out, hidden = self.rnn(x, timespans=timespans)
        rounds = 0
        while rounds < 2 and (out[:, -1] - out[:, -2]).abs().max() > self.tolerance:
            out, hidden = self.rnn(x, hidden, timespans=timespans)
            rounds += 1
        return out, rounds


@pytest.mark.parametrize(("kind", "tolerance"), [("cfc", 0.1), ("wired cfc", 0.06), ("mixed cfc", 0.1), ("ltc", 0.01)])
def test_liquid_network(compare: Compare, kind: str, tolerance: float) -> None:
    pytest.importorskip("ncps")
    torch.manual_seed(0)
    compare(
        LiquidController(kind, tolerance),
        lambda seed: (_normal(seed, 1, 3, 4, scale=0.2 + seed % 5), torch.full((1, 3), 0.1 + 0.3 * (seed % 7))),
        calls=20,
        paths=2,
    )


# ---------------------------------------------------------------- x-transformers


def _decoder(**options: Any) -> nn.Module:
    library = pytest.importorskip("x_transformers")
    torch.manual_seed(0)
    model: nn.Module = library.TransformerWrapper(
        num_tokens=32,
        max_seq_len=16,
        attn_layers=library.Decoder(dim=24, depth=2, heads=2, attn_dim_head=12, **options),
    )
    return model


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rotary": {"rotary_pos_emb": True, "use_rmsnorm": True, "ff_glu": True},
    "alibi": {"alibi_pos_bias": True, "attn_one_kv_head": True},
    "qk norm": {"attn_qk_norm": True, "sandwich_norm": True, "rel_pos_bias": True},
}


@pytest.mark.parametrize("options", OPTIONS)
def test_x_transformers_decoder(compare: Compare, options: str) -> None:
    model = _decoder(**OPTIONS[options])
    compare(
        model,
        lambda seed: torch.randint(0, 32, (1, 9), generator=torch.Generator().manual_seed(seed)),
        calls=20,
        paths=1,
    )


def test_x_transformers_generates_until_the_end_token(compare: Compare) -> None:
    library = pytest.importorskip("x_transformers")
    model = library.AutoregressiveWrapper(_decoder(rotary_pos_emb=True))

    class Greedy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, prompt: torch.Tensor) -> torch.Tensor:
            generated: torch.Tensor = self.model.generate(prompt, 4, temperature=0.0, eos_token=8, cache_kv=False)
            return generated

    compare(
        Greedy(),
        lambda seed: torch.randint(0, 32, (1, 4), generator=torch.Generator().manual_seed(seed)),
        calls=20,
        paths=2,
    )


# ---------------------------------------------------------------- transformers


def _transformers() -> Any:
    """The package; operators of torchvision, which it imports, may be built for another torch and are declared here."""
    transformers = pytest.importorskip("transformers")
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return transformers


def test_longformer_attends_globally_where_the_mask_says(compare: Compare) -> None:
    transformers = _transformers()
    config = transformers.LongformerConfig(
        vocab_size=60,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        attention_window=4,
        max_position_embeddings=40,
        pad_token_id=1,
    )
    torch.manual_seed(0)
    model = transformers.LongformerModel(config)

    def inputs(seed: int) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        tokens = torch.randint(2, 60, (1, 12), generator=generator)
        length = int(torch.randint(5, 13, (1,), generator=generator))
        attention = torch.zeros(1, 12, dtype=torch.long)
        attention[:, :length] = 1
        globally = torch.zeros(1, 12, dtype=torch.long)
        globally[:, : seed % 3] = 1
        return {"input_ids": tokens, "attention_mask": attention, "global_attention_mask": globally}

    compare(model, inputs, calls=20, paths=2)
