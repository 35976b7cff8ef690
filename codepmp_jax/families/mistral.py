"""Mistral (arXiv 2310.06825): every layer has the sliding window, if there is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codepmp_jax.families.family import Family
from codepmp_jax.families.hf_entries import shared_from_hf, shared_to_hf
from codepmp_jax.families.weights import MATRICES, NORMS


def to_hf(settings: Mapping[str, Any], max_length: int) -> dict[str, Any]:
    """See Family.to_hf."""
    shared = shared_to_hf(FAMILY, settings, max(max_length, 32768))
    return {**shared, "sliding_window": settings["sliding_window"]}


def from_hf(hf: Mapping[str, Any], source: str) -> dict[str, Any]:
    """See Family.from_hf. Without a sliding_window it is 4096, as in transformers' MistralConfig."""
    return shared_from_hf(FAMILY, hf, source, sliding_window=hf.get("sliding_window", 4096))


FAMILY = Family(
    name="mistral",
    settings=("sliding_window",),
    architecture="Mistral",
    weights=(*MATRICES, *NORMS),
    fixed_entries={"hidden_act": "silu"},
    to_hf=to_hf,
    from_hf=from_hf,
)
