"""The decoder: tokens to hidden states.

Shape letters, here and everywhere: B rows, L positions, D model, H query heads, K kv heads, E head dim,
F ffw, V vocab, N pairs. Of a batch: W tokens of a row, M places for pairs, C places for labels.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float, Int

from codepmp_jax.cli.errors import require
from codepmp_jax.config import ModelConfig
from codepmp_jax.devices.sharding import constrain
from codepmp_jax.families import FAMILIES
from codepmp_jax.models.attention import Attention, Segments
from codepmp_jax.models.layers import Projection, RMSNorm, lookup, materialize, param
from codepmp_jax.models.rotary import Rotation, rotation

ACTIVATIONS = {"silu": nnx.silu, "gelu_tanh": functools.partial(nnx.gelu, approximate=True)}

_policies = jax.checkpoint_policies

# The policies of config.RematPolicy; the names of activations are given here and in attention.py.
REMAT_POLICIES = {
    "full": _policies.nothing_saveable,
    "save_attention": _policies.save_only_these_names("attention"),
    "save_qkv_attention": _policies.save_only_these_names("qkv", "attention"),
    "save_gate_attention": _policies.save_only_these_names("qkv", "attention", "gate"),
    "save_mlp_attention": _policies.save_only_these_names("qkv", "attention", "gate", "up"),
    "offload_qkv_attention": _policies.save_and_offload_only_these_names(
        names_which_can_be_saved=[],
        names_which_can_be_offloaded=["qkv", "attention"],
        offload_src="device",
        offload_dst="pinned_host",
    ),
    "dots_with_no_batch_dims": _policies.dots_with_no_batch_dims_saveable,
}


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def gated(
    activation: str, gate: Float[Array, "B L F"], up: Float[Array, "B L F"]
) -> Float[Array, "B L F"]:
    """activation(gate) * up, whose gradients are computed once.

    Without the barrier XLA fuses them into the matmuls that read them, and a TPU computes them, from three operands,
    again for every tile of the output.
    """
    return ACTIVATIONS[activation](gate) * up


def _gated_forward(activation: str, gate: Array, up: Array) -> tuple[Array, tuple[Array, Array]]:
    return gated(activation, gate, up), (gate, up)


def _gated_backward(
    activation: str, saved: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
    _, pull = jax.vjp(lambda gate, up: ACTIVATIONS[activation](gate) * up, *saved)
    return jax.lax.optimization_barrier(pull(gradient))


gated.defvjp(_gated_forward, _gated_backward)


class Mlp(nnx.Module):
    """A gated linear unit (arXiv 2002.05202) with the family's activation: down(activation(gate(x)) * up(x))."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        dim, hidden, std = config.embed_dim, config.mlp_dim, config.init_std
        int8 = config.int8_forward
        self.gate = Projection(rngs, (dim, hidden), ("embed", "mlp"), std=std, int8=int8)
        self.up = Projection(rngs, (dim, hidden), ("embed", "mlp"), std=std, int8=int8)
        # Not in int8: to round its inputs, the widest, takes a TPU as long as its matmul saves.
        self.down = Projection(rngs, (hidden, dim), ("mlp_rows", None), std=std)
        self.activation = FAMILIES[config.family].activation
        self.materializes = config.mlp_hidden == "materialized"

    def __call__(self, x: Float[Array, "B L D"]) -> Float[Array, "B L D"]:
        """The block's addition to the residual stream."""
        gate, up = (
            checkpoint_name(constrain(part(x), "batch", "length", "mlp"), name)
            for name, part in (("gate", self.gate), ("up", self.up))
        )
        hidden: Any = gated(self.activation, gate, up)
        return self.down(materialize(hidden) if self.materializes else hidden)


