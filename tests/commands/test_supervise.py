from __future__ import annotations

import pathlib
import signal
import sys

import pytest

from codepmp_jax.cli.exit_codes import MISTAKE, RESUME, STORE, WORKER_LOST
from tests.e2e.launching import command
from tests.processes import Process, run

# What SIGTERM must cut short, and within which time it does so also on a busy machine.
WAIT_SECONDS, STOP_SECONDS = 300, 120
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
        ((STORE, WORKER_LOST, 0), 0, ""),
        ((MISTAKE, 0), MISTAKE, "0"),
    ],
)
def test_a_command_is_started_again_until_it_is_done(tmp_path, wanted, ended, left):
    """Crashes in a row up to two, a stop that asks to be resumed without bound, a mistake never."""
    child = statuses(tmp_path, *wanted)
    options = ("--max-crashes", 2, "--backoff-seconds", 0.01)
    done = run(supervise(*options, child=child))
    assert done.returncode == ended, done.stderr
    assert (tmp_path / "statuses").read_text() == left


def test_sigterm_goes_on_to_the_command_and_is_the_end(tmp_path):
    ready = tmp_path / "ready"
    child = (
        "import pathlib, signal, sys, time\n"
        f"signal.signal(signal.SIGTERM, lambda *_: sys.exit({RESUME}))\n"
        f"pathlib.Path({str(ready)!r}).touch()\n"
        f"time.sleep({WAIT_SECONDS})\n"
    )
    with Process(supervise(child=[sys.executable, "-c", child])) as process:
        process.until(ready.exists)
        process.send(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == RESUME


def test_sigterm_ends_the_wait_after_a_crash(tmp_path):
    child = statuses(tmp_path, 1, 0)
    command = supervise("--backoff-seconds", WAIT_SECONDS, child=child)
    with Process(command) as process:
        process.until(lambda: f"again in {WAIT_SECONDS} s" in process.stderr)
        process.send(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == RESUME


@pytest.mark.parametrize("child", [[], ["no-such-command"]], ids=str)
def test_a_command_that_is_none_is_a_mistake(child):
    done = run(supervise(child=child))
    assert done.returncode == MISTAKE
    assert done.stderr.startswith("error: ")
