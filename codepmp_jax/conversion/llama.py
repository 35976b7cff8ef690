"""Llama: the weight table, and the config in both directions."""

from __future__ import annotations

from typing import Any

from codepmp_jax.config import ModelConfig
from codepmp_jax.conversion import tables

WEIGHTS = (*tables.MATRICES, *tables.NORMS)

_IMPLEMENTED = {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False}


def hf_config(config: ModelConfig, max_length: int) -> dict[str, Any]:
    """config.json's entries for a model of these dimensions."""
    scaling = config.rope_scaling
    stretched = int(scaling.factor * scaling.original_length)
    return tables.hf_config(config, "Llama", max(max_length, stretched)) | _IMPLEMENTED


def model_config(hf: dict[str, Any], config: ModelConfig, source: str) -> ModelConfig:
    """`config` with the dimensions of a config.json (see tables.model_config)."""
    return tables.model_config(hf, config, source, "llama", _IMPLEMENTED)
