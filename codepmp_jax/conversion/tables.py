"""What the families' weight tables and config.json have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from codepmp_jax.cli.errors import require
from codepmp_jax.config import ModelConfig, RopeScalingConfig
from codepmp_jax.conversion.weights import Weight
from codepmp_jax.models.families import FAMILIES


def layer_weight(ours: str, theirs: str, is_kernel: bool = False) -> Weight:
    """A weight that every layer has, by its path within a layer here and its name there."""
    return Weight(f"decoder/layers/{ours}", f"model.layers.{{layer}}.{theirs}", is_kernel)


MATRICES = (
    Weight("decoder/embedding", "model.embed_tokens.weight"),
    *(
        layer_weight(f"{ours}/kernel", f"{theirs}.weight", is_kernel=True)
        for ours, theirs in (
            ("attention/query", "self_attn.q_proj"),
            ("attention/key", "self_attn.k_proj"),
            ("attention/value", "self_attn.v_proj"),
            ("attention/output", "self_attn.o_proj"),
            ("mlp/gate", "mlp.gate_proj"),
            ("mlp/up", "mlp.up_proj"),
            ("mlp/down", "mlp.down_proj"),
        )
    ),
    Weight("lm_head/kernel", "lm_head.weight", is_kernel=True),
    Weight("score/kernel", "score.weight", is_kernel=True),
)
QKV_BIASES = tuple(
    layer_weight(f"attention/{ours}/bias", f"self_attn.{theirs}.bias")
    for ours, theirs in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"))
)
QK_NORMS = (
    layer_weight("attention/query_norm/scale", "self_attn.q_norm.weight"),
    layer_weight("attention/key_norm/scale", "self_attn.k_norm.weight"),
)
FINAL_NORM = Weight("decoder/norm/scale", "model.norm.weight")
NORMS = (
    layer_weight("attention_norm/scale", "input_layernorm.weight"),
    layer_weight("mlp_norm/scale", "post_attention_layernorm.weight"),
    FINAL_NORM,
)


def layer_types(config: ModelConfig) -> list[str]:
    """Hugging Face's name of each layer's kind of attention."""
    pattern = FAMILIES[config.family].sliding_layers
    slides = config.sliding_window is not None
    return [
        "sliding_attention" if slides and pattern[layer % len(pattern)] else "full_attention"
        for layer in range(config.num_layers)
    ]


def hf_config(config: ModelConfig, architecture: str, max_positions: int) -> dict[str, Any]:
    """The entries that the config.json of every family has."""
    scaling = config.rope_scaling
    rope: dict[str, Any] = {"rope_type": "default"}
    legacy: dict[str, Any] = {}
    if scaling.factor > 1:
        rope = {
            "rope_type": "llama3",
            "factor": scaling.factor,
            "low_freq_factor": scaling.low_freq_factor,
            "high_freq_factor": scaling.high_freq_factor,
            "original_max_position_embeddings": scaling.original_length,
        }
        # Where transformers 4 looks for it.
        legacy = {"rope_scaling": rope}
    return {
        "architectures": [f"{architecture}ForSequenceClassification"],
        "model_type": config.family,
        "vocab_size": config.vocab_size,
        "hidden_size": config.embed_dim,
        "intermediate_size": config.mlp_dim,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "rms_norm_eps": config.norm_epsilon,
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_theta": config.rope_theta, **rope},
        **legacy,
        "max_position_embeddings": max_positions,
        "tie_word_embeddings": config.tie_embeddings,
        "attention_dropout": 0.0,
        "initializer_range": config.init_std,
    }


def model_config(
    hf: dict[str, Any],
    config: ModelConfig,
    source: str,
    family: str,
    implemented: Mapping[str, Any],
    **own: Any,
) -> ModelConfig:
    """`config` with the dimensions of a family's config.json; `source` names that file in errors.

    `implemented` are entries that must have one value where they are given, and `own` the settings that
    only some families have. What is no dimension (dtype, remat, initialisation, whether the LM head is tied)
    stays. Raises UserError where config.json asks for what is not implemented, and KeyError for an entry that
    it lacks.
    """

    def only(name: str, value: Any, *known: Any) -> None:
        require(
            value in known,
            f"{source}: {name}",
            value,
            f"must be {' or '.join(map(repr, known))}; nothing else is implemented for {family}",
            "take another model",
        )

    for name, known in implemented.items():
        only(name, known if hf.get(name) is None else hf[name], known)
    rope = hf.get("rope_scaling") or hf.get("rope_parameters") or {}
    rope_type = rope.get("rope_type", rope.get("type", "default"))
    only("rope_type", rope_type, "default", "llama3")
    only("partial_rotary_factor", (hf | rope).get("partial_rotary_factor", 1.0), 1.0)
    only("rope_parameters by layer", any(isinstance(value, dict) for value in rope.values()), False)
    scaling = RopeScalingConfig()
    if rope_type == "llama3":
        scaling = RopeScalingConfig(
            factor=float(rope["factor"]),
            low_freq_factor=float(rope["low_freq_factor"]),
            high_freq_factor=float(rope["high_freq_factor"]),
            original_length=rope["original_max_position_embeddings"],
        )
    settings = {
        "sliding_window": None,
        "attention_soft_cap": None,
        "logit_soft_cap": None,
        "query_scale": None,
        **own,
    }
    model = dataclasses.replace(
        config,
        family=family,
        vocab_size=hf["vocab_size"],
        embed_dim=hf["hidden_size"],
        mlp_dim=hf["intermediate_size"],
        num_layers=hf["num_hidden_layers"],
        num_heads=hf["num_attention_heads"],
        num_kv_heads=hf.get("num_key_value_heads") or hf["num_attention_heads"],
        head_dim=hf.get("head_dim") or hf["hidden_size"] // hf["num_attention_heads"],
        rope_theta=float((hf | rope).get("rope_theta", 10000.0)),
        rope_scaling=scaling,
        norm_epsilon=hf["rms_norm_eps"],
        **settings,
    )
    types = layer_types(model)
    only("layer_types", hf.get("layer_types") or types, types)
    return model
