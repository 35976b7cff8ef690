"""Entries of a Hugging Face config.json that all families share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codepmp_jax.cli.errors import require
from codepmp_jax.families.family import Family


def layer_types(family: Family, settings: Mapping[str, Any]) -> list[str]:
    """Hugging Face's name of each layer's kind of attention."""
    pattern = family.sliding_layers
    has_window = settings["sliding_window"] is not None
    return [
        "sliding_attention" if has_window and pattern[layer % len(pattern)] else "full_attention"
        for layer in range(settings["num_layers"])
    ]


def shared_to_hf(family: Family, settings: Mapping[str, Any], max_positions: int) -> dict[str, Any]:
    """The entries of config.json for the settings of ModelConfig that all families have."""
    scaling = settings["rope_scaling"]
    rope: dict[str, Any] = {"rope_type": "default"}
    legacy: dict[str, Any] = {}
    if scaling["factor"] > 1:
        rope = {
            "rope_type": "llama3",
            "factor": scaling["factor"],
            "low_freq_factor": scaling["low_freq_factor"],
            "high_freq_factor": scaling["high_freq_factor"],
            "original_max_position_embeddings": scaling["original_length"],
        }
        # Where transformers 4 looks for it.
        legacy = {"rope_scaling": rope}
    return {
        "architectures": [f"{family.architecture}ForSequenceClassification"],
        "model_type": family.name,
        "vocab_size": settings["vocab_size"],
        "hidden_size": settings["embed_dim"],
        "intermediate_size": settings["mlp_dim"],
        "num_hidden_layers": settings["num_layers"],
        "num_attention_heads": settings["num_heads"],
        "num_key_value_heads": settings["num_kv_heads"],
        "head_dim": settings["head_dim"],
        "rms_norm_eps": settings["norm_epsilon"],
        "rope_theta": settings["rope_theta"],
        "rope_parameters": {"rope_theta": settings["rope_theta"], **rope},
        **legacy,
        "max_position_embeddings": max_positions,
        "tie_word_embeddings": settings["tie_embeddings"],
        "attention_dropout": 0.0,
        "initializer_range": settings["init_std"],
        **family.fixed_entries,
    }


def shared_from_hf(
    family: Family, hf: Mapping[str, Any], source: str, **own: Any
) -> dict[str, Any]:
    """The settings of ModelConfig in a config.json: those that all families have, and the family's `own`.

    `source` names the file in errors. Raises UserError where config.json asks for what is not implemented,
    and KeyError for an entry that it lacks.
    """

    def only(name: str, value: Any, *known: Any) -> None:
        require(
            value in known,
            f"{source}: {name}",
            value,
            f"must be {' or '.join(map(repr, known))}; nothing else is implemented for {family.name}",
            "take another model",
        )

    for name, known in family.fixed_entries.items():
        only(name, known if hf.get(name) is None else hf[name], known)
    rope = hf.get("rope_scaling") or hf.get("rope_parameters") or {}
    merged = {**hf, **rope}
    rope_type = rope.get("rope_type", rope.get("type", "default"))
    only("rope_type", rope_type, "default", "llama3")
    only("partial_rotary_factor", merged.get("partial_rotary_factor", 1.0), 1.0)
    only("rope_parameters by layer", any(isinstance(value, dict) for value in rope.values()), False)
    scaling: dict[str, Any] = {}
    if rope_type == "llama3":
        scaling = {
            "factor": float(rope["factor"]),
            "low_freq_factor": float(rope["low_freq_factor"]),
            "high_freq_factor": float(rope["high_freq_factor"]),
            "original_length": rope["original_max_position_embeddings"],
        }
    settings = {
        "family": family.name,
        "vocab_size": hf["vocab_size"],
        "embed_dim": hf["hidden_size"],
        "mlp_dim": hf["intermediate_size"],
        "num_layers": hf["num_hidden_layers"],
        "num_heads": hf["num_attention_heads"],
        "num_kv_heads": hf.get("num_key_value_heads") or hf["num_attention_heads"],
        "head_dim": hf.get("head_dim") or hf["hidden_size"] // hf["num_attention_heads"],
        "rope_theta": float(merged.get("rope_theta", 10000.0)),
        "rope_scaling": scaling,
        "norm_epsilon": hf["rms_norm_eps"],
        **own,
    }
    types = layer_types(family, {"sliding_window": None, **settings})
    only("layer_types", hf.get("layer_types") or types, types)
    return settings
