"""exp_policies_tiny, and its page: does training a tiny policy on its own judged programs help?

    OMP_NUM_THREADS=1 python benchmarks/policies_tiny.py --output FOLDER

Runs the experiment's commands one after the other in this process, which saves each of them its imports; the results are
those of `codepmp experiment --config exp_policies_tiny`. Killed, the same command goes on. Prints tables and one line of
JSON, and writes them to `benchmarks/results/policies_tiny.md`, with a plot.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import dataclasses
import os
import pathlib
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from page import RESULTS, Page

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", tempfile.mkdtemp())

from codepmp_jax.cli.errors import UserError
from codepmp_jax.commands import main as commands
from codepmp_jax.config import ExperimentConfig, presets
from codepmp_jax.experiments import collect, experiment
from codepmp_jax.experiments.costs import Rates
from codepmp_jax.experiments.engines import Ended, Processes
from codepmp_jax.experiments.results import families, read_cells
from codepmp_jax.experiments.runner import Runner
from codepmp_jax.experiments.states import States

STAGES = commands.all_settings()


class ThisProcess(Processes):
    """Runs commands in this process, one at a time."""

    def __init__(self) -> None:
        super().__init__(1)

    def start(self, words: Sequence[str], log: pathlib.Path) -> concurrent.futures.Future[Ended]:
        """As in Processes; the command has ended when it returns."""
        future: concurrent.futures.Future[Ended] = concurrent.futures.Future()
        log.parent.mkdir(parents=True, exist_ok=True)
        started, status, before = time.monotonic(), 0, sys.argv
        sys.argv = list(words[:1]) + list(words[1:])
        with (
            open(log, "a", encoding="utf-8") as file,
            contextlib.redirect_stdout(file),
            contextlib.redirect_stderr(file),
        ):
            print(f"$ {shlex.join(words)}")
            try:
                commands.run()
            except UserError as error:
                print(f"error: {error}")
                status = error.status
            except SystemExit as error:
                status = int(error.code or 0)
        sys.argv = before
        future.set_result(Ended(status, time.monotonic() - started))
        return future


def run(config: ExperimentConfig) -> tuple[Any, ...]:
    """Runs and collects: (plan, states, report)."""
    grid, _ = experiment.make_plan(config, STAGES)
    states, engine = States(config.output), ThisProcess()
    pathlib.Path(config.output).mkdir(parents=True, exist_ok=True)
    try:
        outcome = Runner(grid, states, engine, "", Rates(grid, states).seconds).run()
    finally:
        engine.close()
    assert not outcome.failed, outcome
    return grid, states, collect.collect(config, grid, states)


def differences(config: ExperimentConfig, grid: Any, states: Any, first: str) -> dict[str, Any]:
    """Figure -> differences of the policies from `first`, with intervals over seeds and problems."""
    names = config.axis_values["policy"]
    order = [first, *(name for name in names if name != first)]
    seeds = f"seed={','.join(config.axis_values['seed'])}"
    turned = dataclasses.replace(config, axes=(seeds, f"policy={','.join(order)}"))
    found, _ = read_cells(grid, states)
    made, _ = families(turned, found)
    from codepmp_jax.experiments.summary import summarize

    assert made
    return {
        family["title"]: family["differences"] for family in summarize(turned, found)["families"]
    }


def table(report: Any, by_first: dict[str, dict[str, Any]]) -> str:
    """A Markdown table for each figure."""
    parts = []
    for family in report["families"]:
        lines = [
            f"**pass@{family['n']}** of {family['num_problems']} held-out tasks",
            "",
            "| policy | mean | 95 % interval | by seed | "
            + " | ".join(f"minus {first}, points" for first in by_first)
            + " |",
            "|---" * (4 + len(by_first)) + "|",
        ]
        for point in family["points"]:
            cells = []
            for first, figures in by_first.items():
                row = next(
                    (r for r in figures[family["title"]] if r["compared"] == point["compared"]),
                    None,
                )
                cells.append(
                    "-"
                    if row is None or point["compared"] == first
                    else f"{100 * row['difference']:+.1f} ({100 * row['low']:+.1f} to {100 * row['high']:+.1f})"
                )
            seeds = ", ".join(f"{100 * value:.1f}" for value in point["by_seed"].values())
            lines.append(
                f"| {point['compared']} | {point['mean']:.1%} | {point['low']:.1%} to {point['high']:.1%} | {seeds} | "
                f"{' | '.join(cells)} |"
            )
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def main() -> None:
    """Runs the experiment, then prints and writes the page."""
    parser = argparse.ArgumentParser(description="exp_policies_tiny, and its page.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--output", default="runs/exp_policies_tiny", help="folder of the runs")
    arguments = parser.parse_args()
    page = Page("policies_tiny", "A tiny policy trained on its own judged programs")
    config: ExperimentConfig = presets.load_preset("exp_policies_tiny")
    seeds = f"seed={','.join(map(str, arguments.seeds))}"
    config = dataclasses.replace(config, output=arguments.output, axes=(seeds, config.axes[1]))
    grid, states, report = run(config)
    by_first = {first: differences(config, grid, states, first) for first in ("before", "sft")}
    (plot,) = pathlib.Path(arguments.output).glob("programs_k=*.png")
    RESULTS.mkdir(exist_ok=True)
    shutil.copy(plot, RESULTS / "policies_tiny.png")
    pairs = [sum(1 for _ in _pairs(f"{arguments.output}/pairs/{seed}")) for seed in arguments.seeds]
    note = (
        "The commands of `exp_policies_tiny`, in one process. Means are over seeds; intervals are 95 % bootstrap intervals "
        "over seeds and tasks, of differences on the same seeds and tasks. `before` is the language model, `sft` has learnt "
        "the chosen programs only, `dpo`, `target` (Target-DPO) and `mrpo` the pairs: "
        f"{', '.join(map(str, pairs))} of the {len(pairs)} seeds."
    )
    tables = f"{table(report, by_first)}\n\n![pass@4 of the policies](policies_tiny.png)"
    print(page.write(note, tables, families=report["families"], pairs=pairs))


def _pairs(folder: str) -> Any:
    from codepmp_jax.records.schema import PreferencePair
    from codepmp_jax.records.shards import ShardedDataset

    return ShardedDataset(folder, PreferencePair, "train")


if __name__ == "__main__":
    main()
