"""Qwen3 (arXiv 2505.09388): a norm on each head's query and key."""

from __future__ import annotations

from codepmp_jax.models.family import Family

FAMILY = Family(qk_norm=True)
