"""Settings that a half-done output was begun with, and locks that end with their process."""

import json
import multiprocessing
import threading
import time

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.files import resume
from tests.processes import LIMIT_SECONDS


def test_the_first_to_come_writes_the_settings_and_equal_ones_pass(tmp_path):
    resume.claim(tmp_path / "out", {"a": 1, "b": {"c": (1, 2)}}, "x")
    assert json.loads((tmp_path / "out/settings.json").read_text()) == {"a": 1, "b": {"c": [1, 2]}}
    resume.claim(tmp_path / "out", {"b": {"c": [1, 2]}, "a": 1}, "x")


def test_the_difference_is_shown_and_nothing_is_changed(tmp_path):
    resume.claim(tmp_path, {"a": {"b": 1, "gone": ""}, "same": 3}, "x")
    with pytest.raises(UserError) as refused:
        resume.claim(tmp_path, {"a": {"b": 2, "new": [4]}, "same": 3}, "give another --output")
    assert str(refused.value) == (
        f"{tmp_path}: was begun with other settings: a.b was 1, is 2; a.gone was '', is absent; "
        "a.new was absent, is [4]. Remedy: give another --output."
    )
    resume.claim(tmp_path, {"a": {"b": 1, "gone": ""}, "same": 3}, "x")


def hold_forever(path, held):
    with resume.hold(path):
        held.set()
        time.sleep(LIMIT_SECONDS)


def test_a_lock_keeps_others_out_until_its_process_dies(tmp_path, capfd):
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    path = tmp_path / "folder" / ".lock"
    owner = context.Process(target=hold_forever, args=(path, held))
    owner.start()
    assert held.wait(LIMIT_SECONDS)
    started = time.monotonic()
    threading.Timer(3.0, owner.kill).start()
    with resume.hold(path):
        assert time.monotonic() - started > 2.5
    owner.join()
    assert "waiting for the process that works on" in capfd.readouterr().err
