"""Speech of transformers: a decoder that stops by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

transformers = pytest.importorskip("transformers")


def speech_t5() -> Any:
    config = transformers.SpeechT5Config(
        vocab_size=30,
        hidden_size=16,
        encoder_layers=1,
        encoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=16,
        num_mel_bins=8,
        reduction_factor=2,
        speaker_embedding_dim=4,
        speech_decoder_prenet_layers=1,
        speech_decoder_prenet_units=8,
        speech_decoder_postnet_layers=2,
        speech_decoder_postnet_units=8,
        speech_decoder_postnet_kernel=3,
        max_text_positions=20,
        max_speech_positions=100,
    )
    return transformers.SpeechT5ForTextToSpeech(config)


def texts(seed: int) -> dict[str, Any]:
    made = torch.Generator().manual_seed(seed)
    return {
        "input_ids": torch.randint(4, 30, (1, 5), generator=made),
        "speaker_embeddings": torch.randn(1, 4, generator=made),
        "threshold": 0.95,
        "maxlenratio": 6.0,
    }


def test_speech_is_generated_until_the_model_stops(compare: Callable[..., Any]) -> None:
    """The prenet of its decoder drops out at inference, too: the host draws what torch draws."""
    torch.manual_seed(0)
    model = speech_t5().eval()
    for weight in model.parameters():
        if weight.dim() > 1:  # sharp: some stop at once and some go on to the end
            torch.nn.init.normal_(weight, std=0.3)
    compare(model, texts, calls=24, paths=4, method="generate_speech", rng="host")
