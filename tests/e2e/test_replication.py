"""The test of the paper's claim at its smallest size, by its commands: a part of `make replicate-small`."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.e2e.launching import LAUNCH, environment, launch

# Two of the four initialisations: the others differ in a coefficient of the loss.
PART = ("--axes", "task=syllogism", "seed=0", "init=base,pmp", "pairs=60", "--parallel", 2)


def test_every_stage_enters_the_table(tmp_path):
    output = tmp_path / "experiment"
    printed = launch("experiment.py", "--config", "exp_smollm2_small", "--output", output, *PART)
    assert f"2 of 2 cells done -> {output}/report.html" in printed
    run = subprocess.run(
        [
            sys.executable,
            "benchmarks/replication.py",
            *("--experiment", output, "--config", "exp_smollm2_small"),
            *("--name", "small", "--output", tmp_path, "--note", "A trial."),
        ],
        cwd=LAUNCH.parent,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "2 of 4 cells are evaluated"
    table = (tmp_path / "small.md").read_text()
    assert "**2 of 4 cells are evaluated.** A trial." in table
    assert str(tmp_path) not in table
    rows = {line.split(" | ")[0].strip("| "): line for line in table.splitlines() if "|" in line}
    for name in ("base", "pmp", "bag of tokens", "mean likelihood, no training"):
        assert "[" in rows[name], name
    assert rows["lm"].endswith("| not run |")
    assert "![accuracy by initialisation and pairs](small.png)" in table
    assert (tmp_path / "small.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "small.html").read_text()
    assert "Experiment exp_smollm2_small" in page
    assert "2 of 4 cells are done, 2 are evaluated." in page
    figures = json.loads((tmp_path / "small.json").read_text())
    assert [cell["init"] for cell in figures["cells"]] == ["base", "pmp"]
    assert all(row["num_pairs"] > 0 for row in figures["baselines"])
    # Pairs differ in some line, and not in their layout.
    pairs = (tmp_path / "small_pairs.txt").read_text()
    assert pairs.count("```diff") == 50
    assert pairs.count("\n-") >= 50
