"""The decoder: tokens to hidden states.

Shape letters, here and everywhere: B rows, L positions, D model, H query heads, K kv heads, E head dim,
F ffw, V vocab, N pairs.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from codepmp_jax.config import ModelConfig
from codepmp_jax.models.attention import Attention, attention_mask
from codepmp_jax.models.layers import Projection, RMSNorm, param
from codepmp_jax.sharding import constrain

REMAT_POLICIES = {
    "full": jax.checkpoint_policies.nothing_saveable,
    "dots_with_no_batch_dims": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


class Mlp(nnx.Module):
    """SwiGLU (arXiv 2002.05202): down(silu(gate(x)) * up(x))."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        dim, hidden, std = config.embed_dim, config.mlp_dim, config.init_std
        self.gate = Projection(rngs, (dim, hidden), ("embed", "mlp"), std=std)
        self.up = Projection(rngs, (dim, hidden), ("embed", "mlp"), std=std)
        self.down = Projection(rngs, (hidden, dim), ("mlp", "embed"), std=std)

    def __call__(self, x: Float[Array, "B L D"]) -> Float[Array, "B L D"]:
        """The block's addition to the residual stream."""
        hidden = constrain(nnx.silu(self.gate(x)) * self.up(x), "batch", "length", "mlp")
        return self.down(hidden)


class DecoderLayer(nnx.Module):
    """Pre-norm attention and MLP around a residual stream."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        self.attention_norm = RMSNorm(config.embed_dim, config.norm_epsilon)
        self.attention = Attention(config, rngs)
        self.mlp_norm = RMSNorm(config.embed_dim, config.norm_epsilon)
        self.mlp = Mlp(config, rngs)

    def __call__(
        self,
        x: Float[Array, "B L D"],
        positions: Int[Array, "B L"],
        mask: Bool[Array, "B 1 L L"],
    ) -> Float[Array, "B L D"]:
        """The residual stream after this layer."""
        x = x + self.attention(self.attention_norm(x), positions, mask)
        x = x + self.mlp(self.mlp_norm(x))
        return constrain(x, "batch", "length", None)


class Decoder(nnx.Module):
    """Embedding, scanned layers, final norm.

    The parameters of all layers are stacked on a leading `layers` dim, so that a model of any depth
    compiles as one layer.
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        self.embedding = param(
            rngs, (config.vocab_size, config.embed_dim), ("vocab", "embed"), config.init_std
        )

        @nnx.split_rngs(splits=config.num_layers)
        @nnx.vmap(in_axes=(0,), out_axes=0)
        def stack(rngs: nnx.Rngs) -> DecoderLayer:
            return DecoderLayer(config, rngs)

        self.layers = stack(rngs)
        self.norm = RMSNorm(config.embed_dim, config.norm_epsilon)
        self.config = config

    def __call__(
        self, tokens: Int[Array, "B L"], token_mask: Bool[Array, "B L"]
    ) -> Float[Array, "B L D"]:
        """Hidden states after the final norm, in the compute dtype.

        `token_mask` is False on padding, which may lie on either side; positions count real tokens.
        """
        config = self.config
        positions = jnp.maximum(jnp.cumsum(token_mask, axis=-1) - 1, 0)
        mask = attention_mask(token_mask)
        x = self.embedding[...][tokens].astype(config.compute_dtype)
        x = constrain(x, "batch", "length", None)
        graph, stacked = nnx.split(self.layers)

        def layer(x: Array, weights: Any) -> tuple[Array, None]:
            return nnx.merge(graph, weights)(x, positions, mask), None

        if config.remat != "none":
            layer = jax.checkpoint(layer, policy=REMAT_POLICIES[config.remat], prevent_cse=False)
        x, _ = jax.lax.scan(layer, x, stacked)
        return self.norm(x)
