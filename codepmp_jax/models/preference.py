"""The preference model: a decoder with an LM head and a score head."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from codepmp_jax.config import LoraConfig, ModelConfig
from codepmp_jax.config.lora import NO_LORA
from codepmp_jax.models.attention import Segments
from codepmp_jax.models.decoder import Decoder
from codepmp_jax.models.layers import Projection, soft_cap
from codepmp_jax.models.lora import add_adapters

Params = dict[str, Any]
"""Nested dict of arrays, keyed by module and parameter names: float32, but frozen ones in lora.base_dtype."""


def with_changed(params: Params, changed: Params) -> Params:
    """The parameters, of which those in `changed`, a part of the tree, are replaced or added."""
    return params | {
        name: with_changed(params.get(name, {}), leaf) if isinstance(leaf, dict) else leaf
        for name, leaf in changed.items()
    }


def last_token(token_mask: Bool[Array, "B L"]) -> Int[Array, " B"]:
    """Index of each row's last real token, whichever side the padding is on."""
    length = token_mask.shape[-1]
    return length - 1 - jnp.argmax(token_mask[:, ::-1], axis=-1)


def one_text_rows(token_mask: Bool[Array, "B L"]) -> tuple[Int[Array, "B L"], Segments]:
    """Positions and segments of rows that hold one text each, padded on either side."""
    positions = jnp.maximum(jnp.cumsum(token_mask, axis=-1) - 1, 0)
    return positions, Segments(token_mask.astype(jnp.int32), None)


class PreferenceModel(nnx.Module):
    """Computes hidden states, and from them rewards and next-token logits."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        dim = config.embed_dim
        self.decoder = Decoder(config, rngs)
        self.lm_head = (
            None
            if config.tie_embeddings
            else Projection(rngs, (dim, config.vocab_size), ("embed", "vocab"), std=config.init_std)
        )
        self.score = Projection(rngs, (dim, 1), ("embed", None), std=config.score_init_std)
        if config.heads:
            self.heads = nnx.Dict(
                {
                    name: Projection(rngs, (dim, size), ("embed", None), std=0.0)
                    for name, size in config.heads
                }
            )
        self.logit_soft_cap = config.logit_soft_cap

    def __call__(
        self,
        tokens: Int[Array, "B L"],
        positions: Int[Array, "B L"],
        segments: Segments,
        max_text: int | None = None,
    ) -> Float[Array, "B L D"]:
        """Hidden states after the final norm (see Decoder)."""
        return self.decoder(tokens, positions, segments, max_text)

    def rewards(
        self, hidden: Float[Array, "B L D"], places: Int[Array, "B M"]
    ) -> Float[Array, "B M"]:
        """r = hidden[place] @ w, in float32 (arXiv 2410.02229, section 3)."""
        last = jnp.take_along_axis(hidden, places[..., None], axis=1)
        # A TPU multiplies float32 in bfloat16 unless it is told not to.
        with jax.default_matmul_precision("highest"):
            return self.score(last.astype(jnp.float32))[..., 0]

    def head(self, name: str, hidden: Float[Array, "*B D"]) -> Float[Array, "*B K"]:
        """What the head of config.heads says of hidden states, in float32."""
        with jax.default_matmul_precision("highest"):
            return self.heads[name](hidden.astype(jnp.float32))

    def lm_kernel(self) -> Float[Array, "D V"]:
        """The matrix from hidden states to logits: the LM head, or the embedding's transpose."""
        return self.decoder.embedding[...].T if self.lm_head is None else self.lm_head.kernel[...]

    @property
    def kernel_dim(self) -> int:
        """The dim of lm_kernel that fsdp shards: an LM head's rows, or the columns that are an embedding's rows."""
        return 1 if self.lm_head is None else 0

    def logits(self, hidden: Float[Array, "B L D"]) -> Float[Array, "B L V"]:
        """Next-token logits of all tokens in float32, with the soft cap if there is one; the loss computes them in
        chunks instead."""
        kernel = self.lm_kernel().astype(hidden.dtype)
        logits = jnp.einsum("BLD,DV->BLV", hidden, kernel, preferred_element_type=jnp.float32)
        return soft_cap(logits, self.logit_soft_cap)


def build(config: ModelConfig, seed: int = 0, lora: LoraConfig = NO_LORA) -> PreferenceModel:
    """A randomly initialised model, the same with and without adapters. Inside jax.eval_shape or nnx.eval_shape
    nothing is allocated."""
    key = jax.random.key(seed)
    model = PreferenceModel(config, nnx.Rngs(params=key))
    if lora.is_on:
        add_adapters(model.decoder, lora, nnx.Rngs(params=jax.random.fold_in(key, 1)))
    return model


def abstract_params(
    config: ModelConfig, lora: LoraConfig = NO_LORA
) -> tuple[nnx.GraphDef, Params, Params]:
    """(graph to merge parameters into a model, shapes of the parameters, their logical axes)."""
    graph, state = nnx.split(nnx.eval_shape(lambda: build(config, lora=lora)))
    axes = jax.tree.map(
        # vmap stacked the layers on a leading dim without naming its logical axis.
        lambda variable: ("layers",) * (variable.ndim - len(variable.axes)) + variable.axes,
        state,
        is_leaf=lambda node: isinstance(node, nnx.Variable),
    )
    return graph, nnx.to_pure_dict(state), nnx.to_pure_dict(axes)


def init_params(config: ModelConfig, seed: int, lora: LoraConfig = NO_LORA) -> Params:
    """Random parameters; jit it with out_shardings to create them sharded."""
    return nnx.to_pure_dict(nnx.state(build(config, seed, lora)))
