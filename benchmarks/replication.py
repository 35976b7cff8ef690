"""The table of an experiment that tests the paper's claim: what is done of its grid, next to what needs no training.

    python benchmarks/replication.py --experiment runs/exp_smollm2 --name replication_smollm2

Collects the output of `codepmp experiment --config exp_smollm2` (or of another preset with the same stages, by
`--config`) at any time, finished or not, and writes `benchmarks/results/NAME.md`, `NAME.json`, the plot `NAME.png`, the
experiment's page as `NAME.html`, and `NAME_pairs.txt`: fifty pretraining pairs of each pairing, to be looked at; with
`--output`, into another folder. `--inputs` are those that the experiment was given, if not the preset's.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import difflib
import functools
import os
import pathlib
import platform
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MultipleLocator
from page import RESULTS, commit

from codepmp_jax.cli import html_page
from codepmp_jax.commands import main as commands
from codepmp_jax.config import ExperimentConfig, ResamplingConfig, presets
from codepmp_jax.evaluation.accuracy import problem_of, score_pairs
from codepmp_jax.evaluation.items import read_pairs
from codepmp_jax.evaluation.reports import plots
from codepmp_jax.evaluation.statistics.crossed import Crossed
from codepmp_jax.evaluation.statistics.estimators import pair_wins
from codepmp_jax.evaluation.statistics.resampling import percentile_interval
from codepmp_jax.experiments.collect import collect
from codepmp_jax.experiments.experiment import make_plan
from codepmp_jax.experiments.page import make_page
from codepmp_jax.experiments.results import read_cells
from codepmp_jax.experiments.states import States
from codepmp_jax.experiments.summary import summarize
from codepmp_jax.files.json_files import write_json
from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.records.scores import read_scores
from codepmp_jax.records.shards import ShardedDataset

NUM_SHOWN = 50
PANEL_INCHES = 4.4
# Initialisations that were trained on no preferences.
REFERENCES = ("base", "lm")
Row = dict[str, Any]


# Pairings that pretraining reads, by their folders.
PAIRINGS = {
    "code": "the author's code against a mutant of it",
    "code_author": "the author's code against SmolLM2's",
    "code_models": "SmolLM2 with the signature at 0.2 against SmolLM2 without it at 0.6",
}


def pairs_of(output: pathlib.Path, task: str) -> pathlib.Path:
    """The folder of a task's pairs, or of a pairing's."""
    return output / (task if task in PAIRINGS else f"tasks/{task}")


def accuracy_of(pairs: pathlib.Path, scores: pathlib.Path) -> Row:
    """Pairwise accuracy of a file of scores, with its 95 % interval over problems."""
    scored = score_pairs(read_pairs(str(pairs)), list(read_scores(str(scores))))
    wins = scored.wins
    return {"accuracy": float(wins.mean()), **_interval(scored.problem_ids, wins)}


def _interval(problem_ids: list[str], wins: np.ndarray) -> Row:
    problems, index = np.unique(problem_ids, return_inverse=True)
    counts = np.bincount(index).astype(np.float64)
    crossed = Crossed(np.bincount(index, wins)[None, None], counts)
    resampling = ResamplingConfig()
    samples = crossed.resampled_means(resampling.num_resamples, resampling.seed)
    low, high = percentile_interval(samples[:, 0])
    return {"low": low, "high": high, "num_pairs": len(wins), "num_problems": len(problems)}


def baselines_of(output: pathlib.Path) -> list[Row]:
    """The baselines that are there, by task, or by pairing for the held-out pretraining pairs."""
    found: list[Row] = []
    for scores in sorted((output / "baselines").rglob("*.jsonl")):
        task, kind, *rest = scores.relative_to(output / "baselines").with_suffix("").parts
        values = dict(part.split("=") for part in rest)
        figures = accuracy_of(pairs_of(output, task), scores)
        found.append({"task": task, "baseline": kind, **values, **figures})
    tasks = {row["task"] for row in found}
    for task in sorted(tasks):
        pairs = read_pairs(str(pairs_of(output, task)))
        lengths = np.array([(len(pair.chosen), len(pair.rejected)) for pair in pairs])
        wins = pair_wins(lengths[:, 0], lengths[:, 1])
        found.append(
            {
                "task": task,
                "baseline": "longer",
                "accuracy": float(wins.mean()),
                **_interval([problem_of(pair) for pair in pairs], wins),
            }
        )
    return found


def show(row: Row) -> str:
    """As in `71.5 [66.0, 78.0]`, in percent."""
    value = row["mean"] if "mean" in row else row["accuracy"]
    return f"{100 * value:.1f} [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"


def table_of(config: ExperimentConfig, family: Row, baselines: list[Row]) -> str:
    """Accuracy by initialisation and pairs, with the baselines of the task below."""
    axes = config.axis_values
    sizes, seeds = axes[config.size], axes[config.seed]
    task = family["facet"].get("task", "")
    lines = [
        f"| {task}: held-out accuracy, % | " + " | ".join(f"{size} pairs" for size in sizes) + " |",
        "|---|" + "---|" * len(sizes),
    ]
    for init in axes[config.compare]:
        cells = []
        for size in sizes:
            points = [
                point
                for point in family["points"]
                if (point["compared"], point["size"]) == (init, float(size))
            ]
            done = f" ({len(points[0]['by_seed'])} of {len(seeds)} seeds)" if points else ""
            cells.append(f"{show(points[0])}{done}" if points else "not run")
        lines.append(f"| {init} | " + " | ".join(cells) + " |")
    own = [row for row in baselines if row["task"] == task]
    bags = {
        size: [
            row for row in own if row.get("pairs") == size and row["baseline"] == "bag_of_tokens"
        ]
        for size in sizes
    }
    if any(bags.values()):
        shown = [
            show(rows[0]) + (f" (seed {rows[0]['seed']})") if rows else "not run"
            for rows in bags.values()
        ]
        lines.append("| bag of tokens | " + " | ".join(shown) + " |")
    lines += [
        f"| {row['baseline'].replace('_', ' ')}, no training | "
        + " | ".join([show(row)] * len(sizes))
        + " |"
        for row in own
        if "pairs" not in row
    ]
    return "\n".join(lines)


def draw(axes: Axes, config: ExperimentConfig, family: Row, baselines: list[Row]) -> None:
    """Accuracy of each initialisation against the pairs, beside each other; likelihoods as lines."""
    inits = config.axis_values[config.compare]
    for number, init in enumerate(inits):
        points = [point for point in family["points"] if point["compared"] == init]
        if points:
            mean, low, high = np.array(
                [(point["mean"], point["low"], point["high"]) for point in points]
            ).T
            apart = 1.06 ** (number - (len(inits) - 1) / 2)
            axes.errorbar(
                [point["size"] * apart for point in points],
                mean,
                yerr=(mean - low, high - mean),
                fmt=f"{plots.MARKERS[number]}-",
                color=plots.COLORS[number],
                label=init,
                capsize=2,
                linewidth=1.3,
            )
    task = family["facet"]["task"]
    for row in baselines:
        dashes = {"mean_likelihood": "--", "likelihood": ":"}.get(row["baseline"])
        if dashes and row["task"] == task:
            label = f"{row['baseline'].replace('_', ' ')}, no training"
            axes.axhline(row["accuracy"], color=plots.GREY, linestyle=dashes, label=label)
    sizes = sorted({point["size"] for point in family["points"]})
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
    axes.minorticks_off()
    axes.set_xlim(sizes[0] / 1.3, sizes[-1] * 1.3)
    axes.yaxis.set_major_locator(MultipleLocator(0.05))
    plots.style(axes, task, "pairs", "held-out accuracy, 95 % interval")
    plots.percent_axis(axes.yaxis)


def pairs_page(output: pathlib.Path) -> str:
    """Some pretraining pairs of each pairing: the prompt, chosen, and how rejected differs."""
    parts = []
    for name, title in PAIRINGS.items():
        if not (output / name / "manifest.json").exists():
            continue
        pairs = ShardedDataset(output / name, PreferencePair, "train")
        shown = np.random.default_rng(0).permutation(len(pairs))[:NUM_SHOWN]
        parts.append(
            f"# Pretraining pairs: {title}\n\n"
            f"{len(shown)} of {len(pairs)}, drawn at random; `-` is chosen, `+` rejected."
        )
        for number, index in enumerate(shown, start=1):
            pair = pairs[int(index)]
            sides = [text.splitlines() for text in (pair.chosen, pair.rejected)]
            difference = list(difflib.unified_diff(*sides, lineterm="", n=100))[3:]
            lines = "\n".join(difference)
            parts.append(f"{number}. {' '.join(pair.prompt.split())}\n\n```diff\n{lines}\n```")
    return "\n\n".join(parts) + "\n"


def costs_of(output: pathlib.Path, plan: Any, states: States) -> list[Row]:
    """Seconds of the commands that are done, summed by command."""
    seconds: dict[str, list[float]] = {}
    for step in plan.steps:
        state = states.read(step)
        if state is not None and state.status == "done":
            seconds.setdefault(step.command, []).append(state.seconds)
    return [
        {"command": name, "runs": len(each), "seconds": round(sum(each))}
        for name, each in seconds.items()
    ]


def others_table(baselines: list[Row], tasks: list[str]) -> str:
    """The baselines of tasks of which no cell is evaluated yet."""
    lines = [
        "| without a reward model: accuracy, % | " + " | ".join(tasks) + " |",
        "|---|" + "---|" * len(tasks),
    ]
    for kind in dict.fromkeys(row["baseline"] for row in baselines):
        rows = [
            [row for row in baselines if (row["task"], row["baseline"]) == (task, kind)]
            for task in tasks
        ]
        shown = ["; ".join(map(_with_size, each)) or "not run" for each in rows]
        lines.append(f"| {kind.replace('_', ' ')} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def _with_size(row: Row) -> str:
    return show(row) + (f" ({row['pairs']} pairs, seed {row['seed']})" if "pairs" in row else "")


def costs_table(costs: list[Row]) -> str:
    """Seconds by command."""
    lines = ["| command | runs done | seconds in all |", "|---|---|---|"]
    lines += [f"| {row['command']} | {row['runs']} | {row['seconds']} |" for row in costs]
    return "\n".join(lines)


def multiplier_lines(families: list[Row]) -> str:
    """A sentence for each data multiplier of an initialisation that has been evaluated."""
    return "\n".join(
        f"- Data multiplier of {row['compared']} over {row['reference']}, {family['title']}: {row['text']}"
        + (f" ({row['reason']})" if row["reason"] else "")
        for family in families
        for row in family["multipliers"]
        if row["compared"] in {point["compared"] for point in family["points"]}
    )


def differences_table(config: ExperimentConfig, found: list[Any]) -> str:
    """How far each initialisation is above each of those without preferences, on the same pairs."""
    sizes, inits = config.axis_values[config.size], config.axis_values[config.compare]
    lines = [
        "| difference, points | " + " | ".join(f"{size} pairs" for size in sizes) + " |",
        "|---|" + "---|" * len(sizes),
    ]
    for reference in (name for name in REFERENCES if name in inits):
        others = ",".join(name for name in inits if name != reference)
        axes = [axis for axis in config.axes if not axis.startswith(f"{config.compare}=")]
        first = f"{config.compare}={reference},{others}"
        families = summarize(dataclasses.replace(config, axes=(*axes, first)), found)["families"]
        for family in families:
            rows = {(row["compared"], row["size"]): row for row in family["differences"]}
            for compared in others.split(","):
                cells = [rows.get((compared, float(size))) for size in sizes]
                if compared not in REFERENCES[: REFERENCES.index(reference)] and any(cells):
                    name = f"{family['facet'].get('task', '')}: {compared} over {reference}"
                    lines.append(f"| {name} | " + " | ".join(map(_points, cells)) + " |")
    return "\n".join(lines) if len(lines) > 2 else ""


def _points(row: Row | None) -> str:
    if row is None:
        return "not run"
    low, high = 100 * row["low"], 100 * row["high"]
    return f"{100 * row['difference']:+.1f} [{low:+.1f}, {high:+.1f}]"


def main() -> None:
    """Reads, writes, says how much of the grid is done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiment", required=True)
    parser.add_argument("--config", default="exp_smollm2")
    parser.add_argument("--name", default="replication_smollm2")
    parser.add_argument("--inputs", nargs="*", default=[])
    parser.add_argument("--output", default=RESULTS, type=pathlib.Path)
    parser.add_argument("--note", default="", help="sentences to put above the tables")
    arguments = parser.parse_args()
    config = presets.load_preset(arguments.config)
    inputs = tuple(arguments.inputs) or config.inputs
    config = dataclasses.replace(config, output=arguments.experiment, inputs=inputs)
    output = pathlib.Path(config.output)
    plan, _ = make_plan(config, commands.all_settings())
    states = States(config.output)
    report = collect(config, plan, states)
    found, _ = read_cells(plan, states)
    baselines, costs = baselines_of(output), costs_of(output, plan, states)
    families = report["families"]
    shown = {family["facet"].get("task") for family in families}
    others = [task for task in dict.fromkeys(row["task"] for row in baselines) if task not in shown]
    tables = [table_of(config, family, baselines) for family in families]
    tables += [others_table(baselines, others)] if others else []
    tables += [
        differences_table(config, found),
        multiplier_lines(families),
        costs_table(costs),
        *report["notes"],
    ]
    if families:
        tables.append(f"![accuracy by initialisation and pairs]({arguments.name}.png)")
        panels = [
            (
                functools.partial(draw, config=config, family=family, baselines=baselines),
                PANEL_INCHES,
            )
            for family in families
        ]
        plots.save(arguments.output / f"{arguments.name}.png", plots.make_figure(panels))
    page = make_page({**report, "title": f"Experiment {arguments.config}"})
    html_page.write(arguments.output / f"{arguments.name}.html", page)
    cells = [
        {
            **each.cell.values,
            "evaluation": each.evaluation,
            "accuracy": each.value,
            "num_pairs": each.num_items,
        }
        for each in found
    ]
    progress = f"{len(cells)} of {len(plan.cells)} cells are evaluated"
    text = "\n\n".join(part for part in tables if part)
    (arguments.output / f"{arguments.name}.md").write_text(
        f"""\
# The claim on a real language model: {arguments.config}

    codepmp experiment --config {arguments.config}
    python benchmarks/replication.py --experiment runs/{arguments.config} --config {arguments.config}

{datetime.date.today()}, commit {commit()}, Python {platform.python_version()}, {os.cpu_count()} CPU cores. **{progress}.** \
{arguments.note} Accuracy is on held-out pairs, with 95 % intervals over problems (and seeds, where there are several).

{text}
""",
        encoding="utf-8",
    )
    write_json(
        arguments.output / f"{arguments.name}.json",
        {
            "config": arguments.config,
            "commit": commit(),
            "num_cells": len(plan.cells),
            "cells": cells,
            "baselines": baselines,
            "families": families,
            "costs": costs,
        },
    )
    (arguments.output / f"{arguments.name}_pairs.txt").write_text(
        pairs_page(output), encoding="utf-8"
    )
    print(progress)


if __name__ == "__main__":
    main()
