"""Products with matrices: what is transposed for their gradients, and in int8 what is rounded, and what is not."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from codepmp_jax.config import ModelConfig
from codepmp_jax.models.decoder import Mlp
from codepmp_jax.models.layers import int8_product, product

SHAPES = {"TD,DK->TK": ((24, 32), (32, 20)), "HTE,HED->TD": ((4, 24, 8), (4, 8, 20))}


def drawn(equation: str, dtype: str = "float32") -> list[jax.Array]:
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.standard_normal(shape), dtype) for shape in SHAPES[equation]]


@pytest.mark.parametrize("equation", SHAPES)
def test_whole_numbers_up_to_127_are_multiplied_exactly(equation):
    """Where each row and each column has a 127, whose scale is 1."""
    rng = np.random.default_rng(0)
    x, matrix = (rng.integers(-126, 127, shape) for shape in SHAPES[equation])
    # The first contracted place of every row of x, and of every column.
    x[(0, slice(None), 0) if x.ndim == 3 else (slice(None), 0)] = 127
    matrix[(0, 0) if matrix.ndim == 3 else 0] = -127
    found = int8_product(equation, jnp.asarray(x, jnp.float32), jnp.asarray(matrix, jnp.float32))
    np.testing.assert_array_equal(found, np.einsum(equation, x, matrix))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("equation", SHAPES)
def test_an_error_is_within_half_a_step_of_each_factor(equation, dtype):
    x, matrix = (np.asarray(array, np.float64) for array in drawn(equation, dtype))
    found: Any = int8_product(equation, *drawn(equation, dtype))
    assert found.dtype == dtype
    inputs, output = equation.split("->")

    def steps(array: np.ndarray, axes: str) -> np.ndarray:
        contracted = tuple(i for i, axis in enumerate(axes) if axis not in output)
        return np.broadcast_to(
            np.max(np.abs(array), axis=contracted, keepdims=True) / 127, array.shape
        )

    of_x, of_matrix = inputs.split(",")
    x_step, matrix_step = steps(x, of_x), steps(matrix, of_matrix)
    bound = np.einsum(equation, np.abs(x), matrix_step / 2)
    bound += np.einsum(equation, x_step / 2, np.abs(matrix) + matrix_step / 2)
    exact = np.einsum(equation, x, matrix)
    # The result is rounded to its dtype, and float32 is in between.
    eps = float(jnp.finfo(dtype).eps)
    assert np.all(np.abs(np.asarray(found, np.float64) - exact) <= bound * (1 + eps) + eps * 16)
    assert np.any(np.abs(np.asarray(found, np.float64) - exact) > bound / 100)


def test_a_cpu_transposes_nothing_wide():
    """Where it did, a third of a step's time went to reading the hidden activations column by column."""
    width, tokens = 96, 40
    config = ModelConfig(
        vocab_size=64,
        embed_dim=24,
        mlp_dim=width,
        num_layers=1,
        num_heads=2,
        num_kv_heads=1,
        head_dim=12,
    )
    graph, weights = nnx.split(Mlp(config, nnx.Rngs(0)))

    def loss(weights: Any, x: jax.Array) -> jax.Array:
        return jnp.sum(jnp.square(nnx.merge(graph, weights)(x)))

    x = jnp.ones((1, tokens, config.embed_dim))
    program: Any = jax.jit(jax.grad(loss)).lower(weights, x).compile().as_text()
    assert f"f32[{tokens},{width}]" in program
    assert f"f32[{width},{tokens}]" not in program


@pytest.mark.parametrize("equation", SHAPES)
def test_gradients_are_those_of_the_exact_product(equation):
    cotangent = jnp.asarray(np.random.default_rng(1).standard_normal((24, 20)), jnp.bfloat16)
    x, matrix = drawn(equation, "bfloat16")[0], drawn(equation)[1]
    gradients = [
        jax.vjp(lambda x, matrix, f=f: f(equation, x, matrix), x, matrix)[1](cotangent)
        for f in (int8_product, product)
    ]
    for ours, exact in zip(*gradients, strict=True):
        assert ours.dtype == exact.dtype
        np.testing.assert_array_equal(ours, exact)


def test_a_token_depends_on_no_other_token():
    """To the bit, so that packed texts stay apart; zeros stay zeros."""
    x, matrix = drawn("TD,DK->TK")
    changed = x.at[3].mul(1000).at[5].set(0)
    results: list[Any] = [int8_product("TD,DK->TK", rows, matrix) for rows in (x, changed)]
    before, after = results
    others = np.array([i not in (3, 5) for i in range(len(x))])
    np.testing.assert_array_equal(before[others], after[others])
    np.testing.assert_array_equal(after[5], 0)
    assert np.any(before[3] != after[3])
