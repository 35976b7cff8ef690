from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from codepmp_jax.models.flops import train_flops
from codepmp_jax.models.preference import abstract_params
from tests.training.reference import tiny_config


def test_flops_agree_with_the_compiler_on_full_rows():
    """XLA counts the forward pass of one layer with every key computed, causal or not."""
    config = tiny_config(model__num_layers=1, model__mlp_dim=512, model__embed_dim=256).model
    length = 64
    mask = np.ones((1, 2, length), bool)
    labels = np.ones((1, length), bool)

    graph, params, _ = abstract_params(config)

    def forward(params, tokens, token_mask):
        model = nnx.merge(graph, params)
        hidden = model(tokens, token_mask)
        return model.rewards(hidden, token_mask), model.logits(hidden[:1])

    tokens, token_mask = (
        jax.ShapeDtypeStruct((2, length), dtype) for dtype in (jnp.int32, jnp.bool_)
    )
    compiled = jax.jit(forward).lower(params, tokens, token_mask).compile()
    costs = compiled.cost_analysis()
    assert costs is not None
    counted = costs["flops"]
    ours = train_flops(config, mask, labels) / 3
    every_key = 4 * config.num_heads * config.head_dim * 2 * (length**2 - length * (length + 1) / 2)
    assert abs(counted / (ours + every_key) - 1) < 0.05


def test_padding_does_not_count():
    config = tiny_config().model
    labels = np.zeros((2, 8), bool)
    mask = np.zeros((2, 2, 8), bool)
    mask[:, :, :4] = True
    half = train_flops(config, mask, labels)
    assert half == train_flops(config, mask[:, :, :4], labels[:, :4])
    assert train_flops(config, np.ones_like(mask), labels) > 2 * half
