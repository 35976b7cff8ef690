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


def test_a_run_trains_on_its_subset_only(finished, tmp_path):
    """Other runs of the same subset_seed share their pairs, whatever their own seed."""

    def trained(**changes) -> set[str]:
        data = dataclasses.replace(finished.data, max_pairs=16, subset_seed=3)
        run = Run(dataclasses.replace(finished, workdir=str(tmp_path), data=data, **changes))
        seen: set[str] = set()
        for _ in range(6):
            next(run.batches)
            seen |= {*run.batches.last_record_ids}
        chosen = {pair.pair_id for pair in run.chosen_records}
        run.close()
        assert len(chosen) == 16
        assert seen <= chosen
        return chosen

    assert trained() == trained(seed=5)
