from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from codepmp_jax.models.flops import train_flops
from codepmp_jax.models.preference import abstract_params, one_text_rows
from tests.training.reference import tiny_config


def test_flops_agree_with_the_compiler_on_full_rows():
    """XLA counts the forward pass of one layer with every key computed, causal or not."""
    config = tiny_config(model__num_layers=1, model__mlp_dim=512, model__embed_dim=256).model
    length = 64
    graph, params, _ = abstract_params(config)

    def forward(params, tokens, ends):
        model = nnx.merge(graph, params)
        hidden = model(tokens, *one_text_rows(jnp.ones(tokens.shape, bool)))
        return model.rewards(hidden, ends), model.logits(hidden[:1])

    tokens, ends = (jax.ShapeDtypeStruct(shape, jnp.int32) for shape in ((2, length), (2, 1)))
    compiled = jax.jit(forward).lower(params, tokens, ends).compile()
    costs = compiled.cost_analysis()
    assert costs is not None
    ours = train_flops(config, tokens=2 * length, keys=2 * length**2, labels=length, pairs=1) / 3
    assert abs(costs["flops"] / ours - 1) < 0.05
