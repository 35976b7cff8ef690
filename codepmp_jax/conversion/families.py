"""The families that can be converted, by Hugging Face's `model_type`."""

from __future__ import annotations

from types import ModuleType

from codepmp_jax.conversion import gemma2, llama, mistral, qwen2, qwen3

FAMILIES: dict[str, ModuleType] = {
    "qwen2": qwen2,
    "qwen3": qwen3,
    "llama": llama,
    "mistral": mistral,
    "gemma2": gemma2,
}
