"""An experiment from its config to its report."""

from __future__ import annotations

import pathlib
from typing import Any

from codepmp_jax.config import ExperimentConfig, presets
from codepmp_jax.experiments import inputs
from codepmp_jax.experiments.collect import collect
from codepmp_jax.experiments.costs import Rates
from codepmp_jax.experiments.engines import Engine, Processes, RayTasks
from codepmp_jax.experiments.grid import Plan, Stages, plan
from codepmp_jax.experiments.listing import describe, list_commands
from codepmp_jax.experiments.runner import Estimate, Outcome, Runner
from codepmp_jax.experiments.states import States
from codepmp_jax.files import output as outputs
from codepmp_jax.files.json_files import write_json

KNOWN_INPUTS = "inputs.json"
"""File of an output with the digests of its inputs."""


def make_plan(config: ExperimentConfig, stages: Stages) -> tuple[Plan, dict[str, Any]]:
    """The plan of the grid, and the digests of its inputs' files, which a next start need not read again."""
    known = inputs.read_known(pathlib.Path(config.output) / KNOWN_INPUTS)
    return plan(config, inputs.digests(config.input_paths, known), stages), known


def dry_run(config: ExperimentConfig, stages: Stages) -> str:
    """What there is to do and what it is estimated to cost, as text. Writes nothing."""
    grid, _ = make_plan(config, stages)
    return list_commands(config, grid, States(config.output))


def run(config: ExperimentConfig, stages: Stages) -> tuple[Outcome, dict[str, Any]]:
    """Runs what is not done, then collects; how it ended, and the report.

    `stages` are the commands of codepmp with their config types. Raises UserError where the grid is not one, or the
    output cannot be written; a command that fails raises nothing.
    """
    # First, for a mistake in the grid may leave no folder.
    grid, known = make_plan(config, stages)
    with outputs.folder(config.output) as folder:
        states = States(config.output)
        write_json(folder / "experiment.json", presets.to_json(config))
        write_json(folder / KNOWN_INPUTS, known)
        print(describe(grid, states), flush=True)
        outcome = Outcome([], [], is_stopped=False)
        if not config.collect:
            outcome = work(config, grid, states, _over(config, Rates(grid, states)))
        return outcome, collect(config, grid, states)


def work(config: ExperimentConfig, grid: Plan, states: States, estimate: Estimate) -> Outcome:
    """Runs the steps of a plan that are not done."""
    engine = _engine(config)
    try:
        return Runner(grid, states, engine, config.launcher, estimate).run()
    finally:
        engine.close()


def _engine(config: ExperimentConfig) -> Engine:
    return Processes(config.parallel) if config.engine == "local" else RayTasks(config.ray)


def _over(config: ExperimentConfig, rates: Rates) -> Estimate:
    """Estimates of how long steps take with as many commands at once as the config says."""
    at_once = config.parallel if config.engine == "local" else 1

    def estimate(places: set[str]) -> float | None:
        seconds = rates.seconds(places)
        return None if seconds is None else seconds / at_once

    return estimate
