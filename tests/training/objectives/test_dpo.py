"""DPO on rows: the same losses and gradients in every layout, and log-probs that are those of each text alone."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import DataConfig, DpoConfig, MeshConfig, TrainConfig
from codepmp_jax.data.tokenized_pair import TokenizedPair
from codepmp_jax.devices.sharding import make_mesh
from codepmp_jax.training import objectives
from codepmp_jax.training.objectives.policy_losses import policy_losses
from codepmp_jax.training.step import evaluate_batch, gradients
from tests.training.objectives.references import (
    batch_of,
    of_model,
    of_sums,
    params_of,
    write_folder,
)
from tests.training.reference import random_pairs, tiny_config

LAYOUTS = ("padded", "packed", "shared")


def pairs_of(seed: int) -> list[TokenizedPair]:
    """Pairs whose two responses have tokens."""
    pairs = [
        pair
        for pair in random_pairs(seed, 12)
        if all(len(text) > pair.label_starts[0] for text in pair.texts)
    ]
    return pairs[:8]


def config_of(folder: str, layout: Any = "padded", loss: Any = None, **changes) -> TrainConfig:
    """Rows of 48 (padded) or 64 tokens, of pairs of at most 24 tokens a text."""
    row_length = None if layout == "padded" else 64
    data = DataConfig(max_length=24, layout=layout, row_length=row_length)
    loss = dataclasses.replace(loss or DpoConfig(beta=0.3), lm_chunk_tokens=56)
    if loss.needs_reference:
        loss = dataclasses.replace(loss, reference=folder)
    return tiny_config(data=data, loss=loss, **changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Log-probs of a reference that is another model than the policy."""
    pairs, config = pairs_of(0), config_of("")
    found = of_model(config, params_of(config, 7), pairs)
    return write_folder(tmp_path_factory.mktemp("references") / "of", pairs, found)


