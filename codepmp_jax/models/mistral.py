"""Mistral (arXiv 2310.06825): every layer slides, where there is a window."""

from __future__ import annotations

from codepmp_jax.models.family import Family

FAMILY = Family()
