from __future__ import annotations

import pathlib
import signal
import subprocess
import sys
import time

import pytest

from codepmp_jax.cli.exit_codes import MISTAKE, RESUME
from tests.e2e.launching import command

# Ends with the statuses named in a file, one after the other; a negative one is a signal to itself.
CHILD = """
import os, pathlib, sys
path = pathlib.Path(sys.argv[1])
first, *rest = path.read_text().split()
path.write_text(" ".join(rest))
if int(first) < 0:
    os.kill(os.getpid(), -int(first))
sys.exit(int(first))
"""


def supervise(*options: object, child: list[str]) -> list[str]:
    return command("supervise.py", *options, "--", *child)


def statuses(tmp_path: pathlib.Path, *wanted: int) -> list[str]:
    """A command that ends with these statuses in turn."""
    path = tmp_path / "statuses"
    path.write_text(" ".join(map(str, wanted)))
    return [sys.executable, "-c", CHILD, str(path)]


@pytest.mark.parametrize(
    ("wanted", "ended", "left"),
    [
        ((RESUME, RESUME, RESUME, 0, 5), 0, "5"),
        ((1, -9, 0), 0, ""),
        ((1, RESUME, 1, 1, 0), 0, ""),
        ((1, 1, 70, 0), 70, "0"),
        ((1, 1, -9, 0), 137, "0"),
        ((MISTAKE, 0), MISTAKE, "0"),
    ],
)
def test_a_command_is_started_again_until_it_is_done(tmp_path, wanted, ended, left):
    """Crashes in a row up to two, a stop that asks to be resumed without bound, a mistake never."""
    child = statuses(tmp_path, *wanted)
    options = ("--max-crashes", 2, "--backoff-seconds", 0.01)
    done = subprocess.run(supervise(*options, child=child), capture_output=True, text=True)
    assert done.returncode == ended, done.stderr
    assert (tmp_path / "statuses").read_text() == left


def test_sigterm_goes_on_to_the_command_and_is_the_end(tmp_path):
    ready = tmp_path / "ready"
    child = (
        "import pathlib, signal, sys, time\n"
        f"signal.signal(signal.SIGTERM, lambda *_: sys.exit({RESUME}))\n"
        f"pathlib.Path({str(ready)!r}).touch()\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen(supervise(child=[sys.executable, "-c", child]))
    while not ready.exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == RESUME


def test_sigterm_ends_the_wait_after_a_crash(tmp_path):
    child = statuses(tmp_path, 1, 0)
    process = subprocess.Popen(
        supervise("--backoff-seconds", 60, child=child), stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    with process.stderr:
        assert "again in 60 s" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == RESUME


@pytest.mark.parametrize("child", [[], ["no-such-command"]], ids=str)
def test_a_command_that_is_none_is_a_mistake(child):
    done = subprocess.run(supervise(child=child), capture_output=True, text=True)
    assert done.returncode == MISTAKE
    assert done.stderr.startswith("error: ")
