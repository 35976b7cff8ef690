"""Llama 3 (arXiv 2407.21783), and what Llama 1 and 2 have in common with it."""

from __future__ import annotations

from codepmp_jax.models.family import Family

FAMILY = Family()
