from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest

from codepmp_jax.checkpoint import Checkpointer
from codepmp_jax.config import CheckpointConfig, DataConfig, TrainConfig
from codepmp_jax.errors import UserError
from codepmp_jax.records import PreferencePair, content_id
from codepmp_jax.shards import write_manifest, write_split
from codepmp_jax.training import loop
from codepmp_jax.training.state import abstract_state
from tests.training.reference import tiny_config


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> str:
    """40 training and 11 held-out pairs, some of them too long for the run."""
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)

    def code(words: int) -> str:
        return " ".join(rng.choice(["def", "f", "(", ")", "return", "x", "+", "1"], words))

    def make(number: int) -> list[PreferencePair]:
        rows = [(f"do {i}", code(6), code(40 if i % 7 == 3 else 6)) for i in range(number)]
        return [PreferencePair(content_id(*row), *row) for row in rows]

    splits = {
        "train": write_split(folder, "train", make(40), 2),
        "heldout": write_split(folder, "heldout", make(11), 1),
    }
    write_manifest(folder, PreferencePair, splits, {})
    return str(folder)


@pytest.fixture(scope="module")
def finished(pairs, tmp_path_factory) -> TrainConfig:
    """A run of six steps that went through."""
    config = tiny_config(
        workdir=str(tmp_path_factory.mktemp("finished")),
        model__vocab_size=4096,
        data=DataConfig(input=pairs, template="{prompt}\n{response}", max_length=32),
        checkpoint=CheckpointConfig(every_steps=2, keep=10),
        global_batch_rows=8,
        num_steps=6,
        log_every_steps=1,
        eval_every_steps=4,
        eval_pairs=11,
    )
    loop.train(config)
    return config


@pytest.fixture
def copy(finished, tmp_path) -> TrainConfig:
    """The finished run in a folder that a test may damage."""
    workdir = tmp_path / "copy"
    shutil.copytree(finished.workdir, workdir)
    return dataclasses.replace(finished, workdir=str(workdir))


def rows(config: TrainConfig) -> list[dict]:
    """Metrics of the run, without those that measure time."""
    text = (pathlib.Path(config.workdir) / "metrics.jsonl").read_text()
    return [
        {
            name: value
            for name, value in json.loads(line).items()
            if "per_second" not in name and name != "data_wait"
        }
        for line in text.splitlines()
    ]


def final_state(config: TrainConfig) -> list[np.ndarray]:
    """Parameters and optimizer state of the newest checkpoint."""
    mesh = loop.sharding.make_mesh((1, 1, 1), jax.devices()[:1])
    optimizer = loop.optimizers.build(config.optimizer, 6)
    abstract = abstract_state(config.model, optimizer, mesh)
    restored = Checkpointer(config.workdir).restore(
        abstract.params, (abstract.step, abstract.opt_state)
    )
    return [np.asarray(leaf) for leaf in jax.tree.leaves((restored.params, restored.optimizer))]


