"""Qwen3 (arXiv 2505.09388): a norm on each head's query and key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codepmp_jax.families.family import Family
from codepmp_jax.families.hf_entries import shared_from_hf, shared_to_hf
from codepmp_jax.families.weights import MATRICES, NORMS, QK_NORMS


def to_hf(settings: Mapping[str, Any], max_length: int) -> dict[str, Any]:
    """See Family.to_hf."""
    return shared_to_hf(FAMILY, settings, max(max_length, 32768))


def from_hf(hf: Mapping[str, Any], source: str) -> dict[str, Any]:
    """See Family.from_hf. Without a head_dim it is 128, as in transformers' Qwen3Config."""
    return shared_from_hf(FAMILY, {"head_dim": 128, **hf}, source)


FAMILY = Family(
    name="qwen3",
    qk_norm=True,
    architecture="Qwen3",
    weights=(*MATRICES, *QK_NORMS, *NORMS),
    fixed_entries={"hidden_act": "silu", "attention_bias": False, "use_sliding_window": False},
    to_hf=to_hf,
    from_hf=from_hf,
)
