from __future__ import annotations

import dataclasses

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import DataConfig, TrainConfig
from codepmp_jax.training import loop
from codepmp_jax.training.identity import check_same_run
from codepmp_jax.training.run import Run
from tests.training.reference import tiny_config
from tests.training.runs import rows

pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 1}, "seed = 1 (checkpoint: 0)"),
        ({"model__mlp_dim": 64}, "model.mlp_dim = 64 (checkpoint: 48)"),
        ({"data": DataConfig(max_length=32)}, "data.max_length = 32 (checkpoint: 24)"),
    ],
)
def test_another_run_is_not_resumed(changes, named):
    with pytest.raises(UserError, match="--allow-config-change") as raised:
        check_same_run(tiny_config(**changes), tiny_config(), "run")
    assert named in str(raised.value)
    check_same_run(tiny_config(**changes, allow_config_change=True), tiny_config(), "run")
    free = tiny_config(model__remat="none", model__attention="blocked", model__attention_block=64)
    check_same_run(free, tiny_config(), "run")


def test_a_tokenizer_larger_than_the_model_is_refused(finished, tmp_path):
    model = dataclasses.replace(finished.model, vocab_size=104)
    with pytest.raises(UserError, match=r"model\.vocab_size = 104"):
        loop.train(dataclasses.replace(finished, model=model, workdir=str(tmp_path)))


def closing_run(config: TrainConfig) -> Run:
    run = Run(config)
    run.close()
    return run


def test_epochs_become_steps(finished, tmp_path):
    """By what a batch takes: 6 of the 40 pairs are dropped, and 34 make 4 steps of 8."""
    config = dataclasses.replace(finished, workdir=str(tmp_path), num_steps=None)
    assert closing_run(config).num_steps == 4
    assert closing_run(dataclasses.replace(config, num_epochs=2.0)).num_steps == 8
    with pytest.raises(UserError, match="global_batch_rows = 64: must not take more pairs"):
        Run(dataclasses.replace(config, global_batch_rows=64))


def test_measuring_takes_nothing_from_the_run(finished, tmp_path):
    """A run that counts its steps first trains on the same pairs."""
    config = dataclasses.replace(finished, workdir=str(tmp_path), num_steps=None, num_epochs=1.5)
    run = closing_run(config)
    assert run.num_steps == 6
    assert run.batches.counts["records"] == 0
    loop.train(config)
    assert rows(config) == rows(finished)
