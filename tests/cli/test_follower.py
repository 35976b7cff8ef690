"""A command that ends with the process that started it."""

import pathlib
import subprocess
import sys
import time

from codepmp_jax.cli.follower import follower
from tests.processes import GRACE_SECONDS, Process, is_alive

ROOT = pathlib.Path(__file__).parents[2]
STARTER = """\
import subprocess, sys
from codepmp_jax.cli.follower import follower
subprocess.run(follower([sys.executable, "-c", "print('up', flush=True); import time; time.sleep(600)"]))
"""


def test_it_ends_with_the_one_that_started_it():
    with Process([sys.executable, "-c", STARTER], cwd=ROOT) as starter:
        starter.until(lambda: "up" in starter.stdout)
        (child,) = starter.children()
        starter.kill()
        deadline = time.monotonic() + GRACE_SECONDS
        while is_alive(child) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not is_alive(child)


def test_it_has_the_commands_status_and_says_what_cannot_be_started():
    assert subprocess.run(follower(["sh", "-c", "exit 7"])).returncode == 7
    missing = subprocess.run(follower(["no-such-program"]), capture_output=True, text=True)
    assert missing.returncode == 1
    assert missing.stderr.startswith("error: no-such-program: cannot be started")
