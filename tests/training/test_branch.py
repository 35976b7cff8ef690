"""Decay branches: each equals the end of the WSD run that had decayed there, whatever happens on the way."""

from __future__ import annotations

import dataclasses
import math
import pathlib
import shutil
from typing import Any

import jax
import numpy as np
import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import CheckpointConfig, OptimizerConfig, TrainConfig
from codepmp_jax.files import storage
from codepmp_jax.files.lock import Lock
from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.records.shards import ShardedDataset, write_manifest, write_split
from codepmp_jax.text.tokenizer_files import EMBEDDED
from codepmp_jax.training import loop
from codepmp_jax.training.branch import warmup_of
from tests.conversion.runs import write_run
from tests.training.runs import final_state, rows, train_until
from tests.training.test_identity import notes_of

pytestmark = pytest.mark.usefixtures("compiled_once")

# RUN: two steps of warmup, 13 stable ones, and the last fourth of its 20 steps, which decays.
WARMUP, TOTAL, STABLE_END = 2, 20, 15
STEP = 6
# The run that decays after STEP has 8 steps: 8 - ceil(8 / 4) = 6.
PLANNED = 8


def change(config: TrainConfig, **changes: Any) -> TrainConfig:
    """The config with settings by path, whose dots are written `__`."""
    for path, value in changes.items():
        section, _, name = path.rpartition("__")
        if section:
            part: Any = dataclasses.replace(getattr(config, section), **{name: value})
            config = dataclasses.replace(config, **{section: part})
        else:
            config = dataclasses.replace(config, **{name: value})
    return config


@pytest.fixture(scope="module")
def wsd(finished, tmp_path_factory) -> TrainConfig:
    """RUN, on eight devices, with checkpoints of all its steps but some."""
    assert len(jax.devices()) == 8
    config = change(
        finished,
        workdir=str(tmp_path_factory.mktemp("wsd")),
        optimizer=OptimizerConfig(
            learning_rate=1e-2, schedule="wsd", warmup_fraction=0.1, decay_fraction=0.25
        ),
        checkpoint=CheckpointConfig(every_steps=2, keep=20, keep_spaced_from=1),
        num_steps=TOTAL,
    )
    loop.train(config)
    return config


@pytest.fixture(scope="module")
def planned(wsd, tmp_path_factory) -> TrainConfig:
    """The run that had been planned to decay after STEP, with RUN's warmup."""
    config = change(
        wsd,
        workdir=str(tmp_path_factory.mktemp("planned")),
        optimizer__warmup_steps=WARMUP,
        num_steps=PLANNED,
    )
    loop.train(config)
    return config


def branch(wsd: TrainConfig, workdir: pathlib.Path, **changes: Any) -> TrainConfig:
    """The branch of RUN@STEP with RUN's settings."""
    source = f"{wsd.workdir}@{STEP}"
    config = change(wsd, workdir=str(workdir), num_steps=None, decay_from=source)
    return change(config, **changes)


