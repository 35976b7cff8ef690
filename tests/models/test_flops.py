from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from codepmp_jax.config import LoraConfig
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


def test_frozen_matrices_have_no_gradients_of_their_own():
    config = tiny_config(model__num_layers=1, model__mlp_dim=512, model__embed_dim=256).model

    def flops(lora: LoraConfig) -> float:
        return train_flops(config, tokens=1000, keys=5000, labels=70, pairs=3, lora=lora)

    matrices = 256 * (2 * 32 + 2 * 16) + 3 * 256 * 512
    lora = LoraConfig(rank=4, targets=("q_proj", "down_proj"))
    saved = 2 * (matrices * 1000 + 256 * 96 * 70)
    added = 3 * 2 * 4 * ((256 + 32) + (512 + 256)) * 1000
    assert flops(lora) == flops(LoraConfig()) - saved + added
