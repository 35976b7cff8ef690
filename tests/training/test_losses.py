from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from codepmp_jax.training.losses import (
    centering_losses,
    lm_loss,
    micro_batch_weights,
    pair_losses,
    token_nll,
)
from codepmp_jax.training.objectives.objective import mean_weights


def test_equal_rewards_cost_ln_2():
    rewards = jnp.array([-3.0, 0.0, 50.0])
    losses = pair_losses(rewards, rewards, jnp.zeros(3))
    np.testing.assert_allclose(losses, math.log(2), rtol=1e-6)


def test_tests_check_the_annotated_shapes():
    with pytest.raises(TypeCheckError, match="rejected"):
        pair_losses(jnp.zeros(3), jnp.zeros(2), jnp.zeros(3))


def test_pair_loss_is_finite_where_sigmoid_underflows():
    loss, grad = jax.value_and_grad(
        lambda r: pair_losses(r[None], jnp.array([200.0]), jnp.zeros(1))[0]
    )(jnp.float32(-200.0))
    assert float(loss) == 400.0
    assert float(grad) == -1.0


def test_margin_shifts_the_difference():
    chosen, rejected, margin = jnp.array([1.0]), jnp.array([0.2]), jnp.array([0.3])
    shifted = pair_losses(chosen - margin, rejected, jnp.zeros(1))
    np.testing.assert_allclose(pair_losses(chosen, rejected, margin), shifted, rtol=1e-6)


def test_centering_sees_the_sum_only():
    np.testing.assert_allclose(centering_losses(jnp.array([2.0]), jnp.array([-2.0])), 0)
    np.testing.assert_allclose(centering_losses(jnp.array([2.0]), jnp.array([1.0])), 9)


def test_weights_sum_to_one_over_labels():
    labels = jnp.asarray(np.random.default_rng(0).random((8, 16)) < 0.4)
    for weights in (mean_weights(labels), micro_batch_weights(labels, 4)):
        assert not np.any(weights[~labels])
        assert float(jnp.sum(weights)) == pytest.approx(1)


def test_a_micro_batch_without_labels_counts_as_zero():
    labels = jnp.zeros((8, 4), bool).at[0].set(True)
    assert float(jnp.sum(micro_batch_weights(labels, 4))) == pytest.approx(0.5)


def random_lm_case():
    rng = np.random.default_rng(1)
    hidden = jnp.asarray(rng.standard_normal((3, 10, 8)), jnp.float32)
    kernel = jnp.asarray(rng.standard_normal((8, 20)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 20, (3, 10)), jnp.int32)
    mask = jnp.asarray(rng.random((3, 10)) < 0.5)
    return hidden, kernel, labels, mask * jnp.asarray([[0.1], [0.2], [0.3]])


@pytest.mark.parametrize("chunk", [1, 3, 5, 9, 10])
def test_chunks_change_nothing(chunk):
    hidden, kernel, labels, weights = random_lm_case()
    expected = sum(
        float(
            weights[n, t]
            * token_nll(hidden[n : n + 1, t : t + 1], kernel, labels[n : n + 1, t : t + 1])[0, 0]
        )
        for n in range(3)
        for t in range(10)
    )
    value, grads = jax.value_and_grad(lm_loss, argnums=(0, 1))(
        hidden, kernel, labels, weights, chunk
    )
    assert float(value) == pytest.approx(expected, rel=1e-5)
    whole = jax.grad(lm_loss, argnums=(0, 1))(hidden, kernel, labels, weights, 10)
    for ours, theirs in zip(grads, whole, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_logits_of_a_row_never_exist_all_at_once():
    """The largest array in the compiled gradient is smaller than rows x labels x vocab."""
    shape = jax.ShapeDtypeStruct
    args = (
        shape((2, 256, 8), jnp.float32),
        shape((8, 4096), jnp.float32),
        shape((2, 256), jnp.int32),
        shape((2, 256), jnp.float32),
    )
    grad = jax.jit(jax.grad(lm_loss, argnums=(0, 1)), static_argnums=4)
    all_logits = 2 * 256 * 4096 * 4

    def temporary_bytes(chunk: int) -> int:
        memory = grad.lower(*args, chunk).compile().memory_analysis()
        assert memory is not None
        return memory.temp_size_in_bytes

    assert temporary_bytes(16) < all_logits / 2
    assert temporary_bytes(256) >= all_logits
