"""Training killed at random points, by its own benchmark: `make chaos`, in short."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

from tests.e2e.launching import environment

BENCHMARK = pathlib.Path(__file__).parents[2] / "benchmarks" / "chaos.py"


def test_five_kills_change_nothing(tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, str(BENCHMARK), "--kills", "5", "--steps", "12", "--seed", "3"),
            *("--stores", "local", "--output", str(tmp_path / "chaos")),
        ],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["kills"] == figures["survived"] == 5
    assert figures["bit_identical"] is True
