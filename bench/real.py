"""Networks of the zoo as wide and deep as their papers have them, or as they are used, with random weights."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from bench.rows import Row
from dycl.loading import LoadedModel
from dycl.pipeline import Settings

Zoo = Any  # the module of a network of the zoo


@dataclass(frozen=True, slots=True)
class RealNetwork:
    """A network under the name that it goes by: `models_zoo/NAME.py` with these sizes."""

    title: str
    name: str
    make: Callable[[Zoo], torch.nn.Module]

    def load(self) -> tuple[torch.nn.Module, LoadedModel]:
        """The network, and the zoo's small one, whose inputs it takes."""
        loaded = Row(self.name).load()
        torch.manual_seed(0)
        return self.make(sys.modules[type(loaded.model).__module__]).eval(), loaded


SETTINGS = Settings(verify=False)

_LAYERS = {"hidden_size": 768, "num_heads": 12, "num_layers": 12, "vocab_size": 30522}  # of BERT-base

REAL = (
    RealNetwork("MSDNet, CIFAR-100", "msdnet", lambda zoo: zoo.MSDNet(7, channels=16, growth=6, num_classes=100)),
    RealNetwork("SkipNet-38", "skipnet", lambda zoo: zoo.build(depth=38, width=16)),
    RealNetwork("BlockDrop, ResNet-110", "blockdrop", lambda zoo: zoo.build(layer_config=(18, 18, 18), width=16)),
    RealNetwork("SkipNet-110", "skipnet", lambda zoo: zoo.build(depth=110, width=16)),
    RealNetwork("Tree-LSTM, GloVe", "treelstm", lambda zoo: zoo.SentimentTreeLSTM(20_000, 300, 150, num_classes=5)),
    RealNetwork("Shallow-Deep, VGG-16", "shallow_deep", lambda zoo: zoo.build(width=64)),
    RealNetwork(
        "mixture of 8 experts, 8 layers of 512",
        "moe",
        lambda zoo: zoo.MixtureOfExperts(32_000, 512, layers=8, experts=8),
    ),
    RealNetwork(
        "PABEE, 12 layers of 768", "pabee", lambda zoo: zoo.PabeeForSequenceClassification(max_length=512, **_LAYERS)
    ),
    RealNetwork(
        "DeeBERT, BERT-base",
        "deebert",
        lambda zoo: zoo.DeeBertForSequenceClassification(
            zoo.Config(max_position=512, intermediate_size=3072, **_LAYERS)
        ),
    ),
    RealNetwork("GPT-2", "gpt_generate", lambda zoo: zoo.GPT(50257, 768, n_head=12, n_layer=12, block_size=1024)),
)
