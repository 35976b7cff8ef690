"""Qwen2 and Qwen2.5: the weight table, and the config in both directions."""

from __future__ import annotations

import dataclasses
from typing import Any

from codepmp_jax.config import ModelConfig
from codepmp_jax.conversion.weights import Weight
from codepmp_jax.errors import require

_LAYER, _HF_LAYER = "decoder/layers", "model.layers.{layer}"

WEIGHTS = (
    Weight("decoder/embedding", "model.embed_tokens.weight"),
    *(
        row
        for ours, theirs in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"))
        for row in (
            Weight(
                f"{_LAYER}/attention/{ours}/kernel",
                f"{_HF_LAYER}.self_attn.{theirs}.weight",
                is_kernel=True,
            ),
            Weight(f"{_LAYER}/attention/{ours}/bias", f"{_HF_LAYER}.self_attn.{theirs}.bias"),
        )
    ),
    Weight(
        f"{_LAYER}/attention/output/kernel", f"{_HF_LAYER}.self_attn.o_proj.weight", is_kernel=True
    ),
    Weight(f"{_LAYER}/mlp/gate/kernel", f"{_HF_LAYER}.mlp.gate_proj.weight", is_kernel=True),
    Weight(f"{_LAYER}/mlp/up/kernel", f"{_HF_LAYER}.mlp.up_proj.weight", is_kernel=True),
    Weight(f"{_LAYER}/mlp/down/kernel", f"{_HF_LAYER}.mlp.down_proj.weight", is_kernel=True),
    Weight(f"{_LAYER}/attention_norm/scale", f"{_HF_LAYER}.input_layernorm.weight"),
    Weight(f"{_LAYER}/mlp_norm/scale", f"{_HF_LAYER}.post_attention_layernorm.weight"),
    Weight("decoder/norm/scale", "model.norm.weight"),
    Weight("lm_head/kernel", "lm_head.weight", is_kernel=True),
    Weight("score/kernel", "score.weight", is_kernel=True),
)


def hf_config(config: ModelConfig, max_length: int) -> dict[str, Any]:
    """config.json's entries for a model of these dimensions."""
    return {
        "architectures": ["Qwen2ForSequenceClassification"],
        "model_type": "qwen2",
        "vocab_size": config.vocab_size,
        "hidden_size": config.embed_dim,
        "intermediate_size": config.mlp_dim,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_epsilon,
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_theta": config.rope_theta, "rope_type": "default"},
        "max_position_embeddings": max(max_length, 32768),
        "tie_word_embeddings": config.tie_embeddings,
        "use_sliding_window": False,
        "attention_dropout": 0.0,
        "initializer_range": config.init_std,
    }


def model_config(hf: dict[str, Any], config: ModelConfig, source: str) -> ModelConfig:
    """`config` with the dimensions of a config.json; `source` names that file in errors.

    What is no dimension (dtype, remat, initialisation, whether the LM head is tied) stays.
    """
    rope = hf.get("rope_parameters") or hf.get("rope_scaling") or {}
    for name, value, known in (
        ("hidden_act", hf.get("hidden_act", "silu"), "silu"),
        ("use_sliding_window", hf.get("use_sliding_window", False), False),
        ("rope_type", rope.get("rope_type", rope.get("type", "default")), "default"),
    ):
        require(
            value == known,
            f"{source}: {name}",
            value,
            f"must be {known!r}; nothing else is implemented for qwen2",
            "take another model",
        )
    return dataclasses.replace(
        config,
        family="qwen2",
        vocab_size=hf["vocab_size"],
        embed_dim=hf["hidden_size"],
        mlp_dim=hf["intermediate_size"],
        num_layers=hf["num_hidden_layers"],
        num_heads=hf["num_attention_heads"],
        num_kv_heads=hf["num_key_value_heads"],
        head_dim=hf.get("head_dim") or hf["hidden_size"] // hf["num_attention_heads"],
        rope_theta=float(rope.get("rope_theta", hf.get("rope_theta", 10000.0))),
        norm_epsilon=hf["rms_norm_eps"],
    )
