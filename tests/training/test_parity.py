"""Logits, rewards, losses, gradients and 30 optimizer steps equal Hugging Face's PyTorch in float32."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
import torch
from flax import nnx

from codepmp_jax.config import DataConfig
from codepmp_jax.conversion.export import hf_tensors
from codepmp_jax.models.preference import (
    abstract_params,
    init_params,
    last_token,
    one_text_rows,
)
from codepmp_jax.training import optimizer as optimizers
from codepmp_jax.training.state import TrainState
from codepmp_jax.training.step import gradients, train_step
from tests.training.reference import (
    TorchPreferenceModel,
    batch_of,
    padded,
    random_pairs,
    tiny_config,
    torch_optimizer,
)

TOLERANCE = 1e-4


def random_params(config, seed=0):
    """Parameters none of which is 0 or 1, so that each one matters."""
    params = init_params(config.model, seed, config.lora)
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: leaf + 0.1 * rng.standard_normal(leaf.shape).astype(np.float32), params
    )


def error(ours, theirs) -> float:
    """Norm of the difference over the norm."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def errors(config, ours, theirs: dict[str, np.ndarray]) -> dict[str, float]:
    """Relative error of every tensor, by Hugging Face's names."""
    named = dict(hf_tensors(config, ours))
    assert named.keys() == theirs.keys()
    found = {name: error(named[name], theirs[name]) for name in theirs}
    print(f"largest relative error of a tensor: {max(found.values()):.1e}")
    return found


@pytest.mark.parametrize("padding_side", ["right", "left"])
@pytest.mark.parametrize("tied", [False, True])
def test_logits_and_rewards(padding_side, tied):
    config = tiny_config(model__tie_embeddings=tied)
    params = random_params(config)
    batch = padded(random_pairs(1), padding_side)
    theirs, their_logits = TorchPreferenceModel(config, params)(batch)
    graph, _, _ = abstract_params(config.model)
    model = nnx.merge(graph, params)
    rows, mask = (
        jax.numpy.asarray(array.reshape(16, 24)) for array in (batch.tokens, batch.token_mask)
    )
    hidden = model(rows, *one_text_rows(mask))
    rewards = model.rewards(hidden, last_token(mask)[:, None])[:, 0]
    real = batch.token_mask
    logits = np.asarray(model.logits(hidden)).reshape(8, 2, 24, -1)
    found = (
        error(rewards, theirs.detach().numpy().reshape(-1)),
        error(logits[real], their_logits.detach().numpy()[real]),
    )
    print(f"relative error of rewards {found[0]:.1e}, of logits {found[1]:.1e}")
    assert max(found) < TOLERANCE


def data_config(layout: Any) -> DataConfig:
    """A layout's name, or the side that rows are padded on."""
    if layout in ("left", "right"):
        return DataConfig(max_length=24, padding_side=layout)
    return DataConfig(max_length=24, layout=layout, row_length=96)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    ("layout", "reduction"),
    [
        *(("right", reduction) for reduction in ("token_mean", "micro_batch_mean")),
        *(("left", reduction) for reduction in ("token_mean", "micro_batch_mean")),
        ("packed", "token_mean"),
        ("shared", "token_mean"),
    ],
)
def test_losses_and_gradients(layout, tied, reduction):
    config = tiny_config(
        model__tie_embeddings=tied, loss__lm_reduction=reduction, data=data_config(layout)
    )
    params = random_params(config)
    pairs = random_pairs(2)
    batch = padded(pairs)
    reference = TorchPreferenceModel(config, params)
    pair_loss, lm_loss = reference.losses(batch, config.loss)
    (pair_loss + lm_loss).backward()
    grads, metrics = jax.jit(lambda params, batch: gradients(params, batch, config))(
        params, batch_of(pairs, config)
    )
    assert float(metrics["pair_loss"]) == pytest.approx(pair_loss.item(), rel=TOLERANCE)
    assert float(metrics["lm_loss"]) == pytest.approx(lm_loss.item(), rel=TOLERANCE)
    found = errors(config, grads, reference.named(lambda parameter: parameter.grad))
    assert max(found.values()) < TOLERANCE, found


@pytest.mark.parametrize("layout", ["right", "packed", "shared"])
def test_centering(layout):
    """(r_chosen + r_rejected)^2 in the loss, with the pair loss and without it."""
    for rm_coef in (1.0, 0.0):
        config = tiny_config(
            loss__centering_coef=0.3,
            loss__rm_coef=rm_coef,
            loss__lm_coef=0.5,
            data=data_config(layout),
        )
        params = random_params(config)
        pairs = random_pairs(2)
        reference = TorchPreferenceModel(config, params)
        pair_loss, lm_loss = reference.losses(padded(pairs), config.loss)
        rewards, _ = reference(padded(pairs))
        centering = rewards.sum(axis=1).square().mean()
        loss = rm_coef * pair_loss + 0.5 * lm_loss + 0.3 * centering
        loss.backward()
        grads, metrics = jax.jit(
            lambda params, batch, config=config: gradients(params, batch, config)
        )(params, batch_of(pairs, config))
        assert float(metrics["centering_loss"]) == pytest.approx(centering.item(), rel=TOLERANCE)
        assert float(metrics["loss"]) == pytest.approx(loss.item(), rel=TOLERANCE)
        found = errors(config, grads, reference.named(lambda parameter: parameter.grad))
        assert max(found.values()) < TOLERANCE, found


def test_the_two_reductions_differ():
    """Otherwise the parity of micro_batch_mean would show nothing."""
    configs = tiny_config(), tiny_config(loss__lm_reduction="micro_batch_mean")
    values = [
        gradients(random_params(config), batch_of(random_pairs(2), config), config)[1]["lm_loss"]
        for config in configs
    ]
    assert abs(float(values[0] - values[1])) > 1e-3


@pytest.mark.parametrize(
    ("layout", "tied", "mask"),
    [("right", False, "matrices"), ("left", True, "all"), ("shared", True, "all_but_biases")],
)
def test_thirty_steps(layout, tied, mask):
    config = tiny_config(
        model__tie_embeddings=tied,
        optimizer__weight_decay_mask=mask,
        data=data_config(layout),
    )
    params = random_params(config)
    reference = TorchPreferenceModel(config, params)
    adamw, schedule = torch_optimizer(reference, config.optimizer, 30)
    state = TrainState(
        jax.numpy.zeros((), jax.numpy.int32),
        params,
        optimizers.build(config.optimizer, 30).init(params),
    )
    step = jax.jit(lambda state, batch: train_step(state, batch, config, 30))
    ours, theirs = [], []
    for seed in range(30):
        pairs = random_pairs(seed)
        state, metrics = step(state, batch_of(pairs, config))
        ours.append(float(metrics["loss"]))
        # The cosine's 1 + cos(x) cancels towards its end: float32 is exact only next to the peak.
        assert float(metrics["learning_rate"]) == pytest.approx(
            schedule.get_last_lr()[0], rel=0, abs=1e-6 * config.optimizer.learning_rate
        )
        pair_loss, lm_loss = reference.losses(padded(pairs), config.loss)
        loss = pair_loss + lm_loss
        adamw.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(reference.parameters(), config.optimizer.clip_norm)
        adamw.step()
        schedule.step()
        theirs.append(loss.item())
    assert np.ptp(theirs) > 0.1
    np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE)
    found = errors(config, state.params, reference.named())
    assert max(found.values()) < TOLERANCE, found
