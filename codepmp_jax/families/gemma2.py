"""Gemma 2 (arXiv 2408.00118): norms before and after attention and MLP, whose scale is 1 + w; every other layer
has the sliding window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codepmp_jax.families.family import Family
from codepmp_jax.families.hf_entries import layer_types, shared_from_hf, shared_to_hf
from codepmp_jax.families.weights import FINAL_NORM, MATRICES, layer_weight

WEIGHTS = (
    *MATRICES,
    layer_weight("attention_norm/scale", "input_layernorm.weight"),
    layer_weight("attention_post_norm/scale", "post_attention_layernorm.weight"),
    layer_weight("mlp_norm/scale", "pre_feedforward_layernorm.weight"),
    layer_weight("mlp_post_norm/scale", "post_feedforward_layernorm.weight"),
    FINAL_NORM,
)


def to_hf(settings: Mapping[str, Any], max_length: int) -> dict[str, Any]:
    """See Family.to_hf."""
    return {
        **shared_to_hf(FAMILY, settings, max(max_length, 8192)),
        "sliding_window": settings["sliding_window"],
        "layer_types": layer_types(FAMILY, settings),
        "attn_logit_softcapping": settings["attention_soft_cap"],
        "final_logit_softcapping": settings["logit_soft_cap"],
        "query_pre_attn_scalar": settings["query_scale"] or settings["head_dim"],
    }


def from_hf(hf: Mapping[str, Any], source: str) -> dict[str, Any]:
    """See Family.from_hf. Entries that are missing have the defaults of transformers' Gemma2Config."""
    hf = {"head_dim": 256, **hf}
    query_scale = hf.get("query_pre_attn_scalar", 256)
    return shared_from_hf(
        FAMILY,
        hf,
        source,
        sliding_window=hf.get("sliding_window", 4096),
        attention_soft_cap=hf.get("attn_logit_softcapping", 50.0),
        logit_soft_cap=hf.get("final_logit_softcapping", 30.0),
        query_scale=None if query_scale == hf["head_dim"] else query_scale,
    )


FAMILY = Family(
    name="gemma2",
    post_norms=True,
    norm_offset=1.0,
    activation="gelu_tanh",
    scale_embeddings=True,
    sliding_layers=(True, False),
    settings=("sliding_window", "attention_soft_cap", "logit_soft_cap", "query_scale"),
    architecture="Gemma2",
    weights=WEIGHTS,
    fixed_entries={
        "hidden_activation": "gelu_pytorch_tanh",
        "attention_bias": False,
        "use_bidirectional_attention": False,
    },
    to_hf=to_hf,
    from_hf=from_hf,
)
