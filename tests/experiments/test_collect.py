"""From the folders of evaluations to tables, plots and the page; figures against brute force."""

from __future__ import annotations

import csv
import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pyarrow.parquet
import pytest

from codepmp_jax.config import (
    AccuracyConfig,
    BestOfNConfig,
    ExperimentConfig,
    PassAtKConfig,
    ResamplingConfig,
)
from codepmp_jax.evaluation import pass_at_k
from codepmp_jax.evaluation.reports.folders import write_folder
from codepmp_jax.experiments.collect import collect
from codepmp_jax.experiments.grid import Plan, plan
from codepmp_jax.experiments.states import States
from codepmp_jax.records.schema import Candidate, Problem

STAGES = {"evaluate accuracy": AccuracyConfig, "evaluate best-of-n": BestOfNConfig}
SIZES = (25, 50, 100, 200)
NUM_PROBLEMS = 60


def grid_config(output: pathlib.Path, **changes) -> ExperimentConfig:
    config = ExperimentConfig(
        output=str(output),
        axes=("seed=0,1,2", "task=logic,sums", "init=base,pmp", "pairs=200,25,50,100"),
        commands=(
            "codepmp evaluate accuracy --output {cell}/accuracy",
            "codepmp evaluate best-of-n --output {cell}/best_of_n",
        ),
        resampling=ResamplingConfig(num_resamples=200),
    )
    return dataclasses.replace(config, **changes)


def write_accuracy(folder: str, wins: np.ndarray, problems: list[str]) -> None:
    report = {
        "kind": "accuracy",
        "benchmark": "pairs",
        "accuracy": float(wins.mean()),
        "accuracy_interval": [0.0, 1.0],
        "num_pairs": len(wins),
        "length_baseline": 0.55,
    }
    rows = [(f"{p}-{i}", p, w) for i, (p, w) in enumerate(zip(problems, wins, strict=True))]
    write_folder(folder, report, {"pairs.csv": (("pair_id", "problem_id", "win"), rows)}, {})


def write_best_of_n(folder: str, values: dict[int, np.ndarray]) -> None:
    rows = [
        {
            "n": n,
            "best_of_n": float(found.mean()),
            "best_of_n_interval": [0.0, 1.0],
            "random": 0.25,
            "oracle": 0.9,
            "majority_vote": None,
        }
        for n, found in values.items()
    ]
    report = {"kind": "best_of_n", "benchmark": "sums", "num_problems": 9, "rows": rows}
    table = [(f"p{i}", n, v) for n, found in values.items() for i, v in enumerate(found)]
    write_folder(folder, report, {"problems.csv": (("problem_id", "n", "best_of_n"), table)}, {})


def wins_of(cell) -> np.ndarray:
    """Of NUM_PROBLEMS problems of two pairs each; pmp is two sizes ahead."""
    ahead = 4 if cell.values["init"] == "pmp" else 1
    share = 0.4 + 0.12 * np.log2(int(cell.values["pairs"]) * ahead / 25) / 2
    generator = np.random.default_rng(int(cell.values.get("seed", 0)))
    return (generator.uniform(size=2 * NUM_PROBLEMS) < share + 0.1).astype(float)


def finish(grid: Plan, states: States, skip=lambda step: False) -> None:
    """Writes what the commands would, and notes that they are done."""
    cells = {cell.name: cell for cell in grid.cells}
    for step in grid.steps:
        if skip(step):
            continue
        states.begin(step)
        wins = wins_of(cells[step.cells[0]])
        if step.command == "evaluate accuracy":
            problems = [f"p{i // 2}" for i in range(len(wins))]
            write_accuracy(str(step.output), wins, problems)
        else:
            write_best_of_n(str(step.output), {n: wins[:9] ** (1 / n) for n in (1, 2, 4)})
        states.end(step, 0, 1.5)


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    output = tmp_path_factory.mktemp("experiment")
    config = grid_config(output)
    grid, states = plan(config, {}, STAGES), States(str(output))
    finish(grid, states)
    return config, grid, collect(config, grid, states)


