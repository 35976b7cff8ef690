from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from codepmp_jax.config import ModelConfig, RopeScalingConfig
from codepmp_jax.models.rotary import frequencies, rotate, rotate_heads_first, rotation

LLAMA31 = RopeScalingConfig(factor=8.0)
# Llama 3.2 1B's.
LLAMA32 = RopeScalingConfig(factor=32.0)


def model(scaling: RopeScalingConfig) -> ModelConfig:
    return ModelConfig(family="llama", head_dim=128, rope_theta=500_000.0, rope_scaling=scaling)


@pytest.mark.parametrize("scaling", [LLAMA31, LLAMA32], ids=["3.1", "3.2"])
def test_scaled_frequencies_are_those_of_transformers(scaling: RopeScalingConfig) -> None:
    config = LlamaConfig(
        head_dim=128,
        max_position_embeddings=131072,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 500_000.0,
            "factor": scaling.factor,
            "low_freq_factor": scaling.low_freq_factor,
            "high_freq_factor": scaling.high_freq_factor,
            "original_max_position_embeddings": scaling.original_length,
        },
    )
    theirs, factor = ROPE_INIT_FUNCTIONS["llama3"](config, None)
    assert factor == 1
    ours = frequencies(model(scaling))
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-5)
    plain = frequencies(model(RopeScalingConfig()))
    assert 0 < np.count_nonzero(ours == plain) < len(ours)


def test_products_depend_on_the_distance_only() -> None:
    config = model(LLAMA31)
    x, y = np.random.default_rng(0).standard_normal((2, 1, 1, 1, 128)).astype(np.float32)

    def product(first: int, second: int) -> float:
        turned = (
            rotate(jnp.asarray(z), rotation(jnp.array([[place]]), config))
            for z, place in ((x, first), (y, second))
        )
        return float(jnp.vdot(*turned))

    assert product(7, 3) == pytest.approx(product(104, 100), rel=1e-4)
    assert product(7, 3) != pytest.approx(product(7, 4), rel=1e-2)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_heads_first_is_the_same_rotation(dtype: str) -> None:
    """With its gradient, to the last bit that the order of a sum leaves."""
    config = model(RopeScalingConfig())
    angles = rotation(jnp.arange(14, dtype=jnp.int32).reshape(2, 7), config)
    x, gradient = np.random.default_rng(0).standard_normal((2, 2, 7, 3, 128))
    x, gradient = jnp.asarray(x, dtype), jnp.asarray(gradient, dtype)
    there, back = (2, 0, 1, 3), (1, 2, 0, 3)
    wanted, pull = jax.vjp(lambda x: rotate(x, angles), x)
    found, pull_first = jax.vjp(lambda x: rotate_heads_first(x, angles), x.transpose(there))
    tolerance = 1e-6 if dtype == "float32" else 2.0**-6
    for ours, theirs in (
        (found, wanted),
        (*pull_first(gradient.transpose(there)), *pull(gradient)),
    ):
        ours, theirs = (np.asarray(y, np.float32) for y in (ours.transpose(back), theirs))
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)
    scaled = rotate_heads_first(x.transpose(there), angles, 0.25)
    np.testing.assert_array_equal(scaled, found * jnp.asarray(0.25, dtype))
