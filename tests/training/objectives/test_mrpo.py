"""Several references: numbers worked out by hand, and the cases in which MRPO is DPO."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import DpoConfig, MrpoConfig
from codepmp_jax.training.objectives.mrpo import clipped, reference_weights, virtual_reference
from codepmp_jax.training.objectives.policy_losses import policy_losses
from codepmp_jax.training.step import gradients
from tests.training.objectives.references import batch_of, of_model, params_of, write_folder
from tests.training.objectives.test_dpo import config_of, pairs_of

POLICY = jnp.array([-10.0, -12.0])
# (chosen, rejected) x (primary, other).
REFERENCES = jnp.array([[-11.0, -14.0], [-11.5, -16.0]])
LENGTHS = jnp.array([5.0, 4.0])


def loss_of(config: MrpoConfig, references=REFERENCES) -> float:
    reference = virtual_reference(config, references)
    return float(policy_losses(config, POLICY, reference, LENGTHS))


@pytest.mark.parametrize(
    ("weights", "reference", "loss"),
    [
        ("released", (-11.129000, -11.652972), 0.622067),
        ("own", (-11.438744, -12.007522), 0.624144),
        ("equal", None, 0.623276),
    ],
)
def test_worked_numbers(weights, reference, loss):
    config = MrpoConfig(weights=weights)
    if reference is not None:
        found = virtual_reference(config, REFERENCES)
        np.testing.assert_allclose(found, reference, rtol=1e-6)
    assert loss_of(config) == pytest.approx(loss, rel=2e-6)


def test_worked_numbers_of_the_parts():
    np.testing.assert_allclose(clipped(REFERENCES, 0.1)[:, 1], [-11.523810, -12.102381], rtol=1e-6)
    assert float(reference_weights(MrpoConfig(), REFERENCES)[1]) == pytest.approx(0.8)
    config = MrpoConfig(weights="equal", trust_region=None)
    assert loss_of(config) == pytest.approx(0.691272, rel=2e-6)


@pytest.mark.parametrize(
    ("config", "references"),
    [
        (MrpoConfig(trust_region=0.0), REFERENCES),
        (MrpoConfig(), REFERENCES[:, :1]),
        (MrpoConfig(), jnp.repeat(REFERENCES[:, :1], 3, axis=1)),
    ],
    ids=["no region", "one reference", "equal references"],
)
def test_where_mrpo_is_dpo(config, references):
    expected = policy_losses(DpoConfig(), POLICY, REFERENCES[:, 0], LENGTHS)
    assert loss_of(config, references) == pytest.approx(float(expected), rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(-90, -0.1), st.floats(-90, -0.1)), min_size=1, max_size=4))
def test_the_virtual_reference_lies_between(rows):
    references = jnp.array(rows, jnp.float32).T
    found = virtual_reference(MrpoConfig(trust_region=None), references)
    assert bool((found >= references.min(axis=-1) - 1e-4).all())
    assert bool((found <= references.max(axis=-1) + 1e-4).all())


def test_a_pair_that_no_reference_tells_apart_has_equal_weights_and_finite_gradients():
    references = jnp.full((2, 2), -3.0)
    np.testing.assert_array_equal(reference_weights(MrpoConfig(), references), [0.5, 0.5])
    np.testing.assert_allclose(virtual_reference(MrpoConfig(), references), [-3.0, -3.0])


@pytest.mark.parametrize("combination", ["virtual", "multi_dpo"])
def test_rows_with_two_references(combination, tmp_path):
    """The loss on shared rows is that of the pairs' log-probs."""
    base, pairs = config_of(""), pairs_of(0)
    found = [of_model(base, params_of(base, seed), pairs) for seed in (0, 7, 8)]
    folders = tuple(write_folder(tmp_path / str(i), pairs, one) for i, one in enumerate(found[1:]))
    loss = MrpoConfig(combination=combination, references=folders)
    config = config_of("", "shared", DpoConfig(loss_type="simpo"))
    config = dataclasses.replace(config, loss=loss)
    step = jax.jit(lambda params, batch: gradients(params, batch, config))
    grads, metrics = step(params_of(config), batch_of(pairs, config))
    policy, *references = (jnp.array([one.sums for one in some]) for some in found)
    stacked = jnp.stack(references, axis=-1)
    if combination == "virtual":
        used = policy_losses(loss, policy, virtual_reference(loss, stacked), jnp.ones_like(policy))
    else:
        each = [policy_losses(loss, policy, one, jnp.ones_like(policy)) for one in references]
        used = (reference_weights(loss, stacked) * jnp.stack(each, axis=-1)).sum(axis=-1)
    assert float(metrics["loss"]) == pytest.approx(float(used.mean()), rel=1e-5)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(grads))


def test_settings_that_make_no_loss_are_refused():
    with pytest.raises(UserError, match=r"loss\.loss_type = 'simpo': must have a reference"):
        MrpoConfig(loss_type="simpo")
    with pytest.raises(UserError, match=r"loss\.weights = 'released'"):
        MrpoConfig(weights="released", references=("a", "b", "c"))
