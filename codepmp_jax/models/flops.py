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

    Of its pairs: `tokens`, what a pair's two texts begin with counted once; `keys`, how many keys those
    tokens attend to, added up; `labels` of the LM loss. The convention: 2 per multiply-add, backward =
    2 x forward; matmuls only (projections, MLP, attention, LM head on the labels, score head). Padding,
    repetition and recomputation do not count, so an MFU from it is the share of the chips' peak that does
    useful work, whatever the layout. `keys` are counted as without a sliding window: where texts are longer
    than it, the sum is more than what is useful, by the attention to keys outside.
    """
    dim, heads = config.embed_dim, config.head_dim * config.num_heads
    projections = dim * (2 * heads + 2 * config.head_dim * config.num_kv_heads)
    layer = 2 * (projections + 3 * dim * config.mlp_dim) * tokens + 4 * heads * keys
    head = 2 * dim * (config.vocab_size * labels + 2 * pairs)
    return 3.0 * (config.num_layers * layer + head)
