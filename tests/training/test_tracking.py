"""Tracked runs: what Weights & Biases and trackio have of a run that is interrupted and resumes, offline."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import sqlite3
import struct
import sys
from typing import Any, ClassVar

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.training import tracking
from codepmp_jax.training.tracking import tracked
from tests import processes
from tests.e2e.launching import environment
from tests.training.reference import tiny_config

ROOT = pathlib.Path(__file__).parents[2]


def write_rows(workdir, steps):
    workdir.mkdir(exist_ok=True)
    lines = [json.dumps({"step": step, "loss": 1 / step, "eval_loss": None}) for step in steps]
    (workdir / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))


class Recorded:
    """A tracker that keeps what it gets."""

    runs: ClassVar[list[Any]] = []
    fails_at: ClassVar[int | None] = None

    def __init__(self, run_id, workdir, project, settings):
        self.run_id, self.settings, self.rows, self.is_closed = run_id, settings, [], False
        Recorded.runs.append(self)

    def log(self, step, values):
        if step == Recorded.fails_at:
            raise ConnectionError("no route")
        self.rows.append((step, dict(values)))

    def close(self):
        self.is_closed = True


@pytest.fixture
def runs(monkeypatch):
    """The tracked runs, in the order of their starts."""
    monkeypatch.setattr(Recorded, "runs", [])
    monkeypatch.setattr(Recorded, "fails_at", None)
    monkeypatch.setitem(tracking.TRACKERS, "wandb", Recorded)
    monkeypatch.setattr(tracking, "_SECONDS", 0.01)
    return Recorded.runs


@pytest.fixture
def config(tmp_path):
    return dataclasses.replace(tiny_config(workdir=str(tmp_path / "run")), track="wandb")


def test_a_resumed_run_goes_on_in_the_same_tracked_run(tmp_path, runs, config):
    workdir = tmp_path / "run"
    with tracked(config):
        write_rows(workdir, range(1, 5))
    # As a start does that goes on from step 2: later rows are dropped, and their steps done again.
    with tracked(config):
        write_rows(workdir, range(1, 3))
        write_rows(workdir, range(1, 7))
        with (workdir / "metrics.jsonl").open("a") as file:
            file.write('{"step": 7, "lo')
    first, second = runs
    assert first.run_id == second.run_id
    assert [step for step, _ in first.rows] == [1, 2, 3, 4]
    assert second.rows == [(5, {"loss": 1 / 5}), (6, {"loss": 1 / 6})]
    assert first.is_closed
    assert second.is_closed
    assert first.settings["seed"] == config.seed
    assert first.settings["git_commit"]
    state = json.loads((workdir / tracking.FILE).read_text())
    assert state == {"wandb": {"id": first.run_id, "step": 6}}


def test_rows_are_passed_on_while_the_run_goes_on(tmp_path, runs, config):
    with tracked(config):
        for step in range(1, 4):
            write_rows(tmp_path / "run", range(1, step + 1))
            while len(runs[0].rows) < step:
                pass
    assert [step for step, _ in runs[0].rows] == [1, 2, 3]


def test_a_tracker_that_fails_does_not_stop_the_run(tmp_path, runs, config, caplog):
    Recorded.fails_at = 2
    tracking.logger.propagate = True
    with tracked(config):
        write_rows(tmp_path / "run", range(1, 4))
    assert [step for step, _ in runs[0].rows] == [1]
    assert runs[0].is_closed
    assert "no longer tracked: no route" in caplog.text
    Recorded.fails_at = None
    with tracked(config):
        pass
    assert [step for step, _ in runs[1].rows] == [2, 3]


def test_a_state_that_cannot_be_read_is_put_aside(tmp_path, runs, config):
    write_rows(tmp_path / "run", range(1, 3))
    (tmp_path / "run" / tracking.FILE).write_text("[")
    with tracked(config):
        pass
    assert [step for step, _ in runs[0].rows] == [1, 2]
    assert (tmp_path / "run" / f"{tracking.FILE}.damaged").exists()


def test_runs_are_not_tracked_unless_asked(runs, config):
    with tracked(dataclasses.replace(config, track=None)):
        pass
    assert runs == []


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
def test_wandb_offline_has_settings_and_steps(tmp_path, config, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    write_rows(tmp_path / "run", range(1, 4))
    with tracked(config):
        pass
    write_rows(tmp_path / "run", range(1, 6))
    with tracked(config):
        pass
    run_id = json.loads((tmp_path / "run" / tracking.FILE).read_text())["wandb"]["id"]
    files = sorted((tmp_path / "run" / "wandb").glob(f"offline-run-*/run-{run_id}.wandb"))
    assert len(files) == 2
    found = [history_of(path) for path in files]
    assert [[row["step"] for row in rows] for rows in found] == [[1, 2, 3], [4, 5]]
    assert found[1][-1]["loss"] == 1 / 5
    assert wandb.run is None


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
def test_trackio_on_this_machine_has_settings_and_steps(tmp_path, config):
    """In a process of its own: trackio reads where to keep its files when it is imported."""
    pytest.importorskip("trackio")
    script = (
        "import pathlib, sys\n"
        "from tests.training.test_tracking import write_rows\n"
        "from tests.training.reference import tiny_config\n"
        "import dataclasses\n"
        "from codepmp_jax.training.tracking import tracked\n"
        "workdir = pathlib.Path(sys.argv[1])\n"
        "config = dataclasses.replace(tiny_config(workdir=str(workdir)), track='trackio', track_project='tests')\n"
        "write_rows(workdir, range(1, int(sys.argv[2])))\n"
        "with tracked(config):\n    pass\n"
    )
    variables = {"TRACKIO_DIR": str(tmp_path / "trackio"), "HF_HUB_OFFLINE": "1"}
    for end in (4, 6):
        command = [sys.executable, "-c", script, tmp_path / "run", end]
        done = processes.run(command, environment() | variables, ROOT)
        assert done.returncode == 0, done.stderr
    (name,) = (tmp_path / "trackio").glob("tests*.db")
    run_id = json.loads((tmp_path / "run" / tracking.FILE).read_text())["trackio"]["id"]
    with contextlib.closing(sqlite3.connect(name)) as store:
        rows = store.execute("SELECT run_name, step, metrics FROM metrics ORDER BY step").fetchall()
        (settings,) = store.execute("SELECT config FROM configs").fetchall()
    assert [(name, step) for name, step, _ in rows] == [(f"run-{run_id}", n) for n in range(1, 6)]
    assert json.loads(rows[-1][2]) == {"loss": 1 / 5}
    assert json.loads(settings[0])["seed"] == config.seed


def history_of(path):
    """The logged rows in a file of W&B's offline mode: records of a LevelDB log, in blocks of 32 KiB."""
    from wandb.proto import wandb_internal_pb2

    content = path.read_bytes()
    assert content.startswith(b":W&B")
    place, parts, rows = 7, b"", []
    while place + 7 <= len(content):
        left = 2**15 - place % 2**15
        if left < 7:
            place += left
            continue
        size, kind = struct.unpack_from("<HB", content, place + 4)
        parts += content[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()  # pyright: ignore[reportAttributeAccessIssue]
            record.ParseFromString(parts)
            parts = b""
            items = record.history.item
            if items:
                names = [item.key or ".".join(item.nested_key) for item in items]
                values = [json.loads(item.value_json) for item in items]
                rows.append(dict(zip(names, values, strict=True)))
    return rows


def test_a_tracker_that_refuses_is_said_at_the_start(tmp_path, config, monkeypatch):
    wandb = pytest.importorskip("wandb")

    def init(**_):
        raise wandb.errors.UsageError("No API key configured.")

    monkeypatch.setattr(wandb, "init", init)
    with (
        pytest.raises(UserError, match=r"does not take the run \(UsageError: No API key"),
        tracked(config),
    ):
        pass
