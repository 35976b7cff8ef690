"""Gemma 2: the weight table, and the config in both directions."""

from __future__ import annotations

from typing import Any

from codepmp_jax.config import ModelConfig
from codepmp_jax.conversion import tables
from codepmp_jax.conversion.tables import layer_weight

WEIGHTS = (
    *tables.MATRICES,
    layer_weight("attention_norm/scale", "input_layernorm.weight"),
    layer_weight("attention_post_norm/scale", "post_attention_layernorm.weight"),
    layer_weight("mlp_norm/scale", "pre_feedforward_layernorm.weight"),
    layer_weight("mlp_post_norm/scale", "post_feedforward_layernorm.weight"),
    tables.FINAL_NORM,
)

_IMPLEMENTED = {
    "hidden_activation": "gelu_pytorch_tanh",
    "attention_bias": False,
    "use_bidirectional_attention": False,
}


def hf_config(config: ModelConfig, max_length: int) -> dict[str, Any]:
    """config.json's entries for a model of these dimensions."""
    return {
        **tables.hf_config(config, "Gemma2", max(max_length, 8192)),
        **_IMPLEMENTED,
        "sliding_window": config.sliding_window,
        "layer_types": tables.layer_types(config),
        "attn_logit_softcapping": config.attention_soft_cap,
        "final_logit_softcapping": config.logit_soft_cap,
        "query_pre_attn_scalar": config.query_scale or config.head_dim,
    }


def model_config(hf: dict[str, Any], config: ModelConfig, source: str) -> ModelConfig:
    """`config` with the dimensions of a config.json (see tables.model_config).

    What it lacks is as transformers' Gemma2Config has it.
    """
    hf = {"head_dim": 256, **hf}
    query_scale = hf.get("query_pre_attn_scalar", 256)
    return tables.model_config(
        hf,
        config,
        source,
        "gemma2",
        _IMPLEMENTED,
        sliding_window=hf.get("sliding_window", 4096),
        attention_soft_cap=hf.get("attn_logit_softcapping", 50.0),
        logit_soft_cap=hf.get("final_logit_softcapping", 30.0),
        query_scale=None if query_scale == hf["head_dim"] else query_scale,
    )
