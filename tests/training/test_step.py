from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codepmp_jax.config import MeshConfig
from codepmp_jax.models.preference import init_params
from codepmp_jax.sharding import batch_sharding, check_mesh, make_mesh
from codepmp_jax.training import optimizer as optimizers
from codepmp_jax.training.state import abstract_state, init_state
from codepmp_jax.training.step import eval_step, gradients, jit_train_step
from tests.training.reference import random_batch, tiny_config


def run(config, num_devices: int, num_steps: int = 4):
    """(metrics of each step, final parameters) on the first num_devices devices."""
    mesh = make_mesh(check_mesh(config, num_devices), jax.devices()[:num_devices])
    optimizer = optimizers.build(config.optimizer, num_steps)
    state = init_state(config.model, optimizer, mesh, config.seed)
    shardings = jax.tree.map(
        lambda leaf: leaf.sharding, abstract_state(config.model, optimizer, mesh)
    )
    step = jit_train_step(config, num_steps, shardings)
    rows = []
    with jax.set_mesh(mesh):
        for seed in range(num_steps):
            batch = jax.device_put(random_batch(seed), batch_sharding(mesh))
            state, metrics = step(state, batch)
            rows.append(jax.device_get(metrics))
    assert int(state.step) == num_steps
    return rows, jax.device_get(state.params)


def jit_gradients(config):
    return jax.jit(lambda params, batch: gradients(params, batch, config))


def assert_same_run(ours, theirs, rtol):
    for mine, other in zip(ours[0], theirs[0], strict=True):
        assert mine.keys() == other.keys()
        for name in mine:
            np.testing.assert_allclose(mine[name], other[name], rtol=rtol, atol=1e-6, err_msg=name)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=2e-5), ours[1], theirs[1]
    )


@pytest.fixture(scope="module")
def one_device():
    return run(tiny_config(), 1)


@pytest.mark.parametrize(
    "mesh",
    [
        MeshConfig(fsdp=4, tensor=2),
        MeshConfig(data=2, fsdp=2, tensor=2),
        MeshConfig(data=8, fsdp=1),
    ],
    ids=str,
)
def test_eight_devices_equal_one(one_device, mesh):
    assert_same_run(run(tiny_config(mesh=mesh), 8), one_device, rtol=1e-4)


def test_sharded_parameters_lie_on_all_devices():
    config = tiny_config(mesh=MeshConfig(fsdp=4, tensor=2))
    mesh = make_mesh(check_mesh(config, 8))
    state = init_state(config.model, optimizers.build(config.optimizer, 1), mesh, 0)
    kernel = state.params["decoder"]["layers"]["mlp"]["gate"]["kernel"]
    assert kernel.addressable_shards[0].data.shape == (2, 32 // 4, 48 // 2)
    moments = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.shape == kernel.shape]
    assert {leaf.sharding for leaf in moments} == {kernel.sharding}


@pytest.mark.parametrize("reduction", ["token_mean", "micro_batch_mean"])
def test_accumulation_changes_nothing(reduction):
    config = tiny_config(loss__lm_reduction=reduction)
    params = init_params(config.model, 0)
    whole, whole_metrics = jit_gradients(config)(params, random_batch(5))
    for steps in (4, 8):
        parts = tiny_config(loss__lm_reduction=reduction, accumulation_steps=steps)
        grads, metrics = jit_gradients(parts)(params, random_batch(5))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), grads, whole
        )
        for name, value in whole_metrics.items():
            np.testing.assert_allclose(metrics[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_accumulated_run_equals_whole_run_on_a_mesh(one_device):
    config = tiny_config(mesh=MeshConfig(data=1, fsdp=2), accumulation_steps=4)
    assert_same_run(run(config, 2), one_device, rtol=1e-4)


def test_first_pair_loss_of_a_zero_score_head_is_ln_2():
    config = tiny_config(model__score_init_std=0.0)
    batch = random_batch(0)._replace(margin=np.zeros(8, np.float32))
    metrics = eval_step(init_params(config.model, 0), jax.tree.map(jnp.asarray, batch), config)
    assert float(metrics["pair_loss"] / metrics["num_pairs"]) == pytest.approx(
        math.log(2), rel=1e-6
    )
    assert float(metrics["accuracy"] / metrics["num_pairs"]) == 0.5


@pytest.mark.parametrize("remat", ["none", "dots_with_no_batch_dims"])
def test_remat_changes_nothing(remat):
    params = init_params(tiny_config().model, 0)
    expected, _ = jit_gradients(tiny_config())(params, random_batch(3))
    found, _ = jit_gradients(tiny_config(model__remat=remat))(params, random_batch(3))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found, expected
    )


def test_filler_pairs_change_nothing():
    config = tiny_config()
    params = init_params(config.model, 0)
    batch = random_batch(4)
    filled = jax.tree.map(
        lambda array: jnp.asarray(np.concatenate([array, np.zeros_like(array)])), batch
    )
    expected = eval_step(params, jax.tree.map(jnp.asarray, batch), config)
    found = eval_step(params, filled, config)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_the_lm_loss_ignores_rejected_rows():
    config = tiny_config()
    params = init_params(config.model, 0)
    batch = random_batch(6)
    other = batch._replace(tokens=batch.tokens.copy())
    other.tokens[:, 1] = (other.tokens[:, 1] + 1) % 96
    losses = [eval_step(params, jax.tree.map(jnp.asarray, each), config) for each in (batch, other)]
    assert float(losses[0]["lm_loss"]) == pytest.approx(float(losses[1]["lm_loss"]), rel=1e-6)
    assert float(losses[0]["pair_loss"]) != pytest.approx(float(losses[1]["pair_loss"]), rel=1e-3)


def test_bfloat16_is_close_to_float32():
    batch = jax.tree.map(jnp.asarray, random_batch(7))
    params = init_params(tiny_config().model, 0)
    exact = eval_step(params, batch, tiny_config())
    rough = eval_step(params, batch, tiny_config(model__compute_dtype="bfloat16"))
    assert float(rough["lm_loss"]) == pytest.approx(float(exact["lm_loss"]), rel=0.02)


def test_bfloat16_gradients_survive_a_token_that_repeats():
    """A token's occurrences add up in its embedding's gradient: in bfloat16 most would be lost."""
    params = init_params(tiny_config().model, 0)
    batch = random_batch(7, num_pairs=32, length=64)
    tokens = np.where(np.random.default_rng(0).random(batch.tokens.shape) < 0.7, 5, batch.tokens)
    batch = batch._replace(tokens=tokens.astype(np.int32))
    exact, _ = jit_gradients(tiny_config())(params, batch)
    rough, _ = jit_gradients(tiny_config(model__compute_dtype="bfloat16"))(params, batch)
    errors = jax.tree.map(
        lambda a, b: float(np.linalg.norm(a - b) / np.linalg.norm(a)), exact, rough
    )
    assert max(jax.tree.leaves(errors)) < 0.05, errors
    assert {leaf.dtype for leaf in jax.tree.leaves(rough)} == {jnp.dtype("float32")}
