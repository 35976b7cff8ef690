"""Token rewards: of the label's own token in every layout, and with a loss of edited tokens only."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from codepmp_jax.config import DpoConfig, TokenRewardConfig, TrainConfig
from codepmp_jax.data.edits import changed_tokens, responses
from codepmp_jax.data.tokenized_item import SIDES
from codepmp_jax.data.tokenized_pair import TokenizedPair
from codepmp_jax.models.preference import abstract_params, one_text_rows
from codepmp_jax.training import objectives
from codepmp_jax.training.step import evaluate_batch, gradients
from tests.training.objectives.references import batch_of, params_of
from tests.training.objectives.test_dpo import config_of, pairs_of


def config_for(loss: TokenRewardConfig, layout: Any) -> TrainConfig:
    config = config_of("", layout, DpoConfig(loss_type="simpo"))
    return dataclasses.replace(config, loss=loss)


def pairs_for(seed: int) -> list[TokenizedPair]:
    """Also one whose responses begin alike."""
    pairs = pairs_of(seed)
    rng = np.random.default_rng(9)
    texts = [
        np.concatenate([[5, 6, 7, 8], rng.integers(9, 96, n)]).astype(np.int32) for n in (4, 9)
    ]
    return [*pairs[:5], TokenizedPair("alike", 0.0, texts[0], texts[1], (2, 2), 4)]


def rewards_alone(config: TrainConfig, pairs: list[TokenizedPair]):
    """Of each text of the pairs, the rewards of its labels, from a row of its own."""
    graph, _, _ = abstract_params(config.model)
    texts = [text for pair in pairs for text in pair.texts]
    tokens = np.zeros((len(texts), 24), np.int32)
    for row, text in zip(tokens, texts, strict=True):
        row[: len(text)] = text

    @jax.jit
    def compute(params, tokens, lengths):
        network = nnx.merge(graph, params)
        mask = jnp.arange(24) < lengths[:, None]
        hidden = network(tokens, *one_text_rows(mask))
        return network.rewards(hidden, jnp.broadcast_to(jnp.arange(24), tokens.shape))

    found = np.asarray(compute(params_of(config), tokens, np.array(list(map(len, texts)))))
    rows = iter(found)
    return [[next(rows)[labels] for _, _, labels in pair.labelled(SIDES)] for pair in pairs]


def log1pexp(x):
    return np.logaddexp(0, x)


@pytest.mark.parametrize("layout", ["padded", "packed", "shared"])
def test_losses_and_rewards_are_those_of_each_text_alone(layout):
    loss = TokenRewardConfig(sequence_reward="least")
    config, pairs = config_for(loss, layout), pairs_for(0)
    found = rewards_alone(config, pairs)
    good, bad, margins, least = [], [], [], []
    for pair, (chosen, rejected) in zip(pairs, found, strict=True):
        new, old = changed_tokens(*responses(pair))
        good += list(chosen[new])
        bad += list(rejected[old])
        least.append((chosen.min(), rejected.min()))
        if new.any() and old.any():
            margins.append(chosen[new].mean() - rejected[old].mean())
    evaluated = jax.jit(lambda p, b: evaluate_batch(p, b, config))(
        params_of(config), batch_of(pairs, config)
    )
    labels = {name: float(value) for name, value in evaluated.sums["labels"].items()}
    assert labels["edited"] == len(good) + len(bad)
    expected = log1pexp(-np.array(good)).sum() + log1pexp(np.array(bad)).sum()
    assert labels["logistic_loss"] == pytest.approx(expected, rel=1e-4)
    pair_sums = {name: float(value) for name, value in evaluated.sums["pairs"].items()}
    assert pair_sums["margin_loss"] == pytest.approx(log1pexp(-np.array(margins)).sum(), rel=1e-4)
    rewards = np.asarray(evaluated.rewards)[np.asarray(batch_of(pairs, config).item_mask)]
    np.testing.assert_allclose(
        rewards[np.lexsort(rewards.T)], np.array(least)[np.lexsort(np.array(least).T)], atol=1e-4
    )


@pytest.mark.parametrize("loss_type", ["logistic", "margin"])
def test_common_tokens_have_no_gradient(loss_type):
    """The gradient by the score head is that of the edited tokens' hidden states: none without edits."""
    config = config_for(TokenRewardConfig(loss_type=loss_type), "shared")
    batch = batch_of(pairs_for(0), config)
    step = jax.jit(lambda params, batch: gradients(params, batch, config))
    grads, metrics = step(params_of(config), batch)
    assert float(metrics["loss"]) > 0
    assert np.abs(grads["score"]["kernel"]).max() > 0
    assert "lm_head" not in grads
    none = batch._replace(companions={"edited": jnp.zeros_like(batch.companions["edited"])})
    grads, metrics = step(params_of(config), none)
    assert float(metrics["loss"]) == 0
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(grads))


def test_an_evaluation_is_of_the_edited_tokens():
    figures = objectives.build(config_for(TokenRewardConfig(), "padded")).figures(
        {
            "edited": 0.5,
            "pairs_with_edits": 0.25,
            "logistic_loss": 0.2,
            "token_accuracy": 0.5,
            "margin_loss": 0.1,
            "accuracy": 0.125,
        }
    )
    assert figures == pytest.approx(
        {"logistic_loss": 0.4, "token_accuracy": 1.0, "margin_loss": 0.4, "accuracy": 0.5}
    )
