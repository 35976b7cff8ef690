"""How many floating-point operations training needs, for MFU."""

from __future__ import annotations

from codepmp_jax.config import ModelConfig


def train_flops(
    config: ModelConfig,
    *,
    tokens: int | float,
    keys: int | float,
    labels: int | float,
    pairs: int | float,
) -> float:
    """Useful FLOPs of a training step.

    Summed over the step's `pairs`: `tokens`, with the prefix that both texts of a pair share counted once; `keys`,
    the keys to which those tokens attend; `labels` of the LM loss. The convention: 2 per multiply-add, backward =
    2 x forward; matmuls only (projections, MLP, attention, LM head on the labels, score head). Padding,
    repeated prefixes and recomputation do not count, so MFU computed from this is the share of the chips' peak spent
    on useful work, in any layout. `keys` are counted as if there were no sliding window: if texts are longer than
    it, attention to keys outside the window is counted too.
    """
    dim, heads = config.embed_dim, config.head_dim * config.num_heads
    projections = dim * (2 * heads + 2 * config.head_dim * config.num_kv_heads)
    layer = 2 * (projections + 3 * dim * config.mlp_dim) * tokens + 4 * heads * keys
    head = 2 * dim * (config.vocab_size * labels + 2 * pairs)
    return 3.0 * (config.num_layers * layer + head)