def test_interrupted_and_resumed_equals_uninterrupted(finished, tmp_path, monkeypatch):
    config = dataclasses.replace(finished, workdir=str(tmp_path))

    class Killed(Exception):
        pass

    fetch = loop.Window.rows

    def killed_at_5(window, config):
        if window.steps[-1][0] == 5:
            raise Killed
        return fetch(window, config)

    monkeypatch.setattr(loop.Window, "rows", killed_at_5)
    with pytest.raises(Killed):
        loop.train(config)
    monkeypatch.undo()
    assert Checkpointer(config.workdir).latest_step() == 4
    loop.train(config)
    assert [row["step"] for row in rows(config)] == [1, 2, 3, 4, 5, 6]
    assert rows(config) == rows(finished)
    for ours, theirs in zip(final_state(config), final_state(finished), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_finished_run_does_nothing(copy):
    before = (pathlib.Path(copy.workdir) / "metrics.jsonl").read_bytes()
    assert loop.train(copy) == {}
    assert (pathlib.Path(copy.workdir) / "metrics.jsonl").read_bytes() == before


def test_a_run_evaluates_and_counts_drops(finished):
    found = rows(finished)
    assert [("eval_accuracy" in row) for row in found] == [False] * 3 + [True, False, True]
    assert found[-1]["data_pairs"] == 48
    assert found[-1]["data_too_long"] > 0


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
        loop.check_same_run(tiny_config(**changes), tiny_config(), "run")
    assert named in str(raised.value)
    loop.check_same_run(tiny_config(**changes, allow_config_change=True), tiny_config(), "run")
    free = tiny_config(model__remat="none", model__attention="blocked", model__attention_block=64)
    loop.check_same_run(free, tiny_config(), "run")


def test_a_broken_checkpoint_is_an_error_not_a_fresh_start(copy):
    parameters = pathlib.Path(copy.workdir) / "checkpoints" / "6" / "params"
    damaged = [file for file in parameters.rglob("*") if file.stat().st_size > 1000]
    assert damaged
    for file in damaged:
        if file.is_file():
            file.write_bytes(b"\0" * file.stat().st_size)
    with pytest.raises(UserError, match="checkpoints/6: cannot be restored"):
        loop.train(copy)


def test_a_missing_run_is_named(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        Checkpointer(str(tmp_path / "none"))


def test_a_loss_that_is_not_finite_stops_the_run(finished, tmp_path):
    optimizer = dataclasses.replace(finished.optimizer, learning_rate=1e30, warmup_fraction=0.0)
    config = dataclasses.replace(finished, optimizer=optimizer, workdir=str(tmp_path))
    with pytest.raises(UserError, match=r"not finite, in the steps \d to \d"):
        loop.train(config)


def test_a_tokenizer_larger_than_the_model_is_refused(finished, tmp_path):
    model = dataclasses.replace(finished.model, vocab_size=104)
    with pytest.raises(UserError, match=r"model\.vocab_size = 104"):
        loop.train(dataclasses.replace(finished, model=model, workdir=str(tmp_path)))


def closing_run(config: TrainConfig) -> loop.Run:
    run = loop.Run(config)
    run.close()
    return run


def test_epochs_become_steps(finished, tmp_path):
    """By what a batch takes: 6 of the 40 pairs are dropped, and 34 make 4 steps of 8."""
    config = dataclasses.replace(finished, workdir=str(tmp_path), num_steps=None)
    assert closing_run(config).num_steps == 4
    assert closing_run(dataclasses.replace(config, num_epochs=2.0)).num_steps == 8
    with pytest.raises(UserError, match="global_batch_rows = 64: must not take more pairs"):
        loop.Run(dataclasses.replace(config, global_batch_rows=64))


def test_measuring_takes_nothing_from_the_run(finished, tmp_path):
    """A run that counts its steps first trains on the same pairs."""
    config = dataclasses.replace(finished, workdir=str(tmp_path), num_steps=None, num_epochs=1.5)
    run = closing_run(config)
    assert run.num_steps == 6
    assert run.batches.counts["records"] == 0
    loop.train(config)
    assert rows(config) == rows(finished)


@pytest.mark.parametrize("layout", ["packed", "shared"])
def test_a_packed_run_resumes_to_the_bit(finished, tmp_path, layout):
    data = dataclasses.replace(finished.data, layout=layout, row_length=64, num_streams=2)
    whole = dataclasses.replace(finished, data=data, workdir=str(tmp_path / "whole"))
    loop.train(whole)
    found = rows(whole)
    assert found[-1]["data_pairs"] > 8 * 6
    assert found[-1]["fill"] > 0.5
    resumed = dataclasses.replace(whole, workdir=str(tmp_path / "resumed"))
    shutil.copytree(whole.workdir, resumed.workdir)
    for step in (4, 6):
        shutil.rmtree(pathlib.Path(resumed.workdir) / "checkpoints" / str(step))
    loop.train(resumed)
    assert rows(resumed) == found
    for ours, theirs in zip(final_state(resumed), final_state(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)
