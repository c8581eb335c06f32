"""Mixtures of experts of transformers: tiny, with random weights; the eager experts loop over those that were hit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

transformers = pytest.importorskip("transformers")

_SMALL = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 32,
    "moe_intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "attn_implementation": "eager",
    "experts_implementation": "eager",
}


def ids(seed: int) -> dict[str, torch.Tensor]:
    """Four tokens; now and then one token four times."""
    made = torch.Generator().manual_seed(seed)
    found = torch.randint(2, 64, (1, 4), generator=made)
    return {"input_ids": found[:, :1].repeat(1, 4) if seed % 4 == 1 else found}


def mixtral() -> Any:
    config = transformers.MixtralConfig(**_SMALL, num_local_experts=4, num_experts_per_tok=2)
    return transformers.MixtralForCausalLM(config)


def qwen2_moe() -> Any:
    config = transformers.Qwen2MoeConfig(
        **_SMALL, num_experts=4, num_experts_per_tok=2, shared_expert_intermediate_size=16, decoder_sparse_step=1
    )
    return transformers.Qwen2MoeForCausalLM(config)


def deepseek_v3() -> Any:
    config = transformers.DeepseekV3Config(
        **_SMALL,
        n_routed_experts=6,
        num_experts_per_tok=2,
        n_group=2,
        topk_group=1,
        first_k_dense_replace=0,
        q_lora_rank=8,
        kv_lora_rank=8,
        qk_rope_head_dim=4,
        qk_nope_head_dim=4,
        v_head_dim=8,
    )
    return transformers.DeepseekV3ForCausalLM(config)


def switch_transformers() -> Any:
    config = transformers.SwitchTransformersConfig(
        vocab_size=64,
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=2,
        num_decoder_layers=2,
        num_heads=2,
        num_experts=4,
        num_sparse_encoder_layers=1,
        num_sparse_decoder_layers=1,
        expert_capacity=8,
        router_jitter_noise=0.0,
    )
    return transformers.SwitchTransformersForConditionalGeneration(config)


_LOCAL = {"num_local_experts": 4, "num_experts_per_tok": 2}
_MORE: dict[str, dict[str, Any]] = {
    "Qwen3Moe": {"num_experts": 4, "num_experts_per_tok": 2, "head_dim": 8},
    "Olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
    "JetMoe": {**_LOCAL, "kv_channels": 8},
    "Phimoe": _LOCAL,
    "GptOss": {**_LOCAL, "head_dim": 8},
    "GraniteMoe": _LOCAL,
    "Ernie4_5_Moe": {"moe_num_experts": 4, "moe_k": 2, "moe_layer_start_index": 0},
    "Glm4Moe": {"n_routed_experts": 4, "num_experts_per_tok": 2, "head_dim": 8, "first_k_dense_replace": 0},
}


def pairs(seed: int) -> dict[str, torch.Tensor]:
    """What Switch takes: tokens for the encoder and for the decoder."""
    return {**ids(seed), "decoder_input_ids": ids(seed + 1000)["input_ids"]}


@pytest.mark.parametrize(
    ("make", "inputs"),
    [
        pytest.param(mixtral, ids, id="mixtral"),
        pytest.param(qwen2_moe, ids, id="qwen2_moe"),
        pytest.param(deepseek_v3, ids, id="deepseek_v3"),
        pytest.param(switch_transformers, pairs, id="switch_transformers"),
    ],
)
def test_a_mixture_of_experts_compiles_unchanged(
    compare: Callable[..., Any], make: Callable[[], Any], inputs: Callable[[int], dict[str, torch.Tensor]]
) -> None:
    torch.manual_seed(0)
    model = make().eval()
    model.config.use_cache = False
    compare(model, inputs, calls=20, paths=4)


@pytest.mark.parametrize("name", _MORE)
def test_more_mixtures_of_experts(compare: Callable[..., Any], name: str) -> None:
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**_SMALL, **_MORE[name])
    model = getattr(transformers, f"{name}ForCausalLM")(config).eval()
    model.config.use_cache = False
    # JetMoE cuts its tokens into pieces that may be empty: sizes of the run, and no decision.
    compare(model, ids, calls=20, paths=1 if name == "JetMoe" else 4)
