"""A whole experiment by its command: the tiny preset; asked to stop, and killed at random; on Ray."""

from __future__ import annotations

import csv
import json
import pathlib
import random
import shutil
import signal
import time

import pyarrow.parquet
import pytest

from codepmp_jax.cli.exit_codes import RESUME
from tests import processes
from tests.e2e.launching import command, environment, launch
from tests.processes import Process, is_alive

# Written by each kind of start alike.
TABLES = ("results.csv", "results.parquet", "summary.csv", "differences.csv", "multipliers.csv")
# The tiny experiment without one of its sizes.
GRID = ("--config", "exp_tiny", "--axes", "seed=0,1", "init=random,pmp", "pairs=40,360")
# Two of its cells.
PART = ("--axes", "seed=0", "init=random,pmp", "pairs=40", "--parallel", 2)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[pathlib.Path, str]:
    """The folder of a whole tiny experiment, and what its command printed."""
    output = tmp_path_factory.mktemp("experiment") / "exp_tiny"
    return output, launch("experiment.py", *GRID, "--output", output, "--parallel", 2)


@pytest.fixture
def begun(finished, tmp_path) -> pathlib.Path:
    """The finished experiment somewhere else, without its cells."""
    output = tmp_path / "moved"
    shutil.copytree(finished[0], output)
    shutil.rmtree(output / "cells")
    return output


def part_of(table: pathlib.Path) -> list[dict[str, str]]:
    """The rows of PART."""
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if (row["seed"], row["pairs"]) == ("0", "40")]


def test_table_plots_and_page(finished):
    output, printed = finished
    rows = pyarrow.parquet.read_table(output / "results.parquet").to_pylist()
    assert len(rows) == 8
    assert {(row["seed"], row["init"], row["pairs"]) for row in rows} == {
        (seed, init, pairs) for seed in (0, 1) for init in ("random", "pmp") for pairs in (40, 360)
    }
    assert all(row["num_items"] == 400 and 0.4 < row["value"] < 1 for row in rows)
    report = json.loads((output / "report.json").read_text())
    (family,) = report["families"]
    (multiplier,) = family["multipliers"]
    assert multiplier["text"] in printed
    assert multiplier["estimate"] or multiplier["reason"]
    assert "8 of 8 cells are done" in (output / "report.html").read_text()
    assert (output / "accuracy.png").stat().st_size > 10_000
    # Shared commands were run once.
    assert printed.count("pmp: done") == 1


def test_both_initialisations_have_the_same_pairs(finished):
    output, _ = finished
    data = [
        json.loads((output / f"cells/seed=1/init={init}/pairs=360/train/config.json").read_text())
        for init in ("random", "pmp")
    ]
    settings = [(run["data"]["max_pairs"], run["data"]["subset_seed"], run["seed"]) for run in data]
    assert settings == [(360, 1, 1)] * 2


def test_a_dry_run_lists_cells_with_their_costs_and_writes_nothing(finished):
    output, _ = finished
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    listed = launch(
        "experiment.py",
        *("--config", "exp_tiny", "--output", output, "--dry-run"),
        *("--axes", "seed=0,1,2", "init=random,pmp", "pairs=40,360"),
    )
    assert "12 cells: 8 done, 4 new" in listed
    (line,) = (line for line in listed.splitlines() if line.startswith("seed=2/init=pmp/pairs=360"))
    _, state, steps, pairs, tokens, flops, seconds, unit = line.split()
    assert (state, int(steps), int(pairs), unit) == ("new", 90, 720, "s")
    # 2 FLOPs a multiply-add, forward and backward: 6 a parameter of the layers and token, and attention's.
    assert 6 * 50_000 * float(tokens) < float(flops) < 6 * 200_000 * float(tokens)
    assert 0 < float(seconds) < 100
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before


def test_the_same_command_again_has_nothing_to_do(finished):
    output, _ = finished
    before = {name: (output / name).read_bytes() for name in TABLES}
    printed = launch("experiment.py", *GRID, "--output", output)
    assert "8 cells: 8 done" in printed
    assert "[" not in printed
    assert {name: (output / name).read_bytes() for name in TABLES} == before


def test_asked_to_stop_and_killed_at_random_it_gives_the_same_table(finished, begun):
    """Killed twice, at random moments; what it had started ends with it."""
    arguments = command("experiment.py", "--config", "exp_tiny", "--output", begun, *PART)
    with Process(arguments, environment()) as run:
        run.until(lambda: (begun / "cells").exists())
        run.send(signal.SIGTERM)
        done = run.finish()
    assert done.returncode == RESUME
    assert "stopped; the same command goes on" in done.stderr
    assert (begun / "report.html").is_file()
    moments = random.Random(0)
    for _ in range(2):
        with Process(arguments, environment()) as run:
            run.until(run.children)
            time.sleep(moments.uniform(0, 8))
            children = run.children()
            run.kill()
            deadline = time.monotonic() + 10
            while any(map(is_alive, children)) and time.monotonic() < deadline:
                time.sleep(0.02)
            assert not any(map(is_alive, children))
    launch("experiment.py", "--config", "exp_tiny", "--output", begun, *PART)
    assert part_of(begun / "results.csv") == part_of(finished[0] / "results.csv")


def test_a_cluster_runs_it_too(tmp_path):
    """Ray on this machine: commands of others, one of which fails."""
    arguments = (
        *("--output", tmp_path, "--engine", "ray", "--ray.cpus-per-command", 0.5),
        *("--axes", "seed=0,1,2", "--commands"),
        "sh -c 'echo shared >> {output}/log'",
        "sh -c 'test {seed} != 1 && echo {seed} >> {output}/log'",
    )
    done = processes.run(command("experiment.py", *arguments), environment(RAY_DEDUP_LOGS="0"))
    assert done.returncode == 1, done.stderr
    assert sorted((tmp_path / "log").read_text().split()) == ["0", "2", "shared"]
    assert "1 command(s) failed" in done.stderr
    assert "2 of 3 cells done" in done.stdout