class DecoderLayer(nnx.Module):
    """Pre-norm attention and MLP around a residual stream, with norms of their outputs if the family has them."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        post_norms = FAMILIES[config.family].post_norms
        self.attention_norm = _norm(config)
        self.attention = Attention(config, rngs)
        self.attention_post_norm = _norm(config) if post_norms else None
        self.mlp_norm = _norm(config)
        self.mlp = Mlp(config, rngs)
        self.mlp_post_norm = _norm(config) if post_norms else None

    def __call__(
        self,
        x: Float[Array, "B L D"],
        rotation: Rotation,
        segments: Segments,
        max_text: int | None,
        window: int | None,
    ) -> Float[Array, "B L D"]:
        """The residual stream after this layer."""
        normed = materialize(self.attention_norm(x))
        added = self.attention(normed, rotation, segments, max_text, window)
        x = x + (added if self.attention_post_norm is None else self.attention_post_norm(added))
        added = self.mlp(materialize(self.mlp_norm(x)))
        x = x + (added if self.mlp_post_norm is None else self.mlp_post_norm(added))
        return constrain(x, "batch", "length", None)


def _norm(config: ModelConfig) -> RMSNorm:
    offset = FAMILIES[config.family].norm_offset
    return RMSNorm(config.embed_dim, config.norm_epsilon, offset)


class Decoder(nnx.Module):
    """Embedding, scanned layers, final norm.

    The parameters of all layers are stacked on a leading `layers` dim, so that a model of any depth compiles as
    one layer, or as one period of the family's sliding_layers.
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        """Raises UserError if num_layers is not a multiple of the period of the family's sliding_layers."""
        period = len(FAMILIES[config.family].sliding_layers)
        require(
            config.sliding_window is None or config.num_layers % period == 0,
            "model.num_layers",
            config.num_layers,
            f"must be divisible by {period}: {config.family} repeats a pattern of {period} layers with and without window",
            "change it, or leave model.sliding_window out",
        )
        self.embedding = param(
            rngs, (config.vocab_size, config.embed_dim), ("vocab_rows", None), config.init_std
        )

        @nnx.split_rngs(splits=config.num_layers)
        @nnx.vmap(in_axes=(0,), out_axes=0)
        def stack(rngs: nnx.Rngs) -> DecoderLayer:
            return DecoderLayer(config, rngs)

        self.layers = stack(rngs)
        self.norm = _norm(config)
        self.config = config

    def embed(self, tokens: Int[Array, "B L"]) -> Float[Array, "B L D"]:
        """The residual stream before the first layer, in the compute dtype."""
        config = self.config
        x: Any = lookup(config.vocab_size, config.compute_dtype, self.embedding[...], tokens)
        x = constrain(x, "batch", "length", None)
        if FAMILIES[config.family].scale_embeddings:
            x = x * jnp.asarray(config.embed_dim**0.5, x.dtype)
        return x

    def __call__(
        self,
        tokens: Int[Array, "B L"],
        positions: Int[Array, "B L"],
        segments: Segments,
        max_text: int | None = None,
    ) -> Float[Array, "B L D"]:
        """Hidden states after the final norm, in the compute dtype; at padding, arbitrary finite values.

        `max_text` is the number of tokens of the longest text, by default L.
        """
        config = self.config
        angles = rotation(positions, config)
        graph, stacked = nnx.split(self.layers)
        windows = self._windows(max_text or tokens.shape[1])
        period = len(windows)
        if period > 1:
            stacked = jax.tree.map(lambda w: w.reshape(-1, period, *w.shape[1:]), stacked)

        def layer(index: int, x: Array, weights: Any) -> Array:
            # Selected inside jax.checkpoint, which then saves the stack and not another copy of the layer.
            if period > 1:
                weights = jax.tree.map(lambda w: w[index], weights)
            return nnx.merge(graph, weights)(x, angles, segments, max_text, windows[index])

        def layers(x: Array, weights: Any) -> tuple[Array, None]:
            for index in range(period):
                step = functools.partial(layer, index)
                if config.remat != "none":
                    policy = REMAT_POLICIES[config.remat]
                    step = jax.checkpoint(step, policy=policy, prevent_cse=False)
                x = step(x, weights)
            return x, None

        x, _ = jax.lax.scan(layers, self.embed(tokens), stacked)
        return self.norm(x)

    def _windows(self, max_text: int) -> list[int | None]:
        """The windows of consecutive layers; the pattern repeats."""
        window = self.config.effective_window(max_text)
        if window is None:
            return [None]
        sliding_layers = FAMILIES[self.config.family].sliding_layers
        return [window if slides else None for slides in sliding_layers]
