"""`generate` of transformers, whole: greedy decoding with a cache, its configuration, processors and criteria."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

transformers = pytest.importorskip("transformers")

_SPECIAL = {"bos_token_id": 1, "eos_token_id": [2, 3], "pad_token_id": 0}


def gpt2() -> Any:
    config = transformers.GPT2Config(vocab_size=20, n_positions=64, n_embd=16, n_layer=2, n_head=2, **_SPECIAL)
    return transformers.GPT2LMHeadModel(config)


def llama() -> Any:
    config = transformers.LlamaConfig(
        vocab_size=20,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        **_SPECIAL,
    )
    return transformers.LlamaForCausalLM(config)


def prompts(seed: int) -> dict[str, Any]:
    """Five tokens; every third prompt is a shorter one, padded on the left, which `generate` finds out by itself."""
    tokens = torch.randint(4, 20, (1, 5), generator=torch.Generator().manual_seed(seed))
    if seed % 3 == 1:
        tokens[:, : 1 + seed % 2] = 0
    return {"input_ids": tokens, "max_new_tokens": 12, "do_sample": False}


@pytest.mark.parametrize("make", [gpt2, llama])
def test_greedy_generation_compiles_unchanged(compare: Callable[..., Any], make: Callable[[], Any]) -> None:
    torch.manual_seed(0)
    model = make().eval()
    for weight in model.parameters():  # sharp: texts differ, some end and some do not
        torch.nn.init.normal_(weight, std=0.5)
    compare(model, prompts, calls=24, paths=6, method="generate")


def t5() -> Any:
    config = transformers.T5Config(
        vocab_size=20,
        d_model=16,
        d_kv=8,
        d_ff=16,
        num_layers=1,
        num_heads=2,
        decoder_start_token_id=1,
        eos_token_id=[2, 7],
        pad_token_id=0,
    )
    model = transformers.T5ForConditionalGeneration(config)
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())  # else each word is followed by itself
    return model


def bart() -> Any:
    config = transformers.BartConfig(
        vocab_size=20,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_position_embeddings=64,
        bos_token_id=1,
        eos_token_id=[2, 7],
        pad_token_id=0,
        decoder_start_token_id=1,
        forced_eos_token_id=None,
    )
    model = transformers.BartForConditionalGeneration(config)
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
    return model


def questions(seed: int) -> dict[str, Any]:
    tokens = torch.randint(4, 20, (1, 5), generator=torch.Generator().manual_seed(seed))
    return {"input_ids": tokens, "max_new_tokens": 10, "do_sample": False}


@pytest.mark.parametrize("make", [t5, bart])
def test_an_encoder_and_a_decoder_generate(compare: Callable[..., Any], make: Callable[[], Any]) -> None:
    """The cache holds what the decoder attends to of its own words, and of the encoder's."""
    torch.manual_seed(0)
    model = make().eval()
    for weight in model.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.6)
    compare(model, questions, calls=24, paths=3, method="generate")
