from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from transformers import AutoConfig, AutoModelForCausalLM

from codepmp_jax.config import ModelConfig
from codepmp_jax.config.presets import load_preset
from codepmp_jax.families import FAMILIES
from codepmp_jax.models.preference import (
    abstract_params,
    init_params,
    last_token,
    one_text_rows,
)
from tests.training.reference import padded, random_pairs, tiny_config

# What was published in config.json of Qwen2-1.5B, Qwen2-7B, Llama-3.1-8B and gemma-2-9b.
PUBLISHED = {
    "pmp_1b5": {
        "model_type": "qwen2",
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "tie_word_embeddings": True,
    },
    "pmp_7b": {
        "model_type": "qwen2",
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "tie_word_embeddings": False,
    },
    "pmp_llama31_8b": {
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "rope_scaling": {
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
            "rope_type": "llama3",
        },
        "tie_word_embeddings": False,
    },
    "pmp_gemma2_9b": {
        "model_type": "gemma2",
        "hidden_size": 3584,
        "intermediate_size": 14336,
        "num_hidden_layers": 42,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 256,
        "vocab_size": 256000,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "sliding_window": 4096,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "query_pre_attn_scalar": 256,
        "tie_word_embeddings": True,
    },
}


@pytest.mark.parametrize("preset", PUBLISHED)
def test_presets_are_the_published_models_exactly(preset):
    """What config.json says, every tensor's shape and the number of parameters, plus the LM head of its own and
    the score."""
    import torch

    from codepmp_jax.conversion.hf_config import model_config
    from codepmp_jax.conversion.weights import hf_shape, leaf

    config = load_preset(preset).model
    read = model_config(PUBLISHED[preset], ModelConfig(init_from=config.init_from), preset)
    assert read == config
    published = AutoConfig.for_model(**PUBLISHED[preset])
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(published)
        theirs = {name: tuple(p.shape) for name, p in model.named_parameters()}
    ours = {}
    _, shapes, _ = abstract_params(config)
    for weight in FAMILIES[config.family].weights:
        shape = leaf(shapes, weight.path).shape
        if weight.is_stacked:
            names = [weight.name.format(layer=layer) for layer in range(shape[0])]
            ours |= dict.fromkeys(names, hf_shape(weight, shape[1:]))
        else:
            ours[weight.name] = hf_shape(weight, shape)
    assert ours.pop("score.weight") == (1, published.hidden_size)
    head = ours.pop("lm_head.weight")
    assert head == (published.vocab_size, published.hidden_size)
    assert theirs.pop("lm_head.weight", head) == head
    assert ours == theirs
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    extra = published.hidden_size + math.prod(head)
    assert count == sum(math.prod(shape) for shape in theirs.values()) + extra


def test_last_token_on_either_side():
    right = jnp.array([[1, 1, 0, 0], [1, 1, 1, 1]], bool)
    np.testing.assert_array_equal(last_token(right), [1, 3])
    np.testing.assert_array_equal(last_token(right[:, ::-1]), [3, 3])


def outputs(config, params, tokens, token_mask):
    graph, _, _ = abstract_params(config.model)
    model = nnx.merge(graph, params)
    hidden = model(tokens, *one_text_rows(token_mask))
    rewards = model.rewards(hidden, last_token(token_mask)[:, None])[:, 0]
    return rewards, model.logits(hidden)


def test_padding_changes_nothing():
    """A row alone, and the same row among longer ones, padded on either side."""
    config = tiny_config()
    params = init_params(config.model, 0)
    for side in ("right", "left"):
        rows = padded(random_pairs(3), side)
        tokens, mask = jnp.asarray(rows.tokens[:, 0]), jnp.asarray(rows.token_mask[:, 0])
        rewards, logits = outputs(config, params, tokens, mask)
        for row in range(2):
            real = np.asarray(mask[row])
            alone = outputs(
                config, params, tokens[row][real][None], jnp.ones((1, real.sum()), bool)
            )
            np.testing.assert_allclose(alone[0][0], rewards[row], rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(alone[1][0], logits[row][real], rtol=1e-3, atol=1e-4)


def test_no_token_sees_a_later_one():
    config = tiny_config()
    params = init_params(config.model, 0)
    tokens = jnp.asarray(padded(random_pairs(4)).tokens[:2, 0])
    mask = jnp.ones(tokens.shape, bool)
    _, logits = outputs(config, params, tokens, mask)
    _, changed = outputs(config, params, tokens.at[:, 10].add(1), mask)
    np.testing.assert_array_equal(logits[:, :10], changed[:, :10])
    assert np.abs(logits[:, 10:] - changed[:, 10:]).min(axis=-1).max() > 0


def test_parameters_depend_on_the_seed_only():
    config = tiny_config().model
    first, again, other = (init_params(config, seed) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert not np.array_equal(first["decoder"]["embedding"], other["decoder"]["embedding"])
    kernels = first["decoder"]["layers"]["mlp"]["gate"]["kernel"]
    assert not np.array_equal(kernels[0], kernels[1])