def assert_same(found: TrainConfig, expected: TrainConfig) -> None:
    """The same rows after STEP and the same state at the end, to the bit."""
    assert rows(found) == [row for row in rows(expected) if row["step"] > STEP]
    for ours, theirs in zip(final_state(found), final_state(expected), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def content(workdir: str) -> dict[str, tuple[bytes, int]]:
    """Bytes and time of every file but the lock, which the test writes."""
    root = pathlib.Path(workdir)
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


@pytest.fixture
def pair_ids(monkeypatch) -> dict[str, dict[int, list[str]]]:
    """Workdir -> step -> ids of the pairs that are trained on, from here on."""
    seen: dict[str, dict[int, list[str]]] = {}
    rows_of = loop.Window.rows

    def spy(window, config, *values):
        for step, _, fetched in window.steps:
            seen.setdefault(config.workdir, {})[step] = fetched.record_ids
        return rows_of(window, config, *values)

    monkeypatch.setattr(loop.Window, "rows", spy)
    return seen


def test_a_branch_equals_the_run_that_had_decayed_there(wsd, planned, tmp_path, pair_ids):
    """RUN is still training, and not touched."""
    before = content(wsd.workdir)
    lock = Lock(pathlib.Path(wsd.workdir) / ".lock", "wait")
    try:
        config = branch(wsd, tmp_path / "branch")
        loop.train(config)
    finally:
        lock.release()
    assert [row["step"] for row in rows(config)] == [7, 8]
    assert_same(config, planned)
    assert content(wsd.workdir) == before
    # The pairs are those of RUN and of the planned run.
    again = change(planned, workdir=str(tmp_path / "again"))
    loop.train(again)
    assert pair_ids[config.workdir] == {
        step: pair_ids[again.workdir][step] for step in (STEP + 1, PLANNED)
    }
    assert rows(config)[-1]["data_pairs"] == 8 * PLANNED
    noted = notes_of(config)
    assert f"changed at step 6: decay_from: None -> {config.decay_from!r}" in noted
    assert "changed at step 6: num_steps: 20 -> 8" in noted
    assert "changed at step 6: optimizer.decay_steps: None -> 2" in noted


def test_a_branch_resumes_itself(wsd, tmp_path):
    """Before its first own checkpoint from RUN, and after it without RUN."""
    run = change(wsd, workdir=str(tmp_path / "run"))
    shutil.copytree(wsd.workdir, run.workdir)
    whole = branch(run, tmp_path / "whole", optimizer__decay_steps=5)
    loop.train(whole)
    assert [row["step"] for row in rows(whole)] == [7, 8, 9, 10, 11]
    config = change(whole, workdir=str(tmp_path / "branch"))
    train_until(config, 8)
    assert [row["step"] for row in rows(config)] == [7]
    train_until(config, 10)
    assert (tmp_path / "branch" / "checkpoints" / "8").is_dir()
    pathlib.Path(run.workdir).rename(tmp_path / "gone")
    with pytest.raises(UserError, match="no such folder"):
        loop.train(change(config, workdir=str(tmp_path / "new")))
    loop.train(config)
    assert_same(config, whole)
    assert loop.train(config) == {}
    # The settings that it saved say it all.
    settings = [f"{config.workdir}/config.json", f"{whole.workdir}/config.json"]
    saved = [
        pathlib.Path(path).read_text().replace(each.workdir, "")
        for path, each in zip(settings, (config, whole), strict=True)
    ]
    assert saved[0] == saved[1]


def test_a_run_in_a_workdir_is_not_resumed_as_another(wsd, planned, tmp_path):
    config = branch(wsd, tmp_path / "branch")
    loop.train(config)
    for decay_from in (None, f"{wsd.workdir}@8", f"{planned.workdir}@6"):
        with pytest.raises(UserError, match=r"decay_from = .*which began with --decay-from .*@6\."):
            loop.train(change(config, decay_from=decay_from))
    with pytest.raises(UserError, match="which is no decay branch"):
        loop.train(branch(wsd, pathlib.Path(planned.workdir)))
    assert loop.train(change(config, decay_from=f"{wsd.workdir}/@0{STEP}")) == {}


def test_a_branch_from_a_bucket(wsd, planned, tmp_path, bucket):
    for name in storage.files(wsd.workdir):
        if not name.startswith(("checkpoints/", "tokenizer/")) or f"/{STEP}/" in f"/{name}":
            bucket.put(f"wsd/{name}", (pathlib.Path(wsd.workdir) / name).read_bytes())
    before = {*bucket.names()}
    config = branch(wsd, tmp_path / "branch", decay_from=f"gs://code/wsd/@{STEP}")
    loop.train(config)
    assert_same(config, planned)
    assert {*bucket.names()} == before


def test_a_branch_of_a_run_that_counts_its_steps(wsd, tmp_path):
    """Its warmup is a share of the steps in its epochs. The tokenizer's folder is gone: RUN has its own."""
    shutil.copytree(EMBEDDED, tmp_path / "tokenizer")
    run = change(
        wsd,
        workdir=str(tmp_path / "run"),
        num_steps=None,
        num_epochs=5.0,
        eval_pairs=0,
        data__tokenizer=str(tmp_path / "tokenizer"),
    )
    loop.train(run)
    shutil.rmtree(tmp_path / "tokenizer")
    total = rows(run)[-1]["step"]
    config = branch(run, tmp_path / "branch")
    loop.train(config)
    assert [row["step"] for row in rows(config)] == [7, 8]
    assert f"optimizer.warmup_steps: None -> {math.ceil(0.1 * total)}" in "\n".join(
        notes_of(config)
    )
    late = branch(run, tmp_path / "late", decay_from=f"{run.workdir}@{total}")
    with pytest.raises(UserError, match=rf"begins after step {total - math.ceil(total / 4)}\."):
        loop.train(late)


def test_where_a_branch_can_start(wsd):
    """From the last step of the warmup to that before the decay."""
    for step in (WARMUP, WARMUP + 1, STABLE_END - 1, STABLE_END):
        config = change(wsd, decay_from=f"run@{step}")
        assert warmup_of(config, wsd, TOTAL) == WARMUP
    for step in (0, WARMUP - 1, STABLE_END + 1, TOTAL, TOTAL + 1):
        config = change(wsd, decay_from=f"run@{step}")
        with pytest.raises(
            UserError, match="ends after step 2, and its decay begins after step 15"
        ):
            warmup_of(config, wsd, TOTAL)


MISTAKES = [
    (
        {"decay_from": "@9"},
        r"checkpoints/9: there is no such checkpoint; there are: 1, 2, 3, 4, 5, 6, 7, 8, 10,",
    ),
    ({"decay_from": "@1"}, r"the warmup of that run ends after step 2, and its decay begins after"),
    ({"decay_from": "@16"}, r"its decay begins after step 15\. Remedy: give the step of a check"),
    ({"num_steps": 30}, r"num_steps = 30: must be 8 in a decay branch.* decays for 2 steps\. Rem"),
    ({"num_epochs": 2.0}, r"num_epochs = 2\.0: must be 1\.0 in a decay branch"),
    ({"optimizer__warmup_fraction": 0.2}, r"optimizer\.warmup_fraction = 0\.2: must be 0\.1"),
    ({"optimizer__warmup_steps": 1}, r"optimizer\.warmup_steps = 1: must be 2 in a decay branch"),
    ({"optimizer__schedule": "cosine"}, r"optimizer\.schedule = 'cosine': must be 'wsd'"),
    ({"optimizer__decay_fraction": 0.0}, r"must leave steps to decay after step 6\. Remedy: give"),
    ({"model__init_from": "a"}, r"model\.init_from = 'a': must not be given with decay_from"),
    ({"model__base": "a", "init": "base"}, r"model\.base = 'a': must not be given with decay_from"),
    ({"model__mlp_dim": 64}, r"model\.mlp_dim = 64 .*Remedy: use the old settings\."),
    ({"seed": 1}, r"seed = 1 .*Remedy: use the old settings or --allow-config-change\."),
]


@pytest.mark.parametrize(("changes", "said"), MISTAKES)
def test_mistakes_are_refused_before_a_step(wsd, tmp_path, changes, said):
    if "decay_from" in changes:
        changes = {"decay_from": wsd.workdir + changes["decay_from"]}
    config = branch(wsd, tmp_path / "branch", **changes)
    with pytest.raises(UserError, match=said):
        loop.train(config)
    assert not (tmp_path / "branch" / "metrics.jsonl").exists()


@pytest.mark.parametrize("written", ["{}", "{}/", "{}/../{}"])
def test_a_branch_has_a_workdir_of_its_own(wsd, written):
    run = pathlib.Path(wsd.workdir)
    config = change(branch(wsd, run), workdir=written.format(run, run.name))
    with pytest.raises(UserError, match="must be of another run than that of the workdir"):
        loop.train(config)


def test_runs_that_have_no_stable_phase_or_no_optimizer(finished, wsd, tmp_path):
    cosine = change(finished, workdir=str(tmp_path / "new"), num_steps=None)
    with pytest.raises(UserError, match="that run has the schedule cosine"):
        loop.train(change(cosine, decay_from=f"{finished.workdir}@4"))
    converted = change(wsd, workdir=str(tmp_path / "converted"), model__vocab_size=4096)
    write_run(converted)
    config = change(branch(converted, tmp_path / "other"), decay_from=f"{converted.workdir}@3")
    with pytest.raises(UserError, match=r"decay_from = .*must not be a converted run"):
        loop.train(config)
    # A branch has none.
    config = branch(wsd, tmp_path / "branch")
    loop.train(config)
    twig = branch(config, tmp_path / "twig", decay_from=f"{config.workdir}@{PLANNED}")
    with pytest.raises(UserError, match="its decay begins after step 6"):
        loop.train(change(twig, optimizer__decay_steps=None))


def test_other_pairs_are_refused(wsd, tmp_path):
    train = list(ShardedDataset(wsd.data.input, PreferencePair, "train"))
    folder = tmp_path / "pairs"
    splits = {
        "train": write_split(folder, "train", train[:-1], 2),
        "heldout": write_split(folder, "heldout", train[-1:], 1),
    }
    write_manifest(folder, PreferencePair, splits, {})
    config = branch(wsd, tmp_path / "branch", data__input=str(folder), eval_pairs=0)
    with pytest.raises(UserError, match=r"that data or --allow-config-change"):
        loop.train(config)
