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

from codepmp_jax.config import DpoConfig
from codepmp_jax.conversion.export import hf_tensors
from codepmp_jax.training.objectives.policy_losses import policy_losses
from codepmp_jax.training.step import gradients
from tests.training.objectives import trl_settings
from tests.training.objectives.references import batch_of, of_model, params_of, write_folder
from tests.training.objectives.test_dpo import config_of, pairs_of
from tests.training.reference import TorchPreferenceModel, padded

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
    policy, reference = (of_model(config, params_of(config, seed), pairs) for seed in (0, 7))
    sums = np.array([one.sums for one in policy])
    np.testing.assert_allclose(sums.T.ravel(), trl["logps"], rtol=1e-5)
    arrays = sums, np.array([one.sums for one in reference])
    lengths = np.array([one.num_tokens for one in policy], np.float32)
    for name in (*trl_settings.LOSSES, "simpo", "orpo"):
        loss = loss_of(name)
        used = arrays if loss.needs_reference else (sums, np.zeros_like(sums))
        found = policy_losses(loss, *map(jnp.asarray, (*used, lengths))).mean()
        assert float(found) == pytest.approx(float(trl[f"loss_{name}"]), rel=1e-4), name


@pytest.mark.parametrize("name", ["sigmoid_sft", "ipo"])
def test_gradients_are_trls(name, trl, tmp_path):
    base, pairs = config_of(""), pairs_of(0)
    found = of_model(base, params_of(base, 7), pairs)
    folder = write_folder(tmp_path / "of", pairs, found)
    loss_type, *with_sft = name.split("_sft")
    sft: dict[str, Any] = {"sft_coef": trl_settings.SFT} if with_sft else {}
    loss = DpoConfig(loss_type=loss_type, beta=trl_settings.BETA, **sft)  # pyright: ignore[reportArgumentType]
    config = config_of(folder, "shared", loss)
    step = jax.jit(lambda params, batch: gradients(params, batch, config))
    grads, metrics = step(params_of(config), batch_of(pairs, config))
    assert float(metrics["loss"]) == pytest.approx(float(trl[f"loss_{name}"]), rel=1e-4)
    filled = params_of(config) | {"score": params_of(config)["score"]} | grads
    for tensor, gradient in hf_tensors(config, filled):
        if tensor != "score.weight":
            expected = trl[f"grad_{name}/{tensor}"]
            scale = np.abs(expected).max()
            np.testing.assert_allclose(
                np.asarray(gradient), expected, rtol=0, atol=1e-4 * scale, err_msg=tensor
            )
