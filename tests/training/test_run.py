from __future__ import annotations

import dataclasses

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import TrainConfig
from codepmp_jax.training import loop
from codepmp_jax.training.run import Run
from tests.training.runs import rows

pytestmark = pytest.mark.usefixtures("compiled_once")


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
