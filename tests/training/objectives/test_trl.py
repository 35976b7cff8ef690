"""Losses, log-probs and gradients against TRL's trainers, on the same pairs and the same tiny Qwen2."""

from __future__ import annotations

import pathlib
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codepmp_jax.config import DpoConfig, TrainConfig
from codepmp_jax.conversion.export import hf_tensors
from codepmp_jax.training.objectives import policy
from codepmp_jax.training.objectives.policy_losses import policy_losses
from codepmp_jax.training.step import gradients
from tests.training.objectives import trl_settings
from tests.training.objectives.references import batch_of, of_model, params_of, write_folder
from tests.training.objectives.test_dpo import config_of, pairs_of
from tests.training.reference import TorchPreferenceModel, padded

LOSSES = (*trl_settings.LOSSES, *trl_settings.REFERENCE_FREE)
SCRIPT = pathlib.Path(__file__).with_name("trl_dpo_trainer.py")


@pytest.fixture(scope="module")
def trl(tmp_path_factory):
    """What TRL finds of `pairs_of(0)`, by policy 0 and reference 7."""
    folder = tmp_path_factory.mktemp("trl")
    config, pairs = config_of(""), pairs_of(0)
    for name, seed in (("policy", 0), ("reference", 7)):
        TorchPreferenceModel(config, params_of(config, seed)).lm.save_pretrained(folder / name)
    rows = padded(pairs)
    arrays = {
        "input_ids": rows.tokens,
        "attention_mask": rows.token_mask,
        "completion_mask": rows.response_mask,
    }
    arrays = {name: array.swapaxes(0, 1).reshape(-1, 24) for name, array in arrays.items()}
    whole: dict[str, Any] = {name: array.astype(np.int64) for name, array in arrays.items()}
    np.savez(folder / "pairs.npz", **whole)
    paths = [str(folder / name) for name in ("policy", "reference", "pairs.npz", "")]
    run = subprocess.run([sys.executable, str(SCRIPT), *paths], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return np.load(folder / "found.npz")


def loss_of(name: str) -> DpoConfig:
    smoothing = {"label_smoothing": trl_settings.SMOOTHING} if name in ("robust", "simpo") else {}
    return DpoConfig(loss_type=name, beta=trl_settings.BETA, **smoothing)  # pyright: ignore[reportArgumentType]


def test_log_probs_and_every_loss_are_trls(trl):
    config, pairs = config_of(""), pairs_of(0)
    found, reference = (of_model(config, params_of(config, seed), pairs) for seed in (0, 7))
    sums = np.array([one.sums for one in found])
    np.testing.assert_allclose(sums.T.ravel(), trl["logps"], rtol=1e-5)
    arrays = sums, np.array([one.sums for one in reference])
    lengths = np.array([one.num_tokens for one in found], np.float32)
    for name in LOSSES:
        loss = loss_of(name)
        used = arrays if loss.needs_reference else (sums, np.zeros_like(sums))
        value = policy_losses(loss, *map(jnp.asarray, (*used, lengths))).mean()
        assert float(value) == pytest.approx(float(trl[f"loss_{name}"]), rel=1e-4), name


def assert_gradients(config: TrainConfig, grads: Any, trl: Any, name: str) -> None:
    """Each tensor's gradient is TRL's, within 1e-4 of the tensor's largest."""
    filled = params_of(config) | {"score": params_of(config)["score"]} | grads
    for tensor, gradient in hf_tensors(config, filled):
        if tensor != "score.weight":
            expected = trl[f"grad_{name}/{tensor}"]
            scale = np.abs(expected).max()
            assert scale > 0
            np.testing.assert_allclose(
                np.asarray(gradient),
                expected,
                rtol=0,
                atol=1e-4 * scale,
                err_msg=f"{name}: {tensor}",
            )


@pytest.fixture
def folder(tmp_path) -> str:
    """The reference's log-probs."""
    base, pairs = config_of(""), pairs_of(0)
    return write_folder(tmp_path / "of", pairs, of_model(base, params_of(base, 7), pairs))


def test_gradients_of_every_loss_are_trls(trl, folder, monkeypatch):
    """By one program, which chooses the loss as it runs."""
    config = config_of(folder, "padded", DpoConfig(beta=trl_settings.BETA))
    losses = [loss_of(name) for name in LOSSES]

    def of(loss: DpoConfig):
        def pair_losses(sums: Any, reference: Any, lengths: Any) -> Any:
            return policy_losses(loss, sums, reference * loss.needs_reference, lengths)

        return pair_losses

    @jax.jit
    def step(params: Any, batch: Any, number: Any) -> Any:
        def chosen(_: Any, *found: Any) -> Any:
            return jax.lax.switch(number, list(map(of, losses)), *found)

        monkeypatch.setattr(policy, "policy_losses", chosen)
        return gradients(params, batch, config)

    batch = batch_of(pairs_of(0), config)
    for number, name in enumerate(LOSSES):
        grads, metrics = step(params_of(config), batch, number)
        assert float(metrics["loss"]) == pytest.approx(float(trl[f"loss_{name}"]), rel=1e-4), name
        assert_gradients(config, grads, trl, name)


def test_gradients_with_the_sft_term_are_trls_on_shared_rows_too(trl, folder):
    loss = DpoConfig(beta=trl_settings.BETA, sft_coef=trl_settings.SFT)
    config = config_of(folder, "shared", loss)
    step = jax.jit(lambda params, batch: gradients(params, batch, config))
    grads, metrics = step(params_of(config), batch_of(pairs_of(0), config))
    assert float(metrics["loss"]) == pytest.approx(float(trl["loss_sigmoid_sft"]), rel=1e-4)
    assert_gradients(config, grads, trl, "sigmoid_sft")
