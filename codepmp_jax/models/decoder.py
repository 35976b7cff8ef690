"""The decoder: tokens to hidden states.

Shape letters, here and everywhere: B rows, L positions, D model, H query heads, K kv heads, E head dim,
F ffw, V vocab, N pairs. Of a batch: W tokens of a row, M places for pairs, C places for labels.
"""

from __future__ import annotations

from typing import Any

import jax
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float, Int

from codepmp_jax.config import ModelConfig
from codepmp_jax.models.attention import Attention, Segments
from codepmp_jax.models.layers import Projection, RMSNorm, lookup, param
from codepmp_jax.sharding import constrain

_policies = jax.checkpoint_policies

# Of config.RematPolicy, by the names that activations are given here and in attention.py.
REMAT_POLICIES = {
    "full": _policies.nothing_saveable,
    "save_attention": _policies.save_only_these_names("attention"),
    "save_qkv_attention": _policies.save_only_these_names("qkv", "attention"),
    "save_mlp_attention": _policies.save_only_these_names("qkv", "attention", "mlp"),
    "offload_qkv_attention": _policies.save_and_offload_only_these_names(
        names_which_can_be_saved=[],
        names_which_can_be_offloaded=["qkv", "attention"],
        offload_src="device",
        offload_dst="pinned_host",
    ),
    "dots_with_no_batch_dims": _policies.dots_with_no_batch_dims_saveable,
}


class Mlp(nnx.Module):
    """SwiGLU (arXiv 2002.05202): down(silu(gate(x)) * up(x))."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        dim, hidden, std = config.embed_dim, config.mlp_dim, config.init_std
        self.gate = Projection(rngs, (dim, hidden), ("embed", "mlp"), std=std)
        self.up = Projection(rngs, (dim, hidden), ("embed", "mlp"), std=std)
        self.down = Projection(rngs, (hidden, dim), ("mlp_rows", None), std=std)

    def __call__(self, x: Float[Array, "B L D"]) -> Float[Array, "B L D"]:
        """The block's addition to the residual stream."""
        gate, up = (
            checkpoint_name(constrain(part(x), "batch", "length", "mlp"), "mlp")
            for part in (self.gate, self.up)
        )
        return self.down(nnx.silu(gate) * up)


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
        where: Segments,
        max_text: int | None,
    ) -> Float[Array, "B L D"]:
        """The residual stream after this layer."""
        x = x + self.attention(self.attention_norm(x), positions, where, max_text)
        x = x + self.mlp(self.mlp_norm(x))
        return constrain(x, "batch", "length", None)


class Decoder(nnx.Module):
    """Embedding, scanned layers, final norm.

    The parameters of all layers are stacked on a leading `layers` dim, so that a model of any depth
    compiles as one layer.
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        self.embedding = param(
            rngs, (config.vocab_size, config.embed_dim), ("vocab_rows", None), config.init_std
        )

        @nnx.split_rngs(splits=config.num_layers)
        @nnx.vmap(in_axes=(0,), out_axes=0)
        def stack(rngs: nnx.Rngs) -> DecoderLayer:
            return DecoderLayer(config, rngs)

        self.layers = stack(rngs)
        self.norm = RMSNorm(config.embed_dim, config.norm_epsilon)
        self.config = config

    def __call__(
        self,
        tokens: Int[Array, "B L"],
        positions: Int[Array, "B L"],
        where: Segments,
        max_text: int | None = None,
    ) -> Float[Array, "B L D"]:
        """Hidden states after the final norm, in the compute dtype; at padding, anything finite.

        `max_text` is the number of tokens of the longest text, by default L.
        """
        config = self.config
        table = constrain(self.embedding[...].astype(config.compute_dtype), "vocab", None)
        x = constrain(lookup(config.vocab_size, table, tokens), "batch", "length", None)
        graph, stacked = nnx.split(self.layers)

        def layer(x: Array, weights: Any) -> tuple[Array, None]:
            return nnx.merge(graph, weights)(x, positions, where, max_text), None

        if config.remat != "none":
            layer = jax.checkpoint(layer, policy=REMAT_POLICIES[config.remat], prevent_cse=False)
        x, _ = jax.lax.scan(layer, x, stacked)
        return self.norm(x)