LOSSES = (
    DpoConfig(beta=0.3, label_smoothing=0.1, sft_coef=0.5),
    DpoConfig(loss_type="ipo"),
    DpoConfig(loss_type="apo_down"),
    DpoConfig(loss_type="orpo"),
)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.loss_type)
def test_layouts_parts_and_meshes_change_nothing(loss, folder):
    pairs, expected = pairs_of(0), None
    cases = [
        ("padded", 1, MeshConfig(data=1, fsdp=1)),
        ("packed", 2, MeshConfig(data=1, fsdp=1)),
        ("shared", 1, MeshConfig(data=2, fsdp=4)),
    ]
    for layout, parts, mesh in cases if loss is LOSSES[0] else cases[::2]:
        config = config_of(folder, layout, loss, accumulation_steps=parts, mesh=mesh)
        step = jax.jit(lambda params, batch, config=config: gradients(params, batch, config))
        devices = jax.devices()[: mesh.data * mesh.fsdp]
        with jax.set_mesh(make_mesh((mesh.data, mesh.fsdp, 1), devices)):
            found = step(params_of(config), batch_of(pairs, config))
        expected = expected or found
        assert found[1]["loss"] > 0
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            scale = max(1.0, float(np.max(np.abs(b))))
            np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * scale, err_msg=layout)
    assert expected is not None
    assert "score" not in expected[0]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_metrics_are_those_of_each_text_alone(layout, folder):
    """Also of pairs whose first label follows the shared prompt, and with padding rows."""
    loss = DpoConfig(beta=0.3, sft_coef=0.5)
    config, pairs = config_of(folder, layout, loss), pairs_of(0)
    params = params_of(config)
    policy = of_model(config, params, pairs)
    reference = of_model(config, params_of(config, 7), pairs)
    logps = np.array([one.sums for one in policy])
    lengths = np.array([one.num_tokens for one in policy], np.float32)
    rewards = 0.3 * (logps - np.array([one.sums for one in reference]))
    losses = policy_losses(
        loss, jnp.asarray(logps), jnp.asarray(logps - rewards / 0.3), jnp.asarray(lengths)
    )
    expected = {
        "dpo_loss": float(losses.sum()),
        "rewards/chosen": rewards[:, 0].sum(),
        "rewards/rejected": rewards[:, 1].sum(),
        "rewards/margins": (rewards[:, 0] - rewards[:, 1]).sum(),
        "rewards/accuracies": (rewards[:, 0] > rewards[:, 1]).sum(),
        "logps/chosen": logps[:, 0].sum(),
        "logps/rejected": logps[:, 1].sum(),
    }
    found = jax.jit(lambda p, b: evaluate_batch(p, b, config))(params, batch_of(pairs, config))
    assert {k: float(v) for k, v in found.sums["pairs"].items()} == pytest.approx(
        expected, rel=1e-4
    )
    of_labels = {name: float(value) for name, value in found.sums["labels"].items()}
    assert of_labels["chosen_labels"] == lengths[:, 0].sum()
    means = {name: value / float(lengths.sum()) for name, value in of_labels.items()}
    sft = objectives.build(config).figures(means)["sft_loss"]
    assert sft == pytest.approx(-logps[:, 0].sum() / lengths[:, 0].sum(), rel=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_more_padding_and_another_order_change_no_reward(layout, folder):
    pairs, config = pairs_of(0), config_of(folder, layout)
    wide = dataclasses.replace(
        config,
        data=dataclasses.replace(
            config.data, max_length=40, row_length=config.data.row_length and 80
        ),
    )
    params, found = params_of(config), []
    for settings, order in ((config, pairs), (wide, pairs[::-1])):
        batch = batch_of(order, settings)
        evaluated = jax.jit(lambda p, b, c=settings: evaluate_batch(p, b, c))(params, batch)
        rewards = np.asarray(evaluated.rewards)[np.asarray(batch.item_mask)]
        found.append(rewards[np.lexsort(rewards.T)])
    np.testing.assert_allclose(*found, rtol=0, atol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_policy_that_is_its_reference_loses_ln_2(layout, tmp_path):
    pairs, config = pairs_of(1), config_of("")
    params = params_of(config)
    found = of_model(config, params, pairs)
    config = config_of(write_folder(tmp_path / "of", pairs, found), layout)
    found = jax.jit(lambda p, b: evaluate_batch(p, b, config))(params, batch_of(pairs, config))
    loss = float(found.sums["pairs"]["dpo_loss"]) / len(pairs)
    assert loss == pytest.approx(math.log(2), abs=1e-6)


@pytest.mark.parametrize("layout", ["packed", "shared"])
def test_pairs_of_a_row_do_not_see_one_another(layout, folder):
    """One pair's tokens change: the rewards of the others stay to the bit."""
    config, pairs = config_of(folder, layout), pairs_of(0)
    batch = batch_of(pairs, config)
    row = int(np.argmax(batch.item_mask.sum(axis=1)))
    assert batch.item_mask[row].sum() > 1
    ends = np.asarray(batch.ends)[row, 1]
    segment = batch.segments[row, ends[0]]
    changed = batch._replace(
        tokens=batch.tokens.at[row].set(
            jnp.where(batch.segments[row] == segment, 1, batch.tokens[row])
        )
    )
    params = params_of(config)
    evaluate = jax.jit(lambda params, batch: evaluate_batch(params, batch, config).rewards)
    before, after = (np.array(evaluate(params, one)) for one in (batch, changed))
    assert before[row, 1, 0] != after[row, 1, 0]
    before[row, 1] = after[row, 1] = 0
    np.testing.assert_array_equal(before, after)


def test_uniform_logits():
    """A model of zeros over 96 tokens: each token costs ln 96, whatever the text."""
    config, pairs = config_of("", loss=DpoConfig(loss_type="simpo")), pairs_of(2)
    params = jax.tree.map(jnp.zeros_like, params_of(config))
    evaluate = jax.jit(lambda params, batch: evaluate_batch(params, batch, config))
    sums = evaluate(params, batch_of(pairs, config)).sums["pairs"]
    tokens = sum(len(pair.chosen) - pair.label_starts[0] for pair in pairs)
    assert float(sums["logps/chosen"]) == pytest.approx(-math.log(96) * tokens, rel=1e-6)


def test_a_prefix_moved_to_the_prompt_changes_the_averaged_losses_only(tmp_path):
    """The first token of both responses, where these begin alike, cancels in the summed loss and its gradient."""
    rng = np.random.default_rng(3)
    texts = [
        np.concatenate([[5, 6, 7, 8], rng.integers(1, 96, n)]).astype(np.int32) for n in (4, 9)
    ]
    pairs = [TokenizedPair("0", 0.0, texts[0], texts[1], (start, start), 4) for start in (2, 3)]
    config = config_of("")
    folders = [
        write_folder(tmp_path / str(i), [pair], of_model(config, params_of(config, 7), [pair]))
        for i, pair in enumerate(pairs)
    ]
    losses: dict[str, list[float]] = {}
    grads: dict[str, list[Any]] = {}
    losses_of: tuple[Any, ...] = ("sigmoid", "ipo")
    for loss_type in losses_of:
        configs = [config_of(one, loss=DpoConfig(loss_type=loss_type)) for one in folders]
        batches = [batch_of([pair], one) for pair, one in zip(pairs, configs, strict=True)]
        step = jax.jit(lambda params, batch, config=configs[0]: gradients(params, batch, config))
        found = [step(params_of(config), batch) for batch in batches]
        grads[loss_type] = [gradient for gradient, _ in found]
        losses[loss_type] = [float(metrics["loss"]) for _, metrics in found]
    for before, after in zip(*map(jax.tree.leaves, grads["sigmoid"]), strict=True):
        np.testing.assert_allclose(after, before, rtol=0, atol=1e-5 * max(1, np.abs(before).max()))
    assert losses["sigmoid"][0] == pytest.approx(losses["sigmoid"][1], rel=5e-6)
    assert losses["ipo"][0] != pytest.approx(losses["ipo"][1], rel=1e-3)


def test_missing_and_other_log_probs_are_refused(tmp_path):
    pairs = pairs_of(4)
    folder = write_folder(
        tmp_path / "of", pairs[1:], [of_sums(pair, (-1, -2)) for pair in pairs[1:]]
    )
    with pytest.raises(UserError, match=r"has no log-probs of the pair 0\. Remedy"):
        batch_of(pairs[:1], config_of(folder))
    shorter = dataclasses.replace(pairs[1], label_starts=(len(pairs[1].chosen) - 1,) * 2)
    with pytest.raises(
        UserError, match=r"log-probs are of \[.*\] response tokens, but its row has"
    ):
        batch_of([shorter], config_of(folder))
