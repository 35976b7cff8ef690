"""Qwen3: the weight table, and the config in both directions."""

from __future__ import annotations

from typing import Any

from codepmp_jax.config import ModelConfig
from codepmp_jax.conversion import tables

WEIGHTS = (*tables.MATRICES, *tables.QK_NORMS, *tables.NORMS)

_IMPLEMENTED = {"hidden_act": "silu", "attention_bias": False, "use_sliding_window": False}


def hf_config(config: ModelConfig, max_length: int) -> dict[str, Any]:
    """config.json's entries for a model of these dimensions."""
    return tables.hf_config(config, "Qwen3", max(max_length, 32768)) | _IMPLEMENTED


def model_config(hf: dict[str, Any], config: ModelConfig, source: str) -> ModelConfig:
    """`config` with the dimensions of a config.json (see tables.model_config).

    Without a head_dim it is 128, as in transformers' Qwen3Config.
    """
    return tables.model_config({"head_dim": 128, **hf}, config, source, "qwen3", _IMPLEMENTED)
