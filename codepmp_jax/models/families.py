"""The architectures, as the differences between them. One family, one file."""

from __future__ import annotations

from codepmp_jax.models import gemma2, llama, mistral, qwen2, qwen3
from codepmp_jax.models.family import Family

FAMILIES: dict[str, Family] = {
    "qwen2": qwen2.FAMILY,
    "qwen3": qwen3.FAMILY,
    "llama": llama.FAMILY,
    "mistral": mistral.FAMILY,
    "gemma2": gemma2.FAMILY,
}
