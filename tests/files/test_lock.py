from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.files import lock
from codepmp_jax.files.lock import Lock


@pytest.fixture(params=["disk", "bucket"])
def path(request, tmp_path, monkeypatch) -> str:
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(lock, "STALE_SECONDS", 1.0)
    if request.param == "disk":
        return str(tmp_path / "run" / ".lock")
    request.getfixturevalue("bucket")
    return "gs://code/run/.lock"


def test_one_process_holds_it(path):
    first = Lock(path, "stop that run")
    held = rf"\.lock: is held by process {os.getpid()} on .*Remedy: stop that run\."
    with pytest.raises(UserError, match=held):
        Lock(path, "stop that run")
    first.check()
    first.release()
    second = Lock(path, "")
    second.release()


def test_a_killed_process_holds_it_no_longer(path, monkeypatch):
    """At once on this machine, long before the lock is stale: its owner is seen to have ended."""
    monkeypatch.setattr(lock, "STALE_SECONDS", 300.0)
    command = (
        f"import os; from codepmp_jax.files.lock import Lock; a = Lock({path!r}, ''); os._exit(9)"
    )
    process = subprocess.run([sys.executable, "-c", command])
    assert process.returncode == 9
    began = time.monotonic()
    Lock(path, "").release()
    assert time.monotonic() - began < lock.STALE_SECONDS / 2


@pytest.fixture
def owned_elsewhere(bucket) -> str:
    bucket.put(
        "run/.lock", json.dumps({"host": "tpu-7", "boot": "b", "pid": 3, "started": "1"}).encode()
    )
    return "gs://code/run/.lock"


def test_a_machine_without_a_sign_of_life_loses_it(owned_elsewhere, monkeypatch, caplog):
    monkeypatch.setattr(lock, "STALE_SECONDS", 0.5)
    Lock(owned_elsewhere, "").release()
    assert "is held by process 3 on tpu-7; taken over if" in caplog.text


def test_a_machine_with_a_sign_of_life_keeps_it(owned_elsewhere, bucket, monkeypatch):
    owner = bucket.get("run/.lock")
    beat = threading.Timer(1.0, bucket.put, ("run/.lock", owner))
    beat.start()
    with pytest.raises(UserError, match="is held by process 3 on tpu-7"):
        Lock(owned_elsewhere, "")
    beat.join()


def test_who_lost_it_is_told(bucket, proxy, monkeypatch):
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.1)
    first = Lock("gs://code/run/.lock", "stop one")
    first.check()
    other = {"host": "tpu-7", "boot": "b", "pid": 3, "started": "1"}
    bucket.put("run/.lock", json.dumps(other).encode())
    deadline = time.monotonic() + 300
    while first._object.taken_by is None and time.monotonic() < deadline:
        time.sleep(0.05)
    with pytest.raises(UserError, match="is held by process 3 on tpu-7"):
        first.check()
    first.release()
    assert json.loads(bucket.get("run/.lock")) == other


def test_a_place_that_cannot_be_written_is_named(tmp_path, bucket):
    (tmp_path / "file").write_text("")
    for path in (str(tmp_path / "file" / ".lock"), "gs://nobody/.lock"):
        with pytest.raises(UserError, match=rf"{path}: cannot be written"):
            Lock(path, "")
