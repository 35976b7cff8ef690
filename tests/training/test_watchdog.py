from __future__ import annotations

import subprocess
import sys

import pytest

from codepmp_jax.cli.exit_codes import STUCK

RUN = """
import sys, time
from codepmp_jax.files import arrivals
from codepmp_jax.training.watchdog import Watchdog

watchdog = Watchdog({seconds}, arrivals.total)
for _ in range(10):
    {sign}
    time.sleep(0.3)
if {is_closed}:
    watchdog.close()


def waits_for_ever():
    time.sleep({wait})


waits_for_ever()
"""


BEAT = 'watchdog.beat("step 7")'
BYTES = "arrivals.arrived(1)"


def run(sign: str = BEAT, **values: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", RUN.format(sign=sign, **values)], capture_output=True, text=True
    )


@pytest.mark.parametrize(("sign", "doing"), [(BEAT, "step 7"), (BYTES, "starting")])
def test_a_stuck_run_shows_its_stacks_and_ends(sign, doing):
    """Not before: the ten signs of life together take longer than the limit."""
    done = run(sign, seconds=2, is_closed=False, wait=60)
    assert done.returncode == STUCK
    assert f"in: {doing}" in done.stderr
    assert "in waits_for_ever" in done.stderr


def test_a_run_that_is_done_or_unwatched_is_left_alone():
    assert run(seconds=2, is_closed=True, wait=3).returncode == 0
    assert run(seconds=0, is_closed=False, wait=0.1).returncode == 0
