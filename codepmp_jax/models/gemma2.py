"""Gemma 2 (arXiv 2408.00118): norms around attention and MLP, whose scale is 1 + w; every other layer slides."""

from __future__ import annotations

from codepmp_jax.models.family import Family

FAMILY = Family(
    post_norms=True,
    norm_offset=1.0,
    activation="gelu_tanh",
    scale_embeddings=True,
    sliding_layers=(True, False),
)
