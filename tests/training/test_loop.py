from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import itertools
import json
import math
import os
import pathlib
import shutil
import signal
import time
from collections.abc import Callable

import jax
import numpy as np
import pytest

from codepmp_jax.checkpoint.checkpointer import Checkpointer
from codepmp_jax.cli.errors import UserError
from codepmp_jax.cli.exit_codes import RESUME
from codepmp_jax.config import CheckpointConfig, ProfileConfig, TrainConfig
from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.records.shards import ShardedDataset, write_manifest, write_split
from codepmp_jax.training import loop
from codepmp_jax.training.goodput import PHASES
from codepmp_jax.training.preemption import Preemption
from codepmp_jax.training.step import jit_train_step
from tests.training.runs import assert_close, final_state, rows, train_until

pytestmark = pytest.mark.usefixtures("compiled_once")


def test_interrupted_and_resumed_equals_uninterrupted(finished, tmp_path):
    config = dataclasses.replace(finished, workdir=str(tmp_path))
    train_until(config, 5)
    assert Checkpointer(config.workdir).latest_step() == 4
    loop.train(config)
    assert [row["step"] for row in rows(config)] == [1, 2, 3, 4, 5, 6]
    assert rows(config) == rows(finished)
    for ours, theirs in zip(final_state(config), final_state(finished), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def assert_same(config: TrainConfig, expected: TrainConfig) -> None:
    """The same rows, each step once, and the same state, to the bit."""
    assert [row["step"] for row in rows(config)] == [1, 2, 3, 4, 5, 6]
    assert rows(config) == rows(expected)
    for ours, theirs in zip(final_state(config), final_state(expected), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_run_that_is_asked_to_stop_goes_on_as_if_it_had_not_been(finished, tmp_path, monkeypatch):
    """After a step, in an evaluation, again in the same one, and after the last step: by SIGTERM."""
    config = dataclasses.replace(finished, workdir=str(tmp_path), log_every_steps=3)
    noticed = Preemption.noticed
    steps, place = [], 0

    def stopped(self):
        if self._calls + 1 == place:
            os.kill(os.getpid(), signal.SIGTERM)
        return noticed(self)

    monkeypatch.setattr(Preemption, "noticed", stopped)
    for place in (3, 4, 2, 5):  # noqa: B007
        with pytest.raises(SystemExit) as exited:
            loop.train(config)
        assert exited.value.code == RESUME
        steps.append(Checkpointer(config.workdir).latest_step())
    monkeypatch.undo()
    assert steps == [2, 4, 4, 6]
    assert "eval_accuracy" not in rows(config)[-1]
    last = loop.train(config)
    assert last["eval_accuracy"] == rows(finished)[-1]["eval_accuracy"]
    assert_same(config, finished)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


class Device:
    """Steps that take a moment each: a thread whose loss is done when the real one is and the moment has passed."""

    def __init__(self, began: Callable[[int], object]):
        """`began` is called with the number of each step as it begins."""
        self._thread = concurrent.futures.ThreadPoolExecutor(1)
        self._began = began
        self._numbers = itertools.count(1)

    def jit_train_step(self, *values):
        train_step = jit_train_step(*values)

        def step(state, batch):
            state, metrics = train_step(state, batch)
            return state, metrics | {"loss": Late(self._thread.submit(self._run, metrics["loss"]))}

        return step

    def _run(self, loss: jax.Array) -> np.ndarray:
        self._began(next(self._numbers))
        time.sleep(0.02)
        return np.asarray(loss)


class Late:
    """An array that is still computed."""

    def __init__(self, result: concurrent.futures.Future[np.ndarray]):
        self._result = result

    def block_until_ready(self) -> Late:
        self._result.result()
        return self

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self._result.result()


def test_a_notice_is_heard_within_two_steps(finished, tmp_path, monkeypatch):
    """However rarely the run logs: SIGTERM in the midst of step 3, when step 4 is on its way."""

    def began(step: int) -> None:
        if step == 3:
            # In which the run could start all its other steps.
            time.sleep(2)
            os.kill(os.getpid(), signal.SIGTERM)

    config = dataclasses.replace(
        finished,
        workdir=str(tmp_path),
        num_steps=12,
        log_every_steps=100,
        eval_pairs=0,
        checkpoint=CheckpointConfig(every_steps=100),
    )
    monkeypatch.setattr(loop, "jit_train_step", Device(began).jit_train_step)
    with pytest.raises(SystemExit) as exited:
        loop.train(config)
    assert exited.value.code == RESUME
    assert Checkpointer(config.workdir).latest_step() == len(rows(config)) == 4


def test_the_log_of_a_step_is_written_while_the_next_one_runs(finished, tmp_path, monkeypatch):
    """But for that of steps after which the run evaluates or saves."""
    order, step_of, rows_of = [], loop._Loop._step, loop.Window.rows

    def step(self, number, batch):
        order.append(f"step {number}")
        return step_of(self, number, batch)

    def rows(self, *values):
        order.append(f"log of {self.steps[-1][0]}")
        return rows_of(self, *values)

    monkeypatch.setattr(loop._Loop, "_step", step)
    monkeypatch.setattr(loop.Window, "rows", rows)
    saving = CheckpointConfig(every_steps=4)
    loop.train(dataclasses.replace(finished, workdir=str(tmp_path), checkpoint=saving))
    assert order == [
        *("step 1", "step 2", "log of 1", "step 3", "log of 2", "step 4", "log of 3", "log of 4"),
        *("step 5", "step 6", "log of 5", "log of 6"),
    ]


def test_the_time_of_all_starts_is_accounted_for(finished, tmp_path, monkeypatch):
    """Also that of steps that a killed process had done beyond its checkpoint."""
    config = dataclasses.replace(finished, workdir=str(tmp_path), eval_every_steps=100)

    class Killed(Exception):
        pass

    def killed(self):
        raise Killed

    write = loop.MetricsWriter.write
    monkeypatch.setattr(
        loop.MetricsWriter,
        "write",
        lambda writer, row: write(writer, row) or (row["step"] == 5 and killed(writer)),
    )
    began = time.time()
    with pytest.raises(Killed):
        loop.train(config)
    monkeypatch.undo()
    loop.train(config)
    passed = time.time() - began
    kept = json.loads((tmp_path / "goodput.json").read_text())
    assert (kept["starts"], kept["lost_steps"]) == (2, 1)
    assert set(kept["seconds"]) == set(PHASES)
    assert sum(kept["seconds"].values()) == pytest.approx(passed, abs=0.5)
    assert all(kept["seconds"][phase] > 0 for phase in PHASES if phase != "idle")
    assert set(kept["step_seconds_at"]) == {"2", "4", "6"}


def test_fewer_devices_go_on_with_the_same_pairs(finished, tmp_path, monkeypatch):
    """Eight devices, then four, then one: the losses of one device but for the order of sums."""
    config = dataclasses.replace(finished, workdir=str(tmp_path), log_every_steps=1)
    devices = jax.devices()
    assert len(devices) == 8
    noticed = Preemption.noticed
    for number in (8, 4, 1):
        monkeypatch.setattr(jax, "devices", lambda number=number: devices[:number])
        monkeypatch.setattr(jax, "device_count", lambda number=number: number)
        monkeypatch.setattr(
            Preemption,
            "noticed",
            lambda self, number=number: noticed(self) or (number > 1 and self._calls == 3),
        )
        with pytest.raises(SystemExit) if number > 1 else contextlib.nullcontext():
            loop.train(config)
    for row, expected in zip(rows(config), rows(finished), strict=True):
        assert_close(row, expected)
    for ours, theirs in zip(final_state(config), final_state(finished), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_a_finished_run_does_nothing(copy):
    before = (pathlib.Path(copy.workdir) / "metrics.jsonl").read_bytes()
    assert loop.train(copy) == {}
    assert (pathlib.Path(copy.workdir) / "metrics.jsonl").read_bytes() == before


def test_a_run_evaluates_and_counts_drops(finished):
    found = rows(finished)
    assert [("eval_accuracy" in row) for row in found] == [False] * 3 + [True, False, True]
    assert found[-1]["data_pairs"] == 48
    assert found[-1]["data_too_long"] > 0


def test_a_broken_checkpoint_is_an_error_not_a_fresh_start(copy):
    parameters = pathlib.Path(copy.workdir) / "checkpoints" / "6" / "params"
    damaged = [file for file in parameters.rglob("*") if file.stat().st_size > 1000]
    assert damaged
    for file in damaged:
        if file.is_file():
            file.write_bytes(b"\0" * file.stat().st_size)
    with pytest.raises(UserError, match=r"checkpoints/6: params/\S+ is damaged"):
        loop.train(copy)


def test_a_missing_run_is_named(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        Checkpointer(str(tmp_path / "none"))


@pytest.fixture
def spoilt(finished, tmp_path) -> tuple[TrainConfig, str]:
    """A run to be, one of whose pairs has an infinite loss; and that pair's id."""
    pairs = list(ShardedDataset(finished.data.input, PreferencePair, "train"))
    spoilt = 12
    assert len(pairs[spoilt].rejected.split()) < 10
    pairs[spoilt] = dataclasses.replace(pairs[spoilt], margin=math.inf)
    folder = tmp_path / "pairs"
    heldout = list(ShardedDataset(finished.data.input, PreferencePair, "heldout"))
    splits = {
        "train": write_split(folder, "train", pairs, 2),
        "heldout": write_split(folder, "heldout", heldout, 1),
    }
    write_manifest(folder, PreferencePair, splits, {})
    data = dataclasses.replace(finished.data, input=str(folder), shuffle=False)
    config = dataclasses.replace(finished, data=data, workdir=str(tmp_path / "run"))
    return config, pairs[spoilt].pair_id


def bad_steps(config: TrainConfig) -> list[dict]:
    folder = pathlib.Path(config.workdir) / "bad_steps"
    return [json.loads(path.read_text()) for path in sorted(folder.iterdir())]


def test_a_loss_that_is_not_finite_stops_the_run_with_its_pairs(spoilt):
    config, pair_id = spoilt
    config = dataclasses.replace(config, log_every_steps=4)
    with pytest.raises(UserError, match=r"step 2: loss inf, .*not finite, in the steps 1 to 2"):
        loop.train(config)
    (bad,) = bad_steps(config)
    assert (bad["step"], bad["window"], bad["metrics"]["loss"]) == (2, [1, 2], "inf")
    assert pair_id in bad["pair_ids"]
    assert len(bad["pair_ids"]) == config.global_batch_rows
    assert Checkpointer(config.workdir).latest_step() is None


def test_bad_steps_are_skipped_up_to_a_bound(spoilt):
    """They are counted, also over a restart, and move neither parameters nor optimizer: 2 and, in the second
    epoch, 6."""
    config, pair_id = spoilt
    config = dataclasses.replace(config, on_bad_step="skip", max_bad_steps=1)
    with pytest.raises(UserError, match=r"bad step number 2, more than max_bad_steps \(1\)"):
        loop.train(config)
    assert Checkpointer(config.workdir).latest_step() == 4
    loop.train(dataclasses.replace(config, max_bad_steps=2))
    found = rows(config)
    assert [row["loss"] is None for row in found] == [False, True, False, False, False, True]
    assert [row["bad_steps"] for row in found] == [0, 1, 1, 1, 1, 2]
    assert found[1]["learning_rate"] == found[2]["learning_rate"]
    for bad in bad_steps(config):
        assert pair_id in bad["pair_ids"]


def test_parameters_that_are_not_finite_are_not_saved(finished, tmp_path):
    """A finite loss and gradient, whose update is too large."""
    optimizer = dataclasses.replace(
        finished.optimizer, learning_rate=3e38, warmup_fraction=0.0, weight_decay=100.0
    )
    config = dataclasses.replace(finished, optimizer=optimizer, workdir=str(tmp_path), num_steps=1)
    with pytest.raises(UserError, match="step 1: parameters and optimizer state"):
        loop.train(config)
    assert Checkpointer(config.workdir).latest_step() is None


def test_chosen_steps_are_traced(finished, tmp_path):
    profile = ProfileConfig("2:3")
    loop.train(dataclasses.replace(finished, profile=profile, num_steps=4, workdir=str(tmp_path)))
    (trace,) = (tmp_path / "profile").rglob("*.xplane.pb")
    assert trace.stat().st_size > 0


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
