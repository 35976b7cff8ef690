"""The losses of a pair against numbers worked out by hand, and their gradients."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import DataConfig, DpoConfig, TrainConfig
from codepmp_jax.training.objectives.policy_losses import policy_losses

POLICY, REFERENCE = jnp.array([-10.0, -12.0]), jnp.array([-11.0, -11.5])
LENGTHS = jnp.array([5.0, 4.0])


def config_of(loss_type, **changes):
    needed: dict[str, Any] = {"label_smoothing": 0.1} if loss_type == "robust" else {}
    return DpoConfig(loss_type=loss_type, **(needed | changes))


@pytest.mark.parametrize(
    ("loss_type", "changes", "expected"),
    [
        ("sigmoid", {}, 0.620957),
        ("sigmoid", {"beta": 0.5}, 0.386871),
        ("sigmoid", {"label_smoothing": 0.1}, 0.635957),
        ("hinge", {}, 0.85),
        ("ipo", {"length_normalization": False}, 12.25),
        ("ipo", {}, 21.855625),
        ("robust", {"label_smoothing": 0.1}, 0.602207),
        ("sigmoid_norm", {}, 0.677029),
    ],
)
def test_worked_numbers(loss_type, changes, expected):
    loss = policy_losses(config_of(loss_type, **changes), POLICY, REFERENCE, LENGTHS)
    assert float(loss) == pytest.approx(expected, rel=2e-6)


def test_the_gradient_of_dpo_by_the_chosen_log_prob():
    gradient = jax.grad(lambda p: policy_losses(config_of("sigmoid"), p, REFERENCE, LENGTHS))
    chosen, rejected = gradient(POLICY)
    assert float(chosen) == pytest.approx(-0.046257, rel=2e-5)
    assert float(rejected) == pytest.approx(0.046257, rel=2e-5)


@pytest.mark.parametrize(
    ("loss_type", "expected"),
    [
        ("sigmoid", math.log(2)),
        ("robust", math.log(2)),
        ("sigmoid_norm", math.log(2)),
        ("hinge", 1.0),
        ("ipo", 25.0),
        ("apo_zero", 1.0),
        ("apo_down", 1.0),
    ],
)
def test_a_policy_that_is_its_reference(loss_type, expected):
    loss = policy_losses(config_of(loss_type), POLICY, POLICY, LENGTHS)
    assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_losses_without_a_reference_by_their_definitions():
    """SimPO of mean log-probs (-2, -3), margin 0.5; ORPO of the odds of exp(-2) and exp(-3)."""
    none = jnp.zeros(2)
    simpo = policy_losses(config_of("simpo", beta=2.0), POLICY, none, LENGTHS)
    assert float(simpo) == pytest.approx(math.log1p(math.exp(-(2.0 - 0.5))), rel=1e-6)
    odds = [math.exp(x) / (1 - math.exp(x)) for x in (-2.0, -3.0)]
    expected = 0.1 * math.log1p(odds[1] / odds[0])
    orpo = policy_losses(config_of("orpo"), POLICY, none, LENGTHS)
    assert float(orpo) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("near", [0.0, -1e-9, -0.5, -80.0])
def test_orpo_is_finite_for_certain_and_for_hopeless_responses(near):
    def loss(policy):
        return policy_losses(config_of("orpo"), policy, jnp.zeros(2), LENGTHS)

    value, gradient = jax.value_and_grad(loss)(jnp.array([near, -80.0]))
    assert bool(jnp.isfinite(value))
    assert bool(jnp.isfinite(gradient).all())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loss_type": "robust"}, r"loss\.label_smoothing = 0\.0: must not be 0"),
        ({"loss_type": "hinge", "label_smoothing": 0.1}, r"must be 0 with the loss hinge"),
        ({"label_smoothing": 0.5}, r"loss\.label_smoothing = 0\.5"),
        ({"loss_type": "simpo", "length_normalization": False}, r"is of the mean token"),
    ],
)
def test_settings_that_make_no_loss_are_refused(changes, said):
    with pytest.raises(UserError, match=said):
        DpoConfig(**changes)


def test_batches_that_no_policy_is_trained_on_are_refused():
    for data, said in (
        (DataConfig(response_window="paper"), r"data\.response_window"),
        (DataConfig(layout="packed", length_policy="split"), r"data\.length_policy"),
    ):
        with pytest.raises(UserError, match=said):
            TrainConfig(loss=DpoConfig(), data=data)


def test_the_sft_term_is_on_in_orpo_only():
    assert DpoConfig().sft_weight == 0
    assert DpoConfig(loss_type="orpo").sft_weight == 1
    assert dataclasses.replace(DpoConfig(loss_type="orpo"), sft_coef=0.0).sft_weight == 0
