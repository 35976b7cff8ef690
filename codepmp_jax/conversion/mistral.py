"""Mistral: the weight table, and the config in both directions."""

from __future__ import annotations

from typing import Any

from codepmp_jax.config import ModelConfig
from codepmp_jax.conversion import tables

WEIGHTS = (*tables.MATRICES, *tables.NORMS)

_IMPLEMENTED = {"hidden_act": "silu"}


def hf_config(config: ModelConfig, max_length: int) -> dict[str, Any]:
    """config.json's entries for a model of these dimensions."""
    entries = tables.hf_config(config, "Mistral", max(max_length, 32768))
    return entries | _IMPLEMENTED | {"sliding_window": config.sliding_window}


def model_config(hf: dict[str, Any], config: ModelConfig, source: str) -> ModelConfig:
    """`config` with the dimensions of a config.json (see tables.model_config)."""
    window = hf.get("sliding_window", 4096)
    return tables.model_config(hf, config, source, "mistral", _IMPLEMENTED, sliding_window=window)
