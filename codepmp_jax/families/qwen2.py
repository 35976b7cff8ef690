"""Qwen2 and Qwen2.5 (arXiv 2407.10671): biases on query, key and value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codepmp_jax.families.family import Family
from codepmp_jax.families.hf_entries import shared_from_hf, shared_to_hf
from codepmp_jax.families.weights import MATRICES, NORMS, QKV_BIASES


def to_hf(settings: Mapping[str, Any], max_length: int) -> dict[str, Any]:
    """See Family.to_hf."""
    return shared_to_hf(FAMILY, settings, max(max_length, 32768))


def from_hf(hf: Mapping[str, Any], source: str) -> dict[str, Any]:
    """See Family.from_hf."""
    return shared_from_hf(FAMILY, hf, source)


FAMILY = Family(
    name="qwen2",
    qkv_bias=True,
    architecture="Qwen2",
    weights=(*MATRICES, *QKV_BIASES, *NORMS),
    # From transformers 5 on, AutoTokenizer takes only vocabulary and merges from a qwen2 folder.
    tokenizer_split=(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    fixed_entries={"hidden_act": "silu", "use_sliding_window": False},
    to_hf=to_hf,
    from_hf=from_hf,
)
