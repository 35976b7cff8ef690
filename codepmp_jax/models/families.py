"""The architectures, as the differences between them. One family, one file."""

from __future__ import annotations

from codepmp_jax.models import qwen2

FAMILIES = {"qwen2": qwen2.FAMILY}
