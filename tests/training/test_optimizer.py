from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import OptimizerConfig
from codepmp_jax.models.preference import abstract_params
from codepmp_jax.training.optimizer import (
    branch_decay,
    build,
    phases,
    require_room,
    schedule,
)
from tests.training.reference import tiny_config


def rates(config: OptimizerConfig, num_steps: int) -> list[float]:
    return [float(jnp.asarray(schedule(config, num_steps)(step))) for step in range(num_steps + 1)]


def half_cosine(num_steps: int) -> np.ndarray:
    """The fall from 1 to 0 in so many steps, as a fraction of the peak."""
    return 0.5 * (1 + np.cos(np.pi * np.arange(num_steps + 1) / num_steps))


def test_cosine_warms_up_and_ends_at_zero():
    found = rates(OptimizerConfig(learning_rate=1.0, warmup_fraction=0.1), 100)
    np.testing.assert_allclose(found[:11], np.arange(11) / 10, atol=1e-6)
    np.testing.assert_allclose(found[10:], half_cosine(90), atol=1e-6)


def test_wsd_stays_and_decays_at_the_end():
    config = OptimizerConfig(
        learning_rate=1.0, schedule="wsd", warmup_fraction=0.05, decay_fraction=0.1
    )
    found = rates(config, 100)
    np.testing.assert_allclose(found[:6], np.arange(6) / 5, atol=1e-6)
    np.testing.assert_array_equal(found[5:91], 1.0)
    np.testing.assert_allclose(found[90:], half_cosine(10), atol=1e-6)


@pytest.mark.parametrize("kind", ["cosine", "wsd"])
def test_without_warmup_the_first_step_has_the_peak(kind):
    config = OptimizerConfig(learning_rate=0.5, schedule=kind, warmup_fraction=0.0)
    assert rates(config, 10)[0] == 0.5


def test_absolute_steps_do_not_depend_on_the_length():
    """Up to the decay the schedule is the same, whatever the length of the run."""
    config = OptimizerConfig(
        learning_rate=0.7, schedule="wsd", warmup_steps=4, decay_steps=6, warmup_fraction=0.9
    )
    short, long = rates(config, 20), rates(config, 200)
    assert short[:15] == long[:15]
    assert short[14:] == long[194:]
    cosine = OptimizerConfig(learning_rate=1.0, warmup_steps=4)
    assert phases(cosine, 10) == (4, 6)
    with pytest.raises(
        UserError, match=r"optimizer\.decay_steps = 6: .*\(4 steps\) in the 9 steps"
    ):
        require_room(config, 9)
    with pytest.raises(
        UserError, match=r"optimizer\.warmup_steps = 4: must be at most the 3 steps"
    ):
        require_room(cosine, 3)
    require_room(config, 10)
    require_room(cosine, 4)
    # Fractions always fit.
    require_room(OptimizerConfig(schedule="wsd", warmup_fraction=1.0, decay_fraction=0.0), 1)


FRACTIONS = st.one_of(st.floats(0.001, 0.99), st.integers(1, 99).map(lambda percent: percent / 100))


@settings(max_examples=300, deadline=None)
@given(FRACTIONS, st.integers(1, 10**6))
def test_every_step_begins_the_decay_of_some_run(fraction, step):
    """T - ceil(fraction * T) takes every whole number; the shortest such run is found."""
    config = OptimizerConfig(schedule="wsd", warmup_fraction=0.0, decay_fraction=fraction)
    decay = branch_decay(config, step)
    assert decay > 0
    assert phases(config, step + decay) == (0, decay)
    assert phases(config, step + decay - 1)[1] > decay - 1


@pytest.mark.parametrize(("fraction", "step"), [(0.1, 9), (0.25, 6), (0.5, 40), (0.07, 93)])
def test_a_branch_has_the_schedule_of_the_run_that_decays_there(fraction, step):
    config = OptimizerConfig(
        learning_rate=0.3, schedule="wsd", warmup_steps=5, decay_fraction=fraction
    )
    decay = branch_decay(config, step)
    counts = jnp.arange(step + decay + 1)
    planned = jnp.asarray(schedule(config, step + decay)(counts))
    branch = dataclasses.replace(config, decay_steps=decay, decay_fraction=0.9)
    np.testing.assert_array_equal(planned, schedule(branch, step + decay)(counts))
    # Before, it is that of a longer run.
    longer = jnp.asarray(schedule(config, 10 * (step + decay))(counts))
    np.testing.assert_array_equal(planned[: step + 1], longer[: step + 1])
    assert planned[-1] == 0


def test_where_no_step_is_left_to_decay():
    for fraction in (0.0, 1.0):
        config = OptimizerConfig(schedule="wsd", warmup_fraction=0.0, decay_fraction=fraction)
        assert branch_decay(config, 10) == 0
        assert branch_decay(dataclasses.replace(config, decay_steps=3), 10) == 3


@pytest.mark.parametrize(
    ("kind", "decays"),
    [
        ("matrices", {"kernel": True, "bias": False, "scale": False}),
        ("all_but_biases", {"kernel": True, "bias": False, "scale": True}),
        ("all", {"kernel": True, "bias": True, "scale": True}),
    ],
)
def test_which_parameters_decay(kind, decays):
    """Also where the layers' stack makes a bias a matrix; by what a step changes with gradients of 0."""
    _, shapes, _ = abstract_params(tiny_config().model)
    optimizer = build(OptimizerConfig(weight_decay_mask=kind, warmup_fraction=0.0), 10)

    @jax.jit
    def update() -> Any:
        ones, zeros = (
            jax.tree.map(lambda leaf, fill=fill: jnp.full(leaf.shape, fill), shapes)
            for fill in (1.0, 0.0)
        )
        return optimizer.update(zeros, optimizer.init(ones), ones)[0]

    updates = update()
    layers = updates["decoder"]["layers"]
    found = layers["attention"]["query"] | layers["mlp_norm"]
    assert {name: bool(jnp.all(leaf < 0)) for name, leaf in found.items()} == decays
    assert jnp.all(updates["decoder"]["embedding"] < 0)
    assert jnp.all(updates["score"]["kernel"] < 0)


def test_clipping_bounds_the_gradient_not_its_direction():
    """Adam's first moment after one step is (1 - beta1) times the clipped gradient."""
    config = OptimizerConfig(clip_norm=0.5)
    params = {"kernel": jnp.zeros((2, 2))}
    optimizer = build(config, 10)
    grads = {"kernel": jnp.array([[3.0, 0.0], [0.0, 4.0]])}
    _, state = optimizer.update(grads, optimizer.init(params), params)
    first_moment = optax.tree.get(state, "mu")
    np.testing.assert_allclose(first_moment["kernel"], 0.1 * grads["kernel"] / 10, rtol=1e-5)


def test_the_first_moment_may_be_bfloat16():
    """Half the memory; what it rounds away is smaller than the step."""
    params = {"kernel": jnp.ones((4, 4))}
    gradient = {"kernel": jnp.linspace(-1, 1, 16).reshape(4, 4)}
    found: dict[str, Any] = {}
    for dtype in ("float32", "bfloat16"):
        optimizer = build(OptimizerConfig(first_moment_dtype=dtype, warmup_fraction=0.0), 10)
        state = optimizer.init(params)
        for _ in range(3):
            updates, state = optimizer.update(gradient, state, params)
        assert optax.tree.get(state, "mu")["kernel"].dtype == dtype
        assert optax.tree.get(state, "nu")["kernel"].dtype == "float32"
        found[dtype] = updates
    np.testing.assert_allclose(found["bfloat16"]["kernel"], found["float32"]["kernel"], rtol=0.01)
