"""What is run, in which order, what a failure stops, and what the next start does; with programs of others."""

from __future__ import annotations

import dataclasses
import pathlib

import pytest

from codepmp_jax.config import ExperimentConfig, TrainConfig
from codepmp_jax.experiments.engines import Processes, run
from codepmp_jax.experiments.grid import Plan, plan
from codepmp_jax.experiments.runner import Outcome, Runner
from codepmp_jax.experiments.states import States


def grid_of(folder: pathlib.Path, *commands: str, axes=("seed=0,1,2",)) -> Plan:
    return plan(ExperimentConfig(output=str(folder), axes=axes, commands=commands), {}, {})


def run_all(grid: Plan, folder: pathlib.Path, most: int = 2) -> Outcome:
    engine = Processes(most)
    try:
        return Runner(grid, States(str(folder)), engine, "", lambda places: None).run()
    finally:
        engine.close()


def lines(path: pathlib.Path) -> list[str]:
    return sorted(path.read_text().split()) if path.exists() else []


SHARED = "sh -c 'echo shared >> {output}/log'"
OF_CELL = "sh -c 'grep shared {output}/log && echo {seed} >> {output}/log'"


@pytest.mark.parametrize("most", [1, 3])
def test_everything_is_run_once_after_what_it_needs(tmp_path, most):
    grid = grid_of(tmp_path, SHARED, OF_CELL)
    assert run_all(grid, tmp_path, most) == Outcome([], [], False)
    assert lines(tmp_path / "log") == ["0", "1", "2", "shared"]
    assert run_all(grid, tmp_path, most) == Outcome([], [], False)
    assert lines(tmp_path / "log") == ["0", "1", "2", "shared"]


def test_a_larger_grid_runs_what_is_new(tmp_path):
    run_all(grid_of(tmp_path, SHARED, OF_CELL), tmp_path)
    run_all(grid_of(tmp_path, SHARED, OF_CELL, axes=("seed=1,2,3",)), tmp_path)
    assert lines(tmp_path / "log") == ["0", "1", "2", "3", "shared"]


def test_a_failure_stops_what_needs_it_and_nothing_else(tmp_path, capsys):
    fails = "sh -c 'echo began {seed}; test {seed} != 1 || test -e {output}/mended'"
    grid = grid_of(tmp_path, fails, "sh -c 'echo {seed} >> {output}/log'")
    outcome = run_all(grid, tmp_path)
    assert (len(outcome.failed), len(outcome.blocked)) == (1, 1)
    assert lines(tmp_path / "log") == ["0", "2"]
    shown = capsys.readouterr().out
    assert "failed with status 1" in shown
    assert "began 1" in shown
    (tmp_path / "mended").touch()
    assert run_all(grid, tmp_path) == Outcome([], [], False)
    assert lines(tmp_path / "log") == ["0", "1", "2"]


def test_a_shared_failure_blocks_every_cell(tmp_path):
    outcome = run_all(grid_of(tmp_path, "false", OF_CELL), tmp_path)
    assert (len(outcome.failed), len(outcome.blocked)) == (1, 3)


def test_a_program_that_is_not_there_is_a_failure(tmp_path):
    grid = grid_of(tmp_path, "no_such_program_{seed}", axes=("seed=0",))
    assert len(run_all(grid, tmp_path).failed) == 1
    assert "cannot be started" in States(str(tmp_path)).log(grid.steps[0]).read_text()


def test_no_more_than_asked_run_at_once(tmp_path):
    command = (
        "sh -c 'mkdir {output}/{seed}; ls -d {output}/?? | wc -l >> {output}/log; sleep 0.2; "
        "rmdir {output}/{seed}'"
    )
    axes = (f"seed={','.join(map(str, range(10, 18)))}",)
    run_all(grid_of(tmp_path, command, axes=axes), tmp_path, most=3)
    counts = [int(word) for word in lines(tmp_path / "log")]
    assert len(counts) == 8
    assert 1 < max(counts) <= 3


def test_the_status_of_a_command(tmp_path):
    assert run(["sh", "-c", "echo out; echo err >&2; exit 7"], tmp_path / "log").status == 7
    assert (tmp_path / "log").read_text().splitlines()[1:] == ["out", "err"]
    assert run(["sh", "-c", "kill -9 $$"], tmp_path / "log").status == -9


def test_estimates_are_asked_for_what_is_left(tmp_path, capsys):
    asked = []

    def estimate(places):
        asked.append(len(places))
        return 60.0 * len(places)

    engine = Processes(1)
    Runner(grid_of(tmp_path, "true {seed}"), States(str(tmp_path)), engine, "", estimate).run()
    engine.close()
    assert asked == [2, 1, 0]
    assert "1 of 3 cells, about 2 min left" in capsys.readouterr().out


# --- outputs that are superseded or left unfinished -----------------------------------------------


def train_step(folder: pathlib.Path, steps: int):
    command = f"codepmp train --workdir {{output}}/train --num-steps {steps}"
    config = ExperimentConfig(output=str(folder), commands=(command,))
    (step,) = plan(config, {}, {"train": TrainConfig}).steps
    return step


def test_the_output_of_other_settings_is_kept_aside(tmp_path):
    first, second = train_step(tmp_path, 1), train_step(tmp_path, 2)
    states = States(str(tmp_path))
    states.begin(first)
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "result").write_text("1")
    states.end(first, 0, 1.0)
    assert States(str(tmp_path)).is_done(first)
    states = States(str(tmp_path))
    assert not states.is_done(second)
    assert states.is_changed(second)
    states.begin(second)
    assert not (tmp_path / "train").exists()
    kept = tmp_path / "superseded" / first.identity[:8] / "train"
    assert (kept / "result").read_text() == "1"


def test_an_output_that_is_gone_is_made_again(tmp_path):
    step = train_step(tmp_path, 1)
    states = States(str(tmp_path))
    (tmp_path / "train").mkdir()
    states.begin(step)
    (tmp_path / "train").mkdir(exist_ok=True)
    states.end(step, 0, 1.0)
    assert states.is_done(step)
    (tmp_path / "train").rmdir()
    assert not states.is_done(step)


@pytest.mark.parametrize(("stage", "is_kept"), [("train", True), ("import-pairs", False)])
def test_what_was_left_unfinished_is_kept_where_the_command_resumes(tmp_path, stage, is_kept):
    step = dataclasses.replace(train_step(tmp_path, 1), command=stage)
    states = States(str(tmp_path))
    states.begin(step)
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "part").write_text("")
    States(str(tmp_path)).begin(step)
    assert (tmp_path / "train" / "part").exists() == is_kept


def test_a_damaged_state_is_none(tmp_path):
    step = train_step(tmp_path, 1)
    states = States(str(tmp_path))
    states.begin(step)
    states.end(step, 0, 1.0)
    (tmp_path / "steps" / "train.json").write_text('{"identity": "cut o')
    assert States(str(tmp_path)).read(step) is None
