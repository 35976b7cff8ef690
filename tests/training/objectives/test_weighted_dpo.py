"""Token weights: none of them is DPO, and what they leave out has no gradient."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import DpoConfig, WeightedDpoConfig
from codepmp_jax.data.edits import changed_tokens, responses
from codepmp_jax.training.objectives.policy_losses import policy_losses
from codepmp_jax.training.objectives.weighted_dpo import TokenWeights
from codepmp_jax.training.step import evaluate_batch
from tests.training.objectives.references import batch_of, of_model, params_of, write_folder
from tests.training.objectives.test_dpo import config_of, pairs_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    base, pairs = config_of(""), pairs_of(0)
    found = of_model(base, params_of(base, 7), pairs)
    return write_folder(tmp_path_factory.mktemp("references") / "of", pairs, found)


def sums(loss, folder, layout="shared"):
    config = config_of("", layout, DpoConfig(loss_type="simpo"))
    config = dataclasses.replace(config, loss=dataclasses.replace(loss, reference=folder))
    evaluate = jax.jit(lambda params, batch: evaluate_batch(params, batch, config))
    return evaluate(params_of(config), batch_of(pairs_of(0), config)).sums["pairs"]


def test_equal_weights_are_dpo(folder):
    found = sums(WeightedDpoConfig(changed_weight=1.0), folder)
    expected = sums(DpoConfig(), folder)
    # Rewards are small differences of these sums, which are added up in two orders.
    logps = float(expected["logps/chosen"] + expected["logps/rejected"])
    rounding = DpoConfig().beta * abs(logps) * float(np.finfo(np.float32).eps)
    for name, value in expected.items():
        name = name.replace("dpo_loss", "weighted_dpo_loss")
        assert float(found[name]) == pytest.approx(float(value), rel=1e-5, abs=rounding), name


@pytest.mark.parametrize("layout", ["padded", "shared"])
def test_losses_are_of_the_weighted_sums(layout, folder):
    loss = WeightedDpoConfig(changed_weight=5.0, common_weight=0.5, length_normalization=True)
    base, pairs = config_of(""), pairs_of(0)
    models = [of_model(base, params_of(base, seed), pairs) for seed in (0, 7)]
    weigh, expected = TokenWeights(loss, "embedded"), 0.0
    for pair, *found in zip(pairs, *models, strict=True):
        weights = weigh(None, pair)
        sides = np.cumsum(found[0].num_tokens)[:1]
        policy, reference = (
            [float(side.sum()) for side in np.split(weights * one.tokens, sides)] for one in found
        )
        lengths = [float(side.sum()) for side in np.split(weights, sides)]
        expected += float(policy_losses(loss, *map(jnp.array, (policy, reference, lengths))))
    found = sums(loss, folder, layout)
    assert float(found["weighted_dpo_loss"]) == pytest.approx(expected, rel=1e-5)


def test_rejecteds_common_lines_do_not_count_in_target_dpo():
    pair = pairs_of(0)[0]
    loss = WeightedDpoConfig(token_weights="target")
    assert loss.sft_weight == 1
    weights = TokenWeights(loss, "embedded")(None, pair)
    chosen, rejected = responses(pair)
    assert set(weights[: len(chosen)]) == {1}
    assert len(weights) == len(chosen) + len(rejected)
    same = dataclasses.replace(pair, rejected=pair.chosen)
    assert not TokenWeights(loss, "embedded")(None, same)[len(chosen) :].any()


def test_changed_tokens_have_their_weight():
    pair = pairs_of(0)[0]
    loss = WeightedDpoConfig(changed_weight=5.0, common_weight=0.5)
    weights = TokenWeights(loss, "embedded")(None, pair)
    marks = np.concatenate(changed_tokens(*responses(pair)))
    assert set(weights[~marks]) <= {0.5}
    assert 5.0 in weights


def test_no_weights_at_all_are_refused():
    with pytest.raises(UserError, match=r"loss\.changed_weight = 0"):
        WeightedDpoConfig(changed_weight=0.0, common_weight=0.0)
