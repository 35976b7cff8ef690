"""How many floating-point operations training needs, for MFU."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool

from codepmp_jax.config import ModelConfig


def train_flops(
    config: ModelConfig, token_mask: Bool[np.ndarray, "N 2 L"], label_mask: Bool[np.ndarray, "N L"]
) -> float:
    """Model FLOPs of one training step on these pairs.

    The convention: 2 per multiply-add, backward = 2 x forward; matmuls only (projections, MLP, causal
    attention over real keys, LM head on the label tokens, score head). Padding and recomputation do
    not count, so an MFU from it is the share of the chips' peak that does useful work.
    """
    lengths = token_mask.sum(axis=-1).astype(np.float64)
    dim, heads = config.embed_dim, config.head_dim * config.num_heads
    projections = dim * (2 * heads + 2 * config.head_dim * config.num_kv_heads)
    layer = 2 * (projections + 3 * dim * config.mlp_dim) * lengths.sum()
    attention = 4 * heads * (lengths * (lengths + 1) / 2).sum()
    head = 2 * dim * (config.vocab_size * label_mask.sum() + lengths.size)
    return float(3 * (config.num_layers * (layer + attention) + head))
