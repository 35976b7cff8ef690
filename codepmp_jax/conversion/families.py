"""The families that can be converted, by Hugging Face's `model_type`."""

from __future__ import annotations

from types import ModuleType

from codepmp_jax.conversion import qwen2

FAMILIES: dict[str, ModuleType] = {"qwen2": qwen2}
