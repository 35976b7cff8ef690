"""How many floating-point operations training needs, for MFU."""

from __future__ import annotations

from codepmp_jax.config import LoraConfig, ModelConfig
from codepmp_jax.config.lora import NO_LORA


def train_flops(
    config: ModelConfig,
    *,
    tokens: int | float,
    keys: int | float,
    labels: int | float,
    pairs: int | float,
    lora: LoraConfig = NO_LORA,
) -> float:
    """Useful FLOPs of a training step.

    Summed over the step's `pairs`: `tokens`, with the prefix that both texts of a pair share counted once; `keys`,
    the keys to which those tokens attend; `labels` of the LM loss. The convention: 2 per multiply-add, backward =
    2 x forward; matmuls only (projections, MLP, attention, LM head on the labels, score head). Padding,
    repeated prefixes and recomputation do not count, so MFU computed from this is the share of the chips' peak spent
    on useful work, in any layout. `keys` are counted as if there were no sliding window: if texts are longer than
    it, attention to keys outside the window is counted too. Of a matrix that `lora` freezes, the backward pass has no
    gradient: it is 1 x forward.
    """
    dim, heads = config.embed_dim, config.head_dim * config.num_heads
    kv_heads = config.head_dim * config.num_kv_heads
    shapes = {
        "q_proj": (dim, heads),
        "k_proj": (dim, kv_heads),
        "v_proj": (dim, kv_heads),
        "o_proj": (heads, dim),
        "gate_proj": (dim, config.mlp_dim),
        "up_proj": (dim, config.mlp_dim),
        "down_proj": (config.mlp_dim, dim),
    }
    passes = 2.0 if lora.is_on else 3.0
    matrices = passes * sum(inputs * outputs for inputs, outputs in shapes.values())
    if lora.is_on:
        matrices += 3.0 * lora.rank * sum(sum(shapes[name]) for name in lora.modules)
    layer = 2 * matrices * tokens + 3.0 * 4 * heads * keys
    return config.num_layers * layer + 2 * dim * (
        passes * config.vocab_size * labels + 3.0 * 2 * pairs
    )
