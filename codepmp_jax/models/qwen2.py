"""Qwen2 and Qwen2.5 (arXiv 2407.10671): biases on query, key and value."""

from __future__ import annotations

from codepmp_jax.models.family import Family

FAMILY = Family(qkv_bias=True)
