"""Which held-out pairs a run is evaluated on, and what is said before its first step."""

import dataclasses
import logging

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import CheckpointConfig, DataConfig
from codepmp_jax.data.layouts import layout_of
from codepmp_jax.data.tokenized_item import Unit
from codepmp_jax.records.schema import PreferencePair, content_id
from codepmp_jax.text.tokenization import Tokenizer
from codepmp_jax.training import heldout
from codepmp_jax.training.heldout import Heldout, require_best_metric
from tests.training.reference import tiny_config


def pairs(number: int, every: int = 2) -> list[PreferencePair]:
    """Of `every` pairs the first is short, the others are too long for 24 tokens."""
    rows = [(f"do {i}", "x " * (1 if i % every == 0 else 40), "y") for i in range(number)]
    return [PreferencePair(content_id(*row), *row) for row in rows]


def config_of(eval_pairs=64, **changes):
    data = DataConfig(max_length=24, template="{prompt}\n{response}")
    return tiny_config(eval_pairs=eval_pairs, global_batch_rows=8, data=data, **changes)


def opened(records, config) -> Heldout:
    return Heldout(records, Tokenizer.load("embedded"), layout_of(config.data), config)


def test_a_sample_is_of_the_whole_split_and_the_same_in_every_run():
    config = config_of(eval_pairs=100)
    found = heldout.sample(1000, config)
    assert found == sorted(set(found))
    assert len(found) == 100
    # Of each quarter about a quarter.
    assert all(10 < sum(q <= i // 250 < q + 1 for i in found) < 40 for q in range(4))
    assert found == heldout.sample(1000, dataclasses.replace(config, seed=7))
    assert found != heldout.sample(1001, config)
    first = dataclasses.replace(config, eval_sample="first")
    assert heldout.sample(1000, first) == list(range(100))
    for one in (config, first):
        assert heldout.sample(100, one) == list(range(100))
        assert heldout.sample(3, one) == [0, 1, 2]


def test_dropped_pairs_are_counted_and_logged(caplog):
    caplog.set_level(logging.INFO, "codepmp_jax")
    found = opened(pairs(64, every=16), config_of())
    assert found.columns == {
        "heldout_records": 64,
        "heldout_pairs": 4,
        "heldout_too_long": 60,
        "heldout_identical": 0,
        "heldout_empty": 0,
        "heldout_refused": 0,
    }
    assert found.size == "4 of 64 pairs"
    (line,) = caplog.messages
    assert line.startswith("held out: evaluating on 4 of 64 pairs; dropped: 60 too long")
    assert caplog.records[0].levelno == logging.WARNING


def test_held_out_pairs_of_which_none_is_kept_end_the_run_at_its_start():
    config = config_of()
    with pytest.raises(
        UserError, match=r"of 63; dropped: 63 too long.*raise data\.max_length \(24\)"
    ):
        opened((pairs(64) + pairs(64))[1:126:2], config)
    # The remedy works.
    longer = dataclasses.replace(config, data=dataclasses.replace(config.data, max_length=200))
    assert opened(pairs(64)[1::2], longer).counts["pairs"] == 32
    refused = PreferencePair("id1", "[]", '[{"role": "system"}]', "[]", is_conversation=True)
    with pytest.raises(UserError, match=r"1 refused .*e\.g\. id1.*chat template"):
        opened([refused], config)


def test_an_empty_split_is_said_and_not_evaluated(caplog):
    assert opened([], config_of()).batches == []
    assert "not evaluated" in caplog.text


@pytest.mark.parametrize(
    ("metric", "lm_coef", "named"),
    [
        ("eval_acuracy", 1.0, "set it to eval_accuracy"),
        ("accuracy", 1.0, "set it to eval_accuracy"),
        ("loss", 1.0, "set it to one of these"),
        ("eval_lm_loss", 0.0, "eval_pair_loss"),
    ],
)
def test_checkpoints_are_ranked_by_what_is_measured(tmp_path, finished, metric, lm_coef, named):
    """The whole run ends before its first step, and goes through with another name."""
    from codepmp_jax.training.run import Run

    checkpoint = CheckpointConfig(every_steps=2, keep_best=1, best_metric=metric)
    loss = dataclasses.replace(finished.loss, lm_coef=lm_coef)
    config = dataclasses.replace(finished, workdir=str(tmp_path), checkpoint=checkpoint, loss=loss)
    with pytest.raises(UserError, match=rf"best_metric = '{metric}'.*{named}"):
        Run(config)
    checkpoint = dataclasses.replace(checkpoint, best_metric="eval_accuracy")
    again = dataclasses.replace(config, checkpoint=checkpoint, workdir=str(tmp_path / "again"))
    Run(again).close()


def test_a_metric_over_no_label_is_not_measured():
    found = opened(pairs(4), config_of())
    found.counts["labels"] = 0
    metrics: dict[Unit, list[str]] = {"pairs": ["accuracy"], "labels": ["lm_loss"]}
    best = CheckpointConfig(keep_best=1, best_metric="eval_lm_loss")
    with pytest.raises(UserError, match=r"must be a metric .*: eval_accuracy\. Remedy"):
        require_best_metric(best, metrics, found)
