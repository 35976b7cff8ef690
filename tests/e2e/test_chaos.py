"""Training killed at random points, by its own benchmark: `make chaos`, in short."""

from __future__ import annotations

import json
import pathlib
import sys

from tests import processes
from tests.e2e.launching import environment

BENCHMARK = pathlib.Path(__file__).parents[2] / "benchmarks" / "chaos.py"


def test_five_kills_change_nothing(tmp_path):
    options = ("--kills", 5, "--steps", 12, "--seed", 3, "--stores", "local")
    command = [sys.executable, BENCHMARK, *options, "--output", tmp_path / "chaos"]
    done = processes.run(command, environment())
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["kills"] == figures["survived"] == 5
    assert figures["bit_identical"] is True
