"""Two hosts on a bucket, from a bucket's and a hub's model, by the benchmark: `make rehearse`, in short."""

from __future__ import annotations

import json
import pathlib
import sys

from codepmp_jax.cli.exit_codes import RESUME, STORE
from tests import processes
from tests.e2e.launching import environment

BENCHMARK = pathlib.Path(__file__).parents[2] / "benchmarks" / "rehearse.py"


def test_two_hosts_on_a_bucket_read_their_parts_and_need_no_hub_to_resume(tmp_path):
    options = ("--hosts", 2, "--steps", 12, "--only", "hub")
    command = [sys.executable, BENCHMARK, *options, "--output", tmp_path / "rehearsal"]
    done = processes.run(command, environment())
    assert done.returncode == 0, done.stdout + done.stderr
    from_bucket, hub_down, from_hub = json.loads(done.stdout.splitlines()[-1])["rows"]
    assert from_bucket["starts"] == [[0, 0]]
    # Half of the model each, and what both hold.
    shares = from_bucket["figures"]["shares"]
    assert max(shares) < 0.8
    assert sum(shares) > 0.8
    # The two newest; the others are deleted.
    assert from_bucket["figures"]["kept"] == [9, 12]
    # The error of one host is that of both, and none of a mistake's.
    assert hub_down["starts"] == [[STORE, STORE]]
    assert hub_down["said"].startswith("host 1: model.init_from = 'owner/name'")
    assert from_hub["starts"] == [[RESUME, RESUME], [0, 0]]
    assert from_hub["figures"] == {"downloads": 1, "requests_on_resume": 0, "kept": [9, 12]}
    assert (from_hub["lost_steps"], from_hub["equals"]) == (0, True)
