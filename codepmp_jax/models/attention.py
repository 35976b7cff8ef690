"""Causal self-attention behind one function, `attend`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from codepmp_jax.config import ModelConfig
from codepmp_jax.models.families import FAMILIES
from codepmp_jax.models.layers import Projection, rotate
from codepmp_jax.sharding import constrain


def attention_mask(token_mask: Bool[Array, "B L"]) -> Bool[Array, "B 1 L L"]:
    """True where a query (row) may see a key (column): causal, and never padding."""
    length = token_mask.shape[-1]
    causal = jnp.tril(jnp.ones((length, length), bool))
    return causal[None, None] & token_mask[:, None, None, :]


def attend(
    query: Float[Array, "B L H E"],
    key: Float[Array, "B L K E"],
    value: Float[Array, "B L K E"],
    mask: Bool[Array, "B 1 L L"],
) -> Float[Array, "B L H E"]:
    """Grouped-query attention (arXiv 2305.13245), scaled by 1/sqrt(E); softmax in float32."""
    return jax.nn.dot_product_attention(query, key, value, mask=mask, implementation="xla")


class Attention(nnx.Module):
    """Query, key and value projections, rotary positions, attention, output projection."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        dim, head_dim = config.embed_dim, config.head_dim
        bias = FAMILIES[config.family].qkv_bias

        def heads(number: int, axis: str) -> Projection:
            axes = ("embed", axis, "head_dim")
            return Projection(rngs, (dim, number, head_dim), axes, std=config.init_std, bias=bias)

        self.query = heads(config.num_heads, "heads")
        self.key = heads(config.num_kv_heads, "kv_heads")
        self.value = heads(config.num_kv_heads, "kv_heads")
        self.output = Projection(
            rngs,
            (config.num_heads, head_dim, dim),
            ("heads", "head_dim", "embed"),
            std=config.init_std,
            contract=2,
        )
        self.rope_theta = config.rope_theta

    def __call__(
        self,
        x: Float[Array, "B L D"],
        positions: Int[Array, "B L"],
        mask: Bool[Array, "B 1 L L"],
    ) -> Float[Array, "B L D"]:
        """The attention block's addition to the residual stream."""
        query = rotate(self.query(x), positions, self.rope_theta)
        key = rotate(self.key(x), positions, self.rope_theta)
        query = constrain(query, "batch", "length", "heads", "head_dim")
        key = constrain(key, "batch", "length", "kv_heads", "head_dim")
        value = constrain(self.value(x), "batch", "length", "kv_heads", "head_dim")
        return self.output(attend(query, key, value, mask))
