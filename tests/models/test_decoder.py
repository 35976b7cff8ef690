from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from codepmp_jax.models.preference import abstract_params, one_text_rows
from tests.training.reference import tiny_config


def test_layers_that_take_turns_keep_one_copy_of_their_weights():
    """The backward pass of alternating windows holds little more than that without a window."""
    length, temporary, weights = 16, {}, 0
    for window in (None, length // 2):
        config = tiny_config(
            model__family="gemma2",
            model__sliding_window=window,
            model__num_layers=8,
            model__embed_dim=128,
            model__mlp_dim=512,
        ).model
        graph, shapes, _ = abstract_params(config)

        def loss(params, tokens, graph=graph):
            segments = one_text_rows(jnp.ones(tokens.shape, bool))
            return jnp.sum(nnx.merge(graph, params)(tokens, *segments))

        tokens = jax.ShapeDtypeStruct((1, length), jnp.int32)
        memory = jax.jit(jax.grad(loss)).lower(shapes, tokens).compile().memory_analysis()
        assert memory is not None
        temporary[window] = memory.temp_size_in_bytes
        weights = sum(leaf.size * 4 for leaf in jax.tree.leaves(shapes["decoder"]["layers"]))
    assert temporary[length // 2] - temporary[None] < weights / 2
