from __future__ import annotations

import json
import threading
import time

import pytest
from etils import epath

from codepmp_jax.training import goodput
from codepmp_jax.training.goodput import Goodput


@pytest.fixture
def clock(monkeypatch):
    """Both clocks, moved by hand."""
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def pass_by(seconds: float) -> None:
        now[0] += seconds

    return pass_by


def test_steps_done_again_are_lost_and_killed_time_is_idle(tmp_path, clock):
    """Two starts, the first of which is killed after the checkpoint of step 4."""
    path = epath.Path(tmp_path / "goodput.json")
    first = Goodput(path)
    clock(2)
    first.lap("init")
    first.resume(0, 0)
    clock(8)
    first.lap("step")
    first.saved(4)
    clock(5)
    first.lap("step")
    first.write()
    first._background.wait()
    clock(3)
    second = Goodput(path)
    clock(1)
    second.lap("init")
    clock(1)
    second.lap("restore")
    second.resume(4, 3)
    clock(6)
    second.lap("step")
    second.saved(8)
    clock(2)
    second.close()
    kept = json.loads(path.read_text())
    seconds = {"init": 3, "restore": 1, "step": 14, "save": 2, "lost": 5, "idle": 3}
    assert {phase: n for phase, n in kept["seconds"].items() if n} == seconds
    assert sum(seconds.values()) == kept["updated"] - kept["begun"]
    assert (kept["starts"], kept["lost_steps"]) == (2, 3)
    assert kept["step_seconds_at"] == {"4": 8, "8": 14}
    assert second.share == 14 / 28
    assert "goodput 50.0 % of 28 s in 2 start(s), 3 step(s) done again" in second.summary()


def test_a_run_that_cannot_begin_leaves_nothing(tmp_path):
    path = epath.Path(tmp_path / "goodput.json")
    clock = Goodput(path)
    clock.lap("init")
    clock.close()
    assert not path.exists()


def test_it_is_written_now_and_then(tmp_path, clock, monkeypatch):
    written = []
    monkeypatch.setattr(goodput, "write_json", lambda path, value: written.append(path))
    run = Goodput(epath.Path(tmp_path / "goodput.json"))
    run.resume(0, 0)
    for _ in range(30):
        clock(1)
        run.lap("step")
        run.write_now_and_then()
        run._background.wait()
    assert len(written) == 2


def test_no_step_waits_for_it_and_a_slow_store_is_not_asked_twice(tmp_path, clock, monkeypatch):
    may_go, seconds = threading.Event(), []
    monkeypatch.setattr(
        goodput,
        "write_json",
        lambda path, kept: may_go.wait() and seconds.append(kept["seconds"]["step"]),
    )
    run = Goodput(epath.Path(tmp_path / "goodput.json"))
    run.resume(0, 0)
    for _ in range(60):
        clock(1)
        run.lap("step")
        run.write_now_and_then()
    may_go.set()
    run.close()
    assert seconds == [11, 60]