def read_csv(path: pathlib.Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_has_a_row_an_evaluation(collected):
    config, grid, _ = collected
    table = pyarrow.parquet.read_table(f"{config.output}/results.parquet")
    rows = table.to_pylist()
    assert len(rows) == len(grid.cells) * (1 + 3)
    assert {(row["pairs"], row["seed"], row["init"]) for row in rows} == {
        (size, seed, init) for size in SIZES for seed in range(3) for init in ("base", "pmp")
    }
    as_csv = read_csv(pathlib.Path(config.output) / "results.csv")
    assert [{k: "" if v is None else str(v) for k, v in row.items()} for row in rows] == as_csv
    one = next(r for r in rows if r["cell"].endswith("init=pmp/pairs=50") and r["n"] is None)
    cell = next(c for c in grid.cells if f"cells/{c.name}" == one["cell"])
    assert one["value"] == wins_of(cell).mean()


def test_points_are_means_over_seeds(collected):
    _, grid, report = collected
    family = next(f for f in report["families"] if f["title"] == "accuracy, task=logic")
    assert family["facet"] == {"task": "logic"}
    assert family["num_problems"] == NUM_PROBLEMS
    assert [p["size"] for p in family["points"]] == [25, 50, 100, 200] * 2
    for point in family["points"]:
        own = [
            wins_of(cell).mean()
            for cell in grid.cells
            if cell.values["task"] == "logic"
            and cell.values["init"] == point["compared"]
            and float(cell.values["pairs"]) == point["size"]
        ]
        assert point["mean"] == pytest.approx(np.mean(own))
        assert list(point["by_seed"].values()) == pytest.approx(own)
        assert point["low"] < point["mean"] < point["high"]


def test_differences_and_multipliers_are_of_the_first_value(collected):
    _, _, report = collected
    family = report["families"][0]
    for row in family["differences"]:
        assert (row["compared"], row["reference"], row["num_seeds"]) == ("pmp", "base", 3)
        means = {p["compared"]: p["mean"] for p in family["points"] if p["size"] == row["size"]}
        assert row["difference"] == pytest.approx(means["pmp"] - means["base"])
        assert row["low"] <= row["difference"] <= row["high"]
    (found,) = family["multipliers"]
    assert found["estimate"] == pytest.approx(4, rel=0.3)


def test_plots_and_page(collected):
    config, _, _ = collected
    output = pathlib.Path(config.output)
    page = (output / "report.html").read_text()
    assert "data multiplier" in page.lower()
    assert 'src="http' not in page
    assert "48 of 48 cells are done, 48 are evaluated." in page
    names = {path.name for path in output.glob("*.png")}
    assert {
        "accuracy_task=logic.png",
        "data_multiplier_accuracy_task=logic.png",
        "best_of_n_best_of_4_task=sums.png",
        "best_of_n_Best-of-N_task=sums.png",
    } <= names
    assert json.loads((output / "report.json").read_text())["num_done"] == 48


def test_collecting_again_gives_the_same_bytes(collected):
    config, grid, _ = collected
    output = pathlib.Path(config.output)
    before = {path.name: path.read_bytes() for path in output.glob("*.*") if path.is_file()}
    collect(config, grid, States(config.output))
    assert {path.name: path.read_bytes() for path in output.glob("*.*") if path.is_file()} == before


def test_what_is_not_done_is_left_out_and_failures_are_listed(tmp_path):
    config = grid_config(tmp_path, axes=("seed=0,1,2", "init=base,pmp", "pairs=25,50,100"))
    grid, states = plan(config, {}, STAGES), States(str(tmp_path))
    missing = "cells/seed=1/init=pmp/pairs=50/accuracy"
    finish(grid, states, skip=lambda step: step.place == missing)
    (step,) = (step for step in grid.steps if step.place == missing)
    states.begin(step)
    states.log(step).write_text("error: it broke\n\n")
    states.end(step, 2, 1.0)
    report = collect(config, grid, states)
    assert report["failed"] == [{"place": missing, "why": "error: it broke"}]
    assert report["num_done"] == 17
    accuracy = report["families"][0]
    (point,) = (p for p in accuracy["points"] if (p["compared"], p["size"]) == ("pmp", 50))
    assert list(point["by_seed"]) == ["0", "2"]
    (row,) = (d for d in accuracy["differences"] if d["size"] == 50)
    assert row["num_seeds"] == 2
    assert "it broke" in (tmp_path / "report.html").read_text()


def test_a_damaged_evaluation_is_left_out_and_named(tmp_path):
    config = grid_config(tmp_path, axes=("init=base,pmp", "pairs=25,50"))
    grid, states = plan(config, {}, STAGES), States(str(tmp_path))
    finish(grid, states)
    (pathlib.Path(str(grid.steps[0].output)) / "report.json").write_text("{")
    report = collect(config, grid, states)
    (note,) = report["notes"]
    assert note.startswith("cells/init=base/pairs=25/accuracy: is left out, as it cannot be read")
    (accuracy,) = (f for f in report["families"] if f["figure"] == "accuracy")
    assert len(accuracy["points"]) == 3


def test_nothing_done_is_a_page_too(tmp_path):
    config = grid_config(tmp_path)
    grid = plan(config, {}, STAGES)
    report = collect(config, grid, States(str(tmp_path)))
    assert (report["num_done"], report["families"]) == (0, [])
    assert (tmp_path / "report.html").is_file()
    assert read_csv(tmp_path / "results.csv") == []


def test_without_sizes_and_without_comparison(tmp_path):
    config = grid_config(tmp_path, size="", compare="", axes=("init=base,pmp", "pairs=25"))
    axes = ("seed=0", "init=base,pmp", "pairs=25")
    config = grid_config(tmp_path, size="", compare="", axes=axes)
    grid, states = plan(config, {}, STAGES), States(str(tmp_path))
    finish(grid, states)
    report = collect(config, grid, states)
    titles = {family["title"] for family in report["families"]}
    assert "accuracy, init=base, pairs=25" in titles
    compared = dataclasses.replace(config, compare="init")
    report = collect(compared, grid, states)
    assert [row["size"] for row in report["families"][0]["differences"]] == [None]


def test_problems_that_some_evaluations_lack_are_left_out(tmp_path):
    config = grid_config(tmp_path, axes=("init=base,pmp", "pairs=25,50"))
    grid, states = plan(config, {}, STAGES), States(str(tmp_path))
    finish(grid, states)
    step = grid.steps[0]
    write_accuracy(str(step.output), np.ones(3), ["p0", "p1", "new"])
    report = collect(config, grid, states)
    family = report["families"][0]
    assert (family["num_problems"], family["num_left_out"]) == (2, NUM_PROBLEMS + 1 - 2)
    write_accuracy(str(step.output), np.ones(1), ["new"])
    report = collect(config, grid, states)
    assert report["notes"] == [
        "accuracy: its evaluations have no problem in common, so they are not compared."
    ]


def test_pass_at_k_of_a_cells_policy(tmp_path):
    """One policy a cell; where an evaluation is of several it is left out, and named."""
    config = grid_config(
        tmp_path,
        axes=("seed=0,1", "init=base,pmp"),
        commands=("codepmp evaluate pass-at-k --output {cell}/programs",),
        size="",
    )
    stages = {"evaluate pass-at-k": PassAtKConfig}
    grid, states = plan(config, {}, stages), States(str(tmp_path))
    for step in grid.steps:
        states.begin(step)
        right = 3 if "pmp" in step.place else 1
        problems = [
            Problem(f"p{i}", "", tuple(Candidate(f"{j}", j < right) for j in range(4)), task="mbpp")
            for i in range(5)
        ]
        path = tmp_path / f"{step.number}.jsonl"
        path.write_text("".join(f"{problem.to_json()}\n" for problem in problems))
        pass_at_k.run(PassAtKConfig((str(path),), k=(1, 2), output=str(step.output)))
        states.end(step, 0, 1.0)
    report = collect(config, grid, states)
    assert [family["title"] for family in report["families"]] == ["programs, k=1", "programs, k=2"]
    first = report["families"][0]
    assert [point["mean"] for point in first["points"]] == [0.25, 0.75]
    assert first["differences"][0]["difference"] == 0.5
    assert (first["benchmark"], first["num_problems"]) == ("mbpp", 5)
    other = str(tmp_path / "other.jsonl")
    shutil.copy(path, other)
    pass_at_k.run(PassAtKConfig((str(path), other), output=str(grid.steps[0].output)))
    assert "is of 2 policies" in collect(config, grid, states)["notes"][0]
