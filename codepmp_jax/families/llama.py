"""Llama 3 (arXiv 2407.21783), and what Llama 1 and 2 have in common with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codepmp_jax.families.family import Family
from codepmp_jax.families.hf_entries import shared_from_hf, shared_to_hf
from codepmp_jax.families.weights import MATRICES, NORMS


def to_hf(settings: Mapping[str, Any], max_length: int) -> dict[str, Any]:
    """See Family.to_hf."""
    scaling = settings["rope_scaling"]
    stretched_length = int(scaling["factor"] * scaling["original_length"])
    return shared_to_hf(FAMILY, settings, max(max_length, stretched_length))


def from_hf(hf: Mapping[str, Any], source: str) -> dict[str, Any]:
    """See Family.from_hf."""
    return shared_from_hf(FAMILY, hf, source)


FAMILY = Family(
    name="llama",
    architecture="Llama",
    weights=(*MATRICES, *NORMS),
    fixed_entries={"hidden_act": "silu", "attention_bias": False, "mlp_bias": False},
    to_hf=to_hf,
    from_hf=from_hf,
)
