from __future__ import annotations

import subprocess
import sys

from codepmp_jax.cli.exit_codes import STUCK

RUN = """
import sys, time
from codepmp_jax.training.watchdog import Watchdog

watchdog = Watchdog({seconds})
for _ in range(10):
    watchdog.beat("step 7")
    time.sleep(0.3)
if {is_closed}:
    watchdog.close()


def waits_for_ever():
    time.sleep({wait})


waits_for_ever()
"""


def run(**values: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", RUN.format(**values)], capture_output=True, text=True
    )


def test_a_stuck_run_shows_its_stacks_and_ends():
    """Not before: the ten beats together take longer than the limit."""
    done = run(seconds=2, is_closed=False, wait=60)
    assert done.returncode == STUCK
    assert "in: step 7" in done.stderr
    assert "in waits_for_ever" in done.stderr


def test_a_run_that_is_done_or_unwatched_is_left_alone():
    assert run(seconds=2, is_closed=True, wait=3).returncode == 0
    assert run(seconds=0, is_closed=False, wait=0.1).returncode == 0
